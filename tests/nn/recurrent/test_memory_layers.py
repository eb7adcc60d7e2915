"""LMU and mLSTM: what their memories hold, their equations again, and many steps at once beside one after another."""

import numpy as np
import pytest
from helpers import assert_close
from numpy.polynomial import legendre

from xprnn import Tensor, explain, nn, ops, use_kernels
from xprnn.backend import get_backend
from xprnn.cells.lmu import legendre_memory
from xprnn.testing import LAWS, Example
from xprnn.testing.laws import applies

LAYERS = {
    "lmu": lambda **o: nn.LMU(3, 2, order=3, window=4.0, **o),
    "lmu without feedback": lambda **o: nn.LMU(3, 2, order=3, window=4.0, channels=2, feedback=False, **o),
    "mlstm": lambda **o: nn.MLSTM(3, 4, heads=2, **o),
}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("name", LAYERS)
def test_laws_hold(name):
    layer = LAYERS[name](dtype="float64", bidirectional=name == "lmu without feedback", rng=1)
    for ragged in (True, False):
        example = Example.draw(layer, 3, steps=3, batch=3, ragged=ragged)
        if ragged:  # resets would keep it from taking many steps at once; mask and lengths do not
            LAWS["resets_begin_new_sequences"](layer, example)
            example = Example(example.x, example.state, example.lengths, example.mask)
        for law in LAWS if ragged else ("runs_can_be_split", "implementations_equal_the_reference"):
            if applies(law, layer):
                LAWS[law](layer, example)


def test_the_memory_is_the_window_in_legendre_polynomials():
    """Voelker et al. 2019, equations 3: u(t - s) = sum_i P_i(2 s / window - 1) m_i, for all s in the window."""
    window, steps = 200, 1000
    layer = nn.LMU(1, 1, order=12, window=window, feedback=False, bias=False, dtype="float64", rng=0)
    layer.weight_ih_l0.data = np.array([[1.0], [0.0]])
    time = np.arange(steps) / 100.0
    u = np.sin(2 * np.pi * 0.4 * time) + 0.5 * np.cos(2 * np.pi * 0.9 * time + 1)
    _, (_, m) = layer(u[:, None])
    back = np.arange(window)
    # u is held for a step, so that on average what is seen is half a step late
    found = legendre.legval(2 * (back + 0.5) / window - 1, m.data[0])
    np.testing.assert_allclose(found, u[::-1][:window], atol=0.02)


def test_the_memory_is_held_between_steps():
    """By doubling the equation into many smaller steps, in which u is the same."""
    a, b = legendre_memory(6, 10.0)
    fine_a, fine_b = legendre_memory(6, 10.0 * 64)
    m = draw(6)
    found, expected = a @ m + b * 0.7, m
    for _ in range(64):
        expected = fine_a @ expected + fine_b * 0.7
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    i = np.arange(6)
    slope = (np.where(i[:, None] < i, -1.0, (-1.0) ** (i[:, None] - i + 1)) * (2 * i + 1)[:, None]) / 1e7
    np.testing.assert_allclose((legendre_memory(6, 1e7)[0] - np.eye(6)) / 1e-7, slope * 1e7, rtol=1e-4, atol=1e-4)
    assert max(abs(np.linalg.eigvals(legendre_memory(64, 100.0)[0]))) < 1.0


def lmu(w, x, h, m):
    zx, c = w["weight_ih"] @ x + w["bias_ih"], len(m) // 3
    z = zx + w["weight_hh"] @ h if "weight_hh" in w else zx
    u = z[:c] + w["weight_mu"] @ m if "weight_mu" in w else z[:c]
    m = np.concatenate(
        [w["memory_a"] @ part + w["memory_b"] * each for part, each in zip(m.reshape(c, 3), u, strict=True)]
    )
    return np.tanh(z[c:] + w["weight_mh"] @ m), m


@pytest.mark.parametrize("name", ["lmu", "lmu without feedback"])
def test_lmu_follows_the_equations(name):
    layer = LAYERS[name](dtype="float64", rng=1)
    w = {n.removesuffix("_l0"): p.data for n, p in layer.named_parameters()}
    if "weight_mu" in w:
        layer.weight_mu_l0.data = w["weight_mu"] = draw(1, 3, seed=7)  # it starts from zero
    x, state, expected = draw(4, 3), tuple(draw(size, seed=size) for size in layer.state_sizes), []
    found, _ = layer(x, tuple(part[None] for part in state))
    for each in x:
        state = lmu(w, each, *state)
        expected.append(state[0])
    assert_close(found.data, np.stack(expected), 1e-13)


def logistic(z):
    return 1 / (1 + np.exp(-z))


def mlstm(w, x, c, n, heads):
    """Beck et al. 2024, equations 19 to 27, without the number that keeps exponentials in range."""
    size = len(n[0])
    q, k, v, o, i, f = np.split(w["weight_ih"] @ x + w["bias_ih"], np.cumsum([4, 4, 4, 4, heads]))
    h, new_c, new_n = [], [], []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        key = k[part] / np.sqrt(size)
        new_c.append(logistic(f[head]) * c[head] + np.exp(i[head]) * np.outer(v[part], key))
        new_n.append(logistic(f[head]) * n[head] + np.exp(i[head]) * key)
        h.append(new_c[-1] @ q[part] / max(abs(new_n[-1] @ q[part]), 1))
    return logistic(o) * np.concatenate(h), new_c, new_n


@pytest.mark.parametrize("kernels", ["many", "reference"])
def test_mlstm_follows_the_equations(kernels):
    layer = LAYERS["mlstm"](dtype="float64", rng=1)
    w = {n.removesuffix("_l0"): p.data for n, p in layer.named_parameters()}
    x, c, n, expected = 3 * draw(6, 3), [np.zeros((2, 2))] * 2, [np.zeros(2)] * 2, []
    for each in x:
        h, c, n = mlstm(w, each, c, n, 2)
        expected.append(h)
    with use_kernels(kernels):
        found, (_, memory, norm, m) = layer(x)
    assert_close(found.data, np.stack(expected), 1e-12)
    scale = np.exp(m.data[0])
    assert_close(memory.data.reshape(2, 2, 2) * scale[:, None, None], np.stack([part.T for part in c]), 1e-12)
    assert_close(norm.data.reshape(2, 2) * scale[:, None], np.stack(n), 1e-12)


@pytest.mark.parametrize("name", ["lmu without feedback", "mlstm"])
@pytest.mark.parametrize(("library", "dtype"), [("numpy", "float64"), ("array_api_strict", "float32")])
def test_many_steps_at_once_are_the_loops(name, library, dtype):
    """Over several chunks, with huge gates, to the bounds that the cells state; and the gradients."""
    if library != "numpy":
        pytest.importorskip(library)
    home = get_backend(library)
    layer = LAYERS[name](dtype=dtype, rng=1).to(home)
    x = 2 * draw(80, 2, 3)
    x[20, 0], x[70] = 60.0, -60.0  # e^60 in float32 squared would be infinite
    mask, state = draw(80, 2, seed=3) > -1, [draw(1, 2, size, seed=size) for size in layer.state_sizes]
    results = []
    for kernels in ("many", "reference"):
        layer.zero_grad()
        tensors = [Tensor(home.asarray(a.astype(dtype)), requires_grad=True) for a in (x, *state)]
        with use_kernels(kernels):
            y, final = layer(tensors[0], tuple(tensors[1:]), lengths=[80, 67], mask=home.asarray(mask))
        (ops.sum(ops.sin(y)) + sum((ops.sum(ops.sin(part)) for part in final), 0.0)).backward()
        results.append([y.data, *(p.data for p in final), *(t.grad.data for t in tensors)])
        results[-1] += [p.grad.data for p in layer.parameters() if p.requires_grad]
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    for found, expected in zip(results[0][:4], results[1][:4], strict=True):
        assert_close(found, expected, tolerance)
    for found, expected in zip(*results, strict=True):
        assert_close(found, expected, 100 * tolerance)


@pytest.mark.parametrize("name", LAYERS)
def test_streams(name):
    layer = LAYERS[name](dtype="float64", rng=1)
    x = draw(5, 2, 3)
    output, final = layer(x)
    stream = layer.stream(batch=2)
    found = np.concatenate([[stream.step(x[0]).copy()], stream.block(x[1:])])
    assert_close(found, output.data, 1e-12)
    assert_close(stream.state, tuple(part.data for part in final), 1e-12)


def test_who_runs():
    layer, x = LAYERS["mlstm"](num_layers=2, rng=0), draw(5, 2, 3).astype("float32")
    assert "  many: runs" in explain(layer, x)
    assert "  many: declines (resets go step by step)" in explain(layer, x, reset=np.ones((5, 2), bool))
    assert "  many: declines (LMU takes one step after another)" in explain(LAYERS["lmu"](rng=0), x)
    y, _, states = layer(x, return_all_states=True)
    assert_close(states[0].data[:, 1], y.data, 1e-5)
    assert states[1].shape == (5, 2, 2, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LMU(3, 4, order=0), "LMU: order is 0; expected an integer of at least 1"),
        (lambda: nn.LMU(3, 4, window=0.0), "LMU: window is 0.0; expected a number above 0"),
        (lambda: nn.MLSTM(3, 6, heads=4), "MLSTM: hidden_size is 6 and heads 4; expected equal parts"),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()
