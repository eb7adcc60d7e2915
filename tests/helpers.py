"""What several test files need."""

import sys

import numpy as np
import pytest

import xprnn
from xprnn import cells
from xprnn.backend import dtype_name, to_numpy
from xprnn.engine.call import SequenceCall
from xprnn.engine.control import Control
from xprnn.tape import grad
from xprnn.tensor import Tensor


def leaf(home, values, dtype="float64"):
    """A Tensor that wants a gradient, on a backend."""
    return Tensor(home.asarray(np.asarray(values), dtype), requires_grad=True)


def host(x):
    """A Tensor, an array, or nested tuples of them, on the host."""
    return tuple(host(part) for part in x) if isinstance(x, (tuple, list)) else to_numpy(x)


def assert_close(found, expected, tol=1e-12):
    """Same structure, shapes and dtypes; same values to a tolerance relative to the largest; NaN equals NaN."""
    if isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for f, e in zip(found, expected, strict=True):
            assert_close(f, e, tol)
        return
    found, expected = host(found), host(expected)
    assert dtype_name(found) == dtype_name(expected)
    assert found.shape == expected.shape
    finite = expected[np.isfinite(expected)]
    scale = max(1.0, float(np.abs(finite).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tol * scale)


def lines_run(work):
    """How many lines of Python a call runs: its cost, on every machine the same."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def exported(room, *bases):
    """The classes that a room exports and that are derived from some, without these: what a new one is among."""
    found = (getattr(room, name) for name in room.__all__)
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, bases) and kind not in bases]


CELLS = {
    "elman tanh": lambda: cells.Elman("tanh"),
    "elman relu": lambda: cells.Elman("relu"),
    "indrnn tanh": lambda: cells.IndRNN("tanh"),
    "indrnn relu": lambda: cells.IndRNN("relu"),
    "lstm": cells.LSTM,
    "lstm peephole": cells.PeepholeLSTM,
    "lstm full peephole": cells.FullPeepholeLSTM,
    "lstm projected": lambda: cells.Projected(cells.LSTM(), 2),
    "lstm peephole projected": lambda: cells.Projected(cells.PeepholeLSTM(), 2),
    "gru": cells.GRU,
    "gru reset before": cells.ResetBeforeGRU,
    "echo state": lambda: cells.EchoState(0.3),
    "layer-norm lstm": cells.LayerNormLSTM,
    "layer-norm gru": cells.LayerNormGRU,
    "mgu": cells.MGU,
    "ctrnn tanh": lambda: cells.CTRNN(0.3, "tanh"),
    "ctrnn relu": lambda: cells.CTRNN(0.3),
    "antisymmetric": lambda: cells.Antisymmetric(0.2),
    "gated antisymmetric": lambda: cells.GatedAntisymmetric(0.2),
    "slstm": cells.SLSTM,
    "slstm exp heads": lambda: cells.SLSTM(3, "exp"),
    "general elman": lambda: cells.GeneralElman("softsign", clip=2.0),
    "general lstm coupled": lambda: cells.GeneralLSTM("sigmoid", "softplus", "tanh", coupled=True, peephole=True),
    "general gru": lambda: cells.GeneralGRU("softsign", "silu"),
    "general gru reset before": lambda: cells.GeneralResetBeforeGRU("softsign", "gelu", clip=3.0),
}
each_cell = pytest.mark.parametrize("cell", [make() for make in CELLS.values()], ids=CELLS.keys())

LINEAR_CELLS = {
    "mingru linear": lambda: cells.MinGRU("linear"),
    "mingru": cells.MinGRU,
    "minlstm linear": lambda: cells.MinLSTM("linear"),
    "minlstm": cells.MinLSTM,
    "sru": cells.SRU,
    "qrnn": cells.QRNN,
    "qrnn of two": lambda: cells.QRNN(2),
    "lru": lambda: cells.LRU(4),
    "s5": lambda: cells.S5(2),
}
each_linear_cell = pytest.mark.parametrize("cell", [make() for make in LINEAR_CELLS.values()], ids=LINEAR_CELLS.keys())


def sequence_call(cell, home, *, T=5, B=3, I=2, H=3, bias=True, dtype="float64", reverse=False, seed=0, **control):  # noqa: E741
    """A call of the engine with random arguments on a backend."""
    rng = np.random.default_rng(seed)

    def draw(shape):
        return home.asarray(rng.standard_normal(shape), dtype)

    shapes = cell.weight_shapes(I, H)
    weights = {name: draw(shape) for name, shape in shapes.items() if bias or not name.startswith("bias")}
    x = draw((T, B, I))
    state = tuple(draw((B, size)) for size in cell.state_sizes(H))
    return SequenceCall(cell, weights, x, state, Control.build("test", x, **control), reverse, True)


def everything(layer, x, state, control, name):
    """Outputs, all states and all gradients, from one implementation."""
    tensors = [Tensor(a, requires_grad=True) for a in (x, *state)]
    with xprnn.use_kernels(name):
        output, final, states = layer(
            tensors[0], tensors[1] if len(state) == 1 else tuple(tensors[1:]), return_all_states=True, **control
        )
        results = [output, *(final if isinstance(final, tuple) else (final,)), *states]
        draws = np.random.default_rng(7)
        cotangents = [draws.standard_normal(r.shape).astype(x.dtype) for r in results]
        gradients = grad(results, [*tensors, *layer.parameters()], cotangents)
    return [r.data for r in results] + [g.data for g in gradients]


def condition(layer, wide, x, state, control):
    """How much relative errors of all that is given grow in the results, beside the largest of each; at least 1.

    ``wide`` is the same layer in float64.
    """
    step, results = 1e-9, []
    for scale in (0.0, step):
        draws = np.random.default_rng(0)
        moved = lambda a, draws=draws, scale=scale: a.astype("float64") * (1 + scale * draws.standard_normal(a.shape))
        wide.load_state_dict({name: moved(value) for name, value in layer.state_dict().items()})
        results.append(everything(wide, moved(x), [moved(part) for part in state], control, "reference"))
    most = lambda a: np.abs(a).max(initial=0.0)
    return max(1.0, *(most(a - b) / max(1.0, most(a)) / step for a, b in zip(*results, strict=True)))


def compare(layer, x, state, control, wide=None):
    tolerance = 1e-12 if x.dtype == np.float64 else 1e-5
    found, expected = (everything(layer, x, state, control, name) for name in ("compiled", "reference"))
    if hasattr(layer, "gain_hh_l0"):  # what is scaled to variance 1 has its errors scaled with it: of 3 units, by 10^4
        tolerance = 200 * np.finfo(x.dtype).eps
        if any(np.abs(a - b).max(initial=0.0) > tolerance for a, b in zip(found, expected, strict=True)):
            tolerance *= condition(layer, wide, x, state, control)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max(initial=0.0)))


def draw_call(layer, steps, batch, inputs, hidden, dtype, rng):
    draws = np.random.default_rng(rng)
    x = draws.standard_normal((steps, batch, inputs)).astype(dtype)
    lead = layer.num_layers * layer.directions, batch
    sizes = layer.cell.state_sizes(hidden)
    return x, [draws.standard_normal((*lead, size)).astype(dtype) for size in sizes]
