"""Layers exported to ONNX, run by ONNX Runtime on shapes and lengths that nobody knew when they were exported."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from xprnn import cells, nn  # noqa: E402
from xprnn.cells import Activation  # noqa: E402
from xprnn.interop import onnx as interop  # noqa: E402

T, B, I, H, E = 6, 4, 3, 5, 8  # noqa: E741
BOTH = {"num_layers": 2, "bidirectional": True}
LENGTHS = np.array([T, 0, 2, 5], "int32")
RECURRENT = {
    "rnn": lambda: nn.RNN(I, H, 2),
    "rnn relu": lambda: nn.RNN(I, H, nonlinearity="relu", bias=False),
    "rnn affine": lambda: nn.RNN(I, H, nonlinearity=Activation("affine", 0.5, 0.1), clip=0.5, reverse=True),
    "lstm": lambda: nn.LSTM(I, H, **BOTH),
    "lstm batch first": lambda: nn.LSTM(I, H, batch_first=True, dropout=0.5, **BOTH),
    "lstm peephole": lambda: nn.LSTM(I, H, peephole="diagonal", **BOTH),
    "lstm reverse": lambda: nn.LSTM(I, H, reverse=True, bias=False),
    "lstm coupled": lambda: nn.LSTM(I, H, coupled=True, peephole="diagonal", clip=0.4),
    "lstm each way": lambda: nn.LSTM(I, H, bidirectional=True, activation=("relu", Activation("leaky_relu", 0.2))),
    "lstm torch's hard gates": lambda: nn.LSTM(I, H, gate_activation="torch_hard_sigmoid", activation="linear"),
    "gru": lambda: nn.GRU(I, H, **BOTH),
    "gru batch first": lambda: nn.GRU(I, H, batch_first=True),
    "gru reset before": lambda: nn.GRU(I, H, reset_after=False, **BOTH),
    "gru hard": lambda: nn.GRU(I, H, gate_activation="hard_sigmoid", activation="softsign", clip=0.4),
}


def run(model, **inputs):
    """Outputs by name."""
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def flat(final):
    return [part.numpy() for part in (final if isinstance(final, tuple) else (final,))]


def assert_close(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-6)


def drawn(rng, *shape):
    return rng.standard_normal(shape).astype("float32")


@pytest.mark.parametrize("case", RECURRENT)
def test_recurrent_layers(case, rng):
    layer = RECURRENT[case]()
    model = interop.to_model(layer, lengths=True, states=True)
    names = layer.state_names
    for steps, batch, lengths in ((T, B, LENGTHS), (1, 1, np.array([1], "int32")), (9, 2, np.array([3, 9], "int32"))):
        x = drawn(rng, *((batch, steps) if layer.batch_first else (steps, batch)), I)
        state = tuple(drawn(rng, *layer.state_lead, batch, H) for _ in names)
        y, final = layer.eval()(x, state if len(names) > 1 else state[0], lengths=lengths)
        given = {f"{name}_0": part for name, part in zip(names, state, strict=True)}
        found = run(model, x=x, lengths=lengths, **given)
        assert_close(found["y"], y.numpy())
        for name, part in zip(names, flat(final), strict=True):
            assert_close(found[f"{name}_n"], part)


def test_a_stream_goes_on_from_the_states_it_gave(rng):
    layer = nn.Sequential(nn.Linear(I, E), nn.GRU(E, H, 2), nn.LSTM(H, H), nn.Linear(H, 2))
    model, whole = interop.to_model(layer, states=True), interop.to_model(layer)
    x = drawn(rng, T, B, I)
    expected = run(whole, x=x)
    assert_close(expected["y"], layer(x).numpy())
    state = {"1.h_0": np.zeros((2, B, H), "float32")} | {f"2.{n}_0": np.zeros((1, B, H), "float32") for n in "hc"}
    outputs = []
    for part in (x[:1], x[1:4], x[4:]):
        found = run(model, x=part, **state)
        outputs.append(found.pop("y"))
        state = {name.replace("_n", "_0"): value for name, value in found.items()}
    assert_close(np.concatenate(outputs), expected["y"])


def encoder():
    layer = nn.TransformerEncoderLayer(E, 4, 12, activation="gelu", norm_first=True, batch_first=True)
    return nn.TransformerEncoder(layer, 2, nn.LayerNorm(E))


OTHERS = {
    "linear": (lambda: nn.Linear(E, 2, bias=False), [False]),
    "norms": (lambda: nn.Sequential(nn.LayerNorm(E, 1e-3, bias=False), nn.Dropout(0.3), nn.LayerNorm(E)), [False]),
    "attention": (lambda: nn.MultiheadAttention(E, 2, bias=False), [False, True]),
    "post-norm": (lambda: nn.TransformerEncoderLayer(E, 2, 12, bias=False), [False, True]),
    "encoder": (encoder, [False, True]),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_layers(case, rng):
    make, choices = OTHERS[case]
    layer = make().eval()
    for with_lengths in choices:
        model = interop.to_model(layer, lengths=with_lengths)
        for steps, batch, lengths in ((T, B, LENGTHS), (3, 2, np.array([3, 1], "int32"))):
            shape = (batch, steps) if getattr(layer, "batch_first", False) else (steps, batch)
            x, options = drawn(rng, *shape, E), {"lengths": lengths} if with_lengths else {}
            y = layer(x, **options)
            found, y = run(model, x=x, **options)["y"], (y[0] if isinstance(y, tuple) else y).numpy()
            if with_lengths and isinstance(layer, nn.MultiheadAttention):  # beyond lengths anything may stand
                inside = np.arange(steps)[:, None] < lengths
                found, y = found[inside], y[inside]
            assert_close(found, y)


@pytest.mark.parametrize("with_lengths", [False, True], ids=["whole", "lengths"])
@pytest.mark.parametrize(
    "pooling",
    [
        nn.LastPooling(),
        nn.LastPooling(bidirectional=True),
        nn.MeanPooling(),
        nn.MaxPooling(),
        nn.AttentionPooling(6, 4),
    ],
    ids=["last", "both ends", "mean", "max", "attention"],
)
def test_poolings(pooling, with_lengths, rng):
    layer = nn.Sequential(nn.Embedding(9, I), nn.GRU(I, 3, bidirectional=True), pooling, nn.Linear(6, 2))
    model = interop.to_model(layer, lengths=with_lengths)
    for steps, batch, lengths in ((T, B, LENGTHS), (3, 1, np.array([2], "int32"))):
        x, options = rng.integers(0, 9, (steps, batch)), {"lengths": lengths} if with_lengths else {}
        mask = np.arange(steps)[:, None] < lengths if with_lengths else None
        expected = layer[3](pooling(layer[1](layer[0](x), **options)[0], mask))
        assert_close(run(model, x=x, **options)["y"], expected.numpy())
    with pytest.raises(ValueError, match=r"4 \(GRU\) comes after a pooling"):
        interop.to_model(nn.Sequential(*layer, nn.GRU(2, 2)))
    with pytest.raises(ValueError, match=r"1 \(MeanPooling\) takes \(T, B, F\)"):
        interop.to_model(nn.Sequential(nn.GRU(I, 3, batch_first=True), nn.MeanPooling()))


@pytest.mark.parametrize("words", [5, E])
def test_a_weight_in_two_places_is_packed_for_each(words, rng):
    layer = nn.Sequential(nn.Embedding(words, E, rng=0), nn.RNN(E, E, rng=1), nn.Linear(E, words, rng=2))
    layer[2].weight = layer[0].weight
    layer[1].weight_hh_l0 = layer[1].weight_ih_l0
    numbers = rng.integers(0, words, (T, B))
    model = interop.to_model(layer)
    assert_close(run(model, x=numbers)["y"], layer(numbers).numpy())
    assert_close(interop.from_model(model)(numbers)[0].numpy(), layer(numbers).numpy())


def test_embedding_and_shared_weights(rng):
    layer = nn.Sequential(nn.Embedding(7, H, padding_idx=0), nn.LSTM(H, H), nn.Linear(H, H), nn.Linear(H, H))
    layer[3].weight = layer[2].weight
    model = interop.to_model(layer)
    x = rng.integers(0, 7, (T, B))
    assert_close(run(model, x=x)["y"], layer(x).numpy())
    names = [one.name for one in model.graph.initializer]
    assert "2.weight" in names
    assert "3.weight" not in names


def test_padding_may_hold_anything(rng):
    layer = nn.Sequential(nn.GRU(I, E, bidirectional=True), nn.TransformerEncoderLayer(2 * E, 2, 12)).eval()
    model, x = interop.to_model(layer, lengths=True), drawn(rng, T, B, I)
    expected = run(model, x=x, lengths=LENGTHS)["y"]
    spoilt = np.where(np.arange(T)[:, None, None] < LENGTHS[:, None], x, np.nan).astype("float32")
    np.testing.assert_array_equal(run(model, x=spoilt, lengths=LENGTHS)["y"], expected)


def test_float64_becomes_float32(rng):
    layer, x = nn.LSTM(I, H, dtype="float64"), drawn(rng, T, B, I)
    assert_close(run(interop.to_model(layer), x=x)["y"], layer(x.astype("float64"))[0].numpy())
    layer.weight_ih_l0.data = layer.weight_ih_l0.data * 1e300
    with pytest.raises(ValueError, match="LSTM: a weight holds numbers too large for float32"):
        interop.to_model(layer)


def test_files_have_a_fixed_version_and_dynamic_axes(tmp_path):
    interop.save(nn.LSTM(I, H, bidirectional=True), tmp_path / "model.onnx", lengths=True, states=True)
    model = onnx.load(tmp_path / "model.onnx")
    assert model.ir_version == 10
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 22)]
    axes = {one.name: [d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim] for one in model.graph.input}
    assert axes == {"lengths": ["batch"], "x": ["time", "batch", I], "h_0": [2, "batch", H], "c_0": [2, "batch", H]}


class Net(nn.Module):
    pass


@pytest.mark.parametrize(
    ("layer", "error", "words"),
    [
        (lambda: nn.LSTM(I, H, proj_size=2), ValueError, "LSTM is made of LSTM projected to 2, for which ONNX has no"),
        (lambda: nn.LSTM(I, H, layer_norm=True), ValueError, "LSTM is made of LayerNormLSTM, for which ONNX has no"),
        (lambda: nn.LSTM(I, H, zoneout=0.1), ValueError, "LSTM has zoneout, which ONNX has not"),
        (lambda: nn.Sequential(nn.LSTM(I, H, peephole="full")), ValueError, r"0 \(LSTM\) is made of FullPeepholeLSTM"),
        (lambda: nn.IndRNN(I, H), ValueError, "IndRNN is made of IndRNN"),
        (lambda: nn.RNN(I, H, nonlinearity="sin"), ValueError, "RNN has activation sin"),
        (lambda: nn.LSTM(I, H, activation=Activation("tanh", clip=1.0)), ValueError, "clips each activation"),
        (
            lambda: nn.RecurrentLayer((cells.GRU(), cells.ResetBeforeGRU()), I, H, bidirectional=True),
            ValueError,
            "RecurrentLayer has directions that differ in more than their activations",
        ),
        (lambda: nn.MultiheadAttention(E, 2, kdim=3), ValueError, "kdim"),
        (lambda: nn.Sequential(nn.Linear(I, H), Net()), TypeError, r"1 \(Net\) is a Net; expected one of RNN, LSTM"),
        (lambda: nn.Sequential(nn.Dropout()), ValueError, "how many features"),
    ],
)
def test_what_onnx_cannot_say_is_refused_by_name_and_nothing_is_written(layer, error, words, tmp_path):
    with pytest.raises(error, match=words):
        interop.save(layer(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
