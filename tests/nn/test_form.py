"""Forms of a batch: there and back, whatever order the axes came in."""

import numpy as np
import pytest

from xprnn import Tensor
from xprnn.nn.form import Form

T, B, I = 4, 3, 2  # noqa: E741
X = np.arange(T * B * I, dtype="float64").reshape(T, B, I)
CAME = {Form.TIME_MAJOR: X, Form.BATCH_FIRST: X.transpose(1, 0, 2), Form.SINGLE: X[:, 0]}


@pytest.mark.parametrize("form", Form)
def test_there_and_back(form):
    x = Tensor(CAME[form])
    assert Form.of("layer", "x", x, I, form is Form.BATCH_FIRST) is form
    assert x.shape[form.time_axis] == T
    inner = form.inward(x)
    np.testing.assert_array_equal(inner.data, X[:, :1] if form is Form.SINGLE else X)
    np.testing.assert_array_equal(form.outward(inner).data, x.data)


@pytest.mark.parametrize("batch_first", [False, True])
def test_without_a_batch_the_order_does_not_matter(batch_first):
    assert Form.of("layer", "x", Tensor(X[0]), None, batch_first) is Form.SINGLE


@pytest.mark.parametrize("form", Form)
def test_states(form):
    state = (Tensor(X[:1, 0]),) if form is Form.SINGLE else (Tensor(X[:1]),)
    inner = form.batched(state, 1)
    assert inner[0].shape == (1, 1 if form is Form.SINGLE else B, I)
    np.testing.assert_array_equal(form.unbatched(inner, 1)[0].data, state[0].data)


@pytest.mark.parametrize("form", [Form.TIME_MAJOR, Form.BATCH_FIRST])
def test_control_comes_in_the_form_of_x(form):
    mask = np.arange(T * B).reshape(T, B) % 3 > 0
    given = mask if form is Form.TIME_MAJOR else mask.T
    x = Tensor(CAME[form])
    control = form.control("layer", "x", x, form.inward(x), lengths=None, mask=Tensor(given))
    np.testing.assert_array_equal(control.advance[..., 0], mask)


def test_control_needs_a_batch_and_arrays():
    x = Tensor(X[:, 0])
    with pytest.raises(ValueError, match=r"layer: lengths and mask need a batch; query has shape \(4, 2\)"):
        Form.SINGLE.control("layer", "query", x, Form.SINGLE.inward(x), lengths=None, mask=[True] * T)
    with pytest.raises(TypeError, match="layer: mask is a int; expected a list or an array of booleans"):
        Form.TIME_MAJOR.control("layer", "x", Tensor(X), Tensor(X), lengths=None, mask=1)
    assert Form.SINGLE.control("layer", "x", x, x, lengths=None, mask=None).advance is None


@pytest.mark.parametrize(("batch_first", "axes"), [(False, "T, B"), (True, "B, T")])
@pytest.mark.parametrize("shape", [(2,), (4, 3, 5), (4, 3, 2, 1)])
def test_other_shapes(shape, batch_first, axes):
    expected = rf"layer: x has shape \({shape[0]}.*; expected \({axes}, 2\), or \(T, 2\) without a batch"
    with pytest.raises(ValueError, match=expected):
        Form.of("layer", "x", Tensor(np.zeros(shape)), I, batch_first)
