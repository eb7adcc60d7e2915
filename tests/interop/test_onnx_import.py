"""Models of ONNX's as modules of ours: the cases of the onnx package, files of PyTorch's, our own, and hostile ones."""

import copy
import importlib
import pickle
import re

import numpy as np
import pytest
from helpers import host

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.backend.test.case import node as cases  # noqa: E402

from xprnn import nn  # noqa: E402
from xprnn.cells import Activation  # noqa: E402
from xprnn.interop import onnx as interop  # noqa: E402

T, B, I, H, E = 5, 3, 2, 4, 8  # noqa: E741
for operator in ("rnn", "gru", "lstm"):  # collect_testcases imports those of all operators, which takes seconds
    importlib.import_module(f"onnx.backend.test.case.node.{operator}")
CASES = {case.name: case for case in cases._NodeTestCases if re.search("rnn|gru|lstm", case.name)}


def as_constants(model, arrays, names):
    """A model with some of its inputs as constants."""
    model = copy.deepcopy(model)
    for name, array in arrays.items():
        if name in names:
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


@pytest.mark.parametrize("name", CASES)
def test_the_cases_of_the_onnx_package(name):
    case = CASES[name]
    for inputs, outputs in case.data_sets:
        arrays = dict(zip([one.name for one in case.model.graph.input], inputs, strict=True))
        model = interop.from_model(as_constants(case.model, arrays, ("W", "R", "B", "P")))
        found = model(**{key: arrays[key] for key in model.inputs})
        found = found if isinstance(found, tuple) else (found,)
        for got, expected in zip(found, outputs, strict=True):
            np.testing.assert_allclose(got.numpy(), expected, rtol=case.rtol, atol=1e-6)


def test_there_are_such_cases():
    assert len(CASES) >= 18


OURS = {
    "both ways": lambda: nn.LSTM(I, H, 2, bidirectional=True, batch_first=True),
    "peepholes": lambda: nn.LSTM(I, H, peephole="diagonal", reverse=True),
    "coupled": lambda: nn.LSTM(I, H, coupled=True, peephole="diagonal", clip=0.5),
    "each way": lambda: nn.LSTM(I, H, bidirectional=True, activation=("relu", Activation("scaled_tanh", 0.7, 1.1))),
    "reset before": lambda: nn.GRU(I, H, reset_after=False, bias=False),
    "hard": lambda: nn.GRU(I, H, gate_activation=Activation("hard_sigmoid", 0.3, 0.4), activation="softsign"),
    "relu": lambda: nn.RNN(I, H, nonlinearity="relu"),
    "pooled": lambda: nn.Sequential(nn.Dropout(), nn.Linear(I, H), nn.GRU(H, E), nn.AttentionPooling(E)),
    "around": lambda: nn.Sequential(
        nn.Linear(I, H), nn.GRU(H, E), nn.TransformerEncoderLayer(E, 2, 6), nn.Linear(E, 1)
    ),
}


@pytest.mark.parametrize("case", OURS)
def test_our_own_models_come_back(case, tmp_path, rng):
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    interop.save(OURS[case](), path, lengths=True, states=True)
    session, model = runtime.InferenceSession(path, providers=["CPUExecutionProvider"]), interop.load(path)
    sizes = {"time": T, "batch": B}
    inputs = {
        one.name: rng.standard_normal([sizes.get(n, n) for n in one.shape]).astype("float32")
        for one in session.get_inputs()
    } | {"lengths": np.array([T, 2, 3], "int32")}
    assert model.outputs == [one.name for one in session.get_outputs()]
    found = model(**inputs)
    for got, wanted in zip(found, session.run(None, inputs), strict=True):
        np.testing.assert_allclose(got.numpy(), wanted, rtol=0, atol=2e-6)
    found[0].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_nodes_that_share_weights_are_one_layer(rng):
    x, w, r, bias = (
        rng.standard_normal(shape).astype("float32") for shape in [(T, B, I), (1, 3 * H, I), (1, 3 * H, H), (1, 6 * H)]
    )
    again = [helper.make_node("Identity", [name], [f"{name} again"]) for name in "WRB"]  # as PyTorch's exporter has it
    twins = [
        helper.make_node("GRU", ["a", "W", "R", "B"], ["", "h"], "first", hidden_size=H),
        helper.make_node("GRU", ["b", "W again", "R again", "B again"], ["y", "g"], "second", hidden_size=H),
    ]
    graph = helper.make_graph(
        [*again, *twins],
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None, I]) for name in "ab"],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "hg"],
        [numpy_helper.from_array(array, name) for name, array in zip("WRB", (w, r, bias), strict=True)],
    )
    model = interop.from_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    h, g = model(x, x[::-1].copy())
    assert [name for name, _ in model.named_parameters()] == [
        f"layer_first.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    layer = model.layer_first
    for found, given in ((h, x), (g, x[::-1].copy())):
        np.testing.assert_array_equal(found.numpy(), layer(given)[1].numpy())


def test_a_model_moves_and_is_copied_as_any_module(home, rng):
    parts = nn.GRU(E, H, bidirectional=True), nn.TransformerEncoderLayer(2 * H, 2, 6), nn.MeanPooling()
    model = interop.from_model(interop.to_model(nn.Sequential(nn.Embedding(9, E), *parts), lengths=True, states=True))
    inputs = {"x": rng.integers(0, 9, (T, B)), "lengths": np.array([T, 0, 3], "int32")}
    inputs["1.h_0"] = rng.standard_normal((2, B, H)).astype("float32")
    expected = model(**inputs)[0].numpy()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other(**inputs)[0].numpy(), expected)
    moved = model.to(home)(**{name: home.asarray(array) for name, array in inputs.items()})[0]
    np.testing.assert_allclose(host(moved), expected, rtol=0, atol=2e-6)


def test_a_classifier_out_of_pytorch(tmp_path, rng):
    torch = pytest.importorskip("torch")

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, E)
            self.lstm = torch.nn.LSTM(E, H, 2, bidirectional=True, batch_first=True)
            self.linear = torch.nn.Linear(2 * H, 3)

        def forward(self, words):
            y, _ = self.lstm(self.embedding(words))
            return torch.log_softmax(self.linear(torch.relu(y[:, -1])), dim=-1)

    module, words = Classifier().eval(), torch.randint(0, 11, (B, T))
    axes = {"words": {0: "batch", 1: "time"}}
    torch.onnx.export(module, (words,), tmp_path / "model.onnx", input_names=["words"], dynamic_axes=axes, dynamo=False)
    model = interop.load(tmp_path / "model.onnx")
    for shape in ((B, T), (2, 9)):
        words = rng.integers(0, 11, shape)
        np.testing.assert_allclose(model(words).numpy(), module(torch.from_numpy(words)).detach().numpy(), atol=2e-6)
    assert [type(part).__name__ for _, part in model.children()] == ["LSTM", "LSTM"]


def small(**changes):
    """A model of one RNN node, with parts of it replaced."""
    nodes = [helper.make_node("RNN", ["x", "W", "R"], ["y"], "the node", hidden_size=H)]
    given = {"nodes": nodes, "outputs": ["y"], "weights": weights(H), "opset": 22, **changes}
    graph = helper.make_graph(
        given["nodes"],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", I])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in given["outputs"]],
        [numpy_helper.from_array(array, name) for name, array in given["weights"].items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", given["opset"])])


def rnn(inputs=("x", "W", "R"), **attributes):
    return [helper.make_node("RNN", [*inputs], ["y"], "the node", **attributes)]


def changed(change):
    model = small()
    change(model)
    return model


def oversized(model):
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([10**9, 10**9, 10**9])


def weights(rows, dtype="f4"):
    return {"W": np.ones((1, rows, I), dtype), "R": np.ones((1, H, H), dtype)}


HOSTILE = {
    "opset": (lambda: small(opset=9), "opset is 9"),
    "unknown operator": (lambda: small(nodes=[helper.make_node("Det", ["x"], ["y"], "c")]), r"node c \(Det\) has no"),
    "loop": (lambda: small(nodes=[helper.make_node("Loop", ["x"], ["y"], "l", body=small().graph)]), "attribute body"),
    "domain": (lambda: small(nodes=[helper.make_node("RNN", ["x"], ["y"], "n", domain="own")]), "domain own"),
    "cycle": (
        lambda: small(nodes=[helper.make_node("Add", ["x", "z"], ["y"]), helper.make_node("Neg", ["y"], ["z"])]),
        "reads z, which nothing before it gives",
    ),
    "twice": (lambda: small(nodes=[*rnn(), helper.make_node("Neg", ["x"], ["y"])]), "gives y, which is there already"),
    "no output": (lambda: small(outputs=["q"]), "nothing gives its output q"),
    "computed weights": (
        lambda: small(nodes=[helper.make_node("Neg", ["W"], ["V"]), *rnn(("x", "V", "R"))]),
        r"the node \(RNN\) reads W from V; expected a constant",
    ),
    "no weights": (lambda: small(nodes=rnn(("x", "", ""))), "has no weights"),
    "shapes": (lambda: small(weights=weights(H + 1)), "W of shape"),
    "whole weights": (lambda: small(weights=weights(H, "i8")), "dtype int64"),
    "hidden size": (lambda: small(nodes=rnn(hidden_size=7)), "hidden_size = 7, but R has 4"),
    "type of an attribute": (lambda: small(nodes=rnn(hidden_size="a")), "hidden_size = .*; expected int"),
    "activation": (lambda: small(nodes=rnn(activations=["Sin"])), r"activations .*Sin.*; expected 1 of Sigmoid"),
    "clip": (lambda: small(nodes=rnn(clip=-1.0)), "cannot be a layer: RNN: clip"),
    "direction": (lambda: small(nodes=rnn(direction="up")), "direction b'up'"),
    "oversized": (lambda: changed(oversized), "constant W of shape .* cannot be read"),
    "negative": (lambda: changed(lambda m: m.graph.initializer[0].dims.__setitem__(0, -1)), "constant W has shape"),
    "a function for an operator": (
        lambda: changed(
            lambda m: m.functions.add(name="RNN", domain="", input=["x"], output=["y"]),
        ),
        "a function of its own called RNN, in the place of ONNX's operator",
    ),
    "an attribute that is none": (
        lambda: small(nodes=rnn(activation="Relu")),
        "an attribute activation, which is none of this operator's",
    ),
    "an attribute twice": (
        lambda: changed(lambda m: m.graph.node[0].attribute.add(name="hidden_size", type=2, i=4)),
        "an attribute hidden_size twice",
    ),
    "a constant of no name": (
        lambda: small(nodes=[helper.make_node("Constant", [], [""], value_float=1.0), *rnn()]),
        "gives 1 values; expected one, with a name",
    ),
    "a constant of no value": (
        lambda: small(nodes=[helper.make_node("Constant", [], [], value_float=1.0), *rnn()]),
        "gives 0 values; expected one, with a name",
    ),
    "half": (lambda: small(weights=weights(H, "f2")), "dtype float16"),
    "no text": (lambda: small().SerializeToString().replace(b"the node", b"the \xffode"), "is no name"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_models_are_refused_by_name(case, tmp_path):
    make, words = HOSTILE[case]
    model = make()
    content = model if isinstance(model, bytes) else model.SerializeToString()
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=rf"load: .*model\.onnx: .*{words}"):
        interop.load(tmp_path / "model.onnx")


@pytest.mark.parametrize(("reads", "gives"), [([], ["a"]), (["c"], []), (["c", "x"], ["a"]), (["c"], ["a", "b"])])
def test_an_identity_of_others_than_one_value_is_named(reads, gives):
    nodes = [helper.make_node("Identity", reads, gives, "i"), helper.make_node("Add", ["x", *gives[-1:]], ["y"], "n")]
    model = interop.from_model(small(nodes=nodes, weights={"c": np.ones(I, "float32")}))
    with pytest.raises(ValueError, match=r"^node (i \(Identity\)|n \(Add\)) "):
        model(np.zeros((T, B, I), "float32"))


def test_what_has_no_name_is_no_constants_other_name():
    unread, layer = helper.make_node("Identity", ["B"], [""]), rnn(("x", "W", "R", ""))
    given = weights(H) | {"B": np.ones((1, 2 * H), "float32")}
    model = interop.from_model(small(nodes=[unread, *layer], weights=given))
    assert [name for name, _ in model.layer_the_node.named_parameters()] == ["weight_ih_l0", "weight_hh_l0"]


def test_more_memory_than_there_is_names_the_node():
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["z"], "a"), helper.make_node("Add", ["z", "z"], ["y"], "b")]
    model = interop.from_model(small(nodes=nodes, weights={"s": np.array([1 << 50], "int64")}))
    with pytest.raises(MemoryError, match=r"node b \(Add\) takes more memory than there is"):
        model(np.zeros((T, B, I), "float32"))


@pytest.mark.parametrize("content", [b"", b"\x89PNG" * 9, b"cut"], ids=["empty", "foreign", "cut"])
def test_what_is_no_model(content, tmp_path):
    whole = small().SerializeToString()
    (tmp_path / "model.onnx").write_bytes(whole[:-7] if content == b"cut" else content)
    with pytest.raises(ValueError, match=r"load: .*model\.onnx"):
        interop.load(tmp_path / "model.onnx")
    with pytest.raises(TypeError, match="expected an onnx.ModelProto"):
        interop.from_model(whole)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: m(np.ones((T, B, I))), TypeError, "x has dtype float64; expected float32"),
        (lambda m: m(np.ones((T, B, I + 1), "float32")), ValueError, r"\(5, 3, 3\); expected \(time, batch, 2\)"),
        (lambda m: m(), TypeError, "expected x"),
        (lambda m: m(z=np.ones((T, B, I), "float32")), TypeError, "inputs are z; expected x"),
    ],
)  # fmt: skip
def test_wrong_calls(call, error, words):
    with pytest.raises(error, match=words):
        call(interop.from_model(small()))
