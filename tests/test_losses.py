"""Losses and residuals against the reference, scikit-learn and finite differences."""

from itertools import combinations

import numpy as np
import pytest
import reference
from helpers import callable_kernel
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.metrics import log_loss

from sklearn_slide._core import losses
from sklearn_slide._core.losses import LOSSES, OUTPUT_ACTIVATIONS, check_losses

compute_residuals = callable_kernel(losses.compute_residuals)
round_small = callable_kernel(losses.round_small)
list_nonzero = callable_kernel(losses.list_nonzero)

LABELS = np.array([7, 2, 9, 0, 4, 6, 1, 3], dtype=np.int32)


def run(logits, n_true, loss, label_weights=None):
    """Compute the loss and the residuals of the first of LABELS; label_weights (10,), or None."""
    n = len(logits)
    residuals = np.full(n + 1, 7, dtype=np.float32)  # what they were before does not count
    weights = None if label_weights is None else np.array(label_weights, dtype=np.float32)
    logits = np.append(logits, 0).astype(np.float32)
    value = compute_residuals(LOSSES[loss](weights), logits, LABELS, n, n_true, residuals)
    assert residuals[n] == 7
    return value, residuals[:n]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_true", [0, 1, 3])
@pytest.mark.parametrize("label_weights", [None, np.linspace(0.3, 3, 10), np.arange(10) % 3])
def test_agree_with_reference(loss, n_true, label_weights):
    logits = np.random.default_rng(n_true).normal(scale=3, size=8)
    target = (np.arange(8) < n_true).astype(float)
    value, residuals = run(logits, n_true, loss, label_weights)
    weights = 1.0 if label_weights is None else label_weights[LABELS]
    expected, expected_residuals = reference.loss_and_residuals(logits, target, loss, weights)
    assert_allclose(value, expected, rtol=1e-5)
    assert_allclose(residuals, expected_residuals, rtol=1e-4, atol=1e-6)


def test_sigmoid_of_any_logits_is_near_its_formula():
    n = 2500
    labels = np.arange(n, dtype=np.int32)
    logits = np.concatenate([np.linspace(-100, 100, n - 4), [-1e30, -np.inf, 0.0, 0.0]]).astype(np.float32)
    residuals = np.empty(n, dtype=np.float32)
    value = compute_residuals(LOSSES["sigmoid"](None), logits, labels, n - 1, 0, residuals[:-1])
    exact = logits[:-1].astype(float)
    assert_allclose(residuals[:-1], expit(exact), rtol=1e-5, atol=1e-37)
    assert_allclose(value, np.logaddexp(0, exact).sum(), rtol=1e-5)


def test_a_product_of_many_factors_does_not_overflow():
    labels, logits = np.arange(2500, dtype=np.int32), np.zeros(2500, dtype=np.float32)
    value = compute_residuals(LOSSES["sigmoid"](None), logits, labels, 2500, 0, np.empty_like(logits))
    assert_allclose(value, 2500 * np.log(2), rtol=1e-5)


def test_residuals_that_are_not_zero_are_listed_in_order():
    residuals = np.array([0.5, 0, -0.0, -1e-30, 0, np.nan, 2, 3], dtype=np.float32)
    nonzero = losses.make_nonzero(7)
    assert list_nonzero(residuals, LABELS, 7, nonzero) == 4
    assert_array_equal(nonzero.slots[:4], [0, 3, 5, 6])
    assert_array_equal(nonzero.labels[:4], LABELS[[0, 3, 5, 6]])
    assert_array_equal(nonzero.residuals[:4], residuals[[0, 3, 5, 6]])


@pytest.mark.parametrize("sign", [1, -1])
def test_small_residuals_are_rounded_so_that_their_means_stay(sign):
    n, sizes = 40_000, np.array([0.0, 1e-4, 0.003, 0.02, 0.049, 0.05, 0.3])
    labels = np.arange(n, dtype=np.int32)
    for size in sizes:
        residuals = np.full(n + 1, sign * size, dtype=np.float32)
        round_small(residuals, labels, n, np.float32(0.05), np.uint64(2**64 - 100))
        assert residuals[n] == np.float32(sign * size)
        if size >= 0.05:
            assert (residuals == np.float32(sign * size)).all()
            continue
        kept = residuals[:n] != 0
        assert (residuals[:n][kept] == np.float32(sign * 0.05)).all()
        share = size / 0.05
        assert abs(kept.mean() - share) <= 4 * np.sqrt(share * (1 - share) / n)


def test_other_samples_and_labels_have_other_random_numbers():
    kept = []
    for key, first in [(1, 0), (2, 0), (1, 5000)]:
        residuals, labels = np.full(5000, 0.025, dtype=np.float32), first + np.arange(5000, dtype=np.int32)
        round_small(residuals, labels, 5000, np.float32(0.05), np.uint64(reference.mix(key)))
        kept.append(residuals > 0)
    for one, other in combinations(kept, 2):
        assert abs(np.mean(one == other) - 0.5) < 0.03


def test_nothing_is_rounded_to_a_least_of_zero_nor_where_it_is_no_number():
    values = np.array([0.0, -0.0, 1e-30, -0.5, np.nan, np.inf], dtype=np.float32)
    for least in (0.0, 0.05):
        residuals = values.copy()
        round_small(residuals, LABELS, 6, np.float32(least), np.uint64(3))
        assert_array_equal(residuals[3:], values[3:])
        assert_array_equal(residuals[:3], values[:3] if least == 0 else np.zeros(3))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("label_weights", [None, np.linspace(0.3, 3, 10)])
def test_residuals_are_the_derivatives_of_the_loss(loss, label_weights):
    logits = np.random.default_rng(0).normal(size=6)
    _, residuals = run(logits, 2, loss, label_weights)
    for a in range(6):
        step = np.zeros(6)
        step[a] = 1e-2
        above, below = (run(logits + sign * step, 2, loss, label_weights)[0] for sign in (1, -1))
        assert_allclose(residuals[a], (above - below) / 2e-2, atol=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_by_hand(loss):
    # two labels with equal scores of 0, the first of which is true and weighs 2: p = 1/2 for both
    weights = np.where(np.arange(10) == LABELS[0], 2.0, 9.0)
    value, residuals = run(np.zeros(2), 1, loss, weights)
    sigmoid, softmax = 3 * np.log(2), 2 * np.log(2)
    expected = {"sigmoid": sigmoid, "softmax": softmax}.get(loss, (sigmoid + softmax) / 2)
    assert_allclose(value, expected, rtol=1e-6)
    # softmax: T p - t = 2 / 2 - 2 and 2 / 2; sigmoid: 2 (1 / 2 - 1) and 1 / 2
    expected = {"sigmoid": [-1, 0.5], "softmax": [-1, 1]}.get(loss, [-1, 0.75])
    assert_allclose(residuals, expected, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_one_are_no_weights(loss):
    logits = np.random.default_rng(1).normal(scale=3, size=8)
    value, residuals = run(logits, 3, loss)
    weighted_value, weighted_residuals = run(logits, 3, loss, np.ones(10))
    assert_allclose(weighted_value, value, rtol=1e-6)
    assert_allclose(weighted_residuals, residuals, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weight", [0.25, 1.0, 8.0])
def test_only_diverging_scores_are_worse_than_guessing(loss, weight):
    limit, weights = LOSSES[loss].of_guessing(2, 8, weight), np.full(10, weight)
    assert 0.01 * limit < run(np.zeros(8), 2, loss, weights)[0] < limit
    assert run(np.repeat([-1000.0, 1000.0], [2, 6]), 2, loss, weights)[0] > limit


def test_sigmoid_is_the_sum_of_log_losses():
    logits = np.array([2.0, -1.0, 0.5])
    expected = sum(
        log_loss([target], [1 / (1 + np.exp(-z))], labels=[0, 1])
        for z, target in zip(logits, [1, 0, 0], strict=True)
    )
    assert_allclose(run(logits, 1, "sigmoid")[0], expected, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("label_weights", [None, np.zeros(10), np.full(10, 3.0)])
def test_large_logits_stay_finite(loss, label_weights):
    value, residuals = run(np.array([-2e4, 3e4, -1e30, 100.0]), 1, loss, label_weights)
    assert np.isfinite(value)
    assert np.isfinite(residuals).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_very_many_labels(loss):
    # the product of 5000 factors of 2 is more than a float64 holds
    n, residuals = 5000, np.zeros(5000, dtype=np.float32)
    logits, labels = np.zeros(n, dtype=np.float32), np.arange(n, dtype=np.int32)
    value = compute_residuals(LOSSES[loss](None), logits, labels, n, 1, residuals)
    sigmoid, softmax = n * np.log(2), np.log(n)
    expected = {"sigmoid": sigmoid, "softmax": softmax}.get(loss, (sigmoid + softmax) / 2)
    assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_show_in_the_loss(loss, bad):
    assert not np.isfinite(run(np.array([0.0, bad, 1.0]), 1, loss)[0])


def test_probabilities():
    scores = np.array([[0.0, 50.0, -200.0]], dtype=np.float32)
    p = OUTPUT_ACTIVATIONS["logistic"](scores)
    assert p[0, 0] == 0.5
    assert ((p > 0) & (p < 1)).all()
    assert_allclose(OUTPUT_ACTIVATIONS["softmax"](scores).sum(axis=1), 1, rtol=1e-12)


def half_added(absent, **changed):
    """Return a loss without some of what a loss has."""
    full = {
        "label_weights": None,
        "first_bias": 0.0,
        "out_activation": "softmax",
        "least_residual": 0.0,
        "of_guessing": max,
        **changed,
    }
    return type("HalfAdded", (), {name: value for name, value in full.items() if name != absent})


@pytest.mark.parametrize(
    "absent", ["label_weights", "first_bias", "out_activation", "least_residual", "of_guessing"]
)
def test_half_added_loss_is_refused(absent):
    with pytest.raises(
        TypeError, match=f"'new' is half added: HalfAdded lacks {absent}, a kernel, by @compute"
    ):
        check_losses({**LOSSES, "new": half_added(absent)})


def test_loss_with_unknown_activation_is_refused(monkeypatch):
    loss = half_added(None, out_activation="other")
    monkeypatch.setitem(losses.compute_residuals.kernels, loss, None)
    with pytest.raises(TypeError, match="'new' is half added: 'other', the out_activation of HalfAdded"):
        check_losses({"new": loss})
    check_losses(LOSSES)
