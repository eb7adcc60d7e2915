"""The scalar equations: as plain Python and compiled, against the cells of the specification, and as derivatives."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xprnn.kernels import scalar_cells
from xprnn.kernels.scalar_cells import Cells

from xprnn import cells


def compiled_cells():
    numba = pytest.importorskip("numba")
    return scalar_cells.build(numba.njit(error_model="numpy"), math.tanh)


BUILDS = {"python": lambda: scalar_cells.build(lambda function: function, np.tanh), "njit": compiled_cells}


@pytest.fixture(params=BUILDS, scope="module")
def scalars(request):
    return BUILDS[request.param]()


DRAWS = np.random.default_rng(0).standard_normal((11, 64))
WIDE = np.concatenate([DRAWS, 30 * DRAWS, [[0.0] * 64]])  # saturated and zero, too


def rows(count, dtype, values=DRAWS):
    """Arguments for a function of so many numbers: a row for each, taken from different places."""
    return [np.resize(np.roll(values, k, axis=0), 64).astype(dtype) for k in range(count)]


def each(function, *arguments):
    """A function of numbers over arrays, one element after another: an array for each result."""
    results = [function(*numbers) for numbers in zip(*arguments, strict=True)]
    results = results if isinstance(results[0], tuple) else [(result,) for result in results]
    columns = list(zip(*results, strict=True))
    if not hasattr(function, "nopython_signatures"):
        return [np.asarray(column) for column in columns]
    # What compiled code returns is made a float of Python's; the type it had inside is in the signature.
    (found,) = [s for s in function.nopython_signatures if str(s.args[0]) == str(arguments[0].dtype)]
    inside = list(getattr(found.return_type, "types", [found.return_type] * len(columns)))
    return [np.asarray(column, dtype=str(one)) for column, one in zip(columns, inside, strict=True)]


def agree(found, expected, dtype):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b.astype(dtype), rtol=0, atol=40 * np.finfo(dtype).eps * max(1, np.abs(b).max()))


def blocks(*parts):
    return np.concatenate(parts)[None]


both = pytest.mark.parametrize("dtype", ["float32", "float64"])
both_values = pytest.mark.parametrize("values", [DRAWS, WIDE], ids=["usual", "wide"])


@both
@both_values
@pytest.mark.parametrize("peepholes", [False, True])
def test_lstm(scalars, dtype, values, peepholes):
    z, (c, h) = rows(4, dtype, values), rows(2, dtype, values[::-1])
    p = rows(3, dtype)
    cell, w = (cells.PeepholeLSTM(), {"weight_ch": np.stack(p)}) if peepholes else (cells.LSTM(), {})
    forward, back = (scalars.peephole, scalars.peephole_back) if peepholes else (scalars.lstm, scalars.lstm_back)
    own = p if peepholes else []
    i, f, g, o, c_new, h_new = found = each(forward, *z, c, *own)
    state, saved = cell.forward(w, blocks(*z), np.zeros_like(blocks(*z)), (h[None], c[None]))
    agree([*found[:4], c_new, h_new], [*(s[0] for s in saved[:4]), state[1][0], state[0][0]], dtype)
    dh, dc = rows(2, dtype)
    dz, _, (_, dc_old) = cell.backward(w, (dh[None], dc[None]), saved, (h[None], c[None]), state)
    agree(each(back, i, f, g, o, c, c_new, dh, dc, *own), [*np.split(dz[0], 4), dc_old[0]], dtype)


@both
@both_values
def test_gru(scalars, dtype, values):
    cell, (xr, xz, xn), (m, h, dh) = cells.GRU(), rows(3, dtype, values), rows(3, dtype)
    zh = blocks(0 * m, 0 * m, m)
    r, z, n, _ = found = each(scalars.gru, xr, xz, xn, m, h)
    state, saved = cell.forward({}, blocks(xr, xz, xn), zh, (h[None],))
    agree(found, [*(s[0] for s in saved[:3]), state[0][0]], dtype)
    dzx, dzh, (dh_old,) = cell.backward({}, (dh[None],), saved, (h[None],), state)
    expected = [*np.split(dzx[0], 3), np.split(dzh[0], 3)[2], dh_old[0]]
    agree(each(scalars.gru_back, r, z, n, m, h, dh), expected, dtype)


@both
def test_mgu(dtype):
    scalars, cell, (f, n, h, dh) = BUILDS["python"](), cells.MGU(), rows(4, dtype)
    f, n = 0.5 + 0.4 * np.tanh(f), np.tanh(n)
    (h_new,) = each(scalars.mgu_update, f, n, h)
    agree([h_new], [(1 - f) * h + f * n], dtype)
    w = {"weight_hh": np.zeros((128, 64), dtype)}  # so that nothing comes through products
    dz, (dh_old,), _ = cell.step_vjp(w, (dh[None],), (f[None], n[None], h[None]), (h[None],), ())
    agree(each(scalars.mgu_update_back, f, n, h, dh), [*np.split(dz[0], 2), dh_old[0]], dtype)


@both
def test_gated_antisymmetric(dtype):
    scalars, cell, (xz, xn, m, dh) = BUILDS["python"](), cells.GatedAntisymmetric(0.5), rows(4, dtype)
    z, n = each(scalars.opened, xz, xn, m)
    _, saved = cell.forward({}, blocks(xz, xn), m[None], (0 * m[None],))
    agree([z, n], [s[0] for s in saved], dtype)
    dz, dm, _ = cell.backward({}, (dh[None],), saved, (), ())
    found = each(scalars.opened_back, z, n, np.dtype(dtype).type(0.5) * dh)
    agree([*found, found[0] + found[1]], [*np.split(dz[0], 2), dm[0]], dtype)


@both
@both_values
def test_slstm(dtype, values):
    """The parts of it in the order of a step, and of its way back."""
    do = scalar_cells.build_exponential(lambda function: function, np.exp, np.log1p)
    zi, zf, zg, zo = rows(4, dtype, values)
    _, c, n, m = state = rows(4, dtype, values[::-1])
    log, slope = each(do.log_forget, zf)
    a, m_new = each(do.slstm_scale, log + m, zi, n)
    i, f, g, o = np.exp(zi - m_new), np.exp(a - m_new), np.tanh(zg), cells.cell.sigmoid(zo)
    (c_new,), (n_new,) = each(do.mix, i, f, g, c), each(do.mix, i, f, np.ones_like(g), n)
    n_new = np.maximum(n_new, n_new.dtype.type(1))
    (h_new,) = each(do.slstm_output, o, c_new, n_new)
    cell, old = cells.SLSTM(), tuple(part[None] for part in state)
    new, saved = cell.forward({}, blocks(zi, zf, zg, zo), np.zeros_like(blocks(zi, zf, zg, zo)), old)
    agree([h_new, c_new, n_new, m_new], [part[0] for part in new], dtype)
    dh, dc, dn, dm = rows(4, dtype)
    dz, _, (_, *expected) = cell.backward({}, tuple(d[None] for d in (dh, dc, dn, dm)), saved, old, new)
    dzo, dn, from_h = each(do.slstm_output_back, o, h_new, n_new, dh, dn)
    da, dzi = each(do.slstm_gates_back, i, f, g, c, n, dc + from_h, dn)
    dm, dzi = each(do.slstm_scale_back, i, n, da, dzi, dm)
    dzg = (dc + from_h) * i * (1 - g * g)
    found = [dzi, dm * slope, dzg, dzo, (dc + from_h) * f, dn * f, dm]
    agree([part.astype(dtype) for part in found], [*np.split(dz[0], 4), *(part[0] for part in expected)], dtype)


@both
@both_values
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_elman(scalars, dtype, values, nonlinearity):
    cell, (z, dh) = cells.Elman(nonlinearity), rows(2, dtype, values)
    (h,) = each(getattr(scalars, nonlinearity), z)
    ((expected,), _) = cell.forward({}, z[None], 0 * z[None], ())
    agree([h.astype(dtype)], [expected[0]], dtype)
    h = h.astype(dtype)  # plain math.tanh is of float64 where nothing compiles it
    dz, _, _ = cell.backward({}, (dh[None],), (), (), (h[None],))
    agree(each(getattr(scalars, f"{nonlinearity}_back"), h, dh), [dz[0]], dtype)


@given(st.lists(st.floats(-3, 3), min_size=12, max_size=12))
def test_ways_back_are_derivatives(numbers):
    """Of dh . h' + dc . c', by central differences of the way forward."""
    do, step = BUILDS["python"](), 1e-6
    z, (c, dh, dc), p = numbers[:4], numbers[4:7], numbers[7:10]
    i, f, g, o, c_new, _ = do.peephole(*z, c, *p)
    found = do.peephole_back(i, f, g, o, c, c_new, dh, dc, *p)

    def value(*arguments):
        *_, c_new, h_new = do.peephole(*arguments, *p)
        return dh * h_new + dc * c_new

    for k, derivative in enumerate(found):
        up, down = [*z, c], [*z, c]
        up[k] += step
        down[k] -= step
        assert abs((value(*up) - value(*down)) / (2 * step) - derivative) < 1e-6 * (1 + sum(map(abs, numbers))) ** 3


def test_nan_is_not_hidden(scalars):
    nan = np.float32("nan")
    for name in ("tanh", "relu", "sigmoid"):
        assert math.isnan(getattr(scalars, name)(nan)), name
    one = np.float32(1)
    assert math.isnan(scalars.relu_back(one, nan))
    for name in ("lstm", "peephole", "gru"):
        function = getattr(scalars, name)
        count = {"lstm": 5, "peephole": 8, "gru": 5}[name]
        for k in range(count):
            arguments = [one] * count
            arguments[k] = nan
            assert math.isnan(function(*arguments)[-1]), (name, k)


def test_no_number_in_the_equations_has_a_type_of_its_own():
    """A plain 1 would be float64 or int64 to a compiler, and take float32 with it."""
    import ast

    for build in (scalar_cells.build, scalar_cells.build_exponential):
        tree = ast.parse(inspect.getsource(build))
        numbers = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, (int, float))]
        assert numbers == []
    assert len(Cells._fields) == len(set(Cells._fields)) == 24
