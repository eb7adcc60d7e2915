"""Models as PyTorch's newer exporter writes them, by itself where it is installed, and node by node where not."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.external_data_helper import convert_model_to_external_data  # noqa: E402

from xprnn.interop import onnx as interop  # noqa: E402

B, T, WORDS, E, H = 3, 5, 11, 4, 6


def as_dynamo_writes_it(rng, joined=(0, 0, -1)):
    """A bidirectional GRU on embedded words, its zeros and joined directions as chains of nodes about shapes."""
    constants = {
        "e.weight": rng.standard_normal((WORDS, E)).astype("float32"),
        "val_80": rng.standard_normal((2, 3 * H, E)).astype("float32"),
        "val_81": rng.standard_normal((2, 3 * H, H)).astype("float32"),
        "val_82": rng.standard_normal((2, 6 * H)).astype("float32"),
        "l.weight": rng.standard_normal((3, 2 * H)).astype("float32"),
        "zero": np.float32(0.0),
        **{f"int_{n}": np.array([n]) for n in (-1, 0, 1, 2, 3, 4, H)},
        "last": np.array(-1),
        "joined": np.array(joined),
    }
    nodes = [
        ("Shape", "w", "val_0", {"start": 0, "end": 1}),
        ("Gather", "e.weight w", "embedding", {"axis": 0}),
        ("Concat", "int_2 val_0 int_6", "val_8", {"axis": 0}),
        ("Expand", "zero val_8", "zeros", {}),
        ("Transpose", "embedding", "val_9", {"perm": [1, 0, 2]}),
        ("Slice", "zeros int_0 int_2 int_0", "val_13", {}),
        (
            "GRU",
            "val_9 val_80 val_81 val_82  val_13",
            "val_83 val_84",
            {"hidden_size": H, "direction": "bidirectional", "linear_before_reset": 1, "layout": 0},
        ),
        ("Transpose", "val_83", "val_85", {"perm": [0, 2, 1, 3]}),
        ("Shape", "val_85", "val_86", {"start": 0}),
        ("Slice", "val_86 int_0 int_1", "val_88", {}),
        ("Slice", "val_86 int_1 int_2", "val_89", {}),
        ("Slice", "val_86 int_2 int_3", "val_91", {}),
        ("Slice", "val_86 int_3 int_4", "val_93", {}),
        ("Mul", "val_91 val_93", "val_94", {}),
        ("Reshape", "val_94 int_-1", "val_96", {"allowzero": 0}),
        ("Concat", "val_88 val_89 val_96", "val_97", {"axis": 0}),
        ("Reshape", "val_85 " + ("val_97" if joined == (0, 0, -1) else "joined"), "val_98", {}),
        ("Gather", "val_98 last", "select", {"axis": 0}),
        ("Gemm", "select l.weight", "y", {"transB": 1, "alpha": 1.0, "beta": 1.0}),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, x.split(" "), y.split(" "), f"node_{y}", **more) for kind, x, y, more in nodes],
        "main_graph",
        [helper.make_tensor_value_info("w", TensorProto.INT64, ["s15", "s21"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["s15", 3])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
        value_info=[helper.make_tensor_value_info("val_98", TensorProto.FLOAT, ["s21", "s15", 2 * H])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def outside(path, **inputs):
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)


def test_chains_about_shapes_and_weights_beside_the_model(tmp_path, rng):
    path = tmp_path / "model.onnx"
    onnx.save(as_dynamo_writes_it(rng), path, save_as_external_data=True, location="model.onnx.data", size_threshold=64)
    model = interop.load(path)
    for shape in ((B, T), (2, 9)):
        words = rng.integers(0, WORDS, shape)
        np.testing.assert_allclose(model(words).numpy(), outside(path, w=words)[0], rtol=0, atol=2e-6)
    model(words).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert interop.from_model(onnx.load(path)).outputs == ["y"]
    with pytest.raises(ValueError, match="constant e.weight lies in another file; load the model from its file"):
        interop.from_model(onnx.load(path, load_external_data=False))


def test_lengths_that_the_exporter_fixed_are_named(rng):
    model = interop.from_model(as_dynamo_writes_it(rng, joined=(T, -1, 2 * H)))
    assert model(np.zeros((B, T), "int64")).shape == (B, 3)
    with pytest.raises(ValueError, match=r"node node_val_98 \(Reshape\) gives shape \(5, 4, 12\), where .*s15 = 2"):
        model(np.zeros((2, 2 * T), "int64"))  # which divides, so that steps and sequences would be mixed


def moved(key, value):
    def change(folder, tensors):
        for entry in tensors[0].external_data:
            entry.value = value if entry.key == key else entry.value

    return change


def linked(folder, tensors):
    (folder / "w.data").rename(folder / "other")
    (folder / "w.data").symlink_to(folder / "other")


def many(folder, tensors):
    """The largest constant is there often, each time from another number on, which would take much memory."""
    largest = max(tensors, key=lambda one: np.prod(one.dims))
    for k, one in enumerate(tensors):
        one.CopyFrom(largest)
        one.name = f"w{k}"
        moved("offset", f"{4 * k}")(folder, [one])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (moved("location", "../w.data"), r"lies in '\.\./w\.data'; expected a file beside the model"),
        (moved("location", "/etc/passwd"), "expected a file beside the model"),
        (moved("location", "gone"), "lies in gone, which cannot be read"),
        (moved("location", "."), "expected a file beside the model"),
        (moved("offset", "-4"), "has offset '-4'"),
        (moved("offset", "9999999"), "has not so many"),
        (moved("length", "8"), "has 8 bytes in w.data; float32 of shape"),
        (lambda folder, tensors: tensors[0].dims.__setitem__(0, 10**12), "takes 16000000000000"),
        (lambda folder, tensors: setattr(tensors[0], "data_type", TensorProto.STRING), "dtype object"),
        (lambda folder, tensors: (folder / "w.data").write_bytes(b"cut"), "has not so many"),
        (linked, "no plain file"),
        (many, "has not so many"),
    ],
)
def test_weights_beside_the_model_that_are_harmed(harm, words, tmp_path, rng):
    model = as_dynamo_writes_it(rng)
    convert_model_to_external_data(model, location="w.data", size_threshold=64)
    onnx.save(model, tmp_path / "model.onnx")
    large = [one for one in model.graph.initializer if one.external_data]
    for one in large:
        one.ClearField("raw_data")
    harm(tmp_path, large)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=f"load: .*model.onnx: constant .*{words}"):
        interop.load(tmp_path / "model.onnx")


def classifier(torch, kind):
    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(WORDS, E)
            self.rnn = getattr(torch.nn, kind)(E, H, 2, bidirectional=True, batch_first=True)
            self.norm, self.score = torch.nn.LayerNorm(2 * H), torch.nn.Linear(2 * H, 1)

        def forward(self, words):
            y, final = self.rnn(self.embedding(words))
            y = self.norm(y)
            share = torch.softmax(self.score(torch.tanh(y)).squeeze(-1), 1)
            pooled = torch.einsum("bt,bth->bh", share, y) * (words != 0).sum(1, keepdim=True)
            h = final[0] if isinstance(final, tuple) else final
            return pooled, torch.cat([h[-2], h[-1]], -1)

    return Classifier()


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])  # a GRU is written as an LSTM is
def test_files_of_the_exporter_itself(kind, tmp_path, rng):
    pytest.importorskip("onnxscript")
    torch = pytest.importorskip("torch")
    module, path = classifier(torch, kind).eval(), tmp_path / "model.onnx"
    # Loops over steps are written out, one node after another, so that an RNN's steps cannot be of any number.
    axes = {0: torch.export.Dim.DYNAMIC}
    words = torch.randint(0, WORDS, (B, T))
    torch.onnx.export(module, (words,), path, dynamo=True, dynamic_shapes=(axes,), verbose=False)
    model = interop.load(path)
    for batch in (B, 2):
        words = rng.integers(0, WORDS, (batch, T))
        for found, expected in zip(model(words), module(torch.from_numpy(words)), strict=True):
            np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=0, atol=3e-6)
