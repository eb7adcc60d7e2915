"""Arrays that are lent to compiled code: it reads of them what NumPy says, and takes none that does not suit."""

import weakref

import numpy as np
import pytest

pytest.importorskip("numba")

from numba import config, types
from xprnn.kernels.cpu import Part, Stack
from xprnn.kernels.cpu.compiling import kernel
from xprnn.kernels.cpu.lent import NUMBERS, Lent, call_of
from xprnn.kernels.kinds import LSTM

pytestmark = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")
H = 3


@kernel
def _told(x):
    return x.address, x.axes, x.flags, x.dtype, x.last, x.before, x.third


def test_its_fields_are_what_numpy_says():
    told = call_of(_told, (Lent(types.float32),))
    base = np.zeros((2, 3, 4, 5), "float32")
    locked, shifted = base[0].copy(), np.zeros(9, "int8")[1:].view("float32")
    locked.flags.writeable = False
    for array in (
        base, base[0], base[0, 0], base[0, 0, 0], base[0, 0, 0, 0:0], np.array(1.0, "float32"), base[0, :0], base.T[0],
        base[0, ::2], base[0, :, :, ::-1], locked, shifted, base[0].astype(">f4"), base[0].astype("int64"),
        np.asfortranarray(base[0]), base[0].view(np.recarray),
    ):  # fmt: skip
        found = dict(zip(NUMBERS, told(array), strict=True))
        extents = [*array.shape[::-1], 0, 0, 0][:3] if array.ndim <= 3 else [0, 0, 0]
        assert [found[name] for name in ("last", "before", "third")] == extents
        assert (found["address"], found["axes"], found["dtype"]) == (array.ctypes.data, array.ndim, id(array.dtype))
        assert found["flags"] & 0x507 == array.flags.num & 0x507


@pytest.mark.parametrize("batch", [None, 2])
def test_what_does_not_suit_is_declined_and_changes_nothing(batch):
    stack = Stack([Part(LSTM, H, H)], batch, "float32")
    names = "weight_ih", "weight_hh"
    stack.load(0, {name: np.ones((4 * H, H), "float32") for name in names})
    lead = () if batch is None else (batch,)
    memory, shape = np.ones(64, "float32"), (4, *lead, H)
    size = int(np.prod(shape))
    x, out = (memory[low : low + size].reshape(shape) for low in (0, size))
    later = memory[1 : size + 1].reshape(shape)
    locked, shifted = out.copy(), np.zeros(4 * size + 1, "int8")[1:].view("float32").reshape(shape)
    locked.flags.writeable = False
    state = stack.views(0, 0)[0].base.copy()
    for one, other in (
        (x, later), (later, x), (x, locked), (x, shifted), (shifted, out), (x, out.astype("float64")), (x[:3], out),
        (x, out[:3]), (x[None], out), (x, out[None]), (x[0], out[0]),
        (x, out[..., :2].copy()), (x[..., :2].copy(), out),
        (x[::-1], out), (x, out[::-1]), (x.astype(">f4"), out), (x.astype("int32"), out), (x.reshape(-1), out),
        (np.ones((4, 9, H), "float32"), out), (x, np.ones(3 * size, "float32")),
    ):  # fmt: skip
        assert not stack.block(one, other)
    for one, other in ((x, out), (x[0][None], out[0]), (x[0], out[:1]), (x[0, ..., :2].copy(), out[0])):
        assert not stack.step(one, other)
    np.testing.assert_array_equal(stack.views(0, 0)[0].base, state)
    assert (memory == 1.0).all()
    assert stack.block(x[:0], out[:0])
    assert stack.step(x[0], out[0])
    x.flags.writeable = False
    assert stack.block(x, out)
    x.flags.writeable = True
    assert stack.block(x, x)
    assert np.isfinite(memory).all()


def test_a_call_holds_the_memory_that_it_writes_to():
    """A stream that another thread opens anew meanwhile would otherwise write to what is given back."""
    stack = Stack([Part(LSTM, H, H)], 2, "float32")
    block, memory, x = stack.block, weakref.ref(stack.views(0, 0)[0].base), np.zeros((4, 2, H), "float32")
    del stack
    assert memory() is not None
    assert block(x, x)
