"""Every primitive: its value, its gradients of both orders, and empty, infinite and tied input."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from helpers import assert_close, host, leaf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from xprnn import Tensor, backend, ops
from xprnn.backend import get_backend
from xprnn.tape import grad
from xprnn.testing import check_gradients, check_second_gradients

CHOICE = np.array([[True, False, True], [False, False, True]])


INDEX = np.array([[2, 0], [0, 1], [2, 2]])


@dataclass(frozen=True)
class Case:
    """A primitive, what NumPy says to it, shapes to try, and constant arrays that follow the inputs."""

    op: Callable
    numpy: Callable
    shapes: tuple
    positive: bool = False
    constants: tuple = ()

    def inputs(self, home, dtype="float64"):
        rng = np.random.default_rng(7)
        values = [rng.standard_normal(shape) for shape in self.shapes]
        return [home.asarray(np.asarray(np.abs(v) + 0.5 if self.positive else v), dtype) for v in values]

    def function(self, home):
        constants = [home.asarray(c) for c in self.constants]
        return lambda *tensors: self.op(*tensors, *constants)


M = (2, 3)


CASES = {
    "add": Case(ops.add, np.add, (M, M)),
    "add/broadcast": Case(ops.add, np.add, ((2, 1, 3), (4, 1))),
    "add/scalar array": Case(ops.add, np.add, ((), M)),
    "add/number": Case(lambda x: ops.add(1.5, x), lambda x: 1.5 + x, (M,)),
    "subtract": Case(ops.subtract, np.subtract, (M, M)),
    "subtract/broadcast": Case(ops.subtract, np.subtract, ((3,), (2, 1))),
    "subtract/number": Case(lambda x: 1 - x, lambda x: 1 - x, (M,)),
    "squared_error": Case(ops.squared_error, lambda a, b: (a - b) ** 2, (M, M)),
    "squared_error/broadcast": Case(ops.squared_error, lambda a, b: (a - b) ** 2, ((3,), (2, 1))),
    "squared_error/number": Case(lambda x: ops.squared_error(x, 0.5), lambda x: (x - 0.5) ** 2, (M,)),
    "multiply": Case(ops.multiply, np.multiply, (M, M)),
    "multiply/broadcast": Case(ops.multiply, np.multiply, ((1, 3), (2, 1))),
    "multiply/number": Case(lambda x: 2 * x * 0.5, lambda x: x, (M,)),
    "multiply/itself": Case(lambda x: x * x, lambda x: x * x, (M,)),
    "divide": Case(ops.divide, np.divide, (M, M), positive=True),
    "divide/broadcast": Case(ops.divide, np.divide, ((3,), (2, 1)), positive=True),
    "divide/number": Case(lambda x: 3.0 / x / 2.0, lambda x: 1.5 / x, (M,), positive=True),
    "pow": Case(lambda x: x**2.5, lambda x: x**2.5, (M,), positive=True),
    "pow/integer": Case(lambda x: x**3, lambda x: x**3, (M,)),
    "pow/zero": Case(lambda x: x**0, lambda x: x**0, (M,)),
    "pow/negative": Case(lambda x: ops.pow(x, -2), lambda x: x**-2.0, (M,), positive=True),
    "negative": Case(ops.negative, np.negative, (M,)),
    "maximum": Case(ops.maximum, np.maximum, (M, M)),
    "maximum/broadcast": Case(ops.maximum, np.maximum, ((2, 1), (3,))),
    "maximum/number": Case(lambda x: ops.maximum(x, 0.25), lambda x: np.maximum(x, 0.25), (M,)),
    "minimum": Case(ops.minimum, np.minimum, (M, M)),
    "minimum/number": Case(lambda x: ops.minimum(0.25, x), lambda x: np.minimum(x, 0.25), (M,)),
    "clip": Case(lambda x: ops.clip(x, -0.5, 0.5), lambda x: np.clip(x, -0.5, 0.5), (M,)),
    "clip/below": Case(lambda x: x.clip(min=0.1), lambda x: np.maximum(x, 0.1), (M,)),
    "clip/above": Case(lambda x: x.clip(max=0.1), lambda x: np.minimum(x, 0.1), (M,)),
    "where": Case(lambda a, b, c: ops.where(c, a, b), lambda a, b: np.where(CHOICE, a, b), (M, M), constants=(CHOICE,)),
    "where/broadcast": Case(
        lambda a, b, c: ops.where(c, a, b), lambda a, b: np.where(CHOICE, a, b), ((3,), (2, 1)), constants=(CHOICE,)
    ),
    "where/number": Case(
        lambda x, c: ops.where(c, 0.5, x), lambda x: np.where(CHOICE, 0.5, x), (M,), constants=(CHOICE,)
    ),
    "exp": Case(ops.exp, np.exp, (M,)),
    "log": Case(ops.log, np.log, (M,), positive=True),
    "sqrt": Case(ops.sqrt, np.sqrt, (M,), positive=True),
    "square": Case(ops.square, np.square, (M,)),
    "abs": Case(ops.abs, np.abs, (M,)),
    "sin": Case(ops.sin, np.sin, (M,)),
    "cos": Case(ops.cos, np.cos, (M,)),
    "tanh": Case(ops.tanh, np.tanh, (M,)),
    "sigmoid": Case(ops.sigmoid, lambda x: 1 / (1 + np.exp(-x)), (M,)),
    "relu": Case(ops.relu, lambda x: np.maximum(x, 0), (M,)),
    "softplus": Case(ops.softplus, lambda x: np.log1p(np.exp(x)), (M,)),
    "logaddexp": Case(ops.logaddexp, np.logaddexp, (M, M)),
    "erf": Case(ops.erf, np.vectorize(math.erf), (M,)),
    "gelu": Case(ops.gelu, lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))), (M,)),
    "sum": Case(ops.sum, np.sum, (M,)),
    "sum/axis": Case(lambda x: ops.sum(x, 1), lambda x: np.sum(x, 1), ((2, 3, 2),)),
    "sum/axes": Case(lambda x: x.sum((0, -1), keepdims=True), lambda x: x.sum((0, -1), keepdims=True), ((2, 3, 2),)),
    "sum/scalar array": Case(ops.sum, np.sum, ((),)),
    "mean": Case(ops.mean, np.mean, (M,)),
    "mean/axis": Case(lambda x: x.mean(-1, keepdims=True), lambda x: x.mean(-1, keepdims=True), (M,)),
    "var": Case(ops.var, np.var, (M,)),
    "var/axis": Case(lambda x: ops.var(x, 0), lambda x: np.var(x, 0), (M,)),
    "max": Case(ops.max, np.max, (M,)),
    "max/axis": Case(lambda x: ops.max(x, (0, 2)), lambda x: np.max(x, (0, 2)), ((2, 3, 2),)),
    "min": Case(lambda x: ops.min(x, 1, True), lambda x: np.min(x, 1, keepdims=True), (M,)),
    "vector_norm": Case(ops.vector_norm, np.linalg.norm, (M,)),
    "vector_norm/axis": Case(lambda x: ops.vector_norm(x, 1), lambda x: np.linalg.norm(x, axis=1), (M,)),
    "logsumexp": Case(ops.logsumexp, lambda x: np.log(np.exp(x).sum()), (M,)),
    "logsumexp/axis": Case(
        lambda x: ops.logsumexp(x, 1, keepdims=True), lambda x: np.log(np.exp(x).sum(1, keepdims=True)), (M,)
    ),
    "softmax": Case(ops.softmax, lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True), (M,)),
    "softmax/axis": Case(lambda x: ops.softmax(x, 0), lambda x: np.exp(x) / np.exp(x).sum(0), (M,)),
    "log_softmax": Case(ops.log_softmax, lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True)), (M,)),
    "log_softmax/axis": Case(lambda x: ops.log_softmax(x, 0), lambda x: x - np.log(np.exp(x).sum(0)), (M,)),
    "matmul": Case(ops.matmul, np.matmul, ((2, 3), (3, 4))),
    "matmul/vector right": Case(ops.matmul, np.matmul, ((2, 3), (3,))),
    "matmul/vector left": Case(ops.matmul, np.matmul, ((3,), (3, 4))),
    "matmul/two vectors": Case(ops.matmul, np.matmul, ((3,), (3,))),
    "matmul/leading axes left": Case(ops.matmul, np.matmul, ((2, 2, 3), (3, 2))),
    "matmul/leading axes right": Case(ops.matmul, np.matmul, ((2, 3), (2, 3, 2))),
    "matmul/outer": Case(ops.matmul, np.matmul, ((3, 1), (1, 4))),
    "matmul/broadcast": Case(ops.matmul, np.matmul, ((2, 1, 2, 3), (3, 3, 2))),
    "linear": Case(ops.linear, lambda x, w, b: x @ w.T + b, ((2, 2, 3), (4, 3), (4,))),
    "linear/without bias": Case(ops.linear, lambda x, w: x @ w.T, ((2, 3), (1, 3))),
    "linear/one": Case(ops.linear, lambda x, w, b: x @ w.T + b, ((3,), (2, 3), (2,))),
    "reshape": Case(lambda x: ops.reshape(x, (3, 2)), lambda x: x.reshape(3, 2), (M,)),
    "reshape/inferred": Case(lambda x: x.reshape((-1, 2)), lambda x: x.reshape(-1, 2), (M,)),
    "expand_dims": Case(lambda x: ops.expand_dims(x, 1), lambda x: np.expand_dims(x, 1), (M,)),
    "expand_dims/last": Case(lambda x: ops.expand_dims(x, -1), lambda x: np.expand_dims(x, -1), (M,)),
    "squeeze": Case(lambda x: ops.squeeze(x, (0, -1)), lambda x: np.squeeze(x, (0, -1)), ((1, 3, 1),)),
    "broadcast_to": Case(lambda x: ops.broadcast_to(x, (2, 2, 3)), lambda x: np.broadcast_to(x, (2, 2, 3)), ((2, 1),)),
    "permute_dims": Case(lambda x: ops.permute_dims(x, (2, 0, 1)), lambda x: x.transpose(2, 0, 1), ((2, 3, 4),)),
    "permute_dims/negative": Case(
        lambda x: ops.permute_dims(x, (-1, 0, 1)), lambda x: x.transpose(2, 0, 1), ((2, 3, 4),)
    ),
    "matrix_transpose": Case(ops.matrix_transpose, lambda x: x.swapaxes(-1, -2), ((2, 3, 4),)),
    "flip": Case(ops.flip, np.flip, (M,)),
    "flip/axis": Case(lambda x: ops.flip(x, 1), lambda x: np.flip(x, 1), (M,)),
    "concat": Case(lambda a, b: ops.concat([a, b]), lambda a, b: np.concatenate([a, b]), ((2, 3), (1, 3))),
    "concat/axis": Case(
        lambda a, b: ops.concat([a, b, a], axis=-1), lambda a, b: np.concatenate([a, b, a], axis=-1), ((2, 3), (2, 1))
    ),
    "unstack": Case(
        lambda a: ops.concat([2.0 * ops.unstack(a)[1], ops.unstack(a)[0]]),
        lambda a: np.concatenate([2.0 * a[1], a[0]]),
        (M,),
    ),
    "unstack/axis": Case(lambda a: ops.unstack(a, -1)[1], lambda a: a[..., 1], (M,)),
    "split": Case(
        lambda a: ops.concat([2.0 * ops.split(a, 2)[1], ops.split(a, 2)[0]]),
        lambda a: np.concatenate([2.0 * a[2:], a[:2]]),
        ((4, 3),),
    ),
    "split/axis": Case(lambda a: ops.split(a, 3, -1)[1], lambda a: np.split(a, 3, -1)[1], ((2, 6),)),
    "stack": Case(lambda a, b: ops.stack([a, b]), lambda a, b: np.stack([a, b]), (M, M)),
    "stack/axis": Case(lambda a, b: ops.stack([a, b, a], -1), lambda a, b: np.stack([a, b, a], -1), (M, M)),
    "getitem": Case(lambda x: x[1], lambda x: x[1], (M,)),
    "getitem/element": Case(lambda x: x[1, -1], lambda x: np.asarray(x[1, -1]), (M,)),
    "getitem/slices": Case(lambda x: x[::-1, 1:], lambda x: x[::-1, 1:], (M,)),
    "getitem/new axes": Case(lambda x: x[None, 0, ..., None, ::2], lambda x: x[None, 0, ..., None, ::2], ((2, 3, 4),)),
    "getitem/nothing": Case(lambda x: x[2:], lambda x: x[2:], (M,)),
    "take": Case(ops.take, lambda x: np.take(x, INDEX, 0), ((3, 2),), constants=(INDEX,)),
    "take/axis": Case(
        lambda x, i: ops.take(x, i, -2), lambda x: np.take(x, INDEX, 1), ((2, 3, 4),), constants=(INDEX,)
    ),
    "take/one axis": Case(
        lambda x, i: ops.take(x, i, 1), lambda x: np.take(x, INDEX[0], 1), ((2, 3),), constants=(INDEX[0],)
    ),
    "take_along_axis": Case(
        ops.take_along_axis, lambda x: np.take_along_axis(x, INDEX, -1), ((3, 4),), constants=(INDEX,)
    ),
    "take_along_axis/first": Case(
        lambda x, i: ops.take_along_axis(x, i, 0),
        lambda x: np.take_along_axis(x, INDEX, 0),
        ((3, 2),),
        constants=(INDEX,),
    ),
}


each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


NOT_PRIMITIVES = {"value", "values", "as_tensor", "lifted", "unbroadcast", "zeros_like", "ones_like", "astype"}


def test_every_primitive_has_a_case():
    functions = {name for name, found in vars(ops).items() if inspect.isfunction(found)}
    assert functions <= {*ops.__all__}, "put these into __all__ of xprnn/ops"
    cases = {name.split("/")[0] for name in CASES}
    assert functions - NOT_PRIMITIVES == cases, "every primitive has its entry in CASES, and nothing else has"


@each_case
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_forward_agrees_with_numpy(case, home, dtype):
    inputs = case.inputs(home, dtype)
    result = case.function(home)(*(Tensor(x) for x in inputs))
    expected = np.asarray(case.numpy(*(host(x) for x in inputs)))
    assert_close(result, expected.astype(dtype), 1e-14 if dtype == "float64" else 2e-6)
    assert backend.backend_of(result.data) == backend.backend_of(inputs[0])
    assert not result.requires_grad


@each_case
def test_gradient_agrees_with_finite_differences(case, home):
    check_gradients(case.function(home), case.inputs(home), rtol=1e-7)


@each_case
def test_second_gradient_agrees_with_finite_differences(case, home):
    check_second_gradients(case.function(home), case.inputs(home), rtol=1e-6)


@each_case
def test_gradients_are_shaped_and_typed_as_the_inputs(case, home):
    tensors = [Tensor(x, requires_grad=True) for x in case.inputs(home, "float32")]
    result = case.function(home)(*tensors)
    result.backward(ops.ones_like(result))
    for tensor in tensors:
        assert tensor.grad.shape == tensor.shape
        assert tensor.grad.dtype == tensor.dtype


@each_case
def test_inputs_are_left_as_they_were(case):
    home = get_backend("numpy")
    inputs = case.inputs(home)
    before = [x.copy() for x in inputs]
    for x in inputs:
        x.flags.writeable = False
    result = case.function(home)(*(Tensor(x, requires_grad=True) for x in inputs))
    result.backward(ops.ones_like(result))
    assert_close(inputs, before, 0.0)


@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0), st.integers(0, 2**16))
def test_broadcasting_of_any_shapes(shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (np.asarray(rng.standard_normal(shape)) for shape in shapes.input_shapes)
    assert_close(ops.add(Tensor(a), b), np.asarray(a + b))
    check_gradients(lambda a, b: a * b - a, [a, b], rtol=1e-7)


# --- empty arrays ---------------------------------------------------------------------------------------------------

EMPTY = {
    "elementwise": (lambda x: ops.tanh(x) * x + 1.0, (0, 3)),
    "sum": (lambda x: ops.sum(x, 0), (0, 3)),
    "softmax": (ops.softmax, (0, 3)),
    "softmax of nothing": (lambda x: ops.softmax(x, 1), (2, 0)),
    "log_softmax of nothing": (lambda x: ops.log_softmax(x, 0), (0, 3)),
    "matmul rows": (lambda x: x @ ops.zeros_like(x[:0]).T, (2, 3)),
    "matmul empty": (lambda x: x @ ops.matrix_transpose(x), (0, 3)),
    "matmul of three axes": (lambda x: x @ ops.ones_like(x)[0, :0, :].T, (2, 4, 3)),
    "matmul over no columns": (lambda x: x @ ops.zeros_like(x)[0, ...].T, (2, 4, 0)),
    "reshape": (lambda x: ops.reshape(x, (-1, 5)), (3, 0)),
    "concat": (lambda x: ops.concat([x, x], axis=1), (2, 0)),
    "stack": (lambda x: ops.stack([x, x]), (0, 2)),
    "take": (lambda x: ops.take(x, backend.backend_of(x.data).asarray(np.zeros((2, 0), "int64"))), (3, 2)),
    "take_along_axis": (
        lambda x: ops.take_along_axis(x, backend.backend_of(x.data).asarray(np.zeros((3, 0), "int64"))),
        (3, 2),
    ),
    "getitem": (lambda x: x[1:, :0], (3, 2)),
    "vector_norm": (lambda x: ops.vector_norm(x, 0), (0, 2)),
    "logsumexp": (lambda x: ops.logsumexp(x, 1), (0, 2)),
}


@pytest.mark.parametrize(("op", "shape"), EMPTY.values(), ids=EMPTY.keys())
def test_empty_arrays(op, shape, home):
    x = leaf(home, np.ones(shape))
    y = op(x)
    y.backward(ops.ones_like(y))
    assert x.grad.shape == shape
    assert np.isfinite(host(x.grad)).all()


def test_mean_of_nothing_is_nan(home):
    assert np.isnan(ops.mean(leaf(home, np.ones((0, 2)))).item())


def test_the_largest_of_nothing_is_refused(home):
    for op in (ops.max, ops.min):
        with pytest.raises(ValueError, match=r"x has shape \(2, 0\); expected at least one number along axes \(1,\)"):
            op(leaf(home, np.ones((2, 0))), 1)
        assert op(leaf(home, np.ones((0, 2))), 1).shape == (0,)


# --- dtypes in which sums are lost ----------------------------------------------------------------------------------


def test_a_variance_far_from_zero_keeps_its_digits():
    x = (np.random.default_rng(0).normal(size=(64, 100)) + 1e5).astype("float32")
    np.testing.assert_allclose(ops.var(Tensor(x), 0).data, x.astype("float64").var(0), rtol=1e-5)


@pytest.mark.parametrize("op", [ops.var, ops.vector_norm, ops.logsumexp, ops.softmax, ops.log_softmax])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "bool", "float16", "complex64"])
def test_dtypes_whose_sums_are_lost_are_refused(op, dtype):
    with pytest.raises(TypeError, match=f"{op.__name__}: x has dtype {dtype}; expected float32 or float64: cast it"):
        op(Tensor(np.ones(3, dtype)))


def test_a_mean_of_float16_does_not_overflow():
    found = ops.mean(Tensor(np.full((2, 40000), 2, "float16")), 1)
    assert (found.data.tolist(), found.dtype) == ([2.0, 2.0], "float16")


# --- NaN, infinity and ties -----------------------------------------------------------------------------------------

NAN = np.array([np.nan, -1.0, 0.0, 2.0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("op", [ops.relu, ops.abs, ops.gelu, ops.sigmoid, ops.tanh, ops.erf, ops.softplus, ops.square])
def test_nan_stays_nan(op, home):
    x = leaf(home, NAN)
    y = op(x)
    ops.sum(y).backward()
    assert np.isnan(host(y)).tolist() == [True, False, False, False]
    assert np.isfinite(host(x.grad)[1:]).all()


@pytest.mark.parametrize("op", [ops.maximum, ops.minimum])
@pytest.mark.parametrize("swap", [False, True])
def test_the_larger_or_smaller_of_nan_is_nan(op, swap, home):
    a, b = leaf(home, NAN), leaf(home, np.zeros(4))
    y = op(b, a) if swap else op(a, b)
    assert np.isnan(host(y)).tolist() == [True, False, False, False]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_where_lets_nothing_through_that_was_not_chosen(home):
    condition = home.asarray(np.array([True, False]))
    x = leaf(home, [4.0, -1.0])
    y = ops.where(condition, ops.sqrt(x), 0.0)
    y.sum().backward()
    assert_close(y, np.array([2.0, 0.0]))
    a, b = leaf(home, [1.0, np.nan]), leaf(home, [np.nan, 2.0])
    z = ops.where(condition, a, b)
    z.backward(home.asarray([3.0, 5.0], "float64"))
    assert_close((z, a.grad, b.grad), (np.array([1.0, 2.0]), np.array([3.0, 0.0]), np.array([0.0, 5.0])))


def test_gradient_at_kinks(home):
    zero = leaf(home, [0.0])
    for op in (ops.relu, ops.abs, ops.vector_norm):
        (gradient,) = grad(op(zero).sum(), [zero])
        assert host(gradient).tolist() == [0.0]


def test_gradient_of_ties(home):
    a, b = leaf(home, [1.0]), leaf(home, [1.0])
    for op in (ops.maximum, ops.minimum):
        assert [g.item() for g in grad(op(a, b).sum(), [a, b])] == [1.0, 0.0]
    x = leaf(home, [2.0, 1.0, 2.0])
    assert_close(grad(ops.max(x), [x])[0], np.array([0.5, 0.0, 0.5]))


@pytest.mark.parametrize("big", [1e4, -1e4])
@pytest.mark.parametrize(
    "op", [ops.sigmoid, ops.softplus, ops.softmax, ops.log_softmax, ops.logsumexp, ops.tanh, ops.gelu, ops.erf]
)
def test_large_numbers_do_not_overflow(op, big, home):
    x = leaf(home, [big, 0.0], "float32")
    y = op(x)
    y.sum().backward()
    assert np.isfinite(host(y)).all()
    assert np.isfinite(host(x.grad)).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_logsumexp_of_minus_infinity(home):
    assert_close(ops.logsumexp(leaf(home, [-np.inf, 0.0])), np.asarray(0.0))
    assert ops.logsumexp(leaf(home, [-np.inf, -np.inf])).item() == -np.inf
    assert host(ops.logsumexp(leaf(home, np.ones((2, 0))), 1)).tolist() == [-np.inf] * 2


def test_linear_refuses_what_does_not_fit(home):
    x, w, b = (home.asarray(np.ones(shape)) for shape in ((2, 3), (4, 3), (4,)))
    for wrong in ((x, w[:, :2], b), (x, w, b[:1]), (x[0, 0], w, b), (x, w[0, :], b), (x, w[None, ...], b)):
        with pytest.raises(ValueError, match=r"linear: the shapes are x .*; expected x \(..., I\), weight \(O, I\)"):
            ops.linear(*wrong)
    with pytest.raises(TypeError, match="linear: the dtypes are x .*float64, weight .*float32.*; expected one"):
        ops.linear(x, home.asarray(np.ones((4, 3)), "float32"))
