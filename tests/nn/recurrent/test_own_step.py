import numpy as np
import pytest
from helpers import assert_close, host

from xprnn import cells, nn, ops
from xprnn.grad_mode import set_grad_enabled
from xprnn.testing import check_gradients


class OwnLSTM(nn.Module):
    """A user's LSTM, made of primitives, with the weights of an LSTMCell."""

    def __init__(self, input_size, hidden_size, **options):
        self.inner = nn.LSTMCell(input_size, hidden_size, **options)
        self.state_sizes = (hidden_size, hidden_size)

    def step(self, x, state):
        h, c = state
        z = x @ self.inner.weight_ih.T + self.inner.bias_ih + h @ self.inner.weight_hh.T + self.inner.bias_hh
        i, f, g, o = (z[:, k * h.shape[1] : (k + 1) * h.shape[1]] for k in range(4))
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.sigmoid(o) * ops.tanh(c), c


CONTROL = {
    "plain": {},
    "lengths": {"lengths": [5, 0, 2]},
    "flags": {"mask": np.arange(15).reshape(5, 3) % 4 > 0, "reset": np.arange(15).reshape(5, 3) % 5 == 2},
}


@pytest.mark.parametrize("control", CONTROL.values(), ids=CONTROL.keys())
def test_equals_the_layer_with_an_explicit_way_back(control, home, rng):
    own = nn.Recurrent(OwnLSTM(2, 4, dtype="float64", rng=0)).to(home)
    layer = nn.LSTM(2, 4, dtype="float64", rng=0).to(home)
    x = home.asarray(rng.standard_normal((5, 3, 2)))
    state = [home.asarray(part) for part in rng.standard_normal((2, 3, 4))]
    found, final, everything = own(x, state, return_all_states=True, **control)
    expected, last, states = layer(x, [part[None, ...] for part in state], return_all_states=True, **control)
    assert_close(found, expected, 1e-14)
    assert_close([host(part)[None] for part in final], last, 1e-14)
    assert_close(everything, [host(part)[:, 0] for part in states], 1e-14)
    for result in (found, expected):
        ops.sin(result).sum().backward()
    for one, other in zip(own.parameters(), layer.parameters(), strict=True):
        assert_close(one.grad, other.grad, 1e-13)


def test_reverse_equals_the_reverse_direction(rng):
    own = nn.Recurrent(OwnLSTM(2, 4, dtype="float64", rng=0), reverse=True)
    layer = nn.LSTM(2, 4, bidirectional=True, dtype="float64", rng=0)
    layer.load_state_dict(
        layer.state_dict() | {f"{name}_l0_reverse": a for name, a in own.cell.inner.state_dict().items()}
    )
    x = rng.standard_normal((5, 3, 2))
    assert_close(own(x, lengths=[5, 0, 2])[0], layer(x, lengths=[5, 0, 2])[0][:, :, 4:], 1e-14)


@pytest.mark.parametrize("kind", [np.asarray, lambda flags: flags.tolist()], ids=["array", "list"])
def test_batch_first(kind, rng):
    cell = OwnLSTM(2, 4, dtype="float64", rng=0)
    x, mask = rng.standard_normal((3, 5, 2)), rng.random((3, 5)) < 0.5
    expected, _ = nn.Recurrent(cell)(x.swapaxes(0, 1), mask=mask.T)
    assert_close(nn.Recurrent(cell, batch_first=True)(x, mask=kind(mask))[0], host(expected).swapaxes(0, 1), 0.0)


def test_gradients(rng):
    layer = nn.Recurrent(OwnLSTM(2, 3, dtype="float64", rng=0))
    check_gradients(lambda x: layer(x, lengths=[3, 1]), [rng.standard_normal((3, 2, 2))], layer.parameters())


class Wrong:
    def __init__(self, result, sizes=(4,)):
        self.result, self.state_sizes = result, sizes

    def step(self, x, state):
        return self.result(x, state)


X = np.ones((5, 3, 2))
BAD = {
    "no cell": (
        lambda: nn.Recurrent(3),
        TypeError,
        r"Recurrent: cell is a int; expected an object with state_sizes and step",
    ),
    "no step": (lambda: nn.Recurrent(nn.Linear(2, 2)), TypeError, "Recurrent: cell is a Linear; expected an object"),
    "rank": (
        lambda: nn.Recurrent(OwnLSTM(2, 4))(X[0, 0]),
        ValueError,
        r"Recurrent: x has shape \(2,\); expected \(T, B, I\), or \(T, I\) without a batch",
    ),
    "integers": (
        lambda: nn.Recurrent(OwnLSTM(2, 4))(X.astype(int)),
        TypeError,
        "Recurrent: x has dtype int64; expected float32 or float64",
    ),
    "state": (
        lambda: nn.Recurrent(OwnLSTM(2, 4))(X, (X[0], X[0])),
        ValueError,
        r"h_0 has shape \(3, 2\); expected \(3, 4\)",
    ),
    "no tuple": (
        lambda: nn.Recurrent(Wrong(lambda x, s: s[0]))(X),
        ValueError,
        "Recurrent: step returned Tensor; expected a tuple",
    ),
    "shape": (
        lambda: nn.Recurrent(Wrong(lambda x, s: (x,)))(X),
        ValueError,
        r"Recurrent: step returned \[\(3, 2\)\]; expected a tuple of shapes \[\(3, 4\)\]",
    ),
    "sizes": (
        lambda: nn.Recurrent(Wrong(lambda x, s: s, sizes=4)),
        TypeError,
        "Recurrent: the cell's state_sizes is a int; expected a list",
    ),
    "an array": (
        lambda: nn.Recurrent(Wrong(lambda x, s: (ops.zeros_like(s[0]).data,)))(X),
        ValueError,
        r"Recurrent: step returned \['ndarray'\]; expected a tuple of shapes \[\(3, 4\)\]",
    ),
    "another dtype": (
        lambda: nn.Recurrent(Wrong(lambda x, s: (s[0].astype("float32"),)))(X),
        TypeError,
        r"Recurrent: step returned \[dtype\('float32'\)\]; expected \[dtype\('float64'\)\], as before",
    ),
    "too many": (lambda: nn.Recurrent(Wrong(lambda x, s: (s[0], s[0])))(X), ValueError, "Recurrent: step returned"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_one_sequence_without_a_batch(rng):
    layer = nn.Recurrent(OwnLSTM(2, 4, dtype="float64", rng=0))
    x, state = rng.standard_normal((5, 2)), tuple(rng.standard_normal((2, 4)))
    found = layer(x, state, return_all_states=True)
    output, final, everything = layer(x[:, None], tuple(part[None] for part in state), return_all_states=True)
    assert_close(found[0], host(output)[:, 0], 0.0)
    assert_close(found[1], [host(part)[0] for part in final], 0.0)
    assert_close(found[2], [host(part)[:, 0] for part in everything], 0.0)
    with pytest.raises(ValueError, match="Recurrent: lengths, mask and reset need a batch"):
        layer(x, lengths=[5])


class Idle:
    """A step that hands its state on as it came."""

    state_sizes = (2, 2)

    def step(self, x, state):
        return state


@pytest.mark.parametrize("steps", [0, 1])
def test_parts_of_a_state_that_are_handed_on_are_not_one(steps):
    _, (h, c) = nn.Recurrent(Idle())(np.ones((steps, 3, 2)))
    assert not np.shares_memory(h.data, c.data)


# --- cells of one's own that do not keep to what a cell is ----------------------------------------------------------


def summed(w, zx, state):
    return zx + state[0]


STEPS = {  # what else might be broadcast, or taken apart by its first axis
    "nothing saved": (lambda *a: (summed(*a),), "step returned a tuple; expected .state, saved."),
    "a state alone": (summed, "step returned a ndarray; expected .state, saved."),
    "no tuple": (lambda *a: (summed(*a), ()), r"step returned a ndarray; expected a tuple \(h\)"),
    "one part more": (lambda *a: ((summed(*a), a[1]), ()), r"step returned 2 parts; expected a tuple \(h\)"),
    "one row for all": (
        lambda *a: ((summed(*a)[:1, ...],), ()),
        r"step returned h of shape \(1, 5\); expected",
    ),
    "one number for all": (
        lambda *a: ((summed(*a)[:, :1],), ()),
        r"step returned h of shape \(3, 1\); expected",
    ),
    "another dtype": (lambda *a: ((summed(*a) * np.ones(5),), ()), "step returned h of dtype float64; expected .*32"),
}


@pytest.mark.parametrize(("step", "message"), STEPS.values(), ids=STEPS.keys())
@pytest.mark.parametrize("single", [False, True])
def test_what_a_step_returns_is_held_against_the_state_before(step, message, single):
    class Own(cells.ComposedCell):
        gate_names = ("g",)

        def step(self, w, zx, state):
            return step(w, zx, state)

    x = np.ones((2, 3, 4), "float32")
    layer = nn.CellModule(Own(), 4, 5) if single else nn.RecurrentLayer(Own(), 4, 5)
    for recording in (False, True):
        with set_grad_enabled(recording), pytest.raises((TypeError, ValueError), match=f"Own: {message}"):
            layer(x[0] if single else x)


class Explicit(cells.PointwiseCell):
    """tanh(zx + zh), which gets a way back."""

    gate_names = ("g",)

    def forward(self, w, zx, zh, state):
        return (np.tanh(zx + zh),), ()

    def backward(self, w, dstate, saved, state, new_state):
        d = dstate[0] * (1.0 - new_state[0] ** 2)
        return d, d, (0.0,)


BACK = {
    "a cotangent of one row": (
        {"step_vjp": lambda self, w, d, saved, old, new: (d[0], (d[0][:1],), ())},
        r"step_vjp returned the cotangent of h of shape \(1, 5\); expected \(3, 5\)",
    ),
    "no gradient of a weight": (
        {"weight_vjp": lambda self, w, dzx, *_: {"weight_hh": w["weight_hh"]}},
        "weight_vjp returned bias_hh = None; expected an array",
    ),
    "a gradient of another shape": (
        {"weight_vjp": lambda self, w, dzx, *_: {"weight_hh": w["weight_hh"], "bias_hh": dzx[0]}},
        r"weight_vjp returned bias_hh of shape \(3, 5\); expected \(5,\)",
    ),
}


@pytest.mark.parametrize(("functions", "message"), BACK.values(), ids=BACK.keys())
def test_what_a_way_back_returns_is_held_against_state_and_weights(functions, message):
    layer = nn.RecurrentLayer(type("Own", (Explicit,), functions)(), 4, 5)
    y, _ = layer(np.ones((2, 3, 4), "float32"))
    with pytest.raises((TypeError, ValueError), match=f"Own: {message}"):
        y.sum().backward()
