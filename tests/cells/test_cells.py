"""Each cell's equations, written here a second time, gate by gate, from the papers."""

import math

import numpy as np
import pytest
from helpers import assert_close, each_cell, host, sequence_call

import xprnn
import xprnn.diagnose
from xprnn import cells, nn
from xprnn.backend import get_backend
from xprnn.testing import check_gradients


def logistic(z):
    return 1 / (1 + np.exp(-z))


def elman(w, x, h, f):
    return (f(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"]),)


def indrnn(w, x, h, f):
    return (f(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] * h + w["bias_hh"]),)


def lstm(w, x, h, c, see=lambda c, c_new: (0, 0, 0)):
    zi, zf, zg, zo = np.split(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"], 4)
    i, f, g = logistic(zi + see(c, c)[0]), logistic(zf + see(c, c)[1]), np.tanh(zg)
    c_new = f * c + i * g
    return logistic(zo + see(c, c_new)[2]) * np.tanh(c_new), c_new


def peephole(w, x, h, c):
    p = w["weight_ch"]
    return lstm(w, x, h, c, lambda c, c_new: (p[0] * c, p[1] * c, p[2] * c_new))


def full_peephole(w, x, h, c):
    pi, pf, po = np.split(w["weight_ch"], 3)
    return lstm(w, x, h, c, lambda c, c_new: (pi @ c, pf @ c, po @ c_new))


def gru(w, x, h, before, gate=logistic, candidate=np.tanh):
    (xr, xz, xn), (wr, wz, wn) = np.split(w["weight_ih"] @ x + w["bias_ih"], 3), np.split(w["weight_hh"], 3)
    br, bz, bn = np.split(w["bias_hh"], 3)
    r, z = gate(xr + wr @ h + br), gate(xz + wz @ h + bz)
    n = candidate(xn + wn @ (r * h) + bn if before else xn + r * (wn @ h + bn))
    return (z * h + (1 - z) * n,)


def cut(f, clip):
    return lambda z: f(np.clip(z, -clip, clip))


def softsign(z):
    return z / (1 + np.abs(z))


def silu(z):
    return z * logistic(z)


def gelu(z):
    return z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) / 2


def softplus(z):
    return np.log(1 + np.exp(z))


def coupled_lstm(w, x, h, c):
    zi, zg, zo = np.split(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"], 3)
    i = logistic(zi + w["weight_ch"][0] * c)
    c_new = (1 - i) * c + i * softplus(zg)
    return logistic(zo + w["weight_ch"][1] * c_new) * np.tanh(c_new), c_new


def standard(v):
    return (v - v.mean()) / np.sqrt(v.var() + 1e-5)


def layer_norm_lstm(w, x, h, c):
    """Ba et al. 2016, supplement: LN(W_h h) + LN(W_x x) + b, and LN(c)."""
    zh = standard(w["weight_hh"] @ h) * w["gain_hh"] + w["bias_hh"]
    zi, zf, zg, zo = np.split(zh + standard(w["weight_ih"] @ x) * w["gain_ih"] + w["bias_ih"], 4)
    c_new = logistic(zf) * c + logistic(zi) * np.tanh(zg)
    return logistic(zo) * np.tanh(standard(c_new) * w["gain_c"] + w["bias_c"]), c_new


def layer_norm_gru(w, x, h):
    """Likewise: LN over r and z, which are one product there, and over the candidate."""

    def normed(v, name):
        cut = 2 * len(h)
        return np.concatenate([standard(v[:cut]), standard(v[cut:])]) * w["gain_" + name] + w["bias_" + name]

    (xr, xz, xn), (hr, hz, hn) = (
        np.split(normed(w["weight_" + name] @ v, name), 3) for name, v in (("ih", x), ("hh", h))
    )
    r, z = logistic(xr + hr), logistic(xz + hz)
    return ((1 - z) * np.tanh(xn + r * hn) + z * h,)


def mgu(w, x, h):
    (xf, xn), (wf, wn), (bf, bn) = (
        np.split(a, 2) for a in (w["weight_ih"] @ x + w["bias_ih"], w["weight_hh"], w["bias_hh"])
    )
    f = logistic(xf + wf @ h + bf)
    return ((1 - f) * h + f * np.tanh(xn + wn @ (f * h) + bn),)


def leaky(w, x, h, keep, rate, f):
    return (keep * h + rate * elman(w, x, h, f)[0],)


def gated_antisymmetric(w, x, h):
    zh = w["weight_hh"] @ h + w["bias_hh"]
    xz, xn = np.split(w["weight_ih"] @ x + w["bias_ih"], 2)
    return (h + 0.2 * logistic(xz + zh) * np.tanh(xn + zh),)


def slstm(w, x, h, c, n, m, heads, log_f):
    """Gates in plain exponentials, from the numbers c e^m and n e^m that the state stands for."""
    own = len(h) // heads
    zh = [w["weight_hh"][row] @ h[row % len(h) // own * own :][:own] for row in range(4 * len(h))]
    zi, zf, zg, zo = np.split(w["weight_ih"] @ x + w["bias_ih"] + zh + w["bias_hh"], 4)
    i, f = np.exp(zi), np.exp(log_f(zf))
    m_new = np.maximum(log_f(zf) + m, zi)
    scale = np.exp(-m_new)
    c_new, n_new = (f * c * np.exp(m) + i * np.tanh(zg)) * scale, (f * n * np.exp(m) + i) * scale
    n_new = np.maximum(n_new, 1)
    return logistic(zo) * c_new / n_new, c_new, n_new, m_new


def projected(inner):
    def step(w, x, h, c):
        m, c_new = inner(w, x, h, c)
        return w["weight_hr"] @ m, c_new

    return step


def echo_state(w, x, h):
    return (0.7 * h + 0.3 * np.tanh(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h),)


EQUATIONS = {
    "EchoState": echo_state,
    "Elman (tanh)": lambda w, x, h: elman(w, x, h, np.tanh),
    "Elman (relu)": lambda w, x, h: elman(w, x, h, lambda z: np.maximum(z, 0)),
    "IndRNN (tanh)": lambda w, x, h: indrnn(w, x, h, np.tanh),
    "IndRNN (relu)": lambda w, x, h: indrnn(w, x, h, lambda z: np.maximum(z, 0)),
    "LSTM": lstm,
    "PeepholeLSTM": peephole,
    "FullPeepholeLSTM": full_peephole,
    "LSTM projected to 2": projected(lstm),
    "PeepholeLSTM projected to 2": projected(peephole),
    "GRU": lambda w, x, h: gru(w, x, h, before=False),
    "ResetBeforeGRU": lambda w, x, h: gru(w, x, h, before=True),
    "LayerNormLSTM": layer_norm_lstm,
    "LayerNormGRU": layer_norm_gru,
    "MGU": mgu,
    "CTRNN (tanh, alpha=0.3)": lambda w, x, h: leaky(w, x, h, 0.7, 0.3, np.tanh),
    "CTRNN (relu, alpha=0.3)": lambda w, x, h: leaky(w, x, h, 0.7, 0.3, lambda z: np.maximum(z, 0)),
    "Antisymmetric (epsilon=0.2)": lambda w, x, h: leaky(w, x, h, 1.0, 0.2, np.tanh),
    "GatedAntisymmetric (epsilon=0.2)": gated_antisymmetric,
    "SLSTM": lambda *a: slstm(*a, 1, lambda z: np.log(logistic(z))),
    "SLSTM (3 heads, exponential forget gate)": lambda *a: slstm(*a, 3, lambda z: z),
    "Elman (softsign(clip=2.0))": lambda w, x, h: elman(w, x, h, cut(softsign, 2)),
    "coupled peephole LSTM (sigmoid gates, softplus candidate, tanh output)": coupled_lstm,
    "GRU (softsign gates, silu candidate)": lambda w, x, h: gru(w, x, h, False, softsign, silu),
    "ResetBeforeGRU (softsign(clip=3.0) gates, gelu(clip=3.0) candidate)": lambda w, x, h: gru(
        w, x, h, True, cut(softsign, 3), cut(gelu, 3)
    ),
}


@each_cell
def test_step_follows_the_equations(cell, home):
    call = sequence_call(cell, home)
    w, x = call.weights, call.x[0, ...]
    found, _ = cell.step(w, cell.zx_of(w, x @ w["weight_ih"].T), call.state)
    w, x, state = {name: host(a) for name, a in w.items()}, host(x), host(call.state)
    rows = [EQUATIONS[cell.name](w, x[b], *(part[b] for part in state)) for b in range(x.shape[0])]
    assert_close(found, tuple(np.stack(part) for part in zip(*rows, strict=True)), 1e-14)


@each_cell
@pytest.mark.parametrize("bias", [True, False])
def test_step_composed_of_primitives_has_right_gradients(cell, bias):
    call = sequence_call(cell, get_backend("numpy"), bias=bias)
    names = list(call.weights)

    def step(zx, *rest):
        weights = dict(zip(names, rest[len(call.state) :], strict=True))
        return cell.step(weights, zx, rest[: len(call.state)])[0]

    zx = (call.x @ call.weights["weight_ih"].T)[0]
    check_gradients(step, [zx, *call.state, *call.weights.values()], rtol=1e-7)


@each_cell
def test_nan_is_never_hidden(cell):
    call = sequence_call(cell, get_backend("numpy"))
    zx = np.full((3, cell.gates * 3), np.nan)
    assert all(np.isnan(part).all() for part in cell.step(call.weights, zx, call.state)[0])


@each_cell
def test_float32_stays_float32(cell, home):
    call = sequence_call(cell, home, dtype="float32")
    zx = call.x[0, ...] @ call.weights["weight_ih"].T
    state, saved = cell.step(call.weights, zx, call.state)
    dzx, dstate, terms = cell.step_vjp(call.weights, state, saved, call.state, state)
    assert {part.dtype for part in (*state, *saved, dzx, *dstate, *terms)} == {call.x.dtype}


@each_cell
def test_state_sizes_and_weight_shapes_belong_together(cell):
    sizes, shapes = cell.state_sizes(6), cell.weight_shapes(3, 6)
    assert len(sizes) == len(cell.state_names)
    assert shapes["weight_ih"] == (6 * cell.gates, 3)
    assert shapes["bias_ih"] == (6 * cell.gates,)
    if isinstance(cell, cells.IndRNN):
        assert shapes["weight_hh"] == (6,)
    elif not isinstance(cell, cells.GatedAntisymmetric):
        assert shapes["weight_hh"] == (6 * cell.gates, sizes[0] // getattr(cell, "num_heads", 1))
        assert shapes.get("bias_hh", shapes["bias_ih"]) == shapes["bias_ih"]


@pytest.mark.parametrize("cell", [cells.GRU(), cells.Elman(), cells.SRU()])
def test_projection_needs_a_second_part_of_state(cell):
    with pytest.raises(ValueError, match=r"proj_size needs a cell with a state beside h"):
        cells.Projected(cell, 2)


def test_unknown_nonlinearity():
    with pytest.raises(ValueError, match="nonlinearity is 'sigmoid'; expected 'tanh' or 'relu'"):
        cells.Elman("sigmoid")


class Mine(cells.LSTM):
    """A user's cell."""


def test_gates_are_counted_by_their_names():
    for cell, names in ((cells.LSTM(), "ifgo"), (cells.GRU(), "rzn"), (cells.Projected(cells.LSTM(), 2), "ifgo")):
        assert cell.gate_names == tuple(names)
        assert cell.gates == len(names)
    assert cells.LSTM().gate_rows("f", 5) == slice(5, 10)
    with pytest.raises(ValueError, match=r"GRU: gate is 'f'; expected one of \('r', 'z', 'n'\)"):
        cells.GRU().gate_rows("f", 5)


def test_a_cell_that_only_counts_its_gates_still_works():
    class OfAClass(Mine):
        gate_names = ()
        gates = 4

    class OfAnInstance(Mine):
        gate_names = ()

        def __init__(self):
            self.gates = 4

    for cell in (OfAClass(), OfAnInstance(), cells.Projected(OfAClass(), 2)):
        assert nn.RecurrentLayer(cell, 3, 5).weight_ih_l0.shape == (20, 3)
        assert xprnn.diagnose.saturation(nn.RecurrentLayer(cell, 3, 5), np.zeros((2, 1, 3), "float32")).gates


@pytest.mark.parametrize("base", [cells.GRU, cells.LSTM, cells.SLSTM, cells.MGU, cells.EchoState])
def test_steps_of_ones_own_need_a_way_back_of_ones_own(base):
    """An inherited one goes through other equations, and its gradients would be wrong without a word."""
    ahead, back = ("forward", "backward") if issubclass(base, cells.PointwiseCell) else ("step", "step_vjp")
    with pytest.raises(TypeError, match=rf"Mine has a {ahead} of its own, .*; expected {back} beside {ahead}"):
        type("Mine", (base,), {ahead: getattr(base, ahead)})
    type("Mine", (base,), {name: getattr(base, name) for name in (ahead, back)})


def test_a_cell_without_gates_is_told():
    class Nothing(Mine):
        gate_names = ()

    with pytest.raises(TypeError, match="Nothing: gate_names is empty; expected a name for each block"):
        nn.RecurrentLayer(Nothing(), 3, 5)
