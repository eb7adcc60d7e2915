"""quantize: what becomes of a model, its report, its files, and what is refused."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest

import xprnn
from xprnn import nn, ops
from xprnn.estimators.text.network import TextNetwork
from xprnn.storage import load_weights, write_tensors
from xprnn.train import Adam

X = np.random.default_rng(0).standard_normal((9, 2, 4)).astype("float32")


def chain(seed=0):
    return nn.Sequential(nn.LSTM(4, 6, rng=seed), nn.LayerNorm(6), nn.Linear(6, 3, rng=seed), nn.Tanh())


def test_a_model_is_copied_with_its_interface():
    model = chain()
    before, expected = model.state_dict(), model(X)
    found = nn.quantize(model, "int8", calibration=X)
    assert [type(part) for part in found] == [nn.QuantizedRecurrent, nn.LayerNorm, nn.QuantizedLinear, nn.Tanh]
    assert np.abs(found(X).data - expected.data).max() < 0.02
    assert "int8" in xprnn.explain(found, X)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    state = found.state_dict()
    assert state["0.weight_ih_l0"].dtype == state["2.weight"].dtype == np.int8
    assert list(state)[:6] == [
        f"0.{n}_l0" for n in ("weight_ih", "scale_ih", "weight_hh", "scale_hh", "bias_ih", "bias_hh")
    ]
    copied = [copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))]
    for other in copied:
        np.testing.assert_array_equal(other(X).data, found(X).data)


def test_the_report_has_what_is_off_and_what_stays():
    model = chain()
    report = nn.quantize(model, calibration=[X, (X[:3],)]).quantization
    what, error = report.layers["0"]
    first = nn.quantize(nn.Sequential(model[0]), calibration=X).quantization
    assert what == "LSTM, 4, 6"
    assert 0 < error.mean < error.most < 0.02 < error.largest < 1
    assert error.count == 12 * 2 * 6
    assert first.output == first.layers["0"][1]
    off = np.abs(nn.quantize(model[0])(X)[0].data.astype("float64") - model[0](X)[0].data)
    assert (first.output.most, first.output.mean) == (off.max(), pytest.approx(off.mean()))
    assert report.left == {"1": "there is nothing of 8 bits for LayerNorm"}
    assert report.sizes[0] / report.sizes[1] > 1.7
    assert "1 stays as it was" in str(report)
    assert "no calibration data" in str(nn.quantize(model).quantization)
    torn = nn.quantize(model, calibration=[X, np.where(np.arange(9)[:, None, None] < 5, X, np.nan)]).quantization
    assert "at most nan, nan on average, of nan" in str(torn)


def test_estimators_networks_and_shared_layers():
    network = TextNetwork(
        9, 2, 1, cell="gru", embedding=5, hidden=8, layers=2, bidirectional=True, pooling="attention", dropout=0.1,
        word_dropout=0.0, dtype="float32", rng=0,
    ).eval()  # fmt: skip
    ids, lengths = np.random.default_rng(0).integers(0, 9, (6, 3)), np.array([6, 2, 4])
    found = nn.quantize(network, calibration=[(ids, lengths)])
    assert found.quantization.left == {"embedding": "there is nothing of 8 bits for Embedding"}
    assert np.abs(found(ids, lengths).data - network(ids, lengths).data).max() < 0.05

    class Shared(nn.Module):
        def __init__(self):
            self.layers = [nn.Linear(4, 4, rng=0)]
            self.again = self.layers[0]

        def forward(self, x):
            return self.again(self.layers[0](x))

    shared = nn.quantize(Shared())
    assert shared.again is shared.layers[0]
    assert type(shared.again) is nn.QuantizedLinear
    assert list(shared.state_dict()) == ["layers.0.weight", "layers.0.scale", "layers.0.bias"]


def test_files(tmp_path):
    found, other = nn.quantize(chain()), nn.quantize(chain(1))
    write_tensors(tmp_path / "a.safetensors", found.state_dict(), {})
    write_tensors(tmp_path / "float.safetensors", chain().state_dict(), {})
    before = other(X).data
    state = load_weights(tmp_path / "a.safetensors")
    hostile = [
        (
            {"2.weight": state["2.weight"].astype("float32")},
            TypeError,
            "2.weight .* it has dtype float32; expected int8",
        ),
        ({"2.weight": state["2.weight"].view("uint8")}, TypeError, "expected int8"),
        ({"0.weight_hh_l0": state["0.weight_hh_l0"][1:]}, ValueError, "0.weight_hh_l0 has shape"),
        ({"2.scale": state["2.scale"][None]}, ValueError, "2.scale has shape"),
        ({"2.scale": state["2.scale"] * 1j}, TypeError, "complex"),
        ({"more": state["2.scale"]}, KeyError, "unexpected: more"),
    ]
    for wrong, error, words in hostile:
        with pytest.raises(error, match=words):
            other.load_state_dict(state | wrong)
    with pytest.raises(KeyError, match=r"missing: 0.scale_ih_l0"):
        other.load_state_dict(load_weights(tmp_path / "float.safetensors"))
    np.testing.assert_array_equal(other(X).data, before)
    other.load_state_dict(state)
    np.testing.assert_array_equal(other(X).data, found(X).data)
    with pytest.raises(TypeError, match="dtype"):
        other[0].weight_hh_l0.data = other[0].weight_hh_l0.data.astype("float32")


def test_training_is_refused():
    found = nn.quantize(chain())
    for part, x in ((found[0], X), (found[2], X[..., :3].repeat(2, -1))):
        with pytest.raises(RuntimeError, match="weights of 8 bits only infer: train the model in float32"):
            part(xprnn.Tensor(x, requires_grad=True))
        with xprnn.no_grad():
            part(xprnn.Tensor(x, requires_grad=True))
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        Adam(found.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="requires_grad needs float32"):
        found[2].weight.require_grad()
    found[2].bias.require_grad()
    with pytest.raises(RuntimeError, match="QuantizedLinear: a gradient is asked for"):
        found(X)


def test_what_cannot_be_is_named():
    with pytest.raises(ValueError, match="to is 'int4'; expected 'int8'"):
        nn.quantize(chain(), "int4")
    with pytest.raises(TypeError, match="the model is a list"):
        nn.quantize([chain()])
    for model, reason in (
        (nn.LSTM(4, 6, dtype="float64"), "its dtype is float64"),
        (nn.LSTM(4, 6, layer_norm=True), "no products of 8 bits for the cell"),
        (nn.GRU(4, 6, zoneout=0.1), "it has zoneout"),
        (nn.Tanh(), "it has no weights"),
        (nn.quantize(nn.Linear(2, 2)), "its weights have 8 bits already"),
    ):
        with pytest.raises(ValueError, match=f"nothing in the .* can be quantized .*{reason}"):
            nn.quantize(model)
    layer = nn.GRU(4, 6)
    layer.weight_hh_l0.data[3, 3] = np.nan
    with pytest.raises(ValueError, match=r"quantize: GRU: weight_hh_l0 holds numbers that are not finite"):
        nn.quantize(layer)
    with pytest.raises(ValueError, match="calibration is empty"):
        nn.quantize(chain(), calibration=[])
    with pytest.raises(TypeError, match="calibration is a int"):
        nn.quantize(chain(), calibration=3)
    found = nn.quantize(chain())
    with pytest.raises(ValueError, match=r"QuantizedRecurrent: x has shape .* expected"):
        found(X[..., :3])
    with pytest.raises(ValueError, match=r"QuantizedLinear: x has shape \(2, 5\); expected \(..., 6\)"):
        found[2](np.zeros((2, 5), "float32"))
    with pytest.raises(AttributeError, match="hidden_size is 6"):
        found[0].hidden_size = 7


def test_what_is_tied_stays_tied():
    model = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Linear(4, 4, rng=1), nn.GRU(4, 4, 2, rng=2))
    model[1].weight, model[1].bias = model[0].weight, model[0].bias
    model[2].weight_hh_l1 = model[2].weight_hh_l0
    found = nn.quantize(model)
    for copied in (found, copy.deepcopy(found)):
        assert copied[1].weight is copied[0].weight
        assert copied[1].scale is copied[0].scale
        assert copied[1].bias is copied[0].bias
        assert copied[2].scale_hh_l1 is copied[2].scale_hh_l0
    names = list(found.state_dict())
    assert [name for name in names if "scale" not in name] == list(model.state_dict())
    assert "1.scale" not in names
    assert found[0].weight is not model[0].weight
    assert found[0].bias is not model[0].bias
    np.testing.assert_allclose(found(X)[0].data, model(X)[0].data, atol=0.03)


def test_a_bias_stays_tied_to_what_keeps_its_floats():
    model = nn.Sequential(nn.Linear(4, 4, rng=0), nn.LayerNorm(4), nn.Embedding(4, 4, rng=1))
    model[1].bias, model[2].weight = model[0].bias, model[0].weight
    found = nn.quantize(model)
    for copied in (found, copy.deepcopy(found)):
        assert copied[1].bias is copied[0].bias
        assert copied[2].weight.dtype == np.float32  # codes would not do
        assert copied[0].weight.dtype == np.int8
    assert found[0].bias is not model[0].bias


def test_codes_are_no_numbers_to_calculate_with():
    class Functional(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(4, 2, rng=0)

        def forward(self, x):
            return xprnn.Tensor(x) @ self.fc.weight.T

    found = nn.quantize(Functional())
    weight, square = found.fc.weight, nn.quantize(nn.Linear(4, 4)).weight
    x = xprnn.Tensor(X)
    for attempt in (
        lambda: found(X), lambda: x @ square, lambda: X @ square, lambda: weight * 2.0, lambda: 1 - weight,
        lambda: weight.reshape(8), lambda: weight.mean(), lambda: weight[0], lambda: weight.astype("float32"),
        lambda: weight < 0.5, lambda: square < X, lambda: x >= square, lambda: weight == 0.5, lambda: x != square,
        lambda: weight.argmax(), lambda: weight.argmin(0),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="a weight of 8 bits is codes"):
            attempt()
    assert weight.numpy().dtype == np.int8


UNARY = (
    *("abs", "clip", "cos", "erf", "exp", "flip", "gelu", "log", "log_softmax", "logsumexp", "matrix_transpose"),
    *("max", "mean", "min", "negative", "ones_like", "relu", "sigmoid", "sin", "softmax", "softplus", "sqrt", "square"),
    *("sum", "tanh", "unstack", "var", "vector_norm", "zeros_like"),
)
BINARY = (
    *("add", "divide", "linear", "logaddexp", "matmul", "maximum", "minimum", "multiply", "squared_error", "subtract"),
)


def test_codes_are_no_operands_of_functions():
    square, x = nn.quantize(nn.Linear(4, 4)).weight, xprnn.Tensor(X)
    attempts = [partial(getattr(ops, name), square) for name in UNARY]
    attempts += [partial(getattr(ops, name), x, square) for name in BINARY]
    attempts += [partial(getattr(ops, name), square, 2.0) for name in (*BINARY, "pow")]
    attempts += [
        lambda: ops.concat([square, square]), lambda: ops.stack([x, square]), lambda: ops.where(X > 0.0, square, 1.0),
        lambda: ops.reshape(square, (16,)), lambda: ops.getitem(square, 0), lambda: ops.take(square, np.array([0])),
        lambda: ops.take_along_axis(square, np.zeros((4, 1), int)), lambda: ops.astype(square, "float32"),
        lambda: ops.split(square, 2), lambda: ops.broadcast_to(square, (2, 4, 4)), lambda: ops.squeeze(square, 0),
        lambda: ops.expand_dims(square, 0), lambda: ops.permute_dims(square, (1, 0)),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(TypeError, match="a weight of 8 bits is codes"):
            attempt()


def test_codes_are_not_taken_for_weights():
    """As in a file of a quantized model, of which a model of float weights is given what fits by name."""
    model, found = chain(), nn.quantize(chain())
    before = model(X).data
    for state in (found.state_dict(), {**model.state_dict(), "2.weight": found[2].weight.data}):
        with pytest.raises(
            TypeError, match=r"weight(_ih_l0)? .* it has dtype int8, as codes of weights: .*nn\.quantize"
        ):
            model.load_state_dict(state, strict=False)
    np.testing.assert_array_equal(model(X).data, before)


@pytest.mark.parametrize("calibration", [{"x": X}, "data", b"data"])
def test_calibration_that_is_no_batches(calibration):
    with pytest.raises(TypeError, match="calibration is a .*; expected an array, or several of them"):
        nn.quantize(chain(), calibration=calibration)
