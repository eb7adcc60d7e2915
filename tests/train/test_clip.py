"""Clipping: the norm over all gradients, shared gradients, and refusal of what is not finite."""

import math

import numpy as np
import pytest

from xprnn import Parameter, Tensor, use_kernels
from xprnn.backend import get_backend
from xprnn.train import clip_grad_norm, clip_grad_value
from xprnn.train.clip import clip

NUMPY = get_backend("numpy")


def with_gradients(home, *gradients, dtype="float64"):
    parameters = []
    for gradient in gradients:
        parameter = Parameter(home.zeros(np.shape(gradient), dtype))
        parameter.grad = Tensor(home.asarray(np.asarray(gradient, dtype=dtype)))
        parameters.append(parameter)
    return parameters


def test_norm_is_joint_and_clipping_scales_all(home):
    parameters = [*with_gradients(home, [3.0, 0.0], 4.0), Parameter(home.zeros((2,), "float64"))]
    assert clip_grad_norm(parameters, 1.0) == 5.0
    np.testing.assert_allclose(parameters[0].grad.numpy(), [0.6, 0.0], rtol=1e-6)
    np.testing.assert_allclose(parameters[1].grad.numpy(), 0.8, rtol=1e-6)
    assert parameters[2].grad is None
    assert clip_grad_norm(parameters, math.inf) == pytest.approx(1.0, rel=1e-6)


def test_small_gradients_are_left_alone(home):
    (parameter,) = with_gradients(home, [0.3, 0.4])
    before = parameter.grad
    assert clip_grad_norm([parameter], 1.0) == pytest.approx(0.5)
    assert clip_grad_value([parameter], 0.6) == pytest.approx(0.5)
    assert parameter.grad is before


def test_value_limits_each_element(home):
    (parameter,) = with_gradients(home, [3.0, -4.0, 0.5])
    assert clip_grad_value([parameter], 1.0) == pytest.approx(math.sqrt(25.25))
    np.testing.assert_array_equal(parameter.grad.numpy(), [1.0, -1.0, 0.5])


def test_shared_gradients_and_repeated_parameters():
    a, b = Parameter([1.0]), Parameter([1.0])
    a.grad = b.grad = shared = Tensor([3.0])
    assert clip_grad_norm(iter([a, b, a]), 1.0) == pytest.approx(math.sqrt(18))
    assert shared.item() == 3.0
    assert a.grad.item() == b.grad.item() == pytest.approx(1 / math.sqrt(2))


@pytest.mark.parametrize("waiting", [True, False], ids=["clip_grad_norm", "fit"])
@pytest.mark.parametrize("scale", [2.0**1020, 2.0**-1060, 1.0])
def test_squares_out_of_range_cost_no_bit(home, scale, waiting):
    """2^1020 has a square beyond float64, 2^-1060 one below: the norm is that of the same numbers near 1."""
    gradients = np.array([0.3, -0.7, 0.0]), np.array([[1.1]])
    held = with_gradients(home, *(np.ldexp(np.round(g * 1024), -10) * scale for g in gradients))
    (plain,) = with_gradients(home, np.ldexp(np.round([307.0, 717.0, 1126.0]), -10))
    with np.errstate(all="raise", under="ignore"):
        norm = clip_grad_norm(held, 0.5) if waiting else float(clip("fit", held, 0.5, None)[0])
    assert norm == clip_grad_norm([plain], math.inf) * scale
    if scale > 1.0:
        np.testing.assert_allclose(held[0].grad.numpy(), 0.5 * gradients[0] / 1.338, rtol=2e-3)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_a_norm_beyond_what_numbers_reach(home, clip):
    held = with_gradients(home, [1.7e308], [1.7e308])
    with pytest.raises(FloatingPointError, match="joint norm of 2 gradients is above what float64 holds"):
        clip(held, 1.0)
    assert held[0].grad.item() == 1.7e308


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_gradients_that_somebody_assigned_wrongly_are_named(clip):
    weight = Parameter(np.ones((1, 3)))
    for gradient, error, message in [
        (np.ones((1, 3)), TypeError, "gradient 0 is a ndarray; expected a Tensor"),
        (2.0, TypeError, "gradient 0 is a float; expected a Tensor"),
        (Tensor(np.ones((3, 1))), ValueError, r"gradient 0 has shape \(3, 1\); expected \(1, 3\)"),
    ]:
        weight.grad = gradient
        with pytest.raises(error, match=f"{clip.__name__}: {message}"):
            clip([weight], 1.0)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
@pytest.mark.parametrize("wrong", [None, "x", [], True, np.array([1, 2])], ids=str)
def test_arguments_that_are_no_numbers(clip, wrong):
    with pytest.raises(ValueError, match=f"{clip.__name__}: max_.*; expected a number above 0"):
        clip(with_gradients(NUMPY, [1.0]), wrong)
    if not isinstance(wrong, list):
        with pytest.raises(TypeError, match=f"{clip.__name__}: parameter"):
            clip(wrong, 1.0)


def test_large_float32_gradients_do_not_overflow(home):
    (parameter,) = with_gradients(home, [3e30, 4e30], dtype="float32")
    assert clip_grad_norm([parameter], 1.0) == pytest.approx(5e30, rel=1e-6)
    assert parameter.grad.dtype == parameter.dtype
    np.testing.assert_allclose(parameter.grad.numpy(), [0.6, 0.8], rtol=1e-5)


def test_nothing_to_clip(home):
    assert clip_grad_norm([Parameter(home.zeros((2,), "float32"))], 1.0) == 0.0
    (parameter,) = with_gradients(home, np.zeros((0, 3)))
    assert clip_grad_value([parameter], 1.0) == clip_grad_norm([parameter], 1.0) == 0.0


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_refusals(home, clip):
    parameters = with_gradients(home, [1.0], [[1.0, math.nan]], [math.inf])
    before = [parameter.grad for parameter in parameters]
    with pytest.raises(FloatingPointError, match=r"2 of 3 gradients are not finite: 1 \(shape \(1, 2\)\), 2 \(shape"):
        clip(parameters, 0.1)
    assert all(parameter.grad is gradient for parameter, gradient in zip(parameters, before, strict=True))
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"{clip.__name__}: max_.* is {wrong}; expected a number above 0"):
            clip(parameters, wrong)
    assert clip([Parameter([1.0])], 1.0) == 0.0


def test_like_pytorch(home, rng):
    torch = pytest.importorskip("torch")
    gradients = [rng.normal(size=shape) for shape in ((3, 4), (5,))]
    ours = with_gradients(home, *gradients)
    theirs = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in gradients]
    for t, g in zip(theirs, gradients, strict=True):
        t.grad = torch.tensor(g)
    assert clip_grad_norm(ours, 0.7) == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, 0.7)), rel=1e-13)
    for p, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), t.grad.numpy(), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_norm_of_compiled_sums(dtype, rng):
    """Against a sum that rounds once: gradients of many blocks, and of numbers whose squares float32 cannot hold."""
    gradients = [rng.normal(size=shape) * 1e25 for shape in ((), (3, 700), (1,), (0, 2), (129,))]
    held = with_gradients(NUMPY, *gradients, dtype=dtype)
    held[1].grad = Tensor(np.asfortranarray(held[1].grad.data))
    squares = [float(g) ** 2 for p in held for g in p.grad.data.reshape(-1)]
    assert clip_grad_norm(held, math.inf) == pytest.approx(math.sqrt(math.fsum(squares)), rel=1e-15)
    with use_kernels("reference"):
        assert clip_grad_norm(held, math.inf) == pytest.approx(math.sqrt(math.fsum(squares)), rel=1e-15)
