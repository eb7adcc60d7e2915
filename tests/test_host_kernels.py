"""Matrix products of the tape on the compiled kernels: the same numbers as NumPy's, and only where they are chosen."""

import numpy as np
import pytest

pytest.importorskip("numba")

import xprnn
from xprnn import host_kernels, ops
from xprnn.beyond_standard import scatter_add
from xprnn.engine import dispatch
from xprnn.testing import check_gradients
from xprnn.train import cross_entropy


@pytest.fixture
def taken(monkeypatch):
    """The shapes of products that the kernels have computed."""
    shapes, kernels = [], host_kernels.kernels()
    compute = kernels.matmul

    def count(a, b):
        shapes.append((*a.shape, b.shape[1]))
        return compute(a, b)

    monkeypatch.setattr(kernels, "matmul", count)
    return shapes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(16, 128, 129), (100, 65, 63), (257, 33, 40), (1000, 1, 300), (3000, 16, 10)])
@pytest.mark.parametrize("layout", ["plain", "left turned", "right turned", "both turned", "strided", "read-only"])
def test_products_equal_numpys(shape, layout, dtype, taken):
    m, k, n = shape
    draws = np.random.default_rng(0)
    a, b = draws.standard_normal((m, k)).astype(dtype), draws.standard_normal((k, n)).astype(dtype)
    if layout in ("left turned", "both turned"):
        a = np.asfortranarray(a)
    if layout in ("right turned", "both turned"):
        b = np.asfortranarray(b)
    if layout == "strided":
        a, b = np.repeat(a, 2, axis=1)[:, ::2], np.repeat(b, 2, axis=0)[::-2]
    if layout == "read-only":
        a.flags.writeable = b.flags.writeable = False
    before = a.copy(), b.copy()
    found = ops.matmul(a, b).data
    assert taken == [shape]
    assert found.dtype == dtype
    assert found.flags.c_contiguous
    expected = a.astype("float64") @ b.astype("float64")
    np.testing.assert_allclose(found, expected, rtol=0, atol=(2e-5 if dtype == "float32" else 1e-13) * k)
    assert np.array_equal(a, before[0])
    assert np.array_equal(b, before[1])


def test_a_large_product_has_the_right_gradients(taken):
    draws = np.random.default_rng(0)
    check_gradients(ops.matmul, [draws.standard_normal((70, 66)), draws.standard_normal((66, 65))])
    assert {(70, 66, 65), (70, 65, 66), (66, 70, 65)} <= set(taken)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shapes", "by"),
    [
        (((61, 30, 90), (61, 90, 90)), "matmul_stacks"),
        (((2, 20, 3, 40, 50), (2, 20, 3, 50, 60)), "matmul_stacks"),
        (((3, 33, 70), (3, 70, 130)), "matmul_large_stacks"),
        (((2, 2, 33, 71), (2, 2, 71, 128)), "matmul_large_stacks"),
    ],
)
def test_stacks_of_matrices(shapes, by, dtype, monkeypatch):
    kernels, calls = host_kernels.kernels(), []
    compute = getattr(kernels, by)
    monkeypatch.setattr(kernels, by, lambda a, b: calls.append(1) or compute(a, b))
    draws = np.random.default_rng(0)
    a, b = (draws.standard_normal(shape).astype(dtype) for shape in shapes)
    a_turned, b_turned = (np.swapaxes(np.ascontiguousarray(np.swapaxes(x, -1, -2)), -1, -2) for x in (a, b))
    for left, right in ((a, b), (a, b_turned), (a_turned, b), (a_turned, b_turned), (a[::-1], b)):
        found = ops.matmul(left, right).data
        assert found.dtype == dtype
        assert found.flags.c_contiguous
        np.testing.assert_allclose(found, np.matmul(left, right), rtol=0, atol=1e-4 if dtype == "float32" else 1e-12)
    assert calls == [1] * 5
    ops.matmul(a[:1], b)  # broadcast
    ops.matmul(a[:1, ..., :15, :], b[:1])  # few
    with xprnn.use_kernels("reference"):
        ops.matmul(a, b)
    assert calls == [1] * 5


def test_rows_do_not_see_each_other():
    a, b = np.ones((40, 100)), np.ones((100, 90))
    a[3, 5] = np.nan
    found = ops.matmul(a, b).data
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


def test_who_computes(taken, monkeypatch):
    def product(m, k, n, dtype="float32"):
        return ops.matmul(np.ones((m, k), dtype), np.ones((k, n), dtype))

    for shape in ((64, 64, 64), (15, 300, 300)):  # one thread is enough; few rows
        product(*shape)
    product(100, 100, 100, "int64")
    ops.matmul(np.ones((3, 100, 100)), np.ones((3, 100, 100)))
    with xprnn.use_kernels("reference"):
        product(100, 100, 100)
    assert taken == []
    for way in dispatch.HOST:
        with xprnn.use_kernels(way.name):
            product(100, 100, 100)
    product(100, 100, 100)
    assert taken == [(100, 100, 100)] * (len(dispatch.HOST) + 1)
    with pytest.raises(ValueError, match="matmul"):
        ops.matmul(np.ones((100, 100)), np.ones((99, 100)))
    monkeypatch.setattr(host_kernels, "kernels", lambda: "Numba cannot be used")
    product(100, 100, 100)
    assert len(taken) == len(dispatch.HOST) + 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(40, 64, 16, 1), (3, 100, 33, 17), (5, 64, 7, 65)])
def test_the_way_back_through_a_linear_map(shape, dtype, monkeypatch):
    steps, batch, width, outputs = shape
    draws, calls = np.random.default_rng(0), []
    compute = host_kernels.kernels().linear_back
    monkeypatch.setattr(host_kernels.kernels(), "linear_back", lambda *given: calls.append(1) or compute(*given))
    x, w, b = (
        xprnn.Tensor(draws.standard_normal(shape).astype(dtype), requires_grad=True)
        for shape in ((steps, batch, width), (outputs, width), (outputs,))
    )
    g = draws.standard_normal((outputs, batch, steps)).astype(dtype).T
    ops.linear(x, w, b).backward(g)
    assert calls == [1]
    wide, rows = g.astype("float64"), x.data.astype("float64").reshape(-1, width)
    expected = wide @ w.data.astype("float64"), wide.reshape(-1, outputs).T @ rows, wide.sum(axis=(0, 1))
    for leaf, gradient in zip((x, w, b), expected, strict=True):
        assert leaf.grad.dtype == dtype
        atol = 1e-4 if dtype == "float32" else 1e-11
        np.testing.assert_allclose(leaf.grad.data, gradient, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_has_numpys_bits(dtype):
    """The largest of rows, NaN too, and rows summed by number: what takes over once kernels are loaded."""
    draws, kernels = np.random.default_rng(0), host_kernels.kernels()
    for columns in (1, 5, 16, 37, 64):
        x = draws.standard_normal((3, 40, columns)).astype(dtype)
        x[draws.random(x.shape) < 0.01] = np.nan
        x[draws.random(x.shape) < 0.01] = np.inf
        x[0, 0], x[0, 1], x[0, 2, -1] = -np.inf, np.nan, np.nan
        np.testing.assert_array_equal(kernels.row_max(x), x.max(axis=-1, keepdims=True))
        rows, index = draws.standard_normal((200, columns)).astype(dtype), draws.integers(-7, 7, size=200, dtype="int8")
        assert kernels.scatter_add(index, rows, 7).tobytes() == scatter_add(index, rows, 7).tobytes()
    with pytest.raises(IndexError, match="from -8 to 3 to be summed into 7"):
        kernels.scatter_add(np.asarray([3, -8]), np.ones((2, 1), dtype), 7)
    assert kernels.scatter_add(np.zeros(0, "int64"), np.ones((0, 2), dtype), 3).tolist() == [[0.0, 0.0]] * 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_surprise_of_large_logits(dtype):
    """Losses and gradients against the closed form in float64; rows with infinities and NaN as without kernels."""
    draws = np.random.default_rng(0)
    x = (10.0 * draws.standard_normal((4, 120, 37))).astype(dtype)
    target = draws.integers(37, size=x.shape[:-1])
    wide = x.astype("float64") - x.max(axis=-1, keepdims=True)
    softmax = np.exp(wide) / np.exp(wide).sum(axis=-1, keepdims=True)
    logits = xprnn.Tensor(x, requires_grad=True)
    loss = cross_entropy(logits, target)
    loss.backward()
    expected = -np.log(np.take_along_axis(softmax, target[..., None], axis=-1)).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-14)
    softmax[(*np.indices(target.shape), target)] -= 1.0
    atol = 1e-9 if dtype == "float32" else 1e-17
    np.testing.assert_allclose(logits.grad.data, softmax / target.size, rtol=0, atol=atol)
    each, flow = xprnn.Tensor(x, requires_grad=True), draws.standard_normal(target.shape).astype(dtype)
    cross_entropy(each, target, reduction="none").backward(flow)
    np.testing.assert_allclose(each.grad.data, flow[..., None] * softmax, rtol=0, atol=atol * target.size)
    some = draws.random(target.shape) < 0.5
    hole = xprnn.Tensor(np.where(some[..., None], x, np.nan).astype(dtype), requires_grad=True)
    masked, whole = (cross_entropy(logits, target, mask=some, reduction="none") for logits in (hole, each))
    np.testing.assert_array_equal(masked.data, whole.data)
    masked.backward(np.where(some, flow, np.nan).astype(dtype))
    np.testing.assert_array_equal(hole.grad.data, np.where(some[..., None], each.grad.data, 0.0))
    x[0, 0, 3], x[0, 1, 3], x[0, 2], x[0, 3, 5] = np.inf, -np.inf, -np.inf, np.nan
    target[0, :4] = 3
    with np.errstate(invalid="ignore", divide="ignore"):
        found, _ = host_kernels.surprise(x, target)
        with xprnn.use_kernels("reference"):
            rows = cross_entropy(xprnn.Tensor(x), target, reduction="none").data
    np.testing.assert_allclose(found, rows, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)
