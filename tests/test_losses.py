"""Losses and residuals against the reference, scikit-learn and finite differences."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose
from sklearn.metrics import log_loss

from sklearn_slide._losses import LOSSES, NEGLIGIBLE, OUTPUT_ACTIVATIONS, compute_residuals


def run(logits, n_true, loss):
    residuals = np.zeros(len(logits), dtype=np.float32)
    value = compute_residuals(logits.astype(np.float32), len(logits), n_true, LOSSES[loss], residuals)
    return value, residuals


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_true", [0, 1, 3])
def test_agree_with_reference(loss, n_true):
    logits = np.random.default_rng(n_true).normal(scale=3, size=8)
    target = (np.arange(8) < n_true).astype(float)
    value, residuals = run(logits, n_true, loss)
    expected, expected_residuals = reference.loss_and_residuals(logits, target, loss)
    assert_allclose(value, expected, rtol=1e-5)
    if loss != "softmax":
        expected_residuals[abs(expected_residuals) <= NEGLIGIBLE] = 0
    assert_allclose(residuals, expected_residuals, rtol=1e-4, atol=1e-6)


def test_negligible_residuals_are_zero():
    logits = np.log(np.array([0.9995, 0.998, 0.0005, 0.002]) / np.array([0.0005, 0.002, 0.9995, 0.998]))
    assert_allclose(run(logits, 2, "sigmoid")[1], [0, -0.002, 0, 0.002], rtol=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_residuals_are_the_derivatives_of_the_loss(loss):
    logits = np.random.default_rng(0).normal(size=6)
    _, residuals = run(logits, 2, loss)
    for a in range(6):
        step = np.zeros(6)
        step[a] = 1e-2
        slope = (run(logits + step, 2, loss)[0] - run(logits - step, 2, loss)[0]) / 2e-2
        assert_allclose(residuals[a], slope, atol=1e-3)


def test_sigmoid_is_the_sum_of_log_losses():
    logits = np.array([2.0, -1.0, 0.5])
    expected = sum(
        log_loss([target], [1 / (1 + np.exp(-z))], labels=[0, 1])
        for z, target in zip(logits, [1, 0, 0], strict=True)
    )
    assert_allclose(run(logits, 1, "sigmoid")[0], expected, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_large_logits_stay_finite(loss):
    value, residuals = run(np.array([-2e4, 3e4, -1e30, 100.0]), 1, loss)
    assert np.isfinite(value)
    assert np.isfinite(residuals).all()


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
