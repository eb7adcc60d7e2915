"""Kernels trust what they are given: a call whose arrays do not fit each other never reaches them."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import sequence_call
from hypothesis import given
from hypothesis import strategies as st

from xprnn import cells, host_kernels
from xprnn.backend import get_backend
from xprnn.engine import cell_kinds, cpu, dispatch, kernels
from xprnn.engine.control import Control
from xprnn.engine.dispatch import COMPILED, select

KERNEL_CELLS = {
    "tanh": lambda: cells.Elman("tanh"),
    "relu": lambda: cells.Elman("relu"),
    "lstm": cells.LSTM,
    "peephole": cells.PeepholeLSTM,
    "full peephole": cells.FullPeepholeLSTM,
    "projected": lambda: cells.Projected(cells.LSTM(), 5),
    "indrnn": cells.IndRNN,
    "gru": cells.GRU,
    "reset before": cells.ResetBeforeGRU,
}
each_kernel_cell = pytest.mark.parametrize("make", KERNEL_CELLS.values(), ids=KERNEL_CELLS.keys())
needs_kernels = pytest.mark.skipif(isinstance(host_kernels.kernels(), str), reason="there are no compiled kernels")
FLAGS = ("advance", "inside", "restart")
T, B = 5, 3


class Kernels:
    """What must not be reached."""

    def __getattr__(self, name):
        raise AssertionError("a kernel was reached")


def a_call(make, **options):
    flags = {"mask": np.ones((T, B), bool), "reset": np.zeros((T, B), bool), "lengths": [5, 3, 0]}
    return sequence_call(make(), get_backend("numpy"), T=T, B=B, H=8, dtype="float32", **options, **flags)


def resized(data, array):
    """Zeros of another shape: an axis longer, shorter, or gone."""
    axis = data.draw(st.integers(0, array.ndim - 1))
    length = data.draw(st.integers(0, 3 * array.shape[axis]).filter(array.shape[axis].__ne__))
    shapes = [(*array.shape[:axis], length, *array.shape[axis + 1 :]), array.shape[:-1], (1, *array.shape)]
    return np.zeros(data.draw(st.sampled_from(shapes)), array.dtype)


def misfit(data, call):
    """A call with one of its arrays of another shape."""
    where = data.draw(st.sampled_from(["x", "state", "weights", *FLAGS]))
    if where == "x":
        return where, replace(call, x=resized(data, call.x))
    if where == "state":
        k = data.draw(st.integers(0, len(call.state) - 1))
        return where, replace(call, state=(*call.state[:k], resized(data, call.state[k]), *call.state[k + 1 :]))
    if where == "weights":
        name = data.draw(st.sampled_from(sorted(call.weights)))
        return name, replace(call, weights=call.weights | {name: resized(data, call.weights[name])})
    control = replace(call.control, **{where: resized(data, getattr(call.control, where))})
    return where, replace(call, control=control)


@each_kernel_cell
@given(data=st.data(), reverse=st.booleans(), bias=st.booleans())
def test_a_call_built_by_hand(make, data, reverse, bias):
    call = a_call(make, reverse=reverse, bias=bias)
    _, wrong = misfit(data, call)
    with pytest.raises(ValueError, match=rf"^{call.cell.name.split()[0]}.*: .* has shape .*; expected \("):
        kernels.forward(Kernels(), wrong)
    with pytest.raises(ValueError, match="has shape"):
        kernels.backward(Kernels(), wrong, None, (None,) * 2, (None,) * 2, True)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


ODD = {
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "read-only": read_only,
    "of another dtype": lambda a: a.astype("float64"),
    "of another order of bytes": lambda a: a.astype(a.dtype.newbyteorder()),
    "shorter": lambda a: a[..., :-1].copy(),
    "with an axis more": lambda a: a[None],
    "a memory map": lambda a: a.view(np.memmap),
}


@needs_kernels
@pytest.mark.parametrize("name", ["tanh", "relu", "lstm", "gru"])
def test_one_look_is_enough_for_plain_calls_alone(name):
    call = sequence_call(KERNEL_CELLS[name](), get_backend("numpy"), T=2, B=3, H=8, dtype="float32")
    expected = [part.tobytes() for part in cpu.forward(call)[0].sequences]
    assert [part.tobytes() for part in cpu.run_plain(call)[0].sequences] == expected
    for what, odd in ODD.items():
        wrong = [replace(call, x=odd(call.x))]
        wrong += [replace(call, weights=call.weights | {name: odd(w)}) for name, w in call.weights.items()]
        wrong += [
            replace(call, state=(*call.state[:k], odd(s), *call.state[k + 1 :])) for k, s in enumerate(call.state)
        ]
        for one in wrong:
            assert cpu.run_plain(one) is None, what
            if what in ("strided", "read-only"):
                impl, result, _ = dispatch.run_forward(one)
                assert (impl, [part.tobytes() for part in result.sequences]) == (COMPILED, expected)
    lacking = {name: w for name, w in call.weights.items() if name != "bias_hh"}
    flags = Control(advance=np.ones((2, 3, 1), bool))
    others = {"weights": lacking}, {"state": call.state[1:]}, {"control": flags}, {"x": call.x[:0]}, {"x": call.x[0]}
    for other in others:
        assert cpu.run_plain(replace(call, **other)) is None
    for name in ("peephole", "indrnn", "reset before"):
        assert cpu.run_plain(sequence_call(KERNEL_CELLS[name](), get_backend("numpy"), dtype="float32")) is None


@needs_kernels
def test_the_error_says_what_came_and_what_was_expected():
    call = a_call(cells.LSTM)
    wrong = replace(call, weights=call.weights | {"weight_ih": np.zeros((16, 2), "float32")})
    with pytest.raises(ValueError, match=r"LSTM: weight_ih has shape \(16, 2\); expected \(32, 2\)"):
        dispatch.run_forward(wrong)
    wrong = replace(call, control=Control(advance=np.ones((T, B), bool)))
    with pytest.raises(ValueError, match=r"LSTM: advance has shape \(5, 3\); expected \(5, 3, 1\)"):
        dispatch.run_forward(wrong)
    wrong = replace(call, control=Control(advance=np.ones((T, B, 1), "float32")))
    with pytest.raises(TypeError, match="LSTM: advance has dtype float32; expected bool"):
        dispatch.run_forward(wrong)


@each_kernel_cell
@given(data=st.data())
def test_weights_that_are_missing(make, data):
    call = a_call(make)
    name = data.draw(st.sampled_from(sorted(call.weights)))
    rest = {n: w for n, w in call.weights.items() if n != name}
    with pytest.raises(ValueError, match=f"there is no {name}; expected one of shape"):
        kernels.forward(Kernels(), replace(call, weights=rest))


@each_kernel_cell
def test_a_state_of_too_few_parts(make):
    call = a_call(make)
    for state in ((), call.state[:-1], (*call.state, call.state[0])):
        with pytest.raises(ValueError, match=rf"state has {len(state)} parts; expected {len(call.state)}"):
            kernels.forward(Kernels(), replace(call, state=state))


@needs_kernels
@each_kernel_cell
@given(data=st.data())
def test_cotangents_of_another_shape_or_type(make, data):
    call = a_call(make)
    impl, result, cache = dispatch.run_forward(call)
    assert impl is COMPILED
    which = data.draw(st.integers(0, 1))
    cotangents = [[np.zeros_like(s) for s in parts] for parts in result]
    k = data.draw(st.integers(0, len(cotangents[which]) - 1))
    right = cotangents[which][k]
    if data.draw(st.booleans()):
        cotangents[which][k], error, words = right.astype("float64"), TypeError, "has dtype float64; expected float32"
    else:
        cotangents[which][k], error, words = resized(data, right), ValueError, "has shape"
    with pytest.raises(error, match=rf"the cotangent of .*{words}"):
        impl.backward(call, cache, *map(tuple, cotangents), True)


@needs_kernels
def test_a_cache_of_another_call():
    long, short = (sequence_call(cells.LSTM(), get_backend("numpy"), T=steps, H=8) for steps in (9, 4))
    impl, _, cache = dispatch.run_forward(short)
    with pytest.raises(ValueError, match="LSTM: the cache is of another call"):
        impl.backward(long, cache, (None, None), long.state, True)
    full = sequence_call(cells.FullPeepholeLSTM(), get_backend("numpy"), T=4, H=8)
    for one, other in ((short, full), (full, short)):  # which kernels know by the same number
        with pytest.raises(ValueError, match="LSTM: the cache is of another call"):
            impl.backward(one, dispatch.run_forward(other)[2], (None, None), one.state, True)


@needs_kernels
def test_an_array_turned_in_place_between_forward_and_backward():
    call = a_call(cells.LSTM)
    impl, _, cache = dispatch.run_forward(call)
    object.__setattr__(call, "x", call.x.reshape(B, T, -1))  # as x.shape = ... would
    with pytest.raises(ValueError, match="LSTM: state h has shape"):
        impl.backward(call, cache, (None, None), call.state, True)


def test_kernels_go_by_the_exact_type_and_take_no_cell_with_changed_ways():
    changed = cells.LSTM()
    changed.gates = 5
    other = cells.Elman()
    other.nonlinearity = "lstm"
    elman, indrnn = cells.Elman("relu"), cells.IndRNN()
    elman.forward, indrnn.step = indrnn.forward, elman.step
    full, projected = cells.FullPeepholeLSTM(), cells.Projected(cells.LSTM(), 2)
    full.step, projected.step = elman.step, elman.step
    twice = cells.Projected(cells.Projected(cells.LSTM(), 2), 2)
    for cell in (changed, other, elman, indrnn, full, projected, twice):
        assert cell_kinds.kind_of(cell) is None
        call = sequence_call(cells.Elman("tanh"), get_backend("numpy"))
        assert any("no kernel for the cell" in why for why in COMPILED.reasons_against(replace(call, cell=cell)))


@needs_kernels
def test_they_are_chosen_where_all_is_well():
    for make in KERNEL_CELLS.values():
        assert select(a_call(make)) is COMPILED


class FourParts(cells.LSTM):
    """A cell with more of a state than any that kernels have today."""

    state_names = ("h", "c", "n", "m")


class Echo:
    """Kernels that give back what they got, as wide as a call wants it."""

    def forward(self, kind, w, x, state, flags, reverse, keep):
        self.state = state
        return tuple(np.stack([part] * len(x)) for part in state), "saved"

    def backward(self, kind, w, x, saved, flags, reverse, dsequences, dstate, need_dx):
        self.cotangents = dsequences, dstate
        return None, dstate, {}


def test_a_state_may_have_any_number_of_parts(monkeypatch):
    monkeypatch.setitem(cell_kinds.NUMBERS, FourParts, 0)
    call, echo = sequence_call(FourParts(), get_backend("numpy"), T=T, B=B, H=8, lengths=[5, 3, 0]), Echo()
    result, kept = kernels.forward(echo, call)
    assert echo.state is call.state
    assert [part.shape for part in result.sequences] == [(T, B, 8)] * 4
    assert all(np.array_equal(part, initial) for part, initial in zip(result.final, call.state, strict=True))
    dsequences, dfinal = (None, result.sequences[0], None, None), (None, None, None, call.state[0])
    gradients = kernels.backward(echo, call, kept, dsequences, dfinal, need_dx=False)
    assert [d is None for d in echo.cotangents[0]] == [True, False, True, True]
    assert [bool(d.any()) for d in gradients.state] == [False, False, False, True]
    assert gradients.state[3] is not call.state[0]
