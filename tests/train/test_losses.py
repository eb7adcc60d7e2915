"""Losses against closed forms and PyTorch; masks that hide everything, NaN included."""

import math

import numpy as np
import pytest

from xprnn import Tensor
from xprnn.testing import check_gradients, check_second_gradients
from xprnn.train import bce_with_logits, cross_entropy, huber, mae, mse

ELEMENTWISE = {"mse": mse, "mae": mae, "huber": huber, "bce_with_logits": bce_with_logits}


def leaf(home, values, dtype="float64"):
    return Tensor(home.asarray(np.asarray(values), dtype), requires_grad=True)


def value_and_gradient(loss, x):
    loss.backward()
    assert loss.shape == ()
    return loss.item(), x.grad.numpy()


@pytest.mark.parametrize(
    ("loss", "expected", "gradient"),
    [
        (mse, (9 + 0.25 + 0 + 4) / 4, [-1.5, 0.25, 0.0, 1.0]),
        (mae, (3 + 0.5 + 0 + 2) / 4, [-0.25, 0.25, 0.0, 0.25]),
        (huber, (2.5 + 0.125 + 0 + 1.5) / 4, [-0.25, 0.125, 0.0, 0.25]),
    ],
)
def test_closed_form(home, loss, expected, gradient):
    x, target = leaf(home, [-2.0, 1.5, 0.0, 4.0]), home.asarray(np.array([1.0, 1.0, 0.0, 2.0]))
    value, found = value_and_gradient(loss(x, target), x)
    assert value == pytest.approx(expected, rel=1e-15)
    np.testing.assert_allclose(found, gradient, rtol=1e-15)


def test_huber_delta_moves_the_knee():
    assert huber(Tensor([3.0]), Tensor([0.0]), delta=2.0).item() == pytest.approx(2.0 * (3.0 - 1.0))


def test_bce_is_exact_far_out_on_both_sides(home):
    x = leaf(home, [-1000.0, 1000.0, -30.0, 30.0, 0.0])
    value, gradient = value_and_gradient(bce_with_logits(x, home.asarray(np.array([1.0, 0.0, 0.0, 1.0, 0.5]))), x)
    assert value == pytest.approx((2000 + 2 * math.exp(-30) + math.log(2)) / 5, rel=1e-14)
    np.testing.assert_allclose(gradient, np.array([-1, 1, 0, 0, 0]) / 5, atol=1e-13)
    alone = bce_with_logits(Tensor([-30.0]), Tensor([0.0])).item()
    assert alone == pytest.approx(math.exp(-30), rel=1e-12, abs=0.0)  # does not cancel to 0


def test_bce_pos_weight_multiplies_positive_targets(home):
    x, target = leaf(home, [[0.0, 0.0], [0.0, 0.0]]), home.asarray(np.array([[1.0, 0.0], [0.0, 1.0]]))
    weight = home.asarray(np.array([3.0, 5.0]))
    assert bce_with_logits(x, target, pos_weight=weight).item() == pytest.approx(math.log(2) * (3 + 1 + 1 + 5) / 4)
    assert bce_with_logits(x, target, pos_weight=3.0).item() == pytest.approx(math.log(2) * 2)


def test_cross_entropy_closed_form(home):
    x, target = leaf(home, np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])), home.asarray(np.array([0, 2]))
    value, gradient = value_and_gradient(cross_entropy(x, target), x)
    assert value == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2, rel=1e-14)
    np.testing.assert_allclose(gradient, np.array([[-0.5, 0.25, 0.25], [0.1, 0.1, -0.2]]) / 2, atol=1e-15)


def test_cross_entropy_weight_ignore_and_mask(home):
    x = leaf(home, np.log([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1], [0.3, 0.7]]))
    target, weight = home.asarray(np.array([0, 1, -100, 0])), home.asarray(np.array([1.0, 3.0]))
    mask = home.asarray(np.array([True, True, True, False]))
    loss = cross_entropy(x, target, weight=weight, mask=mask)
    assert loss.item() == pytest.approx(-(math.log(0.5) + 3 * math.log(0.8)) / 4, rel=1e-14)


@pytest.mark.parametrize("name", [*ELEMENTWISE, "cross_entropy"])
def test_what_is_masked_has_no_influence(home, rng, name):
    shape, mask = (3, 2, 4), np.array([[True, False], [True, True], [False, False]])
    logits = rng.normal(size=shape)
    targets = rng.integers(0, 4, shape[:2]) if name == "cross_entropy" else rng.random(shape)
    dirty_logits, dirty_targets = logits.copy(), targets.copy()
    dirty_logits[~mask], dirty_targets[~mask] = np.nan, (99 if name == "cross_entropy" else np.nan)
    loss = ELEMENTWISE.get(name, cross_entropy)
    results = []
    for content, goal in ((logits, targets), (dirty_logits, dirty_targets)):
        x = leaf(home, content)
        results.append(value_and_gradient(loss(x, home.asarray(goal), mask=home.asarray(mask)), x))
    (value, gradient), (dirty_value, dirty_gradient) = results
    assert value == dirty_value
    assert math.isfinite(value)
    np.testing.assert_array_equal(gradient, dirty_gradient)
    assert not gradient[~mask].any()
    assert gradient[mask].all()
    packed = leaf(home, logits[mask])
    expected = value_and_gradient(loss(packed, home.asarray(targets[mask])), packed)
    assert value == pytest.approx(expected[0], rel=1e-14)
    np.testing.assert_allclose(gradient[mask], expected[1], rtol=1e-13)


@pytest.mark.parametrize("name", [*ELEMENTWISE, "cross_entropy"])
def test_nothing_selected_is_exactly_zero(home, name):
    loss = ELEMENTWISE.get(name, cross_entropy)
    for shape in ((2, 3), (0, 3)):
        goal = home.asarray(np.zeros(shape[:1], dtype=np.int64) if name == "cross_entropy" else np.full(shape, np.nan))
        x = leaf(home, np.full(shape, np.nan))
        mask = home.asarray(np.zeros(shape[:1], dtype=bool))
        value, gradient = value_and_gradient(loss(x, goal, mask=mask), x)
        assert value == 0.0
        assert not gradient.any()
    assert loss(leaf(home, np.zeros((0, 3))), goal).item() == 0.0


def test_all_ignored_is_zero(home):
    x = leaf(home, [[np.nan, 1.0]])
    value, gradient = value_and_gradient(cross_entropy(x, home.asarray(np.array([1])), ignore_index=1), x)
    assert value == 0.0
    assert not gradient.any()


def test_targets_without_weight_are_zero(home):
    x = leaf(home, [[0.5, 1.0]])
    value, gradient = value_and_gradient(cross_entropy(x, home.asarray([1]), weight=home.asarray([1.0, 0.0])), x)
    assert value == 0.0
    assert not gradient.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(ELEMENTWISE))
def test_dtype_is_kept(home, name, dtype):
    x = leaf(home, [0.5, 2.0], dtype)
    mask = home.asarray(np.array([True, False]))
    for loss in (ELEMENTWISE[name](x, x.detach()), ELEMENTWISE[name](x, x.detach(), mask)):
        assert loss.dtype == x.dtype


@pytest.mark.parametrize("name", list(ELEMENTWISE))
def test_elementwise_errors(name):
    loss, x = ELEMENTWISE[name], np.zeros((4, 1))
    with pytest.raises(ValueError, match=rf"{name}: .* has shape \(4, 1\) and target \(4,\); expected equal shapes"):
        loss(x, np.zeros(4))
    with pytest.raises(TypeError, match=f"{name}: target has dtype int64; expected float64"):
        loss(x, np.zeros((4, 1), dtype=np.int64))
    with pytest.raises(TypeError, match=f"{name}: .* has dtype int64; expected float32 or float64"):
        loss(np.zeros((4, 1), dtype=np.int64), x)
    with pytest.raises(TypeError, match=f"{name}: target is a float; expected an array or a Tensor"):
        loss(x, 0.0)
    with pytest.raises(TypeError, match=f"{name}: mask has dtype float64; expected bool"):
        loss(x, x, np.ones(4))
    for shape in ((3,), (1, 1), (4, 1, 1)):
        with pytest.raises(
            ValueError, match=rf"{name}: mask has shape .*; expected \(4, 1\), as .*, or its leading axes"
        ):
            loss(x, x, np.ones(shape, dtype=bool))


def test_setting_errors(home):
    x = Tensor([[1.0, 2.0]])
    with pytest.raises(ValueError, match="huber: delta is 0"):
        huber(x, x, delta=0)
    with pytest.raises(ValueError, match=r"pos_weight has shape \(3,\) and dtype float64; expected \(2,\) and float64"):
        bce_with_logits(x, x, pos_weight=np.ones(3))
    with pytest.raises(TypeError, match="move one of them" if home.name != "numpy" else "expected an array"):
        mse(x, leaf(home, [[1.0, 2.0]]) if home.name != "numpy" else None)


def test_cross_entropy_errors():
    x, target = np.zeros((2, 3)), np.array([0, 1])
    with pytest.raises(TypeError, match="logits has dtype int64"):
        cross_entropy(np.zeros((2, 3), dtype=np.int64), target)
    with pytest.raises(TypeError, match="target has dtype float64; expected integers"):
        cross_entropy(x, target * 1.0)
    for logits, goal in ((x, target[None]), (np.zeros((2, 0)), target), (np.float64(1.0), np.array(1))):
        with pytest.raises(ValueError, match=r"cross_entropy: logits has shape .* expected \(..., C\) and \(...\)"):
            cross_entropy(Tensor(logits), goal)
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=f"target contains {wrong}; expected class numbers from 0 to 2"):
            cross_entropy(x, np.array([0, wrong]))
    with pytest.raises(ValueError, match=r"weight has shape \(2,\) .*; expected \(3,\) and float64"):
        cross_entropy(x, target, weight=np.ones(2))
    with pytest.raises(ValueError, match=r"mask has shape \(3,\); expected \(2,\), as target"):
        cross_entropy(x, target, mask=np.ones(3, dtype=bool))


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_cross_entropy_takes_any_integers(home, dtype):
    target = home.asarray(np.array([1, 0], dtype=dtype))
    assert cross_entropy(leaf(home, np.zeros((2, 2))), target).item() == pytest.approx(math.log(2))


def test_unsigned_class_numbers_are_never_below_zero(home):
    logits, huge = leaf(home, np.zeros((2, 2))), home.asarray(np.array([2**64 - 100, 1], "uint64"))
    with pytest.raises(ValueError, match=f"cross_entropy: target contains {2**63 - 1}"):
        cross_entropy(logits, huge)
    seen = home.asarray(np.array([False, True]))
    assert cross_entropy(logits, huge, mask=seen).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("case", ["mse", "mae", "huber", "bce", "bce weighted", "ce", "ce weighted"])
def test_like_pytorch(rng, case):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x = rng.normal(size=(5, 3, 4)) * 3
    target, labels = rng.random((5, 3, 4)), rng.integers(0, 4, (5, 3))
    labels[0, 0] = -100
    weight, theirs, t, n = rng.random(4) + 0.5, torch.tensor(x, requires_grad=True), None, None
    t, n, w = torch.tensor(target), torch.tensor(labels), torch.tensor(weight)
    ours = Tensor(x, requires_grad=True)
    mine, reference = {
        "mse": lambda: (mse(ours, target), F.mse_loss(theirs, t)),
        "mae": lambda: (mae(ours, target), F.l1_loss(theirs, t)),
        "huber": lambda: (huber(ours, target, delta=1.5), F.huber_loss(theirs, t, delta=1.5)),
        "bce": lambda: (bce_with_logits(ours, target), F.binary_cross_entropy_with_logits(theirs, t)),
        "bce weighted": lambda: (
            bce_with_logits(ours, target, pos_weight=weight),
            F.binary_cross_entropy_with_logits(theirs, t, pos_weight=w),
        ),
        "ce": lambda: (cross_entropy(ours, labels), F.cross_entropy(theirs.reshape(-1, 4), n.reshape(-1))),
        "ce weighted": lambda: (
            cross_entropy(ours, labels, weight=weight),
            F.cross_entropy(theirs.reshape(-1, 4), n.reshape(-1), weight=w),
        ),
    }[case]()
    reference.backward()
    value, gradient = value_and_gradient(mine, ours)
    assert value == pytest.approx(reference.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.int64])
def test_numbers_of_numpy_are_numbers(number):
    x, t = np.zeros(3, "float32"), np.ones(3, "float32")
    for found, expected in (
        (bce_with_logits(x, t, pos_weight=number(2)), bce_with_logits(x, t, pos_weight=2.0)),
        (huber(x, t, delta=number(2)), huber(x, t, delta=2.0)),
    ):
        assert found.dtype == np.float32
        assert found.item() == expected.item()


def test_smoothed_labels_by_hand(home):
    """Of two classes with s = 0.2, the right one has 0.9 of the weight and the other 0.1."""
    x, target = leaf(home, np.log([[0.5, 0.5], [0.2, 0.8]])), home.asarray(np.array([0, 1]))
    value, gradient = value_and_gradient(cross_entropy(x, target, label_smoothing=0.2), x)
    first, second = math.log(2), -0.9 * math.log(0.8) - 0.1 * math.log(0.2)
    assert value == pytest.approx((first + second) / 2, rel=1e-14)
    np.testing.assert_allclose(gradient, np.array([[-0.4, 0.4], [0.1, -0.1]]) / 2, atol=1e-15)


def test_targets_of_weight_zero_give_no_loss(home):
    """Not even where other classes have some and labels are smoothed, which would divide it by nothing."""
    x, target = leaf(home, np.array([[0.0, 1.0, 2.0], [3.0, 1.0, 0.0]])), home.asarray(np.array([0, 0]))
    weight = home.asarray(np.array([0.0, 1.0, 2.0]))
    for smoothing in (0.0, 0.5):
        value, gradient = value_and_gradient(cross_entropy(x, target, weight=weight, label_smoothing=smoothing), x)
        assert value == 0.0
        assert not gradient.any()


@pytest.mark.parametrize("name", [*ELEMENTWISE, "cross_entropy", "cross_entropy smoothed"])
def test_reductions_agree(home, rng, name):
    """Also where something is masked, with NaN under the mask."""
    classes = name.startswith("cross")
    loss = cross_entropy if classes else ELEMENTWISE[name]
    smooth = {"label_smoothing": 0.3} if name.endswith("smoothed") else {}
    x, mask = rng.normal(size=(4, 3)), np.array([True, False, True, True])
    target = rng.integers(0, 3, 4) if classes else rng.random((4, 3))
    x[1], target[1] = np.nan, 77
    weight = np.full((4, 3), 2.0)
    weight[1] = np.nan
    options = {"mask": home.asarray(mask), **smooth}
    if not classes:
        options["weight"] = home.asarray(weight)
    results = {}
    for reduction in ("none", "sum", "mean"):
        logits = leaf(home, x)
        losses = loss(logits, home.asarray(target), reduction=reduction, **options)
        (losses if losses.ndim == 0 else losses.sum()).backward()
        results[reduction] = losses.numpy(), logits.grad.numpy()
    each, total, mean = (results[reduction][0] for reduction in ("none", "sum", "mean"))
    assert each.shape == (x.shape[:1] if classes else x.shape)
    assert not each[1].any()
    assert float(total) == pytest.approx(each.sum())
    assert float(mean) == pytest.approx(each.sum() / (3 if classes else 18 if name in ("mse", "mae") else 9))
    np.testing.assert_array_equal(results["none"][1], results["sum"][1])
    assert not results["none"][1][1].any()
    assert results["none"][1][mask].all()


def test_weights_of_elements_by_hand():
    x, zero, weight = np.array([1.0, 3.0]), np.zeros(2), np.array([3.0, 1.0])
    assert mse(x, zero, weight=weight).item() == pytest.approx((3 + 9) / 4)
    assert mae(x, zero, weight=weight).item() == pytest.approx((3 + 3) / 4)
    assert huber(x, zero, weight=weight).item() == pytest.approx((1.5 + 2.5) / 2)
    assert bce_with_logits(zero, zero, weight=weight).item() == pytest.approx(math.log(2) * 4 / 2)
    assert mse(np.ones((3, 2)), np.zeros((3, 2)), weight=weight).item() == 1.0
    assert mse(x, zero, weight=zero).item() == 0.0


def test_errors_of_reductions_and_weights():
    x = np.ones((4, 2))
    for loss in (mse, mae, huber, bce_with_logits):
        with pytest.raises(ValueError, match="reduction is 'avg'; expected 'mean', 'sum' or 'none'"):
            loss(x, x, reduction="avg")
        with pytest.raises(ValueError, match=r"weight has shape \(3,\); expected \(4, 2\), as .*, or one that broad"):
            loss(x, x, weight=np.ones(3))
        with pytest.raises(TypeError, match="weight has dtype float32; expected float64"):
            loss(x, x, weight=np.ones(2, "float32"))
    with pytest.raises(ValueError, match="cross_entropy: reduction is None"):
        cross_entropy(x, np.zeros(4, dtype=int), reduction=None)
    with pytest.raises(ValueError, match="cross_entropy: label_smoothing is 1.5; expected a probability"):
        cross_entropy(x, np.zeros(4, dtype=int), label_smoothing=1.5)


@pytest.mark.parametrize(
    "options", [{}, {"reduction": "none"}, {"label_smoothing": 0.1, "weight": np.arange(1.0, 5.0)}]
)
def test_gradients_of_cross_entropy_of_both_orders(home, options):
    logits, target = np.random.default_rng(0).standard_normal((3, 2, 4)), np.array([[0, 3], [1, -100], [2, 2]])
    given = {k: home.asarray(v) if k == "weight" else v for k, v in options.items()}
    for classes in (target, abs(target) % 4):
        loss = lambda x, classes=classes: cross_entropy(x, home.asarray(classes), **given)
        check_gradients(loss, [home.asarray(logits)])
        check_second_gradients(loss, [home.asarray(logits)])


def test_gradients_of_cross_entropy_are_those_of_any_order_in_memory(rng):
    """The way back writes into an array that is laid out as the logits are."""
    logits, target = rng.standard_normal((3, 2, 4)), rng.integers(0, 4, (3, 2))
    laid_out = [logits, np.asfortranarray(logits), np.ascontiguousarray(logits.transpose(2, 0, 1)).transpose(1, 2, 0)]
    found = [Tensor(x, requires_grad=True) for x in laid_out]
    for x in found:
        cross_entropy(x, target).backward()
    for x in found[1:]:
        np.testing.assert_array_equal(x.grad.data, found[0].grad.data)


def test_gradients_of_mse_of_second_order(home):
    draws = np.random.default_rng(0)
    check_second_gradients(mse, [home.asarray(draws.standard_normal((3, 2))) for _ in range(2)])
