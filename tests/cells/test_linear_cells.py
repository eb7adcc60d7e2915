"""The linear cells' equations, written here a second time from the papers, with complex numbers as such."""

import numpy as np
import pytest
from helpers import LINEAR_CELLS, assert_close, each_linear_cell, host, sequence_call

from xprnn import cells, nn, ops, use_kernels
from xprnn.backend import get_backend, namespace
from xprnn.cells.linear import LinearCell
from xprnn.engine import reference
from xprnn.testing import check_gradients


def logistic(z):
    return 1 / (1 + np.exp(-z))


def positive(v):
    return np.where(v >= 0, v + 0.5, logistic(v))


def mingru(w, x, before, g):
    k, v = np.split(w["weight_ih"] @ x + w["bias_ih"], 2)
    return ((1 - logistic(k)) * before[0] + logistic(k) * g(v),)


def minlstm(w, x, before, g):
    f, i, v = np.split(w["weight_ih"] @ x + w["bias_ih"], 3)
    f, i = logistic(f), logistic(i)
    return (f / (f + i) * before[0] + i / (f + i) * g(v),)


def sru(w, x, before):
    c_x, f, r, *s = np.split(w["weight_ih"] @ x + w["bias_ih"], 3 if len(x) == 3 else 4)
    f, r = logistic(f), logistic(r)
    c = f * before[1] + (1 - f) * c_x
    return r * c + (1 - r) * (s[0] if s else x), c


def qrnn(w, x, before):
    u = w["weight_ih"][:9] @ x + w["bias_ih"]
    z, f, o = np.split(u if len(before) == 2 else u + before[2], 3)
    c = logistic(f) * before[1] + (1 - logistic(f)) * np.tanh(z)
    return (logistic(o) * c, c, *([] if len(before) == 2 else [w["weight_ih"][9:] @ x]))


def as_complex(pairs):
    real, imaginary = np.split(pairs, 2, axis=-1)
    return real + 1j * imaginary


def diagonal(w, x, before, p, q, scale):
    n = len(p)
    b, d = w["weight_ih"][:n] + 1j * w["weight_ih"][n : 2 * n], w["weight_ih"][2 * n :]
    c = p * as_complex(before[1]) + q * (b @ x)
    return scale * (as_complex(w["weight_ch"]) @ c).real + d @ x, np.concatenate([c.real, c.imag])


def lru(w, x, before):
    p = np.exp(-np.exp(w["nu_log"]) + 1j * np.exp(w["theta_log"]))
    return diagonal(w, x, before, p, np.exp(w["gamma_log"]), 1)


def s5(w, x, before):
    poles = as_complex(w["poles"])
    p = np.exp(poles * np.exp(w["log_step"]))
    return diagonal(w, x, before, p, (p - 1) / poles, 2)


EQUATIONS = {
    "MinGRU (linear)": lambda w, x, s: mingru(w, x, s, lambda v: v),
    "MinGRU (log)": lambda w, x, s: mingru(w, x, s, positive),
    "MinLSTM (linear)": lambda w, x, s: minlstm(w, x, s, lambda v: v),
    "MinLSTM (log)": lambda w, x, s: minlstm(w, x, s, positive),
    "SRU": sru,
    "QRNN (window 1)": qrnn,
    "QRNN (window 2)": qrnn,
    "LRU": lru,
    "S5": s5,
}


@each_linear_cell
@pytest.mark.parametrize("inputs", [2, 3])
def test_steps_follow_the_equations(cell, inputs, home):
    call = sequence_call(cell, home, I=inputs, T=3, B=2)
    result, _ = reference.forward(call)
    w, x, start = {name: host(a) for name, a in call.weights.items()}, host(call.x), host(call.state)
    for b in range(2):
        before = tuple(part[b] for part in start)
        for t in range(3):
            before = EQUATIONS[cell.name](w, x[t, b], before)
            assert_close(tuple(part[t, b, ...] for part in result.sequences), before, 1e-13)


@each_linear_cell
@pytest.mark.parametrize("inputs", [2, 3])
def test_coefficients_and_outputs_have_right_gradients(cell, inputs):
    call = sequence_call(cell, get_backend("numpy"), I=inputs, T=2, B=2)
    names = list(call.weights)
    zx = reference.project(call, call.x)
    zx = zx[..., : zx.shape[-1] // 2] if cell.late else zx
    c = np.random.default_rng(1).standard_normal((2, 2, call.state[cell.place].shape[-1]))

    def found(zx, c, *weights):
        w = dict(zip(names, weights, strict=True))
        return (*cell.coefficients(w, zx), *([cell.output(w, c, zx)] if cell.place else []))

    check_gradients(found, [zx, c, *call.weights.values()], rtol=1e-7)


@each_linear_cell
def test_nan_is_never_hidden(cell):
    call = sequence_call(cell, get_backend("numpy"), T=1)
    call.x[...] = np.nan
    result, _ = reference.forward(call)
    assert all(np.isnan(part).all() for part in result.final)


def test_every_linear_cell_is_looked_at():
    assert {make().name for make in LINEAR_CELLS.values()} == set(EQUATIONS)


def test_gates_that_are_both_shut_share_what_there_is():
    """f / (f + i) where neither sigmoid is more than 0: a division would give NaN."""
    cell, zx = cells.MinLSTM(), np.array([[-200.0, -200.0, 1.0], [-203.0, -200.0, 1.0]])
    a, b = cell.coefficients({}, zx)
    np.testing.assert_allclose(a[:, 0], [0.5, logistic(-3.0)], rtol=1e-12)
    np.testing.assert_allclose(b[:, 0], 1.5 * (1 - a[:, 0]), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cells.MinGRU("Log"), "space is 'Log'; expected 'log' or 'linear'"),
        (lambda: cells.MinLSTM(None), "space is None; expected 'log' or 'linear'"),
        (lambda: cells.QRNN(3), "window is 3; expected 1 or 2"),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Decay(LinearCell):
    """A user's: h' = f h + (1 - f) v, with f = sigmoid(zx_f) and v = zx_v."""

    gate_names = ("f", "v")

    def coefficients(self, w, zx):
        half = zx.shape[-1] // 2
        f = 0.5 * namespace(zx).tanh(0.5 * zx[..., :half]) + 0.5
        return f, (1.0 - f) * zx[..., half:]


class Shown(Decay):
    """The same, with an output."""

    state_names = ("h", "c")

    def output(self, w, c, zx):
        return 2.0 * c


def wide(a):
    return namespace(a).concat([a, a], axis=-1)


def of_float64(a):
    return namespace(a).astype(a, "float64")


WRONG = [
    (Decay, "coefficients", lambda _, w, zx: (zx, zx), r"coefficients returned a of shape .*8\); expected"),
    (Decay, "coefficients", lambda _, w, zx: (0.5, zx), r"coefficients returned a = 0.5; expected an array"),
    (
        Decay,
        "coefficients",
        lambda _, w, zx: (zx[..., :4], of_float64(zx)),
        "coefficients returned b of dtype .*float64",
    ),
    (Decay, "coefficients", lambda _, w, zx: zx, r"coefficients returned .*; expected a pair \(a, b\)"),
    (Shown, "output", lambda _, w, c, zx: wide(c), r"output returned h of shape .*8\); expected"),
    (Shown, "output", lambda _, w, c, zx: of_float64(c), "output returned h of dtype .*float64; expected an array"),
    (Shown, "output", lambda _, w, c, zx: c[:1, ...], "output returned h of shape .*; expected"),
]
WRONG_BACK = [
    (Shown, "output_vjp", lambda _, w, c, zx, dh: (wide(dh), 0.0 * zx, {}), "output_vjp returned dc of shape"),
    (Decay, "coefficients_vjp", lambda _, w, zx, da, db: (da, {}), "coefficients_vjp and output_vjp returned dzx of"),
]


@pytest.mark.parametrize("kernels", ["auto", "scan", "reference"])
@pytest.mark.parametrize(("base", "name", "wrong", "message"), WRONG)
def test_functions_of_a_cell_that_return_something_else(kernels, base, name, wrong, message):
    """Compiled code would read, and write, past the end of arrays."""
    layer = nn.RecurrentLayer(type("Wrong", (base,), {name: wrong})(), 3, 4)
    for options in ({}, {"lengths": np.array([5, 2])}):
        with use_kernels(kernels), pytest.raises((TypeError, ValueError), match=f"Wrong: {message}"):
            layer(np.zeros((5, 2, 3), "float32"), **options)


@pytest.mark.parametrize("kernels", ["auto", "scan"])
@pytest.mark.parametrize(("base", "name", "wrong", "message"), WRONG_BACK)
def test_ways_back_of_a_cell_that_return_something_else(kernels, base, name, wrong, message):
    """Of one unit, where what is too wide is broadcast."""
    both = {"coefficients_vjp": lambda self, w, zx, da, db: (wide(da), {}), name: wrong}
    layer = nn.RecurrentLayer(type("Wrong", (base,), both)(), 3, 1)
    with use_kernels(kernels), pytest.raises(ValueError, match=f"Wrong: {message}"):
        ops.sum(layer(np.zeros((5, 2, 3), "float32"))[0]).backward()


class Plain(Decay):
    """Whose output does not look at zx."""

    state_names = ("h", "c")

    def output(self, w, c, zx):
        return c


def test_what_an_output_does_not_look_at_gets_no_gradient_from_it():
    """Not even NaN, where it is infinite: a gate that is shut for good."""
    layer = nn.RecurrentLayer(Plain(), 1, 1, rng=0)
    layer.bias_ih_l0.data[0] = -np.inf  # of f, so that c' is v
    y, _ = layer(np.ones((2, 1, 1), "float32"))
    y.sum().backward()
    np.testing.assert_array_equal(layer.weight_ih_l0.grad.data, [[0.0], [2.0]])


def test_a_changed_cell_is_not_computed_by_a_kernel_for_the_plain_one():
    cell = cells.MinGRU("linear")
    cell.coefficients = lambda w, zx: (0.0 * zx[..., :4], zx[..., :4])
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32")
    layer = nn.RecurrentLayer(cell, 3, 4, rng=0)
    expected = x @ layer.weight_ih_l0.data[:4].T + layer.bias_ih_l0.data[:4]
    np.testing.assert_allclose(layer(x)[0].data, expected, rtol=1e-5, atol=1e-6)
