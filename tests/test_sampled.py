"""Kernels for batches of vectors and active labels, against NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide._core import sampled
from sklearn_slide._core.layers import Layer, LayerState
from sklearn_slide._core.optimizers import Adagrad

N_LABELS, N_UNITS = 30, 5


@pytest.fixture
def batch():
    """Return ActiveRows of four rows, one of them without a label."""
    rng = np.random.default_rng(0)
    labels = np.full((4, 6), -1)
    for i, n in enumerate((6, 3, 0, 5)):
        labels[i, :n] = rng.choice(N_LABELS, n, replace=False)
    return sampled.ActiveRows(rng.standard_normal((4, N_UNITS), dtype=np.float32), labels)


@pytest.fixture
def layer():
    """Return an output layer and its state."""
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((N_LABELS, N_UNITS), dtype=np.float32)
    biases = rng.standard_normal((N_LABELS, 1), dtype=np.float32)
    sums = [Adagrad(np.full(N_LABELS, 0.5, dtype=np.float32)) for _ in range(2)]
    return sampled.Fused(Layer(weights, biases), LayerState(*sums))


def some_residuals(batch):
    """Return residuals, some of them 0, and the same as a matrix of all labels."""
    residuals = np.random.default_rng(2).standard_normal(batch.labels.shape).astype(np.float32)
    residuals[residuals < -0.8] = 0
    dense = np.zeros((len(batch.h), N_LABELS))
    for i, a in zip(*np.nonzero(batch.labels >= 0), strict=True):
        dense[i, batch.labels[i, a]] = residuals[i, a]
    return residuals, dense


def test_scores_of_active_labels(batch, layer):
    logits = np.full(batch.labels.shape, np.nan, dtype=np.float32)
    sampled.score_active(batch, 0, 4, layer.output, logits)
    scores = batch.h @ layer.output.weights.T + layer.output.biases[:, 0]
    expected = np.where(batch.labels >= 0, np.take_along_axis(scores, batch.labels, 1), -np.inf)
    assert_allclose(logits, expected, atol=1e-6)


def test_gradients_by_the_input(batch, layer):
    residuals, dense = some_residuals(batch)
    gradients = np.full(batch.h.shape, np.nan, dtype=np.float32)
    sampled.input_gradients(batch, 0, 4, residuals, layer.output.weights, gradients)
    assert_allclose(gradients, dense @ layer.output.weights, atol=1e-5)


def test_gradients_by_the_weights(batch):
    residuals, dense = some_residuals(batch)
    counts = np.zeros(N_LABELS, dtype=np.int64)
    entries = sampled.list_entries(batch, residuals, counts)
    assert not counts.any()
    assert entries.n_broken == 0
    assert_array_equal(np.sort(entries.labels), np.flatnonzero(dense.any(axis=0)))
    n = len(entries.labels)
    weights, biases = np.full((n, N_UNITS), np.nan, np.float32), np.full(n, np.nan, np.float32)
    sampled.weight_gradients(batch.h, entries, 0, n, np.arange(n), weights, biases)
    assert_allclose(weights, (dense.T @ batch.h)[entries.labels], atol=1e-5)
    assert_allclose(biases, dense.sum(axis=0)[entries.labels], atol=1e-5)


def test_step_is_row_wise_adagrad(batch, layer):
    residuals, dense = some_residuals(batch)
    weights, biases = (part.astype(float) for part in layer.output)
    entries = sampled.list_entries(batch, residuals, np.zeros(N_LABELS, dtype=np.int64))
    sampled.step_labels(batch.h, entries, 0, len(entries.labels), layer, np.float32(0.1))
    gradient, of_bias = dense.T @ batch.h, dense.sum(axis=0)
    sums = 0.5 + np.mean(gradient**2, axis=1)
    assert_allclose(layer.state.weights.sums, sums, rtol=1e-5)
    assert_allclose(layer.output.weights, weights - 0.1 * gradient / np.sqrt(sums)[:, None], atol=1e-5)
    expected = biases[:, 0] - 0.1 * of_bias / np.sqrt(0.5 + of_bias**2)
    assert_allclose(layer.output.biases[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_counted(batch, value):
    residuals, _ = some_residuals(batch)
    counts = np.zeros(N_LABELS, dtype=np.int64)
    residuals[2] = value  # a row without a label
    assert sampled.list_entries(batch, residuals, counts).n_broken == 0
    residuals[1, 0] = value
    batch.h[3, 2] = value
    assert sampled.list_entries(batch, residuals, counts).n_broken == 2
