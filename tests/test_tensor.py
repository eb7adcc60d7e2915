"""A Tensor: what it wraps, how it reads, and what it refuses."""

import copy
import operator
import pickle

import numpy as np
import pytest
from helpers import assert_close, host, leaf

import xprnn
from xprnn import Parameter, Tensor


@pytest.fixture
def x():
    return Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)


def test_wraps_arrays_without_a_copy(home):
    array = home.asarray(np.ones((2, 3), "float32"))
    tensor = Tensor(array)
    assert tensor.data is array
    assert Tensor(tensor).data is array
    assert (tensor.shape, tensor.ndim, tensor.size, tensor.dtype) == ((2, 3), 2, 6, array.dtype)
    assert not tensor.requires_grad
    assert Parameter(array).requires_grad


@pytest.mark.parametrize("value", [1.5, 2, True, [1.0, 2.0], ((1.0,), (2.0,))])
def test_numbers_become_arrays_of_the_default_backend(value):
    with xprnn.use_backend("array_api_strict"):
        assert type(Tensor(value).data).__module__.startswith("array_api_strict")
    assert host(Tensor(value)).tolist() == np.asarray(value).tolist()


def test_numpy_scalars_keep_their_dtype():
    assert Tensor(np.float32(2.0)).dtype == np.float32
    assert Tensor(np.ones(3, "float32"))[0].shape == ()


def test_refuses_what_is_no_array():
    with pytest.raises(TypeError, match="is a str; expected an array"):
        Tensor("text")


@pytest.mark.parametrize("values", [["a"], [None, 1], [1 + 2j], [[b"a"]], 10**400, [10**400], [{}]])
def test_refuses_lists_of_what_are_no_numbers(values):
    with pytest.raises(TypeError, match="argument 0 is a .* that holds .*; expected numbers"):
        Tensor(values)


@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "complex128"])
def test_only_floats_have_gradients(dtype):
    with pytest.raises(TypeError, match=f"needs float32 or float64 data; this Tensor has {dtype}"):
        Tensor(np.zeros(2, dtype), requires_grad=True)


def test_reading_single_elements(home):
    one = leaf(home, [[2.5]])
    assert one.item() == float(one) == 2.5
    assert int(one) == 2
    assert f"{one.sum():.2f}" == "2.50"
    assert f"{Tensor(np.array(2**60 + 1)):d}" == str(2**60 + 1)
    assert bool(one)
    assert not bool(leaf(home, 0.0))


@pytest.mark.parametrize("read", [Tensor.item, float, int, bool])
def test_reading_several_elements_as_one(read, x):
    with pytest.raises(ValueError, match=r"needs a tensor of one element; this one has shape \(3,\)"):
        read(x)


def test_length_and_iteration(home):
    rows = leaf(home, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert len(rows) == 3
    assert [host(row).tolist() for row in rows] == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    with pytest.raises(TypeError, match="a Tensor without axes has nothing to iterate over"):
        list(leaf(home, 1.0))


def test_numpy_never_swallows_a_tensor(x):
    with pytest.raises(TypeError, match="not converted to a NumPy array silently"):
        np.asarray(x)
    for product in (np.ones(3) * x, np.float64(2.0) * x, np.ones((2, 3)) @ x):
        assert isinstance(product, Tensor)
        assert product.requires_grad
    with pytest.raises(TypeError, match="Tensor"):
        np.exp(x)


def test_what_needs_no_gradient_is_handed_on_without_a_copy(x, home):
    plain = Tensor(home.asarray(np.arange(3.0)))
    if type(plain.data) is np.ndarray:
        assert np.shares_memory(np.asarray(plain), plain.data)
        assert not np.shares_memory(np.array(plain), plain.data)
        assert np.asarray(plain, dtype="float32").dtype == np.float32
        assert np.shares_memory(np.from_dlpack(plain), plain.data)
    else:
        with pytest.raises(TypeError, match="not copied to the host silently"):
            np.asarray(plain)
    with pytest.raises(BufferError, match="requires a gradient is not handed on"):
        x.__dlpack__()
    assert not hasattr(plain, "__cuda_array_interface__")


def test_cuda_array_interface_is_that_of_the_data(monkeypatch):
    class OnGPU(np.ndarray):
        __module__ = "cupy"
        __cuda_array_interface__ = property(lambda self: {"version": 3})

    monkeypatch.setattr("xprnn.backend.namespaces.PLAIN", (np.ndarray, OnGPU))
    array = np.ones(3, "float32").view(OnGPU)
    assert Tensor(array).__cuda_array_interface__ == {"version": 3}
    with pytest.raises(RuntimeError, match="requires a gradient is not handed on"):
        Tensor(array, requires_grad=True).__cuda_array_interface__  # noqa: B018 - reading it raises


def test_no_change_in_place(x):
    with pytest.raises(TypeError, match="do not change in place.*assign .data"):
        x[0] = 1.0
    for change in (operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow, operator.imatmul):
        with pytest.raises(TypeError, match="does not change in place, and .*= would make another Tensor"):
            change(Tensor(np.ones(3), requires_grad=True), 1.0)
        with pytest.raises(TypeError, match="a Parameter does not change"):
            change(Parameter(np.ones(3), requires_grad=False), 1.0)
    for total in (x.detach(), x * 1.0):
        before = total
        total += 1.0  # makes a new Tensor
        assert total is not before
        assert host(before).tolist() == [1.0, 2.0, 3.0]
        assert host(total).tolist() == [2.0, 3.0, 4.0]


def test_repr_says_what_it_is(x):
    assert "requires_grad=True" in repr(x)
    assert repr(x * 2.0).endswith("from=multiply)")
    assert repr(Parameter([1.0])).startswith("Parameter(")


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("kind", [np.matrix, np.ma.MaskedArray])
def test_arrays_with_other_operators_are_refused(kind):
    with pytest.raises(TypeError, match="argument 0 is an? .*: use"):
        Tensor(kind([[1.0, 2.0]]))


def test_a_parameter_keeps_shape_and_dtype(home):
    p = Parameter(home.asarray(np.ones(2, "float32")))
    for data, error in ((np.ones(2), TypeError), (np.ones((2, 1), "float32"), ValueError)):
        with pytest.raises(error, match=r"Parameter: data has shape .*; expected \(2,\) and float32"):
            p.data = home.asarray(data)
    assert (p.version, host(p).tolist()) == (0, [1.0, 1.0])
    p.data = np.zeros(2, "float32")  # another library is allowed: module.to moves
    assert p.data.tolist() == [0.0, 0.0]


def test_a_leaf_can_be_copied_and_pickled(x):
    (x * x).sum().backward()
    for twin in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert twin.requires_grad
        assert_close((twin, twin.grad), (x.data, x.grad.data), 0.0)


def test_a_leaf_from_a_mapped_file_is_of_plain_arrays(tmp_path):
    mapped = np.memmap(tmp_path / "numbers", dtype=np.float32, mode="w+", shape=(3,))
    twin = Parameter(np.zeros(3, np.float32))
    twin.__setstate__((None, twin.__getstate__()[1] | {"_data": mapped}))
    assert type(twin.data) is np.ndarray
    assert np.shares_memory(twin.data, mapped)


def test_an_unpickled_tensor_has_the_dtype_object_of_all_others():
    """By it calls are known whose arrays compiled code takes at once."""
    for name in ("float32", "float64"):
        twin = pickle.loads(pickle.dumps(Tensor(np.ones((2, 3)).astype(name).T)))
        assert twin.data.dtype is np.dtype(name)
        np.testing.assert_array_equal(twin.data, np.ones((3, 2)))


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.deepcopy])
def test_a_leaf_whose_gradient_holds_a_graph_says_how_it_can(duplicate, x):
    (x * x).sum().backward(create_graph=True)
    with pytest.raises(TypeError, match=r"whose gradient was computed with create_graph=True .*: zero_grad\(\) first"):
        duplicate(x)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.deepcopy])
def test_what_holds_a_graph_cannot(duplicate, x):
    with pytest.raises(TypeError, match=r"by multiply\) cannot be pickled or copied, .*detach\(\) it first"):
        duplicate(x * 2.0)


@pytest.mark.parametrize("value", [2**53 + 1, True, 0.5])
def test_an_item_is_a_number_of_the_dtypes_own_kind(value, home):
    found = Tensor(home.xp.asarray([value])).item()
    assert (found, type(found)) == (value, type(value))
    assert float(Tensor(home.xp.asarray(value))) == float(value)


def test_an_item_of_a_long_double_is_a_float():
    assert type(Tensor(np.ones(1, np.longdouble)).item()) is float
