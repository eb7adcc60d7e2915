"""Operands of primitives and operators: arrays, numbers of Python and NumPy, other dtypes, libraries and devices."""

import operator

import array_api_strict
import numpy as np
import pytest
from helpers import assert_close, host, leaf

import xprnn
from xprnn import Tensor, backend, ops
from xprnn.backend import get_backend


def test_astype_gives_gradients_in_the_old_dtype(home):
    x = leaf(home, [1.0, 2.0], "float32")
    y = ops.astype(x, home.xp.float64)
    ops.sum(y * y).backward()
    assert backend.dtype_name(y.data) == "float64"
    assert_close(x.grad, np.array([2.0, 4.0], "float32"))


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_what_becomes_an_integer_or_a_boolean_is_a_constant(dtype, home):
    """Nothing flows back through rounding, as if it were not there."""
    x = leaf(home, [1.5, 2.5])
    y = ops.astype(x, getattr(home.xp, dtype))
    assert not y.requires_grad
    assert (y.data.dtype, x.astype(home.xp.float32).requires_grad) == (getattr(home.xp, dtype), True)


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
        (lambda x: x[True], "not with a single boolean"),
        (lambda x: x[[0], True], "not with a single boolean"),
        (lambda x: ops.where(x, x, 0.0), "where: the condition has dtype float64; expected bool"),
        (lambda x: ops.sum(x, True), "the axis is True; expected an integer"),
        (lambda x: Tensor(np.array(["a"])) * 1.5, "multiply: the left operand is an array of shape .1,. and dtype <U1"),
    ],
)
def test_wrong_operands(call, message):
    with pytest.raises(TypeError, match=message):
        call(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: x.reshape(-2, 3),
            ValueError,
            r"reshape: shape is \(-2, 3\); expected lengths of at least 0, and -1 at",
        ),
        (lambda x: x.reshape(-1, -1), ValueError, "reshape: shape is .*, and -1 at most once"),
        (lambda x: x.flatten(1, 0), ValueError, "flatten: start_axis is 1 and end_axis 0; expected them in order"),
        (lambda x: x.flatten(-1, 0), ValueError, "flatten: start_axis is -1 and end_axis 0; expected them in order"),
        (
            lambda x: x[np.array([2**64 - 1], "uint64")],
            IndexError,
            "index 18446744073709551615 is out of range of any axis",
        ),
        (lambda x: ops.take(x, np.array([2**64 - 1], "uint64")), IndexError, "18446744073709551615"),
        (lambda x: ops.take_along_axis(x, np.full((2, 1), 2**64 - 1, "uint64")), IndexError, "18446744073709551615"),
        (lambda x: ops.where(x > 1, np.ones((2, 3), bool), 3), TypeError, "where: an int beside an array of bool"),
    ],
)
def test_what_nothing_stands_for_is_refused(call, error, message):
    """NumPy takes any length below 0 for -1, and the largest of unsigned indices for the last element."""
    with pytest.raises(error, match=message):
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


@pytest.mark.parametrize("number", [-3, 2])
def test_no_element_of_the_next_row_is_taken(number, home):
    indices = home.asarray(np.array([[0, 1], [number, -2]]))
    with pytest.raises(IndexError, match="take_along_axis: indices have .*; the axis has length 2"):
        ops.take_along_axis(Tensor(home.asarray(np.zeros((2, 2)))), indices)


@pytest.mark.parametrize("dtype", ["float64", "bool"])
def test_what_picks_elements_is_an_integer(dtype, home):
    x, indices = Tensor(home.asarray(np.ones((2, 2)))), home.asarray(np.array([[0, 1], [1, 0]]).astype(dtype))
    for pick in (ops.take, ops.take_along_axis):
        with pytest.raises(TypeError, match=f"{pick.__name__}: indices has dtype {dtype}; expected integers"):
            pick(x, indices)


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
        lambda x: ops.split(x, 2, 2),
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


@pytest.mark.parametrize("sections", [4, 0, 1.0, [1, 2]])
def test_sections_of_one_length(sections):
    with pytest.raises(
        ValueError, match=r"split: (axis 1 has length 6; expected a multiple of sections, 4|sections is )"
    ):
        ops.split(Tensor(np.ones((2, 6))), sections, axis=1)


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
    "x += k": lambda x, k: operator.iadd(-x, k),
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


@pytest.mark.parametrize("numbers", [[[1.0, 2.0], [3.0, 4.0]], ((1.0, 2.0), (3.0, 4.0))], ids=["list", "tuple"])
@pytest.mark.parametrize(
    "operate",
    [
        operator.add,
        operator.sub,
        operator.mul,
        operator.truediv,
        operator.matmul,
        operator.lt,
        operator.eq,
        operator.ne,
    ],
)
def test_lists_are_no_operands_as_they_have_no_dtype(operate, numbers):
    x = Tensor(np.ones((2, 2), "float32"))
    with pytest.raises(TypeError, match="right operand is a (list|tuple); expected an array"):
        operate(x, numbers)
    if operate not in (operator.lt, operator.eq, operator.ne):  # which Python turns round
        with pytest.raises(TypeError, match="left operand is a (list|tuple); expected an array"):
            operate(numbers, x)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_reductions_of_numpy_name_the_method(name):
    x = Tensor(np.ones((2, 2)), requires_grad=True)
    with pytest.raises(TypeError, match=rf"^{name}: .*numpy\.{name}.* use x\.{name}\(axis, keepdims\)"):
        getattr(np, name)(x, axis=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'axes'"):
        getattr(x, name)(axes=0)
