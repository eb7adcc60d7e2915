"""A Sequential as one stream: what it gives is what the modules give, however the sequence is cut."""

import copy
import pickle

import numpy as np
import pytest

from xprnn import explain, host_kernels, nn
from xprnn.backend import get_backend, to_numpy

I, H, O = 3, 7, 2  # noqa: E741
MODELS = {
    "amplifier": lambda d: nn.Sequential(nn.LSTM(I, H, dtype=d, rng=1), nn.Linear(H, O, dtype=d, rng=2)),
    "every kind": lambda d: nn.Sequential(
        nn.Tanh(),
        nn.Linear(I, 5, dtype=d, rng=1),
        nn.Sequential(nn.ReLU(), nn.GRU(5, H, num_layers=2, dropout=0.5, dtype=d, rng=2), nn.Dropout(0.5)),
        lively(nn.LayerNorm(H, 1e-3, dtype=d)),
        nn.LSTM(H, 4, batch_first=True, dtype=d, rng=3),
        nn.Sigmoid(),
        nn.RNN(4, 20, dtype=d, rng=4),
        nn.LayerNorm(20, bias=False, dtype=d),
    ),
    "no state": lambda d: nn.Sequential(nn.Linear(I, H, bias=False, dtype=d, rng=1), nn.Tanh()),
    "no kernel": lambda d: nn.Sequential(
        nn.GRU(I, H, dtype=d, rng=1), nn.LSTM(H, 4, proj_size=2, dtype=d, rng=2), nn.Softmax()
    ),
}
X = np.random.default_rng(0).standard_normal((70, 3, I))
compiled_only = pytest.mark.skipif(isinstance(host_kernels.kernels(), str), reason="there are no compiled kernels")


def lively(norm):
    """Weights and biases that are not all ones and zeros."""
    draws = np.random.default_rng(5)
    norm.weight.data = draws.standard_normal(norm.weight.shape).astype(norm.dtype)
    norm.bias.data = draws.standard_normal(norm.bias.shape).astype(norm.dtype)
    return norm


def one_by_one(model, x):
    """The modules called on a whole sequence (T, B, I)."""
    for module in model.eval().flat():
        if getattr(module, "batch_first", False):
            x = np.swapaxes(module(np.swapaxes(x, 0, 1))[0].data, 0, 1)
        else:
            y = module(x)
            x = (y[0] if isinstance(y, tuple) else y).data
    return x


def flat(state):
    return [part for own in state for part in (own if isinstance(own, tuple) else (own,))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_it_gives_what_its_modules_give(name, dtype):
    model, x = MODELS[name](dtype), X.astype(dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for batch in (None, 3):
        given = x[:, 0] if batch is None else x
        stream, other = model.stream(batch), model.stream(batch)
        cut = np.concatenate([stream.block(given[:5]), [np.array(stream.step(given[5]))], stream.block(given[6:])])
        whole = other.block(given)
        np.testing.assert_allclose(cut, whole, rtol=0, atol=0 if "compiled call" in repr(stream)[:60] else tolerance)
        for part, same in zip(flat(stream.state), flat(other.state), strict=True):
            np.testing.assert_allclose(part, same, atol=tolerance)
        expected = one_by_one(model, x)
        np.testing.assert_allclose(whole, expected[:, 0] if batch is None else expected, atol=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_its_state_is_set_reset_and_copied(name):
    model, x = MODELS[name]("float64"), X
    stream = model.stream(3)
    begun = stream.block(x[:5])
    middle = stream.state
    assert len(middle) == {"amplifier": 1, "every kind": 3, "no state": 0, "no kernel": 2}[name]
    copies = [copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))]
    rest = stream.block(x[5:])
    for other in copies:
        np.testing.assert_allclose(other.block(x[5:]), rest, atol=1e-12)
    stream.state = middle
    np.testing.assert_allclose(stream.block(x[5:]), rest, atol=1e-12)
    stream.reset()
    np.testing.assert_allclose(stream.block(x[:5]), begun, atol=1e-12)


def test_new_weights_are_noticed():
    model = MODELS["every kind"]("float64")
    stream = model.stream(3)
    stream.block(X)
    for module, name in ((model[1], "bias"), (model[3], "weight"), (model[3], "bias"), (model[4], "weight_hh_l0")):
        parameter = getattr(module, name)
        parameter.data = 2.0 * parameter.data
        stream.reset()
        np.testing.assert_allclose(stream.block(X), one_by_one(model, X), atol=1e-12)


def test_another_eps_is_noticed():
    model = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2, rng=0))
    stream, x = model.stream(), np.array([[0.0, 1.0, 2.0]], "float32")
    stream.step(x)
    model[0].eps = 0.5
    np.testing.assert_allclose(stream.step(x), model(x).data, rtol=1e-6)


def test_what_does_not_fit_is_named():
    for model, error, words in (
        (
            nn.Sequential(nn.GRU(I, H), nn.Embedding(3, 4)),
            TypeError,
            "part 1 is a Embedding; expected recurrent",
        ),
        (nn.Sequential(nn.GRU(I, H), nn.Dropout(0.1), nn.Linear(6, 1)), ValueError, r"part 2 is Linear.* of 7 inputs"),
        (nn.Sequential(nn.GRU(I, H), nn.Linear(H, 1, dtype="float64")), ValueError, "part 1 has dtype float64"),
        (nn.Sequential(nn.GRU(I, H, bidirectional=True)), ValueError, "part 0: a bidirectional layer needs the whole"),
        (nn.Sequential(nn.Linear(I, H), nn.LayerNorm((2, H))), ValueError, "part 1 is LayerNorm.* the last axis alone"),
        (nn.Sequential(nn.Tanh()), ValueError, "no part says how many inputs there are"),
        (nn.Sequential(), ValueError, "no part says how many inputs there are"),
    ):
        with pytest.raises(error, match=f"Sequential.stream: {words}"):
            model.stream()
    model = nn.Sequential(nn.GRU(I, H, rng=1), nn.LSTM(H, 4, rng=2), nn.Linear(4, 1, rng=3))
    stream = model.stream(None)
    stream.block(X[:4, 0])
    before = flat(stream.state)
    h, (_, c) = stream.state
    for block, error, words in (
        (lambda: stream.block(X), ValueError, r"x has shape \(70, 3, 3\); expected \(T, 3\)"),
        (lambda: stream.step(X[0, 0], 1), TypeError, "positional"),
        (lambda: setattr(stream, "state", h), ValueError, "the state is a ndarray; expected a list of 2"),
        (lambda: setattr(stream, "state", [h]), ValueError, "the state is 1 states; expected a list of 2"),
        (lambda: setattr(stream, "state", [h, c]), ValueError, r"the state has shapes \[.*\]; expected \[.*\]"),
        (lambda: setattr(stream, "state", [h, (c, 1j * c)]), TypeError, "part 1 of the state of recurrent layer 1"),
    ):
        with pytest.raises(error, match=words):
            block()
    for part, old in zip(flat(stream.state), before, strict=True):
        np.testing.assert_array_equal(part, old)
    model[2].weight = nn.Linear(5, 1).weight
    with pytest.raises(ValueError, match=r"Sequential.stream: part 2.weight has shape \(1, 5\); expected \(1, 4\)"):
        stream.block(X[:1, 0])


def test_a_model_with_a_forward_of_its_own_is_no_chain():
    class Residual(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    model = Residual(nn.GRU(I, I))
    for chain in (model, nn.Sequential(model)):
        with pytest.raises(TypeError, match="is a Residual; expected|Residual: it has a forward of its own"):
            chain.stream()


def test_a_layer_with_a_forward_of_its_own_is_not_streamed():
    """What it computes nobody knows: the numbers would be those of the layer that it comes from."""

    class Residual(nn.GRU):
        def forward(self, x, state=None):
            y, state = super().forward(x, state)
            return x + y, state

    for model in (Residual(I, I), nn.Sequential(Residual(I, I))):
        with pytest.raises(TypeError, match="Residual.*has a forward of its own; expected that of a recurrent layer"):
            model.stream()


@compiled_only
def test_who_runs_is_told():
    stream = MODELS["every kind"]("float32").stream()
    assert repr(stream) == "Sequential.stream(batch=1): one compiled call for all parts, steps in registers"
    assert explain(stream.block, X[:, :1]) == "Sequential.stream: one compiled call for all parts, steps in registers"
    assert "registers" not in repr(MODELS["amplifier"]("float32").stream(3))
    other = MODELS["no kernel"]("float32").stream()
    assert "calls of one part after another, since there is no compiled one (no kernel for" in repr(other)


def test_a_model_that_moves_takes_its_open_stream_along():
    strict = pytest.importorskip("array_api_strict")
    model, home = MODELS["every kind"]("float64"), get_backend("array_api_strict", strict.Device("device1"))
    stream = model.stream(3)
    expected = one_by_one(model, X)
    found = [stream.block(X[:5])]
    model.to(home)
    found.append(to_numpy(stream.block(home.asarray(X[5:9]))))
    model.to("numpy")
    found.append(stream.block(X[9:]))
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-12)
