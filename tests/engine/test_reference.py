from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from helpers import assert_close, each_cell, host, sequence_call
from hypothesis import given
from hypothesis import strategies as st

from xprnn import Tensor, cells
from xprnn.backend import backend_of, get_backend
from xprnn.engine import reference
from xprnn.engine.control import FREE
from xprnn.engine.noise import Noise
from xprnn.tape import grad

NUMPY = get_backend("numpy")
LENGTHS = [5, 0, 3]
MASK = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)
RESET = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 1], [0, 0, 1], [0, 0, 1]], bool)
CONTROL = {
    "plain": {},
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": MASK},
    "reset": {"reset": RESET},
    "all": {"lengths": LENGTHS, "mask": MASK, "reset": RESET},
}
each_control = pytest.mark.parametrize("control", CONTROL.values(), ids=CONTROL.keys())
each_direction = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def one_by_one(call, lengths=None, mask=None, reset=None):
    """The same, sequence by sequence and step by step, as its description reads."""
    T, B = call.x.shape[:2]
    outputs = [np.zeros((T, B, s.shape[1])) for s in call.state]
    finals = [np.zeros(s.shape) for s in call.state]
    for b in range(B):
        state = tuple(s[b : b + 1] for s in call.state)
        times = list(range(T if lengths is None else lengths[b]))
        begins = {t for t in times if reset is not None and reset[t, b]}
        if call.reverse:
            begins = {t - 1 for t in begins}  # walking back, a sequence is left when the one before it is entered
            times.reverse()
        for t in times:
            if t in begins:
                state = tuple(np.zeros_like(s) for s in state)
            if mask is None or mask[t, b]:
                zx = call.cell.zx_of(call.weights, call.x[t, b : b + 1] @ call.weights["weight_ih"].T)
                state, _ = call.cell.step(call.weights, zx, state)
            for output, part in zip(outputs, state, strict=True):
                output[t, b] = part[0]
        for final, part in zip(finals, state, strict=True):
            final[b] = part[0]
    return tuple(outputs), tuple(finals)


@each_cell
@each_control
@each_direction
def test_forward_equals_one_by_one(cell, control, reverse):
    call = sequence_call(cell, NUMPY, reverse=reverse, **control)
    result, trace = reference.forward(call)
    assert_close(tuple(result), one_by_one(call, **control), 1e-14)
    assert len(trace) == 5


def noise_for(call, seed=0):
    """Zoneout, and the masks that the cell looks for, drawn at random."""
    rng, home = np.random.default_rng(seed), backend_of(call.x)
    steps, batch = call.x.shape[:2]

    def masks(*shape):
        return home.asarray((rng.random(shape) < 0.6).astype("float64"))

    size = call.state[-1].shape[1]
    return Noise(
        tuple(masks(steps, batch, part.shape[1]) for part in call.state),
        masks(batch, call.state[0].shape[1]) / 0.6 if "mask_h" in call.cell.masks else None,
        masks(steps, batch, size) / 0.6 if "mask_candidate" in call.cell.masks else None,
    )


@each_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_backward_equals_the_tape_under_noise(cell, reverse, home):
    call = sequence_call(cell, home, reverse=reverse, lengths=[5, 2, 4], reset=[[t == 2] * 3 for t in range(5)])
    found, expected = explicit_and_taped(replace(call, noise=noise_for(call)))
    assert_close(found, expected, 1e-12)


@each_cell
def test_a_run_under_noise_can_be_split(cell):
    call = sequence_call(cell, get_backend("numpy"))
    noise = noise_for(call)
    whole, _ = reference.forward(replace(call, noise=noise))

    def part(steps, state):
        candidate = None if noise.candidate is None else noise.candidate[steps]
        own = Noise(tuple(z[steps] for z in noise.zoneout), noise.h, candidate)
        return reference.forward(replace(call, x=call.x[steps], state=state, noise=own))[0]

    first = part(slice(0, 2), call.state)
    second = part(slice(2, 5), first.final)
    joined = tuple(np.concatenate(both) for both in zip(first.sequences, second.sequences, strict=True))
    assert_close((joined, second.final), (whole.sequences, whole.final))


@each_cell
def test_after_no_step_the_state_is_the_one_before_in_memory_of_its_own(cell, home):
    call = sequence_call(cell, home)
    before = [call.state[0]] * len(call.state)  # as a layer begins, whose parts have one size
    call = replace(call, x=call.x[:0, ...], state=tuple(before), control=FREE)
    final = reference.forward(call)[0].final
    assert_close(final, call.state, 0.0)
    parts = [host(part) for part in (call.state[0], *final)]
    assert not any(np.shares_memory(*pair) for pair in combinations(parts, 2))


@each_cell
def test_an_input_that_is_not_looked_at_has_no_gradient_even_where_the_state_is_nan(cell, home):
    call = sequence_call(cell, home, T=3, mask=[[True] * 3, [False, True, True], [True] * 3])
    x = host(call.x).copy()
    x[0, 0] = np.nan
    call = replace(call, x=home.asarray(x))
    dfinal = tuple(home.asarray(np.ones(part.shape)) for part in call.state)
    with np.errstate(invalid="ignore"):
        result, trace = reference.forward(call)
        dx = host(reference.backward(call, trace, (None,) * len(dfinal), dfinal).x)
    assert np.isnan(host(result.final[0])[0]).any()
    np.testing.assert_array_equal(dx[1, 0], 0.0)
    assert np.isfinite(dx[:, 1:]).all()


@each_cell
def test_a_state_that_is_held_passes_its_cotangent_on_even_where_it_is_nan(cell, home):
    call = sequence_call(cell, home, T=3, lengths=[0, 3, 3])
    state = tuple(host(part).copy() for part in call.state)
    for part in state:
        part[0] = np.nan
    call = replace(call, state=tuple(map(home.asarray, state)))
    dfinal = tuple(home.asarray(np.full(part.shape, 2.0)) for part in call.state)
    with np.errstate(invalid="ignore"):
        _, trace = reference.forward(call)
        found = reference.backward(call, trace, (None,) * len(dfinal), dfinal)
    for part in found.state:
        np.testing.assert_array_equal(host(part)[0], 2.0)
    for name in {"bias_ih", "bias_hh"} & set(found.weights):
        assert np.isfinite(host(found.weights[name])).all()


@each_cell
def test_what_a_held_step_computes_from_an_h_that_is_nan_reaches_no_other_weights(cell, home):
    call = sequence_call(cell, home, T=3, lengths=[0, 3, 3])
    h = host(call.state[0]).copy()
    h[0] = np.nan
    call = replace(call, state=(home.asarray(h), *call.state[1:]))
    dfinal = tuple(home.asarray(np.ones(part.shape)) for part in call.state)
    with np.errstate(invalid="ignore"):
        _, trace = reference.forward(call)
        found = reference.backward(call, trace, (None,) * len(dfinal), dfinal).weights
    for name in found.keys() - {"weight_hh"}:
        assert np.isfinite(host(found[name])).all(), name


def explicit_and_taped(call, need_dx=True, skip=()):
    """All gradients of a call for random cotangents: by the cell's own way back, and by the tape."""
    rng = np.random.default_rng(1)
    result, trace = reference.forward(call)
    shapes = [tuple(a.shape) for a in (*result.sequences, *result.final)]
    home = backend_of(call.x)
    cotangents = [None if k in skip else home.asarray(rng.standard_normal(s)) for k, s in enumerate(shapes)]
    parts = len(call.state)
    found = reference.backward(call, trace, tuple(cotangents[:parts]), tuple(cotangents[parts:]), need_dx)

    tensors = [Tensor(a, requires_grad=True) for a in (call.x, *call.state, *call.weights.values())]
    weights = dict(zip(call.weights, tensors[1 + parts :], strict=True))
    on_tape = replace(call, weights=weights, x=tensors[0], state=tuple(tensors[1 : 1 + parts]))
    taped, _ = reference.forward(on_tape)
    outputs = [*taped.sequences, *taped.final]
    kept = [(y, c) for y, c in zip(outputs, cotangents, strict=True) if y.requires_grad and c is not None]
    expected = grad([y for y, _ in kept], tensors, [c for _, c in kept])
    expected = [np.zeros(t.shape) if g is None else host(g) for g, t in zip(expected, tensors, strict=True)]
    return [found.x, *found.state, *(found.weights[name] for name in call.weights)], expected


@each_cell
@each_control
@each_direction
def test_backward_equals_the_tape(cell, control, reverse, home):
    found, expected = explicit_and_taped(sequence_call(cell, home, reverse=reverse, **control))
    assert_close(found, expected, 1e-12)


@each_cell
def test_backward_without_bias(cell):
    found, expected = explicit_and_taped(sequence_call(cell, NUMPY, bias=False))
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("skip", [(0,), (1,), (2, 3), (0, 1, 3)])
def test_cotangents_may_be_missing(skip):
    found, expected = explicit_and_taped(sequence_call(cells.LSTM(), NUMPY, **CONTROL["all"]), skip=skip)
    assert_close(found, expected, 1e-12)


@each_cell
def test_dx_only_when_asked_for(cell):
    (dx, *found), (_, *expected) = explicit_and_taped(sequence_call(cell, NUMPY), need_dx=False)
    assert dx is None
    assert_close(found, expected, 1e-12)


@each_cell
@pytest.mark.parametrize("sizes", [{"T": 0}, {"B": 0}, {"T": 1, "B": 1, "I": 1, "H": 1}, {"T": 0, "B": 0}])
def test_smallest_sizes(cell, sizes, home):
    if "H" in sizes:
        sizes = sizes | {"H": getattr(cell, "num_heads", 1)}
    call = sequence_call(cell, home, **sizes)
    result, _ = reference.forward(call)
    assert [s.shape[:2] for s in result.sequences] == [call.x.shape[:2]] * len(call.state)
    if call.x.shape[0] == 0:
        assert_close(result.final, call.state, 0.0)
    found, expected = explicit_and_taped(call)
    assert_close(found, expected, 1e-12)


@given(
    T=st.integers(1, 6),
    B=st.integers(1, 4),
    reverse=st.booleans(),
    seed=st.integers(0, 2**16),
    name=st.sampled_from(["LSTM", "GRU", "ResetBeforeGRU", "FullPeepholeLSTM"]),
    data=st.data(),
)
def test_any_lengths_masks_and_resets(T, B, reverse, seed, name, data):
    rng = np.random.default_rng(seed)
    control = {
        "lengths": data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B)),
        "mask": rng.random((T, B)) < 0.7,
        "reset": rng.random((T, B)) < 0.3,
    }
    call = sequence_call(getattr(cells, name)(), NUMPY, T=T, B=B, reverse=reverse, seed=seed, **control)
    assert_close(tuple(reference.forward(call)[0]), one_by_one(call, **control), 1e-13)
    found, expected = explicit_and_taped(call)
    assert_close(found, expected, 1e-12)


@each_cell
def test_padding_may_be_nan(cell):
    control = {"lengths": LENGTHS, "mask": MASK}
    call = sequence_call(cell, NUMPY, **control)
    outside = ~(MASK & (np.arange(5)[:, None] < np.array(LENGTHS)))
    dirty = replace(call, x=np.where(outside[..., None], np.nan, call.x))
    assert_close(tuple(reference.forward(dirty)[0]), tuple(reference.forward(call)[0]), 0.0)
    assert_close(explicit_and_taped(dirty)[0], explicit_and_taped(call)[0], 0.0)


@each_cell
def test_float32_stays_float32(cell, home):
    call = sequence_call(cell, home, dtype="float32", **CONTROL["all"])
    result, trace = reference.forward(call)
    gradients = reference.backward(call, trace, result.sequences, result.final)
    arrays = (*result.sequences, *result.final, gradients.x, *gradients.state, *gradients.weights.values())
    assert {a.dtype for a in arrays} == {call.x.dtype}
