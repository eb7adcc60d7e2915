"""Compiled cells whose functions are chosen, against the reference; between them they take every branch."""

import numpy as np
import pytest
from helpers import compare, draw_call, everything

pytest.importorskip("numba")

import xprnn
from xprnn import cells, nn

CELLS = {
    "rnn": lambda: cells.GeneralElman("torch_hard_sigmoid", clip=3.0),
    "lstm": lambda: cells.GeneralLSTM("hard_sigmoid", "relu", "relu"),
    "lstm clipped": lambda: cells.GeneralLSTM("torch_hard_sigmoid", "tanh", "tanh", clip=0.5),
    "coupled": lambda: cells.GeneralLSTM("sigmoid", cells.Activation("relu", clip=0.5), "tanh", coupled=True),
    "gru": lambda: cells.GeneralGRU("hard_sigmoid", "relu"),
    "reset before": lambda: cells.GeneralResetBeforeGRU("sigmoid", "tanh", clip=0.5),
}
each = pytest.mark.parametrize("name", CELLS)


def layer_of(name, hidden, inputs=3, dtype="float64", **options):
    return nn.RecurrentLayer(CELLS[name](), inputs, hidden, dtype=dtype, rng=1, **options)


@pytest.mark.parametrize(("steps", "batch", "hidden"), [(9, 5, 7), (20, 14, 40), (3, 1, 64)])
@each
def test_it_equals_the_reference(name, steps, batch, hidden):
    draws = np.random.default_rng(0)
    control = {
        "lengths": draws.integers(0, steps + 1, batch),
        "mask": draws.random((steps, batch)) > 0.3,
        "reset": draws.random((steps, batch)) > 0.7,
    }
    layer = layer_of(name, hidden, bidirectional=True)
    for options in control, {}:
        compare(layer, *draw_call(layer, steps, batch, 3, hidden, "float64", 0), options)


@each
def test_float32(name):
    layer = layer_of(name, 7, dtype="float32", bias=False)
    compare(layer, *draw_call(layer, 9, 5, 3, 7, "float32", 0), {})


@each
def test_with_noise(name):
    rates = {"zoneout": 0.3, "recurrent_dropout": 0.4, "candidate_dropout": 0.0 if name == "rnn" else 0.4}
    layers = [layer_of(name, 7, bidirectional=True, **rates) for _ in range(2)]
    x, state = draw_call(layers[0], 9, 5, 3, 7, "float64", 0)
    mask = np.random.default_rng(0).random((9, 5)) > 0.3
    results = [
        everything(layer, x, state, {"mask": mask}, name)
        for layer, name in zip(layers, ("compiled", "reference"), strict=True)
    ]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1.0, np.abs(b).max(initial=0.0)))


@each
def test_corners_have_the_slopes_of_the_reference(name):
    corners = np.array([-3.5, -3.0, -2.5, -0.5, -0.0, 0.0, 0.5, 2.5, 3.0, 3.5])
    layer = layer_of(name, 10, inputs=10)
    for key, weight in layer.named_parameters():
        own = np.eye(10) if key == "weight_ih_l0" else np.zeros((10, *weight.shape[1:]))
        weight.data = np.tile(own, (len(weight.data) // 10, *[1] * (weight.ndim - 1)))
    x = np.stack([corners, corners[::-1]])[:, None]  # and these are the pre-activations of all gates
    state = [np.full((1, 1, 10), 0.3) for _ in layer.state_names]
    compare(layer, x, state, {})


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@each
def test_what_is_not_finite_does_as_in_the_reference(name, value):
    layer = layer_of(name, 7)
    x, state = draw_call(layer, 4, 2, 3, 7, "float64", 0)
    x[1, 0, 0], state[0][0, 1, 2] = value, value
    with np.errstate(invalid="ignore"):
        found, expected = (everything(layer, x, state, {}, way) for way in ("compiled", "reference"))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_stream_of_them_all_is_one_compiled_call(batch):
    layers = [layer_of(name, 5, inputs=5, dtype="float32") for name in CELLS]
    model = nn.Sequential(*layers, nn.LSTM(5, 5, rng=0), nn.Linear(5, 2, rng=0))
    stream, x = model.stream(batch), np.random.default_rng(0).standard_normal((9, batch, 5)).astype("float32")
    assert "one compiled call for all parts" in repr(stream)
    with xprnn.use_kernels("reference"):
        expected = model(x).data
    found = np.concatenate([np.stack([np.array(stream.step(x_t)) for x_t in x[:4]]), stream.block(x[4:])])
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_stream_that_is_reloaded_takes_what_changed_within_its_cell():
    layer, x = layer_of("rnn", 5), np.random.default_rng(0).standard_normal((4, 1, 3))
    stream = layer.stream()
    layer.cell.activations["h"] = cells.Activation("relu", clip=0.1)
    stream.reload()
    with xprnn.use_kernels("reference"):
        np.testing.assert_allclose(stream.block(x), layer(x)[0].data, atol=1e-12)
    layer.cell.activations["h"] = cells.Activation("softplus")
    with pytest.raises(ValueError, match=r"another cell .*open another stream"):
        stream.reload()
