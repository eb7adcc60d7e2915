"""Likelihoods and quantile losses against densities written out, PyTorch, and what minimises them."""

import math

import numpy as np
import pytest

from xprnn import Tensor
from xprnn.testing import check_gradients, check_second_gradients
from xprnn.train import gaussian_nll, negative_binomial_nll, pinball, student_t_nll

X, T = np.array([[0.3, -2.0], [1.5, 0.1]]), np.array([[1.0, -1.0], [1.5, 4.0]])
S = np.array([[0.5, 2.0], [1.0, 3.0]])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_count_has_no_mean_below_zero():
    """As a scale below 0 it gives NaN, and not the loss of a mean of nearly 0."""
    found = negative_binomial_nll(np.array([-1.0, 1.0]), np.ones(2), np.ones(2), reduction="none")
    assert np.isnan(found.data).tolist() == [True, False]


def test_densities_by_hand(home):
    mean, target, scale = (home.asarray(a) for a in (X, T, S))
    e = (T - X) / S
    normal = -np.log(np.exp(-0.5 * e**2) / (S * math.sqrt(2 * math.pi)))
    np.testing.assert_allclose(gaussian_nll(mean, target, scale, reduction="none").numpy(), normal, rtol=1e-12)
    for n in (1.0, 5.0):
        top = math.gamma((n + 1) / 2) / (math.gamma(n / 2) * math.sqrt(n * math.pi))
        student = -np.log(top / S * (1 + e**2 / n) ** (-(n + 1) / 2))
        found = student_t_nll(mean, target, scale, freedom=n, reduction="none")
        np.testing.assert_allclose(found.numpy(), student, rtol=1e-12)
    assert gaussian_nll(mean, target, scale).item() == pytest.approx(normal.mean())


def test_as_pytorch_has_them():
    torch = pytest.importorskip("torch")
    m, t, s = (torch.tensor(a) for a in (X, T, S))
    for found, theirs in (
        (gaussian_nll(X, T, S), torch.distributions.Normal(m, s)),
        (student_t_nll(X, T, S, freedom=3.5), torch.distributions.StudentT(3.5, m, s)),
    ):
        assert found.item() == pytest.approx(-theirs.log_prob(t).mean().item(), rel=1e-12)


COUNTS, MEANS, DISPERSIONS = np.array([[0.0, 1.0], [7.0, 40.0]]), np.abs(X) + 0.5, np.array([[0.3, 2.0], [1e-2, 50.0]])


def test_chances_of_counts_by_hand(home):
    """As the failures before the r-th success of a chance p, r a whole number."""
    for y, r, p in ((0, 2, 0.3), (3, 2, 0.3), (5, 1, 0.9), (60, 4, 0.1)):
        chance = math.comb(y + r - 1, y) * (1 - p) ** y * p**r
        told = (home.asarray(np.array([a])) for a in (r * (1 - p) / p, float(y), 1.0 / r))
        assert negative_binomial_nll(*told).item() == pytest.approx(-math.log(chance), rel=1e-12)
    poisson = -math.log(math.exp(-3.5) * 3.5**6 / math.factorial(6))
    assert negative_binomial_nll(np.array([3.5]), np.array([6.0]), np.array([1e-9])).item() == pytest.approx(poisson)


def test_chances_of_counts_as_pytorch_has_them():
    torch = pytest.importorskip("torch")
    y = np.array([0.0, 1.0, 2.0, 9.0, 1e3, 1e6])[:, None, None] * np.ones((1, 4, 3))
    m, a = (
        np.array([1e-3, 1.0, 50.0, 1e5])[:, None] * np.ones((6, 1, 3)),
        np.array([5e-3, 1.0, 300.0]) * np.ones_like(y),
    )
    theirs = torch.distributions.NegativeBinomial(torch.tensor(1.0 / a), logits=torch.tensor(np.log(a * m)))
    wanted = -theirs.log_prob(torch.tensor(y)).numpy()
    np.testing.assert_allclose(negative_binomial_nll(m, y, a, reduction="none").numpy(), wanted, rtol=1e-9, atol=1e-9)
    single = negative_binomial_nll(*(each.astype(np.float32) for each in (m, y, a)), reduction="none").numpy()
    np.testing.assert_allclose(single[:-1], wanted[:-1], rtol=1e-3, atol=1e-3)  # of numbers up to 15 times 1,000


def test_pinball(home):
    found = pinball(home.asarray(np.array([1.0, 1.0])), home.asarray(np.array([3.0, 0.0])), 0.9, reduction="none")
    assert found.numpy().tolist() == pytest.approx([1.8, 0.1])
    sample = np.random.default_rng(0).normal(size=999)
    guesses = np.linspace(0.5, 1.2, 141)
    said = [pinball(np.full(999, level), sample, 0.8).item() for level in guesses]
    assert guesses[int(np.argmin(said))] == pytest.approx(np.quantile(sample, 0.8), abs=0.01)


def test_several_quantiles_are_those_of_the_last_axis(home):
    said, target = home.asarray([[4.0, 7.0], [6.0, 6.0]]), home.asarray([[5.0, 5.0], [5.0, 5.0]])
    assert pinball(said, target, [0.1, 0.9]).item() == pytest.approx((0.1 + 0.2 + 0.9 + 0.1) / 4)
    for wrong, message in (
        ([0.1, 1.0], r"pinball: quantile\[1\] is 1.0; expected a number between 0 and 1"),
        ([0.5], r"pinball: prediction has shape \(2, 2\); expected 1 numbers on its last axis"),
        ([], r"expected 0 numbers on its last axis"),
    ):
        with pytest.raises(ValueError, match=message):
            pinball(said, target, wrong)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, s: gaussian_nll(x, T, s),
        lambda x, s: student_t_nll(x, T, s, freedom=4.0),
        lambda x, s: negative_binomial_nll(x * x + 0.5, COUNTS, s),
        lambda x, s: pinball(x * s, T + 0.1, 0.3),
        lambda x, s: pinball(x * s, T + 0.1, (0.3, 0.8)),
    ],
)
def test_gradients(loss):
    check_gradients(loss, [X, S])
    check_second_gradients(loss, [X, S])


def test_what_is_hidden_changes_nothing():
    target, mask = T.copy(), np.array([[True, False], [True, True]])
    target[0, 1] = np.nan
    for loss in (gaussian_nll, student_t_nll):
        x, s = Tensor(X, requires_grad=True), Tensor(S, requires_grad=True)
        value = loss(x, target, s, mask)
        value.backward()
        kept = loss(X[mask], T[mask], S[mask]).item()
        assert value.item() == pytest.approx(kept)
        assert x.grad.numpy()[0, 1] == s.grad.numpy()[0, 1] == 0.0
        assert float(value.weight) == 3.0
    assert math.isfinite(pinball(X, target, 0.5, mask).item())
    for loss, mean, y in ((gaussian_nll, X, T), (student_t_nll, X, T), (negative_binomial_nll, MEANS, COUNTS)):
        for hidden in (np.nan, np.inf, 0.0, -1.0):  # a scale too is of no one there
            s = Tensor(np.where(mask, S, hidden), requires_grad=True)
            loss(mean, y, s, mask).backward()
            only = Tensor(S[mask], requires_grad=True)
            loss(mean[mask], y[mask], only).backward()
            np.testing.assert_allclose(s.grad.numpy()[mask], only.grad.numpy())
            assert s.grad.numpy()[0, 1] == 0.0
    means, counts = Tensor(MEANS, requires_grad=True), np.where(mask, COUNTS, np.nan)
    value = negative_binomial_nll(means, counts, DISPERSIONS, mask)
    value.backward()
    assert value.item() == pytest.approx(negative_binomial_nll(MEANS[mask], COUNTS[mask], DISPERSIONS[mask]).item())
    assert means.grad.numpy()[0, 1] == 0.0
    assert np.isfinite(means.grad.numpy()).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_nll(X, T, S[0]), r"gaussian_nll: scale has shape \(2,\); expected \(2, 2\), as mean"),
        (lambda: negative_binomial_nll(X, T, S[0]), r"negative_binomial_nll: dispersion has shape \(2,\); expected"),
        (lambda: student_t_nll(X, T, S, freedom=0.0), "student_t_nll: freedom is 0.0; expected a number above 0"),
        (lambda: pinball(X, T, 1.0), "pinball: quantile is 1.0; expected a number between 0 and 1"),
        (lambda: pinball(X, T[0], 0.5), "pinball: prediction has shape"),
    ],
)
def test_odd_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("loss", [gaussian_nll, student_t_nll, negative_binomial_nll])
def test_a_scale_of_another_dtype_is_refused(loss):
    with pytest.raises(TypeError, match=r"has dtype float64; expected float32, as mean: cast it first"):
        loss(MEANS.astype("float32"), COUNTS.astype("float32"), S)
