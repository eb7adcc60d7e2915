"""What operators around recurrent layers compute, beside ONNX's reference evaluator."""

import numpy as np
import pytest
from helpers import host

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper, reference  # noqa: E402

from xprnn.interop import onnx as interop  # noqa: E402
from xprnn.interop.onnx.operations import OPERATIONS  # noqa: E402
from xprnn.interop.onnx.parsed import Node  # noqa: E402

X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype("float32")
POSITIVE = np.abs(X) + 0.5
Y = X[:, :1] + 1.0
FOUR = np.random.default_rng(1).standard_normal((2, 2, 3, 4)).astype("float32")
N = np.array([[3, -1, 0], [2, 7, 5]], "int64")


def whole(*numbers):
    return np.array(numbers, "int64")


UNARY = ["Identity", "Relu", "Tanh", "Sigmoid", "Softplus", "Erf", "Exp", "Abs", "Neg", "Elu", "LeakyRelu"]
UNARY += ["HardSigmoid", "Softsign", "Dropout", "Softmax", "LogSoftmax", "Gelu", "Flatten", "Transpose"]
CASES = [(name, [X], {}) for name in UNARY]
CASES += [(name, [POSITIVE], {}) for name in ("Log", "Sqrt")]
CASES += [(name, [X, Y], {}) for name in ("Add", "Sub", "Mul", "Div", "Less", "Greater", "Equal", "Max", "Min")]
CASES += [
    (name, [N, whole(2, 4, 3)], {})
    for name in ("Add", "Sub", "Mul", "Div", "LessOrEqual", "GreaterOrEqual", "Equal", "Max")
]
CASES += [
    ("Elu", [X], {"alpha": 0.5}),
    ("HardSigmoid", [X], {"alpha": 0.3, "beta": 0.4}),
    ("Softmax", [X], {"axis": 1}),
    ("Flatten", [X], {"axis": -1}),
    ("Transpose", [X], {"perm": [1, 2, 0]}),
    ("Transpose", [N], {}),
    ("Cast", [X], {"to": 11}),
    ("Cast", [X], {"to": 7}),
    ("Cast", [N], {"to": 1}),
    ("Cast", [X], {"to": 9}),
    ("Shape", [X], {}),
    ("Shape", [X], {"start": 1, "end": -1}),
    ("ConstantOfShape", [whole(2, 3)], {}),
    ("ConstantOfShape", [whole(2)], {"value": numpy_helper.from_array(np.array([7], "int64"))}),
    ("Gather", [X, N % 2], {}),
    ("Gather", [X, np.array(-1)], {"axis": 1}),
    ("Gather", [N, whole(2, 0)], {"axis": 1}),
    ("Reshape", [X, whole(0, -1)], {}),
    ("Reshape", [X, whole(2, 0, 2, 2)], {}),
    ("Reshape", [X[:0], whole(0, 5)], {"allowzero": 1}),
    ("Reshape", [N, whole(3, 2)], {}),
    ("Squeeze", [X[:, :1], whole(1)], {}),
    ("Squeeze", [X[:, :1]], {}),
    ("Squeeze", [N[:1], whole(0)], {}),
    ("Unsqueeze", [X, whole(-1, 0)], {}),
    ("Unsqueeze", [N, whole(1)], {}),
    ("Concat", [X, Y], {"axis": 1}),
    ("Concat", [N, N], {"axis": -1}),
    ("Split", [X, whole(1, 3)], {"axis": 2, "outputs": 2}),
    ("Split", [X], {"axis": 1, "outputs": 2, "num_outputs": 2}),
    ("Slice", [X, whole(1), whole(2**62)], {}),
    ("Slice", [X, whole(-1, 3), whole(-(2**62), 1), whole(1, 2), whole(-1, -1)], {}),
    ("Slice", [N, whole(0), whole(2), whole(1)], {}),
    ("Gemm", [X[0], X[1].T], {}),
    ("Gemm", [X[0], X[1], Y[0, :, :3]], {"alpha": 0.5, "beta": 2.0, "transB": 1}),
    ("Gemm", [X[0], X[1]], {"transA": 1}),
    ("MatMul", [X, X[0].T], {}),
    ("Pow", [POSITIVE, np.array(1.5, "float32")], {}),
    ("Pow", [N, whole(2, 0, 3)], {}),
    ("Pow", [np.abs(N), np.array(0.5, "float32")], {}),
    ("Expand", [Y, whole(3, 1)], {}),
    ("Expand", [N[:, :1], whole(2, 4)], {}),
    ("Tile", [X, whole(2, 1, 3)], {}),
    ("Tile", [N, whole(1, 2)], {}),
    ("PRelu", [X, Y[0, 0]], {}),
    ("HardSwish", [4.0 * X], {}),
    ("Mish", [X], {}),
    ("Mod", [N, whole(2, -4, 3)], {}),
    ("Mod", [-N, whole(2, -4, 3)], {"fmod": 1}),
    ("Range", [np.array(1), np.array(9), np.array(3)], {}),
    ("Range", [np.array(0.5, "float32"), np.array(4.0, "float32"), np.array(0.75, "float32")], {}),
    ("Range", [np.array(5), np.array(-1), np.array(-2)], {}),
    ("ReduceL2", [X], {"noop_with_empty_axes": 1}),
    ("ReduceLogSumExp", [X], {"noop_with_empty_axes": 1}),
    ("ReduceSum", [N.astype("int32")], {}),
    ("ReduceProd", [N.astype("int32")], {}),
    ("Where", [X > 0, X, Y], {}),
    ("Where", [N > 1, N, whole(0)], {}),
    ("LayerNormalization", [X, X[0, 0], Y[1, 0]], {"epsilon": 1e-2}),
    ("LayerNormalization", [X, X[0]], {"axis": 1}),
    ("ReduceMean", [X, whole(0, -1)], {}),
    ("ReduceMean", [X], {"keepdims": 0}),
    ("ReduceSum", [X, whole(1)], {"keepdims": 0}),
    ("ReduceSum", [X], {"noop_with_empty_axes": 1}),
    ("ReduceMax", [X, whole(-1)], {}),
    ("ReduceMin", [X, whole(1)], {"keepdims": 0}),
    ("ReduceMax", [X], {}),
    ("ReduceMin", [X], {"noop_with_empty_axes": 1}),
    ("ReduceSum", [N, whole(1)], {}),
    ("ReduceProd", [N, whole(0)], {"keepdims": 0}),
    ("ReduceL2", [X, whole(-1)], {}),
    ("ReduceLogSumExp", [X, whole(0, 1)], {}),
    ("Sin", [X], {}),
    ("Cos", [X], {}),
    ("Reciprocal", [POSITIVE], {}),
    ("Not", [X > 0], {}),
    ("And", [X > 0, Y > 0], {}),
    ("Or", [X > 0, Y > 0], {}),
    ("Clip", [X, np.float32(-0.5), np.float32(0.25)], {}),
    ("Clip", [X, np.float32(0.0)], {}),
    ("Clip", [N, np.int64(0)], {}),
    ("Gelu", [X], {"approximate": "tanh"}),
    ("Trilu", [np.full((3, 4), -np.inf, "float32"), np.int64(1)], {}),
    ("Trilu", [X], {"upper": 0}),
    ("Trilu", [N, np.int64(-1)], {}),
    ("CumSum", [N, np.int64(1)], {}),
    ("ArgMax", [X], {"axis": 1}),
    ("ArgMax", [X], {"axis": -1, "keepdims": 0}),
    ("GatherElements", [X, np.tile(np.array([[[2, -1]], [[0, 1]]]), (1, 3, 1))], {"axis": 2}),
    ("GatherElements", [N, np.array([[2], [0]])], {"axis": 1}),
    ("GatherND", [X, np.array([[0, 2], [1, 0]])], {}),
    ("GatherND", [N, np.array([[1, 2]])], {}),
    ("Pad", [X, whole(1, 0, 0, 2), np.float32(3.0), whole(0, 2)], {}),
    ("Pad", [X, whole(0, 1, 0, 0, 2, 0)], {}),
    ("Einsum", [X[:, :, 0], X], {"equation": "bt,bth->bh"}),
    ("Einsum", [X, X], {"equation": "qbh, kbg -> bqgh"}),
    ("Einsum", [X[0], Y[1]], {"equation": "ij,kj->ik"}),
    ("Einsum", [X], {"equation": "abc->ca"}),
    ("Conv", [X, np.stack([X[0, :, :3], X[1, :, 1:]])], {"pads": [2, 1], "strides": [2]}),
    ("Conv", [X, X[:1, :, 2:], X[0, 0, :1]], {"dilations": [2]}),
    ("MaxPool", [X], {"kernel_shape": [2], "strides": [2], "pads": [1, 1]}),
    ("BatchNormalization", [X, *POSITIVE[0].T], {"epsilon": 1e-2}),
    ("Attention", [FOUR, FOUR[:, :, ::2], FOUR[:, :, ::2]], {}),
    ("Attention", [FOUR, FOUR, FOUR], {"is_causal": 1, "scale": 0.7}),
    ("Attention", [FOUR, FOUR, FOUR, FOUR[0, 0] @ FOUR[0, 0].T > 0.0], {}),
    ("Attention", [FOUR, FOUR, FOUR, np.array([[True] * 3, [False] * 3, [True, False, True]])], {}),
    ("Attention", [FOUR, FOUR, FOUR, np.array([[0, 1, 2], [-np.inf] * 3, [1, -np.inf, 0]], "float32")], {}),
    ("Attention", [X, X, X, X[0] @ X[0].T], {"q_num_heads": 2, "kv_num_heads": 2}),
]


def of_one_node(operator, inputs, outputs, attributes):
    names = [f"x{k}" for k in range(len(inputs))]
    kinds = [helper.np_dtype_to_tensor_dtype(x.dtype) for x in inputs]
    graph = helper.make_graph(
        [helper.make_node(operator, names, outputs, "it", **attributes)],
        "graph",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(names, kinds, strict=True)],
        [helper.make_tensor_value_info(name, 1, None) for name in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])


def of_a_case(operator, inputs, attributes):
    """The model, and what it is given by name."""
    outputs = ["y", "z"][: attributes.get("outputs", 1)]
    attributes = {name: value for name, value in attributes.items() if name != "outputs"}
    model = of_one_node(operator, inputs, outputs, attributes)
    return model, {f"x{k}": x for k, x in enumerate(inputs)}


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"), CASES, ids=[f"{case[0]}-{k}" for k, case in enumerate(CASES)]
)
def test_as_the_specification_has_it(operator, inputs, attributes):
    model, given = of_a_case(operator, inputs, attributes)
    expected = reference.ReferenceEvaluator(model).run(None, given)
    found = interop.from_model(model)(*inputs)
    for got, wanted in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        got = getattr(got, "data", got) if not isinstance(got, np.ndarray) else got
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-6)


def test_what_the_reference_evaluator_cannot():
    indices = np.array([[[2, -1]], [[0, 1]]])
    picked = interop.from_model(of_one_node("GatherElements", [X, indices], ["y"], {"axis": 2}))(X, indices)
    np.testing.assert_array_equal(picked.numpy(), np.take_along_axis(X[:, :1], indices, 2))
    picked = interop.from_model(of_one_node("GatherElements", [N, N[:1, :2] % 2], ["y"], {"axis": 1}))(N, N[:1, :2] % 2)
    np.testing.assert_array_equal(picked, [[-1, -1]])
    back = [X, whole(-9), whole(-9), whole(1), whole(-1)]  # ONNX begins at the first, and ends before it
    begun = interop.from_model(of_one_node("Slice", back, ["y"], {}))(*back)
    np.testing.assert_array_equal(begun.numpy(), X[:, :1])
    large = [whole(2**62 + 1, -(2**62) - 1), whole(1, 3)]  # which no float64 holds
    divided = interop.from_model(of_one_node("Div", large, ["y"], {}))(*large)
    np.testing.assert_array_equal(divided, [2**62 + 1, -((2**62 + 1) // 3)])
    pads = whole(0, -1, 0, 0, 2, -1)  # cut at the beginning of the second axis, and at the end of the third
    padded = interop.from_model(of_one_node("Pad", [X, pads], ["y"], {}))(X, pads)
    np.testing.assert_array_equal(padded.numpy(), np.pad(X[:, 1:, :-1], ((0, 0), (0, 2), (0, 0))))


@pytest.mark.parametrize(
    ("operator", "constants", "attributes"),
    [
        ("Pad", [whole(1, 0, 0, 2), np.float32(3.0), whole(0, 2)], {}),
        ("Clip", [np.float32(-0.5)], {}),
        ("Trilu", [np.int64(1)], {}),
        ("GatherND", [np.array([[0, 2], [1, 0]])], {}),
        ("GatherElements", [np.array([[[0], [2], [3]]])], {"axis": 2}),
        ("ReduceL2", [whole(-1)], {}),
        ("Conv", [X[:, :, :3]], {"pads": [1, 0]}),
        ("MaxPool", [], {"kernel_shape": [2], "pads": [0, 1]}),
    ],
)
def test_constants_are_brought_to_where_x_is(operator, constants, attributes, home):
    names = [f"c{k}" for k in range(len(constants))]
    proto = of_one_node(operator, [X, *constants], ["y"], attributes)
    del proto.graph.input[1:]
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(each), name) for each, name in zip(constants, names, strict=True)
    )
    proto.graph.node[0].input[1:] = names
    expected = interop.from_model(proto)(X).numpy()
    found = interop.from_model(proto).to(home)(home.asarray(X))
    np.testing.assert_allclose(host(found), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("ends", [{"left_window_size": 1}, {"right_window_size": 0, "left_window_size": 0}])
@pytest.mark.parametrize("causal", [0, 1])
def test_an_attention_looks_no_further_than_its_window(ends, causal):
    q, k, v = FOUR, FOUR[:, :, :, ::-1], FOUR + 1.0
    steps = np.arange(3)
    ahead = steps - steps[:, None]
    near = (ahead >= -ends["left_window_size"]) & (ahead <= (0 if causal else ends.get("right_window_size", 3)))
    proto = of_one_node("Attention", [q, k, v], ["y"], {**ends, "is_causal": causal})
    proto.opset_import[0].version = 25
    masked = interop.from_model(of_one_node("Attention", [q, k, v, near], ["y"], {}))
    np.testing.assert_array_equal(interop.from_model(proto)(q, k, v).numpy(), masked(q, k, v, near).numpy())


HARMLESS = {
    ("Attention", "qk_matmul_output_mode"): "of an output that is refused",
    ("Attention", "softmax_precision"): "sums are as exact as numbers are",
    ("BatchNormalization", "momentum"): "of training",
    ("Cast", "saturate"): "of numbers of 8 bits",
    ("Cast", "round_mode"): "of numbers of 8 bits",
    ("Conv", "kernel_shape"): "that of the weights",
    ("Dropout", "seed"): "of training",
    ("LayerNormalization", "stash_type"): "sums are as exact as numbers are",
    ("MaxPool", "storage_order"): "of an output that is refused",
    ("Split", "num_outputs"): "there are as many outputs",
}
"""Attributes that are not looked at, and why."""


def test_every_attribute_is_looked_at(monkeypatch):
    seen, attribute = set(), Node.attribute
    looked = lambda node, name, *rest: seen.add((node.operator, name)) or attribute(node, name, *rest)
    monkeypatch.setattr(Node, "attribute", looked)
    for operator, inputs, attributes in CASES:
        model, _ = of_a_case(operator, inputs, attributes)
        interop.from_model(model)(*inputs)
    of_all = {(name, one) for name in OPERATIONS for one in onnx.defs.get_schema(name, 26).attributes}
    assert of_all - seen <= {*HARMLESS}  # older versions of ONNX have fewer


def test_what_nothing_reads_need_not_be_there():
    proto = of_one_node("Dropout", [X], ["y", "mask"], {})
    del proto.graph.output[1:]
    np.testing.assert_array_equal(interop.from_model(proto)(X).numpy(), X)


def test_all_of_them_are_tried():
    assert {case[0] for case in CASES} == {*OPERATIONS}


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "words"),
    [
        ("Gather", [X, whole(2)], {}, r"node it \(Gather\) picks number 2 of 2"),
        ("Cast", [X], {"to": 10}, "casts to the type 10"),
        ("Pow", [X, Y], {}, r"exponents of shape \(2, 1, 4\)"),
        ("Gelu", [X], {"approximate": "cubic"}, "is the approximation b'cubic'"),
        ("ReduceProd", [X, whole(0)], {}, "no counterpart here for numbers of float32"),
        ("CumSum", [X, np.int64(0)], {}, "but for whole numbers"),
        ("GatherND", [X, N], {"batch_dims": 1}, "has batch_dims"),
        ("Pad", [X, whole(1, 0, 0, 2, 0, 0)], {"mode": "edge"}, "has mode b'edge'"),
        ("Einsum", [X, X], {"equation": "bii,bij->b"}, "has equation 'bii,bij->b'; expected"),
        ("Einsum", [X, X], {"equation": "bi,bij->b"}, "has equation 'bi,bij->b' for shapes"),
        ("Einsum", [X[0, :1], X[0, :2, :2]], {"equation": "ij,ij->ij"}, "has equation 'ij,ij->ij' for shapes"),
        ("Conv", [X, X[:, :1]], {"group": 3}, r"weights of shape \(2, 1, 4\)"),
        ("Conv", [X, np.ones((1, 3, 7), "float32")], {}, "shorter than a window of 7"),
        ("MaxPool", [X], {"kernel_shape": [2], "auto_pad": "SAME_UPPER"}, "and pads that are numbers"),
        ("BatchNormalization", [X, *POSITIVE[0].T], {"training_mode": 1}, "is training"),
        ("Attention", [FOUR, FOUR, FOUR], {"softcap": 2.0}, "no softcap"),
        ("Split", [X, whole(1, 2)], {"axis": 2, "outputs": 2}, r"splits 4 into \[1, 2\]"),
        ("Split", [X, whole(5, -1)], {"axis": 2, "outputs": 2}, r"splits 4 into \[5, -1\]"),
        ("Split", [X, whole(2, 2)], {"axis": 5, "outputs": 2}, "has axis 5 of 3 axes"),
        ("Unsqueeze", [X, whole(4)], {}, "has axis 4 of 4 axes"),
        ("LayerNormalization", [X, Y[0, 0]], {"axis": 3}, "has axis 3 of 3 axes"),
        ("GatherElements", [N, N % 2], {"axis": 2}, "has axis 2 of 2 axes"),
        ("GatherElements", [X, whole(0, -5).reshape(1, 1, 2)], {"axis": 2}, "indices have -1"),
        ("Pad", [X, whole(1, 1), np.float32(0.0), whole(3)], {}, "has axis 3 of 3 axes"),
        ("Pad", [X, whole(0, -2, 0, 0, -2, 0)], {}, "cuts 2 and 2 of 3"),
        ("Gemm", [X, X[0].T], {}, "expected matrices"),
        ("Gemm", [X[0, :1], X[1].T, np.ones((2, 3), "float32")], {}, r"adds C of shape \(2, 3\)"),
        ("Div", [N, whole(1, 0, 2)], {}, "divides whole numbers by 0"),
        ("CumSum", [np.array(3), np.int64(0)], {}, "sums up a number"),
        ("Conv", [X, X], {"dilations": [0]}, "has strides 1, dilations 0"),
        ("MaxPool", [X], {"kernel_shape": [2], "strides": [-1]}, "has strides -1"),
        ("MaxPool", [X], {"kernel_shape": [2], "pads": [-1, 0]}, "and pads -1, 0"),
        ("Tile", [X, whole(2)], {}, r"repeats axes \[2\] times; expected a number for each of 3"),
        ("Mod", [X, X], {"fmod": 1}, "but for whole numbers"),
        ("Mod", [N, whole(0)], {}, "divides whole numbers by 0"),
        ("Reshape", [X, whole(5)], {}, "cannot be run"),
        ("Transpose", [X], {"perm": 3}, r"has perm = '3'; expected list"),
        ("Concat", [X, X], {}, "has no attribute axis"),
        ("Dropout", [X], {"outputs": 2}, "has 2 outputs; expected 1"),
    ],
)
def test_what_cannot_be_run_is_named(operator, inputs, attributes, words):
    outputs = ["y", "z"][: attributes.pop("outputs", 1)]
    model = interop.from_model(of_one_node(operator, inputs, outputs, attributes))
    with pytest.raises(ValueError, match=words):
        model(*inputs)
