import inspect
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import array_api_strict
import numpy as np
import pytest
from helpers import assert_close, host, leaf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import xprnn
from xprnn import Tensor, backend, ops
from xprnn.backend import get_backend
from xprnn.tensor import grad
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
    "matmul/broadcast": Case(ops.matmul, np.matmul, ((2, 1, 2, 3), (3, 3, 2))),
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
    public = {n for n, f in vars(ops).items() if inspect.isfunction(f) and f.__module__ == ops.__name__ and n[0] != "_"}
    assert public - NOT_PRIMITIVES == {name.split("/")[0] for name in CASES}


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


# --- dtypes, and operands of other kinds ----------------------------------------------------------------------------


def test_astype_gives_gradients_in_the_old_dtype(home):
    x = leaf(home, [1.0, 2.0], "float32")
    y = ops.astype(x, home.xp.float64)
    ops.sum(y * y).backward()
    assert backend.dtype_name(y.data) == "float64"
    assert_close(x.grad, np.array([2.0, 4.0], "float32"))


def test_a_gradient_has_the_dtype_of_its_leaf():
    x = Tensor(np.ones(2, "float32"), requires_grad=True)
    (x * np.ones(2)).sum().backward()
    assert x.grad.dtype == np.float32


def test_like_constants(home):
    x = leaf(home, [[1.0, 2.0]], "float32")
    for op, number in ((ops.zeros_like, 0.0), (ops.ones_like, 1.0)):
        assert_close(op(x), np.full((1, 2), number, "float32"))
        assert not op(x).requires_grad


@pytest.mark.parametrize("op", [ops.tanh, ops.relu, ops.sum, ops.softmax, lambda x: ops.reshape(x, (4,)), ops.square])
def test_primitives_take_plain_arrays(op, home):
    x = home.asarray(np.arange(4.0).reshape(2, 2))
    assert_close(op(x), op(Tensor(x)))


def test_operators_with_arrays_on_either_side(home):
    x = leaf(home, [[1.0, 2.0], [3.0, 4.0]])
    array = home.asarray(np.array([[2.0, 0.5], [1.0, 4.0]]))
    a, x0 = host(array), host(x)
    pairs = [(x + array, x0 + a), (x - array, x0 - a), (x * array, x0 * a), (x / array, x0 / a), (x @ array, x0 @ a)]
    if home.name == "numpy":  # array_api_strict's operators refuse anything else before we are asked
        pairs += [
            (array + x, a + x0),
            (array - x, a - x0),
            (array * x, a * x0),
            (array / x, a / x0),
            (array @ x, a @ x0),
        ]
    for found, expected in pairs:
        assert isinstance(found, Tensor)
        assert found.requires_grad
        assert_close(found, expected)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("op", [ops.add, ops.multiply, ops.divide, ops.matmul, ops.maximum, lambda *x: ops.concat(x)])
def test_mixed_libraries_are_refused_by_name(op, reverse):
    pair = [Tensor(np.ones((2, 2))), Tensor(get_backend("array_api_strict").zeros((2, 2), "float64"))]
    with pytest.raises(
        TypeError, match=r"numpy ndarray .* array_api_strict Array|array_api_strict Array .* numpy ndarray"
    ):
        op(*(reversed(pair) if reverse else pair))


def test_mixed_devices_are_refused_by_name():
    there = get_backend("array_api_strict", array_api_strict.Device("device1")).zeros((2,), "float64")
    with pytest.raises(TypeError, match=r"left operand .*CPU_DEVICE.* right operand .*device1.*silently"):
        ops.add(get_backend("array_api_strict").zeros((2,), "float64"), Tensor(there))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x + "a", "add's right operand is a str"),
        (lambda x: x * [1.0, 2.0], "multiply's right operand is a list"),
        (lambda x: x**x, "pow: the exponent is a Tensor; expected a number"),
        (lambda x: x[1.0], "indexed with integers, slices, .* not with a float"),
        (lambda x: x[[0.0, 1.0]], "not with a list of float64"),
        (lambda x: x[np.array([0.0])], "not with one of float64"),
        (lambda x: x["a"], "not with a str"),
        (lambda x: x[True], "not with a bool"),
        (lambda x: x[[0], True], "not with a bool"),
    ],
)
def test_wrong_operands(call, message):
    with pytest.raises(TypeError, match=message):
        call(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize("op", [ops.sum, ops.mean, ops.max, ops.vector_norm])
def test_axis_out_of_range(op):
    with pytest.raises(ValueError, match="axis 2 is out of range for 2 dimensions"):
        op(Tensor(np.ones((2, 3))), 2)


def test_index_may_be_a_numpy_integer():
    assert_close(Tensor(np.arange(3.0))[np.int64(1)], np.asarray(1.0))


def test_comparisons_are_plain_arrays(home):
    x = leaf(home, [1.0, 2.0, 3.0])
    for found, expected in ((x < 2, [1, 0, 0]), (x <= 2, [1, 1, 0]), (x > 2, [0, 0, 1]), (x >= x, [1, 1, 1])):
        assert not isinstance(found, Tensor)
        assert host(found).tolist() == [bool(e) for e in expected]


def test_cell_code_runs_on_tensors_since_ops_is_their_namespace(home):
    x = leaf(home, np.ones((2, 3)))
    assert xprnn.namespace(x) is ops
    assert xprnn.namespace(x, Tensor(x.data)) is ops


def test_repeated_rows_add_up(home):
    table = leaf(home, np.zeros((3, 2)))
    ops.take(table, home.asarray(np.array([1, 1, 2]))).sum().backward()
    assert_close(table.grad, np.array([[0.0, 0.0], [2.0, 2.0], [1.0, 1.0]]))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_narrow_indices_into_a_large_array(dtype, home):
    x, index = np.arange(400.0).reshape(100, 4), np.arange(200).reshape(100, 2) % 4
    found = ops.take_along_axis(Tensor(home.asarray(x)), home.asarray(index.astype(dtype)))
    assert_close(found, np.take_along_axis(x, index, -1), 0.0)


@pytest.mark.parametrize(
    "op",
    [
        lambda x: ops.concat([x, x], 2),
        lambda x: ops.stack([x, x], 3),
        lambda x: ops.unstack(x, -3),
        lambda x: ops.take(x, np.array([0]), 2),
        lambda x: ops.take_along_axis(x, np.zeros((2, 3), int), 2),
        lambda x: ops.flip(x, 2),
        lambda x: ops.permute_dims(x, (0, 2)),
        lambda x: ops.expand_dims(x, 3),
        lambda x: ops.softmax(x, 2),
        lambda x: ops.log_softmax(x, 2),
    ],
)
def test_axis_never_wraps(op):
    with pytest.raises(ValueError, match="is out of range for"):
        op(Tensor(np.ones((2, 3))))


def test_concat_needs_an_axis():
    with pytest.raises(ValueError, match=r"concat: operand 1 has no axes; .*stack"):
        ops.concat([np.ones(2), Tensor(1.0)])


@pytest.mark.parametrize(
    "join",
    [
        ops.concat,
        ops.stack,
        lambda parts: ops.where(np.array([True, False]), *parts),
        lambda parts: parts[0] * parts[1],
    ],
)
def test_each_cotangent_has_its_operands_dtype(join):
    parts = [Tensor(np.ones(2, dtype), requires_grad=True) for dtype in ("float32", "float64")]
    join(parts).sum().backward()
    assert [part.grad.dtype for part in parts] == [part.dtype for part in parts]


@pytest.mark.parametrize("number", [np.int64, np.int32, int])
def test_axes_and_shapes_may_be_numpy_integers(number):
    x = Tensor(np.ones((2, 3)))
    assert x.sum(axis=number(0)).shape == (3,)
    assert x.mean(axis=(number(0), number(1))).shape == ()
    assert x.reshape(number(6)).shape == (6,)
    assert ops.concat([x, x], axis=number(1)).shape == (2, 6)


@pytest.mark.parametrize("number", [np.int64, np.float32, np.float64, int, float])
def test_an_exponent_of_any_kind_keeps_the_dtype(number):
    x = Tensor(np.array([3.0], "float32"), requires_grad=True)
    y = x ** number(2)
    y.backward()
    assert (y.item(), x.grad.item(), y.dtype) == (9.0, 6.0, np.float32)


NUMBERS = [*(kind(1.5) for kind in (np.float64, np.float32, np.float16, np.longdouble)), np.int64(3), np.uint8(3)]
WITH_NUMBERS = {
    "x + k": lambda x, k: x + k,
    "k + x": lambda x, k: k + x,
    "x - k": lambda x, k: x - k,
    "k - x": lambda x, k: k - x,
    "x * k": lambda x, k: x * k,
    "k * x": lambda x, k: k * x,
    "x / k": lambda x, k: x / k,
    "k / x": lambda x, k: k / x,
    "x ** k": lambda x, k: x**k,
    "x += k": lambda x, k: operator.iadd(x, k),
    "add": lambda x, k: ops.add(k, x),
    "multiply": lambda x, k: ops.multiply(x, k),
    "maximum": lambda x, k: ops.maximum(x, k),
    "maximum left": lambda x, k: ops.maximum(k, x),
    "minimum": lambda x, k: ops.minimum(x, k),
    "where": lambda x, k: ops.where(x > 1.0, x, k),
    "where left": lambda x, k: ops.where(x > 1.0, k, x),
    "mean": lambda x, k: (x * k).mean(),
}


@pytest.mark.parametrize("call", WITH_NUMBERS.values(), ids=WITH_NUMBERS.keys())
def test_numbers_of_numpy_are_as_those_of_python(call, home):
    """Also beside arrays of other libraries, which know nothing of NumPy's numbers."""
    for number in NUMBERS:
        found, expected = [], []
        for k, answers in ((number, found), (float(number) if number.dtype.kind == "f" else int(number), expected)):
            x = leaf(home, [[0.75, 1.5], [3.0, 2.5]], "float32")
            y = call(x, k)
            ops.sum(y).backward()
            answers += [y, x.grad]
        assert found[0].dtype == found[1].dtype == home.xp.float32
        assert_close(found, expected, 0.0)


@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne])
def test_numbers_of_numpy_compare_as_those_of_python(compare, home):
    x = leaf(home, [0.1, 0.2, 0.3], "float32")  # none of which is a float64
    for k in (0.1, 0.2, 0.3):
        assert host(compare(x, np.float64(k))).tolist() == host(compare(x, k)).tolist()
        assert host(compare(np.float64(k), x)).tolist() == host(compare(k, x)).tolist()


def test_a_layer_takes_what_was_scaled_by_a_number_of_numpy():
    x = np.ones((2, 3), "float32")
    assert xprnn.nn.Linear(3, 1)(Tensor(x) * np.sqrt(2.0) / np.int64(3)).dtype == np.float32


def test_arrays_without_axes_and_two_numbers_of_numpy_stay_arrays():
    assert (Tensor(np.ones(2, "float32")) * np.asarray(2.0)).dtype == np.float64
    assert ops.add(np.float32(1.0), np.float32(2.0)).dtype == np.float32
    assert ops.multiply(np.float32(3.0), 2.0).item() == 6.0


@pytest.mark.parametrize("compare", [operator.lt, operator.ge, operator.eq, operator.ne])
def test_comparisons_refuse_other_libraries(compare):
    other = get_backend("array_api_strict").zeros((2,), "float64")
    with pytest.raises(TypeError, match=r"comparison's left operand is a numpy ndarray .* array_api_strict Array"):
        compare(Tensor(np.ones(2)), other)


# --- arrays as indices ----------------------------------------------------------------------------------------------

CUBE = np.arange(24.0).reshape(2, 3, 4)
KEYS = {
    "rows": [[1, 0, 1]],
    "negative rows": [np.array([-1, 0, -2])],
    "a table of rows": [np.array([[0, 1], [1, 1]])],
    "none": [np.zeros(0, int)],
    "an empty list": [[]],
    "elements beside each other": [np.array([1, 0, 1]), range(3)],
    "broadcast": [np.array([[0], [1]]), np.array([2, 0])],
    "three axes": [[0, 1], [1, 1], [2, 3]],
    "a later axis": [slice(None), np.array([2, 2, 0])],
    "two later axes": [slice(None), [0, 2], [1, 3]],
    "the last axis": [..., np.array([3, 3, 1])],
    "axes apart": [[1, 0], slice(None), [3, 3]],
    "axes apart by dots": [[1, 0], ..., [3, 3]],
    "axes apart by dots that stand for nothing": [slice(None), [1, 0], ..., [3, 3]],
    "an integer beside": [1, [0, 2, 2]],
    "an integer apart": [0, slice(None), np.array([[3, 1]])],
    "a slice": [slice(None, None, -1), [0, 0], slice(1, 3)],
    "a new axis": [None, [1, 1], None],
    "a new axis between": [[1, 1], None, [0, 2]],
    "narrow": [np.array([1, 1], "int8"), np.array([0, 200 % 3], "uint8")],
    "a mask": [CUBE > 5.0],
    "a mask of rows": [np.array([False, True])],
    "a mask of two axes": [CUBE[:, :, 0] > 4.0, slice(1, 3)],
    "a mask later": [slice(None), [True, False, True]],
    "a mask that picks nothing": [CUBE > 99.0],
    "a mask and numbers": [np.array([True, True]), [0, 2]],
    "without axes": [np.asarray(1), [0, 2]],
}


def placed(key, home):
    return tuple(home.asarray(part) if isinstance(part, np.ndarray) else part for part in key)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_indexing_with_arrays_is_that_of_numpy(key, home):
    x, place = home.asarray(CUBE), placed(key, home)
    assert_close(Tensor(x)[place], np.asarray(CUBE[tuple(key)]), 0.0)
    check_gradients(lambda x: x[place], [x], rtol=1e-7)
    check_second_gradients(lambda x: x[place] * x[place], [x], rtol=1e-6)


# PyTorch has no negative steps, and takes integers first and passes over dots, not as NumPy does.
UNKNOWN_TO_TORCH = ("a slice", "an integer apart", "axes apart by dots that stand for nothing")


def in_torch(part):
    torch = pytest.importorskip("torch")
    if isinstance(part, (list, range)):
        part = np.asarray(part) if len(part) else np.zeros(0, int)
    if not isinstance(part, np.ndarray):
        return part
    return torch.tensor(part if part.dtype == bool else part.astype("int64"))


@pytest.mark.parametrize("key", [key for name, key in KEYS.items() if name not in UNKNOWN_TO_TORCH])
def test_indexing_with_arrays_has_the_gradients_of_torch(key):
    torch = pytest.importorskip("torch")
    x, there = Tensor(CUBE, requires_grad=True), torch.tensor(CUBE, requires_grad=True)
    y = there[tuple(map(in_torch, key))]
    weights = np.arange(1.0, 1.0 + y.numel()).reshape(y.shape)
    (y * torch.tensor(weights)).sum().backward()
    (x[tuple(key)] * weights).sum().backward()
    assert_close(x.grad, there.grad.numpy(), 0.0)


def test_the_last_outputs_of_sequences(home):
    """The classic: the output at the last step of each sequence, and twice of one of them."""
    y = leaf(home, np.arange(24.0).reshape(4, 3, 2))
    lengths = home.asarray(np.array([4, 1, 2]))
    last = y[lengths - 1, range(3)]
    assert_close(last, host(y)[[3, 0, 1], [0, 1, 2]])
    both = y[lengths - 1, range(3)] + y[home.asarray(np.array([3, 3, 3])), [0, 0, 0]]
    ops.sum(both).backward()
    expected = np.zeros((4, 3, 2))
    expected[[3, 0, 1], [0, 1, 2]] += 1.0
    expected[3, 0] += 3.0
    assert_close(y.grad, expected)


def test_an_index_may_be_a_tensor(home):
    x = leaf(home, CUBE)
    index = home.asarray(np.array([1, 1]))
    assert_close(x[Tensor(index)], CUBE[[1, 1]], 0.0)
    assert_close(x[0, Tensor(index)], CUBE[0, [1, 1]], 0.0)
    assert_close(x[x > 3.0], CUBE[CUBE > 3.0], 0.0)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ([[0, 2]], "index 2 is out of range for axis 0 of length 2"),
        ([np.array([0, -3])], "index -3 is out of range for axis 0 of length 2"),
        ([[0], [3]], "index 3 is out of range for axis 1 of length 3"),  # which is an element of the next row
        ([[0], 1, 4], "index 4 is out of range for axis 2 of length 4"),
        ([[0], -4], "index -4 is out of range for axis 1 of length 3"),
        ([[0], 0, 0, 0], r"too many indices: 4 for a Tensor of shape \(2, 3, 4\)"),
        ([..., [0], ...], "more than once"),
        ([[0, 1], [0, 1, 2]], r"index arrays have shapes \(2,\), \(3,\), which do not broadcast"),
        ([np.array([True, False, True])], r"a mask of shape \(3,\) picks from axes of lengths \(2,\)"),
    ],
)
def test_indices_out_of_range(key, message, home):
    with pytest.raises(IndexError, match=message):
        leaf(home, CUBE)[placed(key, home)]


def test_an_index_of_another_library_is_refused():
    index = get_backend("array_api_strict").arange(2)
    with pytest.raises(TypeError, match="an indexed Tensor is a numpy ndarray .* its index is a array_api_strict"):
        Tensor(CUBE)[index]


@given(st.data())
def test_indexing_of_any_kind(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)))
    x = np.arange(float(math.prod(shape))).reshape(shape)
    sizes = data.draw(st.sampled_from([(), (1,), (2,), (2, 1), (0,)]))
    parts = []
    extras = data.draw(st.lists(st.sampled_from([None, ...]), max_size=2, unique=True))
    for length in shape if ... in extras else shape[: data.draw(st.integers(1, len(shape)))]:
        kinds = ["slice", *["array", "int"] * bool(length)]
        kind = data.draw(st.sampled_from(kinds))
        if kind == "slice":
            parts.append(slice(None, None, data.draw(st.sampled_from([1, -1, 2]))))
        elif kind == "int":
            parts.append(data.draw(st.integers(-length, length - 1)))
        else:
            numbers = st.integers(-length, length - 1)
            count = math.prod(sizes)
            drawn = data.draw(st.lists(numbers, min_size=count, max_size=count))
            parts.append(np.array(drawn, int).reshape(sizes))
    for extra in extras:
        parts.insert(data.draw(st.integers(0, len(parts))), extra)
    key, leaf = tuple(parts), Tensor(x, requires_grad=True)
    y = leaf[key]
    assert_close(y, np.asarray(x[key]), 0.0)
    weights = np.arange(1.0, 1.0 + y.size).reshape(y.shape)
    y.backward(weights)
    expected = np.zeros(shape)
    np.add.at(expected, key, weights)
    assert_close(leaf.grad, expected)


# --- methods --------------------------------------------------------------------------------------------------------

METHODS = {
    "sum": (lambda x: x.sum(), None),
    "sum of an axis": (lambda x: x.sum(1), None),
    "mean": (lambda x: x.mean(-1), None),
    "max": (lambda x: x.max(), None),
    "max of an axis": (lambda x: x.max(1), lambda x: x.amax(1)),
    "max of axes": (lambda x: x.max((0, 2), keepdims=True), lambda x: x.amax((0, 2), keepdim=True)),
    "min": (lambda x: x.min(), None),
    "min of an axis": (lambda x: x.min(axis=0), lambda x: x.amin(0)),
    "exp": (lambda x: x.exp(), None),
    "log": (lambda x: (x * x + 1.0).log(), None),
    "sqrt": (lambda x: (x * x + 1.0).sqrt(), None),
    "square": (lambda x: x.square(), None),
    "abs": (lambda x: x.abs(), None),
    "built-in abs": (abs, None),
    "sin": (lambda x: x.sin(), None),
    "cos": (lambda x: x.cos(), None),
    "tanh": (lambda x: x.tanh(), None),
    "sigmoid": (lambda x: x.sigmoid(), None),
    "relu": (lambda x: x.relu(), None),
    "clip": (lambda x: x.clip(-1.0, 2.0), None),
    "clip below": (lambda x: x.clip(0.0), None),
    "pow": (lambda x: x.pow(3), None),
    "softmax": (lambda x: x.softmax(1), None),
    "log_softmax": (lambda x: x.log_softmax(-1), None),
    "logsumexp": (lambda x: x.logsumexp(0), None),
    "reshape": (lambda x: x.reshape(3, -1), None),
    "reshape to a tuple": (lambda x: x.reshape((6, 4)), None),
    "permute": (lambda x: x.permute(2, 0, 1), None),
    "permute by a tuple": (lambda x: x.permute((1, -1, 0)), None),
    "transpose": (lambda x: x.transpose(0, -1), None),
    "flatten": (lambda x: x.flatten(), None),
    "flatten some": (lambda x: x.flatten(1), None),
    "flatten the first": (lambda x: x.flatten(0, 1), None),
    "squeeze": (lambda x: x[:1, :, :1].squeeze(), None),
    "squeeze an axis": (lambda x: x[:1].squeeze(0), None),
    "unsqueeze": (lambda x: x.unsqueeze(1).unsqueeze(-1), None),
    "the transpose": (lambda x: x[0].T, None),
}
TIES = np.array([0.0, 2.0, -1.0, 2.0, 0.0, 1.0, 2.0, -1.0, 0.5, 0.5, -1.0, 0.25] * 2).reshape(2, 3, 4)


@pytest.mark.parametrize(("ours", "theirs"), METHODS.values(), ids=METHODS.keys())
def test_methods_are_those_of_torch(ours, theirs):
    """Numbers, gradients and gradients of gradients, at ties, kinks and bounds too."""
    torch = pytest.importorskip("torch")
    x, there = Tensor(TIES, requires_grad=True), torch.tensor(TIES, requires_grad=True)
    y, z = ours(x), (theirs or ours)(there)
    weights = np.arange(1.0, 1.0 + z.numel()).reshape(z.shape)
    assert_close(y, z.detach().numpy(), 1e-14)
    (first,) = grad((y * y * weights).sum(), [x], create_graph=True)
    (expected,) = torch.autograd.grad((z * z * torch.tensor(weights)).sum(), [there], create_graph=True)
    assert_close(first, expected.detach().numpy(), 1e-13)
    (first * first).sum().backward()
    (expected * expected).sum().backward()
    assert_close(x.grad, there.grad.numpy(), 1e-12)


@pytest.mark.parametrize(("ours", "theirs"), METHODS.values(), ids=METHODS.keys())
def test_methods_on_every_backend(ours, theirs, home):
    rng = np.random.default_rng(3)
    x = home.asarray(rng.standard_normal((2, 3, 4)))
    assert_close(ours(Tensor(x)), host(ours(Tensor(host(x)))), 1e-14)
    check_gradients(ours, [x], rtol=1e-6)
    check_second_gradients(ours, [x], rtol=1e-5)


def test_methods_that_have_no_gradient(home):
    x = leaf(home, TIES, "float32")
    assert host(x.argmax(1)).tolist() == TIES.argmax(1).tolist()
    assert int(x.argmin()) == TIES.argmin()
    assert x.astype(home.xp.float64).dtype == home.xp.float64
    with pytest.raises(TypeError):
        x.transpose()
    assert Tensor(2.0).flatten().shape == (1,)
    assert Tensor(2.0).squeeze().shape == ()
