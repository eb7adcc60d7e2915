"""Layers against ONNX's reference evaluator, which computes what the operator specification says.

ONNX packs the gates of an LSTM as i, o, f, c and its peepholes as i, o, f; those of a GRU as z, r, h. One layer, one or
both directions: W (D, G*H, I), R (D, G*H, H), B (D, 2*G*H), P (D, 3*H); Y (T, D, B, H).
"""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import nn

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")

T, B, I, H = 5, 3, 2, 4  # noqa: E741

# For each operator: our blocks in ONNX's order.
GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
PEEPHOLES = (0, 2, 1)


def blocks(a, order):
    return np.concatenate([np.split(a, len(order))[k] for k in order])


def evaluate(operator, layer, x, state, **attributes):
    """Run a layer's weights in ONNX."""
    inputs = {"X": x}
    order = GATES[operator]
    weights = {name: p.numpy() for name, p in layer.named_parameters()}
    suffixes = ["_l0", "_l0_reverse"][: layer.directions]
    inputs["W"] = np.stack([blocks(weights["weight_ih" + s], order) for s in suffixes])
    inputs["R"] = np.stack([blocks(weights["weight_hh" + s], order) for s in suffixes])
    if layer.bias:
        inputs["B"] = np.stack(
            [np.concatenate([blocks(weights[b + s], order) for b in ("bias_ih", "bias_hh")]) for s in suffixes]
        )
    names = ["X", "W", "R", "B" if layer.bias else "", "", "initial_h"]
    inputs["initial_h"] = state[0]
    if operator == "LSTM":
        names += ["initial_c"]
        inputs["initial_c"] = state[1]
        if "weight_ch_l0" in weights:
            names += ["P"]
            inputs["P"] = np.stack([weights["weight_ch" + s][list(PEEPHOLES)].reshape(-1) for s in suffixes])
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(state)]
    direction = "bidirectional" if layer.bidirectional else "forward"
    node = onnx.helper.make_node(operator, names, outputs, hidden_size=H, direction=direction, **attributes)
    double = onnx.TensorProto.DOUBLE
    graph = onnx.helper.make_graph(
        [node],
        "layer",
        [onnx.helper.make_tensor_value_info(n, double, a.shape) for n, a in inputs.items()],
        [onnx.helper.make_tensor_value_info(n, double, None) for n in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)])
    y, *final = reference.ReferenceEvaluator(model).run(None, inputs)
    return np.concatenate([y[:, d] for d in range(layer.directions)], axis=-1), tuple(final)


CASES = {
    "rnn tanh": ("RNN", nn.RNN, {}, {}),  # the evaluator knows no relu
    "lstm": ("LSTM", nn.LSTM, {}, {}),
    "peephole lstm": ("LSTM", nn.LSTM, {"peephole": "diagonal"}, {}),
    "gru": ("GRU", nn.GRU, {}, {"linear_before_reset": 1}),
    "gru reset before": ("GRU", nn.GRU, {"reset_after": False}, {"linear_before_reset": 0}),
}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize(("operator", "layer", "options", "attributes"), CASES.values(), ids=CASES.keys())
def test_layers(operator, layer, options, attributes, bidirectional, bias, rng):
    ours = layer(I, H, bidirectional=bidirectional, bias=bias, dtype="float64", rng=0, **options)
    x = rng.standard_normal((T, B, I))
    state = tuple(rng.standard_normal((ours.directions, B, H)) for _ in ours.state_sizes)
    output, final = ours(x, state if len(state) > 1 else state[0])
    expected = evaluate(operator, ours, x, state, **attributes)
    assert_close((output, final if len(state) > 1 else (final,)), expected, 1e-12)
