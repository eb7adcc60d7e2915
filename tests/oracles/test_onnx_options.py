"""Activations, clips and coupled gates against ONNX Runtime, which runs the operators with all their attributes.

ONNX has a coupled LSTM's unused forget gate in its weights all the same: zeros here. Its lists of constants are in the
order of the activations that have one. Its clip cuts what comes out of products, and not c' in h' = o tanh(c').
"""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import nn
from xprnn.cells import Activation

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

T, B, I, H = 5, 3, 2, 4  # noqa: E741
ORDER = {"LSTM": ("i", "o", "f", "g"), "GRU": ("z", "r", "n"), "RNN": ("h",)}


def rows(layer, operator, array):
    """Blocks in ONNX's order, zeros for those that a cell has not."""
    have = {gate: array[layer.cell.gate_rows(gate, H)] for gate in layer.cell.gate_names}
    return np.concatenate([have.get(gate, np.zeros((H, *array.shape[1:]), "float32")) for gate in ORDER[operator]])


def evaluate(operator, layer, x, state, lengths, **attributes):
    weights = {name: p.numpy() for name, p in layer.named_parameters()}
    suffixes = ["_l0", "_l0_reverse"][: layer.directions]
    bias = [[rows(layer, operator, weights[b + s]) for b in ("bias_ih", "bias_hh")] for s in suffixes]
    inputs = {
        "X": x,
        "W": np.stack([rows(layer, operator, weights["weight_ih" + s]) for s in suffixes]),
        "R": np.stack([rows(layer, operator, weights["weight_hh" + s]) for s in suffixes]),
        "B": np.stack([np.concatenate(pair) for pair in bias]),
        "lengths": lengths,
        "h": state[0],
    }
    if operator == "LSTM":
        inputs["c"] = state[1]
    if "weight_ch_l0" in weights:
        p = [dict(zip(layer.cell.peepholes, weights["weight_ch" + s], strict=True)) for s in suffixes]
        inputs["P"] = np.stack(
            [np.concatenate([each.get(gate, np.zeros(H, "float32")) for gate in "iof"]) for each in p]
        )
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(state)]
    direction = "bidirectional" if layer.bidirectional else "reverse" if layer.reverse else "forward"
    node = onnx.helper.make_node(operator, list(inputs), outputs, hidden_size=H, direction=direction, **attributes)
    kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(a.dtype) for name, a in inputs.items()}
    graph = onnx.helper.make_graph(
        [node],
        "layer",
        [onnx.helper.make_tensor_value_info(n, kinds[n], a.shape) for n, a in inputs.items()],
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, *final = session.run(None, inputs)
    return np.concatenate([y[:, d] for d in range(layer.directions)], axis=-1), tuple(final)


SOFTSIGN = {"gate_activation": "softsign", "activation": "elu", "output_activation": "softplus"}
CASES = {
    "hard gates": (nn.LSTM, {"gate_activation": "hard_sigmoid"}, {"activations": ["HardSigmoid", "Tanh", "Tanh"]}),
    "three activations": (nn.LSTM, SOFTSIGN, {"activations": ["Softsign", "Elu", "Softplus"]}),
    "constants": (
        nn.LSTM,
        {
            "gate_activation": Activation("hard_sigmoid", 0.3, 0.4),
            "activation": Activation("leaky_relu", 0.2),
            "output_activation": Activation("scaled_tanh", 0.8, 1.2),
        },
        {
            "activations": ["HardSigmoid", "LeakyRelu", "ScaledTanh"],
            "activation_alpha": [0.3, 0.2, 0.8],
            "activation_beta": [0.4, 1.2],
        },
    ),
    "clip": (nn.LSTM, {"clip": 0.3, "peephole": "diagonal"}, {"clip": 0.3}),
    "clip alone": (nn.LSTM, {"clip": 0.3}, {"clip": 0.3}),
    "coupled": (nn.LSTM, {"coupled": True}, {"input_forget": 1}),
    "coupled reverse": (nn.LSTM, {"coupled": True, "peephole": "diagonal", "reverse": True}, {"input_forget": 1}),
    "each direction": (
        nn.LSTM,
        {"bidirectional": True, "gate_activation": ("sigmoid", "hard_sigmoid"), "activation": ("relu", "tanh")},
        {"activations": ["Sigmoid", "Relu", "Relu", "HardSigmoid", "Tanh", "Tanh"]},
    ),
    "gru": (
        nn.GRU,
        {"gate_activation": "hard_sigmoid", "activation": "softsign", "clip": 0.4},
        {"activations": ["HardSigmoid", "Softsign"], "clip": 0.4, "linear_before_reset": 1},
    ),
    "gru reset before, each direction": (
        nn.GRU,
        {"bidirectional": True, "activation": ("relu", Activation("thresholded_relu", 0.1)), "reset_after": False},
        {"activations": ["Sigmoid", "Relu", "Sigmoid", "ThresholdedRelu"], "activation_alpha": [0.1]},
    ),
    "gru reset before, hard gates": (
        nn.GRU,
        {"gate_activation": "hard_sigmoid", "clip": 0.4, "reset_after": False},
        {"activations": ["HardSigmoid", "Tanh"], "clip": 0.4},
    ),
    "gru reverse": (nn.GRU, {"reverse": True}, {"linear_before_reset": 1}),
    "rnn": (
        nn.RNN,
        {"nonlinearity": Activation("affine", 0.5, 0.1), "clip": 0.5, "reverse": True},
        {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1], "clip": 0.5},
    ),
}


@pytest.mark.parametrize(("layer", "options", "attributes"), CASES.values(), ids=CASES.keys())
def test_options(layer, options, attributes, rng):
    ours = layer(I, H, rng=0, **options)
    x = rng.standard_normal((T, B, I)).astype("float32")
    state = tuple(rng.standard_normal((ours.directions, B, H)).astype("float32") for _ in ours.state_sizes)
    lengths = np.array([T, 2, 4], "int32")
    output, final = ours(x, state if len(state) > 1 else state[0], lengths=lengths)
    expected = evaluate(layer.__name__, ours, x, state, lengths, **attributes)
    assert_close((output, final if len(state) > 1 else (final,)), expected, 2e-6)
