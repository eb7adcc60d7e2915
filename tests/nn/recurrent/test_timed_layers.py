"""Layers that are told how much time their steps take, and what was missing."""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import Tensor, explain, host_kernels, nn, ops, use_kernels, use_precision
from xprnn.backend import to_numpy
from xprnn.cells import GRUD
from xprnn.engine import filling
from xprnn.engine.call import SequenceCall
from xprnn.engine.control import Control
from xprnn.postponed import look_at, postponed
from xprnn.tape import grad
from xprnn.testing import LAWS, Example
from xprnn.testing.laws import applies

LAYERS = {
    "cfc": lambda **o: nn.CfC(3, 4, backbone_units=5, **o),
    "cfc without gate and backbone": lambda **o: nn.CfC(3, 4, mode="no_gate", backbone_units=0, **o),
    "pure cfc": lambda **o: nn.CfC(3, 4, mode="pure", backbone_units=5, bias=False, reverse=True, **o),
    "ltc": lambda **o: nn.LTC(3, 2, unfolds=2, **o),
    "gru-d": lambda **o: nn.GRUD(3, 4, mean=[0.5, 0.0, -1.0], **o),
}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def split(layer, x):
    """x, and keywords made of the columns behind it."""
    inputs, time = layer.input_size, x[..., -1] + 4.0
    if isinstance(layer, nn.GRUD):
        return x[..., :inputs], {"observed": ops.value(x)[..., inputs:-1] > 0, "elapsed": time}
    return x[..., :inputs], {"timespans": time}


class Joined(nn.Module):
    """A layer as the laws call it: times, and what was observed, come as columns of x, and have gradients."""

    def __init__(self, layer):
        self.layer, self.reverse = layer, layer.reverse

    def __call__(self, x, state=None, **control):
        self.layer.reverse = self.reverse  # a law turns it round
        x, beside = split(self.layer, x)
        return self.layer(x, state, **beside, **control)


@pytest.mark.parametrize("name", LAYERS)
def test_laws_hold_whatever_the_times(name):
    layer = Joined(LAYERS[name](dtype="float64", rng=1))
    if name == "pure cfc":
        layer.layer.rate_l0.data = draw(4)  # it starts from 0, where its size has no slope
    columns = 3 + layer.layer.extra_inputs
    example = Example.draw(layer, columns, steps=3, batch=3, ragged=True)
    for law in LAWS:
        if applies(law, layer):
            LAWS[law](layer, example)


@pytest.mark.parametrize("name", LAYERS)
def test_no_sequences_have_gradients_of_zero(name):
    layer = LAYERS[name](dtype="float64", rng=1)
    x = Tensor(np.zeros((4, 0, 3)), requires_grad=True)
    ops.sum(layer(x)[0]).backward()
    assert x.grad.shape == x.shape
    for each, parameter in layer.named_parameters():
        assert parameter.grad is None or not parameter.grad.numpy().any(), each


def logistic(z):
    return 1 / (1 + np.exp(-z))


def cfc(w, x, t, h, mode="default"):
    y = 1.7159 * np.tanh(0.666 * (w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h))
    f, g, a, b = np.split(w["weight_uh"] @ y + w["bias_uh"], 4)
    s = logistic(a * t + b)
    return (1 - s) * np.tanh(f) + s * np.tanh(g)


def ltc(w, x, t, v, unfolds=2):
    """The membrane's equation, each synapse by itself."""
    x, positive = x * w["gain_x"] + w["bias_x"], lambda p: np.log1p(np.exp(p))
    for _ in range(unfolds):
        new = []
        for k in range(len(v)):
            above = positive(w["capacity"][k]) * unfolds / t * v[k] + positive(w["leak"][k]) * w["leak_potential"][k]
            below = positive(w["capacity"][k]) * unfolds / t + positive(w["leak"][k])
            for end, sources in (("ih", x), ("hh", v)):
                for j, source in enumerate(sources):
                    s = logistic(w["sigma_" + end][k, j] * (source - w["mu_" + end][k, j]))
                    s *= positive(w["weight_" + end][k, j])
                    above, below = above + s * w["reversal_" + end][k, j], below + s
            new.append(above / below)
        v = np.array(new)
    return v


@pytest.mark.parametrize(("name", "equations"), [("cfc", cfc), ("ltc", ltc)])
def test_equations(name, equations):
    layer = LAYERS[name](dtype="float64", rng=3)
    w = {n.removesuffix("_l0"): p.data for n, p in layer.named_parameters()}
    x, t, state = draw(4, 3), abs(draw(4, seed=1)), draw(layer.hidden_size, seed=2)
    expected = []
    for each, span in zip(x, t, strict=True):
        expected.append(state if not expected else expected[-1])
        expected[-1] = equations(w, each, span, expected[-1])
    assert_close(layer(x, state[None], timespans=t)[0].data, np.stack(expected), 1e-12)


def gru_d(w, x, m, stamps):
    """Che et al. 2018, equations 5 to 14 and the definition of their intervals, for a whole series."""
    h, outputs = np.zeros(4), []
    last, delta = w["mean"], np.zeros(3)
    for t in range(len(x)):
        if t > 0:
            delta = stamps[t] - stamps[t - 1] + np.where(m[t - 1], 0, delta)
        fade = np.exp(-np.maximum(0, w["decay_x"] * delta + w["bias_decay_x"]))
        last = np.where(m[t], x[t], last)
        seen = np.where(m[t], x[t], fade * last + (1 - fade) * w["mean"])
        h = np.exp(-np.maximum(0, w["decay_h"] @ delta + w["bias_decay_h"])) * h
        zr, zz, zn = np.split(w["weight_ih"] @ seen + w["weight_oh"] @ m[t] + w["bias_ih"], 3)
        ur, uz, un = np.split(w["weight_hh"], 3)
        r, z = logistic(zr + ur @ h), 1 - logistic(zz + uz @ h)
        h = (1 - z) * h + z * np.tanh(zn + un @ (r * h))
        outputs.append(h)
    return np.stack(outputs)


def test_gru_d_counts_how_long_each_value_is_missing():
    layer = LAYERS["gru-d"](dtype="float64", rng=3)
    x, m, stamps = draw(9, 3), draw(9, 3, seed=1) > 0.3, np.cumsum(abs(draw(9, seed=2)))
    w = {n.removesuffix("_l0"): p.data for n, p in layer.named_parameters()}
    elapsed = np.diff(stamps, prepend=stamps[0])
    dirty = np.where(m, x, np.nan)
    found, state = layer(dirty, observed=~np.isnan(dirty), elapsed=elapsed)
    assert_close(found.data, gru_d(w, x, m, stamps), 1e-12)
    first, carried = layer(dirty[:4], observed=m[:4], elapsed=elapsed[:4])
    second, after = layer(dirty[4:], carried, observed=m[4:], elapsed=elapsed[4:])
    assert_close(np.concatenate([first.data, second.data]), found.data, 1e-12)
    assert_close([p.data for p in after], [p.data for p in state], 1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_kernels_of_gru_d_do_as_the_reference(dtype, tolerance):
    pytest.importorskip("numba")
    layer = nn.GRUD(3, 7, mean=[0.5, 0.0, -1.0], bidirectional=True, dtype=dtype, rng=1)
    draws = np.random.default_rng(0)
    x, m, t = draw(9, 5, 3).astype(dtype), draws.random((9, 5, 3)) > 0.5, abs(draw(9, 5, seed=1)).astype(dtype)
    sizes, flags = (7, 3, 3), {"mask": draws.random((9, 5)) > 0.3, "reset": draws.random((9, 5)) > 0.7}
    state = [abs(draw(2, 5, size, seed=2)).astype(dtype) for size in sizes]
    for control in ({}, {"lengths": [9, 0, 4, 7, 9], **flags}, {"reset": flags["reset"]}):
        found = {}
        for name in ("compiled-filled", "reference"):
            with use_kernels(name):
                given = [Tensor(a, requires_grad=True) for a in (x, t, *state)]
                output, final, every = layer(
                    given[0], tuple(given[2:]), observed=m, elapsed=given[1], return_all_states=True, **control
                )
                results, wanted = [output, *final, *every], [p for p in layer.parameters() if p.requires_grad]
                cotangents = [draw(*r.shape, seed=k).astype(dtype) for k, r in enumerate(results)]
                gradients = grad(results, [*given, *wanted], cotangents)
            found[name] = [a.data for a in (*results, *gradients)]
        for a, b in zip(found["compiled-filled"], found["reference"], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max(initial=0.0)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": np.zeros((5, 2, 8))}, r"GRUD: x has shape \(5, 2, 8\); expected \(T, B, 7\)"),
        ({"x": np.zeros((5, 3, 7))}, r"GRUD: state h has shape \(2, 4\); expected \(3, 4\)"),
        ({"state": (np.zeros((2, 4)), np.zeros((2, 3)), np.zeros((2, 4)))}, "GRUD: state since has shape"),
        ({"weights": {"decay_h": np.zeros((4, 4))}}, r"GRUD: decay_h has shape \(4, 4\); expected \(4, 3\)"),
        ({"control": Control(restart=np.zeros((4, 2, 1), bool))}, r"has shape \(4, 2\); expected \(5, 2\)"),
    ],
)
def test_kernels_of_gru_d_see_no_arrays_that_do_not_fit(wrong, message):
    pytest.importorskip("numba")
    cell = GRUD(3)
    weights = {name: np.zeros(shape) for name, shape in cell.weight_shapes(7, 4).items()}
    state = tuple(np.zeros((2, size)) for size in cell.state_sizes(4))
    given = {"x": np.zeros((5, 2, 7)), "state": state, "weights": weights}
    wrong = {name: {**weights, **part} if name == "weights" else part for name, part in wrong.items()}
    with pytest.raises(ValueError, match=message):
        filling.WAY.forward(SequenceCall(cell, **given | wrong))


@pytest.mark.skipif(isinstance(host_kernels.kernels(), str), reason="there are no compiled kernels")
def test_kernels_of_gru_d_are_a_way_of_their_own():
    class Other(GRUD):
        pass

    layer, x = nn.GRUD(3, 4, rng=0), draw(5, 2, 3).astype("float32")
    with use_precision("bf16"):
        said = explain(layer, x)
    assert "  compiled: declines (no kernel for the cell GRUD)\n" in said
    assert any("  compiled-filled: runs" in line and "products of bfloat16" in line for line in said.splitlines())
    other = nn.RecurrentLayer(Other(3), 7, 4)
    assert "  compiled-filled: declines (Other is not GRU-D)\n" in explain(other, np.zeros((5, 2, 7), "float32"))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_value_saturates_gates_and_is_multiplied_by_no_weight_of_its_own(value, missing):
    layer, x, m = nn.GRUD(2, 3, dtype="float64", rng=0), draw(4, 2, 2), np.ones((4, 2, 2), bool)
    x[1, 0, 0], m[2:, 0, 0] = value, not missing
    found = {}
    for name in ("reference",) if isinstance(host_kernels.kernels(), str) else ("compiled-filled", "reference"):
        with use_kernels(name), np.errstate(invalid="ignore"):
            given = Tensor(x, requires_grad=True)
            output, _ = layer(given, observed=m)
            wanted = [p for p in layer.parameters() if p.requires_grad]
            gradients = grad(output, [given, *wanted], [np.ones(output.shape)])
        found[name] = [a.data for a in (output, *gradients)]
        assert np.isfinite(output.data[:2]).all()  # gates of what is infinite are 0 or 1
    for arrays in zip(*found.values(), strict=True):
        assert_close(arrays[0], arrays[-1], 1e-12)


def test_an_endless_span_is_the_limit_of_long_ones():
    layer, x = nn.CfC(2, 3, dtype="float64", rng=0), draw(4, 2, 2)
    ends = [layer(x, timespans=np.full((4, 2), t))[0].data for t in (1e6, np.inf)]
    assert_close(ends[1], ends[0], 1e-12)


def test_nan_is_missing_only_where_that_is_said():
    layer, x = nn.GRUD(3, 4, rng=0), np.full((2, 1, 3), np.nan, "float32")
    assert np.isnan(layer(x)[0].data).all()
    found = layer(x, observed=np.zeros((2, 1, 3), bool))[0]
    assert_close(found.data, layer(0 * np.ones_like(x), observed=np.zeros((2, 1, 3), bool))[0].data)
    found.sum().backward()
    assert all(np.isfinite(p.grad.data).all() for p in layer.parameters() if p.requires_grad)
    assert layer.mean_l0.grad is None


@pytest.mark.parametrize("name", ["cfc", "ltc", "gru-d"])
def test_streams_and_other_libraries(name, home):
    layer = LAYERS[name](dtype="float64", rng=1)
    x = draw(5, 2, 3 + layer.extra_inputs)
    given, beside = split(layer, x)
    output, _ = layer(given, **beside)
    x[..., -1] += 4.0
    if name == "gru-d":
        x[..., 3:6] = x[..., 3:6] > 0
    stream = layer.stream(batch=2)
    found = np.concatenate([[stream.step(x[0]).copy()], stream.block(x[1:])])
    assert_close(found, output.data, 1e-12)
    layer.to(home)
    there = {k: home.asarray(ops.value(v)) for k, v in beside.items()}
    assert_close(layer(home.asarray(given), **there)[0].data, output.data, 1e-12)
    compiled = name == "gru-d" and home.name == "numpy" and not isinstance(host_kernels.kernels(), str)
    assert f"{'compiled-filled' if compiled else 'reference'}: runs" in explain(layer, home.asarray(given))


def test_forms_of_times():
    layer = nn.CfC(3, 4, batch_first=True, bidirectional=True, dtype="float64", rng=0)
    x, t = draw(2, 5, 3), abs(draw(2, 5, seed=1))
    whole = layer(x, timespans=t, lengths=[5, 3])[0].data
    assert whole.shape == (2, 5, 8)
    assert_close(layer(x[1, :3], timespans=t[1, :3])[0].data, whole[1, :3], 1e-12)
    assert_close(layer(x, timespans=2)[0].data, layer(x, timespans=np.float32(2.0))[0].data)
    assert_close(layer(x, timespans=2)[0].data, layer(x, timespans=Tensor(np.full((2, 5), 2.0)))[0].data)


@pytest.mark.parametrize("name", ["cfc", "ltc", "gru-d"])
def test_time_does_not_go_back(name, home):
    layer = LAYERS[name](dtype="float64", rng=1).to(home)
    x, t = home.asarray(draw(4, 2, 3)), abs(draw(4, 2, seed=1))
    times, owner, hidden = layer.times, type(layer).__name__, {"lengths": [4, 2], "mask": np.ones((4, 2), bool)}
    t[3, 1] = -2.0
    with pytest.raises(ValueError, match=f"{owner}: {times} contains -2.0; expected at least 0"):
        layer(x, **{times: home.asarray(t)})
    layer(x, **{times: home.asarray(t)}, **hidden)  # past an end
    hidden["mask"][3, 1] = False
    layer(x, **{times: home.asarray(t)}, mask=hidden["mask"])
    with pytest.raises(ValueError, match=f"{owner}: {times} is -1; expected a time of at least 0"):
        layer(x, **{times: -1})
    with pytest.raises(ValueError, match=f"{owner}: {times} is nan; expected a time of at least 0"):
        layer(x, **{times: np.nan})
    assert np.isnan(to_numpy(layer(x, **{times: home.asarray(np.full((4, 2), np.nan))})[0].data)).any()
    if type(x) is np.ndarray:
        stream = layer.stream(2)
        with pytest.raises(ValueError, match=f"{owner}: {times} contains -1.0; expected at least 0"):
            stream.step(np.full((2, 3 + layer.extra_inputs), -1.0))
    else:
        with postponed() as checks:
            layer(x, **{times: home.asarray(t)})
        with pytest.raises(ValueError, match=f"{owner}: {times} contains -2.0"):
            look_at(checks)


def test_no_time_changes_nothing():
    layer, v = nn.LTC(3, 4, dtype="float64", rng=0), draw(1, 2, 4)
    assert_close(layer(draw(3, 2, 3), v, timespans=0)[1].data, v, 1e-12)


def test_wirings():
    inner, sensory = np.array([[0, 1], [-1, 0]]), np.array([[1, 0, 0], [0, -1, 1]])
    layer = nn.LTC(3, 2, unfolds=1, wiring=(sensory, inner), dtype="float64", rng=0)
    x = Tensor(draw(1, 1, 3), requires_grad=True)
    layer(x)[0][0, 0, 0].backward()
    assert (x.grad.data != 0).ravel().tolist() == [True, False, False]
    assert layer.weight_hh_l0.grad.data[0, 0] == 0.0
    assert layer.wiring_ih_l0.grad is None
    assert layer.reversal_ih_l0.data.tolist() == sensory.tolist()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: nn.CfC(3, 4)(x, timespans=x[..., :2]), ValueError, r"CfC: timespans has shape \(5, 2, 2\)"),
        (lambda x: nn.CfC(3, 4)(x, timespans=[1.0]), TypeError, "CfC: timespans is a list; expected an array"),
        (lambda x: nn.LTC(3, 4)(x, timespans=np.ones((5, 2))), TypeError, "LTC: timespans has dtype float64"),
        (lambda x: nn.LTC(3, 4)(x[..., :2]), ValueError, r"LTC: x has shape \(5, 2, 2\); expected \(T, B, 3\)"),
        (lambda x: nn.GRUD(3, 4)(x, observed=x), TypeError, "GRUD: observed has dtype float32; expected bool"),
        (lambda x: nn.GRUD(3, 4)(x, observed=True), TypeError, "observed is a bool; expected a list or an array"),
        (lambda x: nn.GRUD(3, 4)(x, mask=True), TypeError, "GRUD: mask is a bool; expected a list or an array"),
        (lambda x: nn.GRUD(3, 4)(x, observed=x[..., 0] > 0), ValueError, r"observed has shape \(5, 2\); expec"),
        (lambda x: nn.GRUD(3, 4, mean=[1.0]), ValueError, r"GRUD: mean has shape \(1,\) and dtype float64; exp"),
        (lambda x: nn.CfC(3, 4, mode="pur"), ValueError, "CfC: mode is 'pur'; expected one of 'default', 'no"),
        (lambda x: nn.LTC(3, 4, wiring=(x, x)), ValueError, r"LTC: wiring is no pair of arrays of shapes \(4, 3"),
    ],
)  # fmt: skip
def test_wrong_arguments(call, kind, message):
    with pytest.raises(kind, match=message):
        call(np.ones((5, 2, 3), "float32"))


def test_a_neural_circuit_policy():
    sensory, inner = nn.ncp_wiring(5, 6, 4, 2, input_fanout=2, inter_fanout=3, recurrent=5, motor_fanin=2, rng=0)
    assert set(np.unique(sensory)) == set(np.unique(inner)) == {-1.0, 0.0, 1.0}
    there = inner != 0  # units are 2 motor, 4 command, 6 inter neurons
    assert not sensory[:6].any()
    assert (sensory != 0).sum(axis=0).min() >= 2
    assert (sensory[6:] != 0).any(axis=1).all()
    assert (there[2:6, 6:].sum(axis=0) >= 3).all()
    assert (there[:2, 2:6].sum(axis=1) >= 2).all()
    assert there[:2, 2:6].any(axis=0).all()
    assert 1 <= there[2:6, 2:6].sum() <= 5
    there[2:6, 2:] = there[:2, 2:6] = False
    assert not there.any()
    with pytest.raises(ValueError, match="ncp_wiring: inter_fanout is 5; expected at most 4, as many as there are"):
        nn.ncp_wiring(5, 6, 4, 2, input_fanout=2, inter_fanout=5, recurrent=5, motor_fanin=2)
