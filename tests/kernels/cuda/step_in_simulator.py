"""The step path in Numba's simulator, against the reference. test_step_simulated.py runs this in a process of its own.

Twice: on NumPy arrays as they are, and on those of a stand-in for CuPy, which also sees the calls of cuBLAS and the
launches.
"""

import sys
from dataclasses import replace
from types import SimpleNamespace

import fake_cupy
import numpy as np
import pytest
from helpers import sequence_call
from hypothesis import given
from hypothesis import strategies as st
from numba import cuda
from numba.cuda.simulator import kernel as simulated
from numba.cuda.simulator import kernelapi
from xprnn.kernels import kinds
from xprnn.kernels.cuda import launch, pointwise, step

import xprnn
from xprnn import cells, nn, ops
from xprnn.backend import get_backend
from xprnn.engine import dispatch
from xprnn.tape import grad
from xprnn.tensor import Tensor
from xprnn.testing import check_laws
from xprnn.testing.strategies import flags, lengths


def run_in_turn(self, grid_point, *args):
    """A block's threads one after another, the other way round in every other block: they share nothing, nor wait.

    In the place of BlockManager's, which starts a thread of Python for each, and asks all again and again whether
    they are done. What would depend on their order differs, and who waited for another would be told so.
    """
    points = list(np.ndindex(*self._block_dim))
    for point in reversed(points) if sum(grid_point) % 2 else points:
        thread = simulated.BlockThread(lambda: self._f(*args), self, grid_point, point, self._debug)
        thread.abort = True  # should it wait
        kernelapi.threading = SimpleNamespace(current_thread=lambda thread=thread: thread)
        thread.run()
        if thread.exception:
            raise thread.exception[0].with_traceback(thread.exception[1])


simulated.BlockManager.run = run_in_turn

LAYERS = {
    "rnn": lambda **o: nn.RNN(**o),
    "relu": lambda **o: nn.RNN(nonlinearity="relu", **o),
    "lstm": lambda **o: nn.LSTM(**o),
    "peephole": lambda **o: nn.LSTM(peephole="diagonal", **o),
    "gru": lambda **o: nn.GRU(**o),
}


@pytest.fixture(params=["numpy", "cupy"])
def array(request, monkeypatch):
    """How a test makes arrays."""
    if request.param == "numpy":
        return np.asarray
    stand_in(monkeypatch)
    return fake_cupy.array


def stand_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy)
    monkeypatch.setattr(launch, "simulated", lambda: False)
    for kept in (launch.loaded, launch._module, launch._facts, step._reason_on):
        kept.cache_clear()
    fake_cupy.launches.clear()
    fake_cupy.products.clear()


def everything(layer, arrays, control, name):
    """Outputs, all states and all gradients, from one implementation."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    with xprnn.use_kernels(name):
        state = tensors[1] if len(tensors) == 2 else tuple(tensors[1:])
        output, final, states = layer(tensors[0], state, return_all_states=True, **control)
        results = [output, *(final if isinstance(final, tuple) else (final,)), *states]
        draws = np.random.default_rng(7)
        like = type(arrays[0])
        cotangents = [draws.standard_normal(r.shape).astype(layer.dtype).view(like) for r in results]
        gradients = grad(results, [*tensors, *layer.parameters()], cotangents)
    return [np.asarray(t.data) for t in (*results, *gradients)]


def compare(layer, arrays, control, array):
    expected = everything(layer, arrays, control, "reference")
    for parameter in layer.parameters():
        parameter.data = array(parameter.data)
    found = everything(layer, [array(a) for a in arrays], control, "cuda-step")
    tolerance = 1e-12 if layer.dtype == "float64" else 1e-5
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max(initial=0.0)))


def draw_arrays(layer, steps, batch, rng):
    draws = np.random.default_rng(rng)
    state = (layer.num_layers * layer.directions, batch, layer.hidden_size)
    shapes = [(steps, batch, layer.input_size), *[state] * len(layer.state_names)]
    return [draws.standard_normal(shape).astype(layer.dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
def test_step_equals_reference(name, dtype, data):
    # A block has four threads and a grid two rows: these need several of both, and every thread of the simulator costs.
    steps, batch = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    sizes = {"input_size": data.draw(st.integers(1, 3)), "hidden_size": data.draw(st.integers(1, 6))}
    options = {"bias": data.draw(st.booleans()), "bidirectional": data.draw(st.booleans())}
    layer = LAYERS[name](dtype=dtype, rng=1, **sizes, **options)
    control = {
        "lengths": data.draw(st.none() | lengths(steps, batch)),
        "mask": data.draw(st.none() | flags(steps, batch)),
        "reset": data.draw(st.none() | flags(steps, batch)),
    }
    arrays = draw_arrays(layer, steps, batch, data.draw(st.integers(0, 99)))
    with pytest.MonkeyPatch.context() as patch:
        on_cupy = data.draw(st.booleans())
        if on_cupy:
            stand_in(patch)
        compare(layer, arrays, control, fake_cupy.array if on_cupy else np.asarray)


def before_and_after(t, batch, size, q, options):
    return (pointwise.before(t, options) * batch) * size + q, (pointwise.after(t, options) * batch) * size + q


def many_forward(z, zh, bias, hs, cs, ns, ms, flags, t, batch, size, options):
    """c' = tanh(z) + c / 2, n' = c' + n / 3, m' = n' m, h' = c' n' + m'; zeros before a restart."""
    j = cuda.grid(1)
    if j < size:
        for b in range(cuda.blockIdx.y, batch, cuda.gridDim.y):
            row, q = t * batch + b, b * size + j
            old, now = before_and_after(t, batch, size, q, options)
            flag = pointwise.flag_of(flags, row, options)
            fresh = flag & pointwise.FRESH
            h, c, n, m = (0.0 if fresh else states[old] for states in (hs, cs, ns, ms))
            if not flag & pointwise.HELD:
                g = np.tanh(pointwise.summed(z, zh, bias, row * size + j, q, j, fresh))
                z[row * size + j] = g
                c = g + c / 2
                n = c + n / 3
                m = n * m
                h = c * n + m
            hs[now], cs[now], ns[now], ms[now] = h, c, n, m


def many_backward(z, cs, ns, ms, dh, dc, dn, dm, dz, dhs, dcs, dns, dms, flags, t, batch, size, options):
    j = cuda.grid(1)
    if j < size:
        for b in range(cuda.blockIdx.y, batch, cuda.gridDim.y):
            row, step_, q = t * batch + b, t * batch * size, b * size + j
            old, now = before_and_after(t, batch, size, q, options)
            flag = pointwise.flag_of(flags, row, options)
            d_h = pointwise.cotangent(dh, dhs, flags, t, b, batch, step_, q, options)
            back = [dc[q], dn[q], dm[q]]
            for k, results in enumerate((dcs, dns, dms)):
                if options & pointwise.GIVEN_C << k:
                    back[k] += results[step_ + q]
            d_c, d_n, d_m = back
            dz[row * size + j] = 0.0
            if not flag & pointwise.HELD:
                m_old = 0.0 if flag & pointwise.FRESH else ms[old]
                d_c, d_n, d_m = d_c + d_h * ns[now], d_n + d_h * cs[now], d_m + d_h
                d_n, d_m = d_n + d_m * m_old, d_m * ns[now]
                d_c, d_n = d_c + d_n, d_n / 3
                g = z[row * size + j]
                dz[row * size + j] = d_c * (1 - g * g)
                d_c, d_h = d_c / 2, 0.0
            fresh = flag & pointwise.FRESH
            dh[q] = d_h
            dc[q], dn[q], dm[q] = (0.0 if fresh else d for d in (d_c, d_n, d_m))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_state_of_any_number_of_parts(monkeypatch, reverse):
    """Four, of which each is given cotangents of its own, against the tape."""
    about = kinds.Kind(len(kinds.KINDS), 1, ("h", "c", "n", "m"), kept=1, places=(0,), step="many")
    monkeypatch.setattr(step, "KINDS", (*kinds.KINDS, about))
    for kernel in (many_forward, many_backward):
        monkeypatch.setitem(pointwise.KERNELS, kernel.__name__, kernel)
    draws, (T, B, inputs, H) = np.random.default_rng(0), (4, 3, 2, 5)
    drawn = lambda *shape: Tensor(draws.standard_normal(shape), requires_grad=True)
    x, state = drawn(T, B, inputs), tuple(drawn(B, H) for _ in about.parts)
    w = {"weight_ih": drawn(H, inputs), "weight_hh": drawn(H, H), "bias_ih": drawn(H), "bias_hh": drawn(H)}
    advance, restart = draws.random((T, B)) < 0.7, draws.random((T, B)) < 0.3
    rows, parts = [None] * T, state
    for t in reversed(range(T)) if reverse else range(T):
        h, c, n, m = (ops.where(restart[t][:, None], 0.0, part) for part in parts)
        new_c = ops.tanh(x[t] @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]) + c / 2
        new_n = new_c + n / 3
        new_m = new_n * m
        new = (new_c * new_n + new_m, new_c, new_n, new_m)
        parts = rows[t] = tuple(ops.where(advance[t][:, None], a, b) for a, b in zip(new, (h, c, n, m), strict=True))
    expected = [ops.stack([row[k] for row in rows]) for k in range(4)]
    cotangents, last = [draws.standard_normal((T, B, H)) for _ in about.parts], 0 if reverse else T - 1
    wanted = [x, *state, *w.values()]
    gradients = grad(expected, wanted, cotangents)

    given, flags_ = {name: a.data for name, a in w.items()}, kinds.Flags(advance, restart)
    initial = tuple(part.data for part in state)
    found, cache = step.forward(about.number, given, x.data, initial, flags_, reverse, keep=True)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b.data, rtol=0, atol=1e-13)
    dfinal = tuple(d[last].copy() for d in cotangents)  # those of the last states come by the other way
    for d in cotangents:
        d[last] = 0.0
    dx, dstate, dw = step.backward(
        about.number, given, x.data, cache, flags_, reverse, tuple(cotangents), dfinal, need_dx=True
    )
    for a, b in zip([dx, *dstate, *(dw[name] for name in w)], gradients, strict=True):
        np.testing.assert_allclose(a, b.data, rtol=0, atol=1e-12)


@pytest.fixture
def step_first():
    """Without the compiled path, which takes NumPy arrays before all others."""
    before = list(dispatch.IMPLEMENTATIONS)
    dispatch.IMPLEMENTATIONS[:] = [dispatch.CUDA_STEP, dispatch.REFERENCE]
    yield
    dispatch.IMPLEMENTATIONS[:] = before


@pytest.mark.usefixtures("step_first")
@pytest.mark.parametrize("name", LAYERS)
def test_all_laws(name):
    layer = LAYERS[name](input_size=3, hidden_size=4, dtype="float64", rng=1, bidirectional=True)
    assert len(check_laws(layer, 3)) >= 13


@pytest.mark.parametrize("name", LAYERS)
def test_inference_gives_the_same_bits(name):
    layer = LAYERS[name](input_size=3, hidden_size=5, rng=1)
    x = np.random.default_rng(0).standard_normal((4, 3, 3)).astype("float32")
    with xprnn.use_kernels("cuda-step"):
        kept = layer(x)[0].data
        with xprnn.no_grad():
            np.testing.assert_array_equal(layer(x)[0].data, kept)


def test_what_is_not_asked_for_is_not_computed(array):
    call = sequence_call(cells.GRU(), get_backend("numpy"), dtype="float32", T=3, B=2, I=4, H=5)
    call = replace(
        call,
        x=array(call.x),
        state=tuple(map(array, call.state)),
        weights={name: array(w) for name, w in call.weights.items()},
    )
    impl = dispatch.CUDA_STEP
    result, saved = impl.forward(replace(call, keep=False))
    assert saved.kernels.saved is None
    result, saved = impl.forward(call)
    gradients = impl.backward(call, saved, (None,), (result.final[0],), False)
    assert gradients.x is None
    assert not any(np.isnan(g).any() for g in gradients.weights.values())


def test_launches_and_products_of_a_step(monkeypatch):
    """Two of each in a step, forward and back, and a handful around the loops: nothing else works T times."""
    stand_in(monkeypatch)
    layer = nn.LSTM(3, 200, rng=0)
    for parameter in layer.parameters():
        parameter.data = fake_cupy.array(parameter.data)
    x = fake_cupy.array(np.zeros((7, 2, 3), "float32"))
    state = tuple(fake_cupy.array(np.zeros((1, 2, 200), "float32")) for _ in range(2))
    with xprnn.use_kernels("cuda-step"):
        output, _ = layer(x, state)
        assert fake_cupy.launches == [("lstm_forward", (2, 2), (128, 1))] * 7
        assert fake_cupy.products == [(800, 14, 3, "CUBLAS_COMPUTE_32F"), *[(800, 2, 200, "CUBLAS_COMPUTE_32F")] * 7]
        output.sum().backward()
    assert fake_cupy.launches[7:] == [("lstm_backward", (2, 2), (128, 1))] * 7
    # One of each step, then those for weight_ih and weight_hh; x wants no gradient.
    assert [m for m, *_ in fake_cupy.products[8:]] == [200] * 7 + [3, 200]


def test_precision_is_that_of_the_way_forward(monkeypatch):
    stand_in(monkeypatch)
    layer = nn.RNN(3, 4, rng=0)
    for parameter in layer.parameters():
        parameter.data = fake_cupy.array(parameter.data)
    x, h = (fake_cupy.array(np.zeros(shape, "float32")) for shape in ((2, 2, 3), (1, 2, 4)))
    with xprnn.use_kernels("cuda-step"):
        with xprnn.use_precision("tf32"):
            output, _ = layer(x, h)
        output.sum().backward()
        assert {compute for *_, compute in fake_cupy.products} == {"CUBLAS_COMPUTE_32F_FAST_TF32"}
        with xprnn.use_precision("bf16"):
            layer(x, h)
    assert fake_cupy.products[-1][-1] == "CUBLAS_COMPUTE_32F_FAST_16BF"


def test_fp16_multiplies_as_tf32_and_on_the_way_back_as_bf16(monkeypatch):
    stand_in(monkeypatch)
    layer = nn.GRU(3, 4, rng=0)
    for parameter in layer.parameters():
        parameter.data = fake_cupy.array(parameter.data)
    x, h = (fake_cupy.array(np.zeros(shape, "float32")) for shape in ((2, 2, 3), (1, 2, 4)))
    with xprnn.use_kernels("cuda-step"), xprnn.use_precision("fp16"):
        output, _ = layer(x, h)
        assert {compute for *_, compute in fake_cupy.products} == {"CUBLAS_COMPUTE_32F_FAST_TF32"}
        fake_cupy.products.clear()
        output.sum().backward()
        assert {compute for *_, compute in fake_cupy.products} == {"CUBLAS_COMPUTE_32F_FAST_16BF"}


def test_reasons_of_a_device(monkeypatch):
    stand_in(monkeypatch)
    arguments = (kinds.LSTM, 5, 2, 4)
    assert step.reasons_against(*arguments, "float32", "float32") == []

    def declines(because, dtype="float32", precision="float32"):
        launch._facts.cache_clear()
        step._reason_on.cache_clear()
        (reason,) = step.reasons_against(*arguments, dtype, precision)
        assert because in reason

    with monkeypatch.context() as patch:
        patch.setattr(fake_cupy.Device, "__init__", lambda self, number=0: vars(self).update(OLD))
        declines("compute capability 6.1; precision 'float32' needs 7.0")
        patch.setitem(OLD, "compute_capability", "75")
        declines("compute capability 7.5; precision 'tf32' needs 8.0", precision="tf32")
        assert step.reasons_against(*arguments, "float64", "tf32") == []  # float64 is not rounded
    with monkeypatch.context() as patch:
        patch.setattr(fake_cupy, "cublas", None)
        patch.setattr(fake_cupy.cuda, "cublas", None)
        declines("cuBLAS cannot be used for precision 'float32' (AttributeError")
    with monkeypatch.context() as patch:
        patch.setattr(fake_cupy.RawModule, "get_function", broken)
        launch.loaded.cache_clear()
        declines("the kernels cannot be compiled and loaded (RuntimeError: no NVRTC)")
    with monkeypatch.context() as patch:
        patch.setattr(fake_cupy.cuda, "Device", broken)
        declines("CuPy cannot use the device (RuntimeError: no NVRTC)")
    assert "cuda-step" in [impl.name for impl in dispatch.IMPLEMENTATIONS]


OLD = vars(fake_cupy.Device()) | {"compute_capability": "61"}


def broken(*args, **kwargs):
    raise RuntimeError("no NVRTC")
