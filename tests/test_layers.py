"""Forward and backward kernels against the reference and finite differences."""

from itertools import pairwise

import numba
import numpy as np
import pytest
import reference
import scipy.sparse as sp
from helpers import callable_kernel, make_model, to_samples
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide._core import layers, parallel
from sklearn_slide._core.layers import ACTIVATIONS, Batch, Layer, LayerState, forward_work, hidden_vectors
from sklearn_slide._core.optimizers import SOLVERS

N_FEATURES, N_LABELS = 30, 12

score_labels, backward_output = map(callable_kernel, (layers.score_labels, layers.backward_output))


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    X = sp.random(40, N_FEATURES, density=0.2, format="csr", dtype=np.float32, random_state=rng)
    return to_samples(X, sp.random(40, N_LABELS, density=0.15, format="csr", random_state=rng).astype(bool))


def dense_rows(samples):
    return sp.csr_array(samples.x[::-1], shape=(samples.x.n_rows, N_FEATURES)).toarray()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_hidden_vectors_are_of_one_kernel_with_direct_weights_and_without(samples):
    network = make_model(samples, N_FEATURES, N_LABELS).network
    one = hidden_vectors(Batch(samples.x, network), 0, 40, 1)
    n_compiled = len(layers.hidden_rows.signatures)
    assert_array_equal(hidden_vectors(Batch(samples.x, network._replace(direct=None)), 0, 40, 1), one)
    assert len(layers.hidden_rows.signatures) == n_compiled


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(), (7,), (9, 5), (4, 8, 6)])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_forward_agrees_with_reference(samples, activation, sizes, n_jobs, monkeypatch):
    monkeypatch.setattr(parallel, "_PART_WORK", 200)
    model = make_model(samples, N_FEATURES, N_LABELS, hidden_layer_sizes=sizes, activation=activation)
    network = model.network
    for layer in (*network.hidden, network.output):
        layer.biases[:] = np.random.default_rng(3).normal(size=layer.biases.shape)
    H = hidden_vectors(Batch(samples.x, network), 3, 40, n_jobs)
    logits = np.zeros(N_LABELS, dtype=np.float32)
    assert H.shape == (37, (N_FEATURES, *sizes)[-1])
    for h, x in zip(H, dense_rows(samples)[3:], strict=True):
        outputs = reference.forward(x, model.coefs(), model.intercepts(), activation)
        assert_allclose(h, outputs[-2], rtol=1e-4, atol=1e-5)
        score_labels(h, np.arange(N_LABELS, dtype=np.int32), N_LABELS, network.output, logits)
        assert_allclose(logits, outputs[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_active", [0, 1, 7, 8, 19])
def test_scores_of_active_labels(n_active):
    rng = np.random.default_rng(0)
    weights, biases = rng.normal(size=(40, 5)).astype(np.float32), rng.normal(size=(40, 1)).astype(np.float32)
    active, h = rng.permutation(40).astype(np.int32), rng.normal(size=5).astype(np.float32)
    logits = np.full(40, 7, dtype=np.float32)
    score_labels(h, active, n_active, Layer(weights, biases), logits)
    expected = weights[active] @ h + biases[active, 0]
    assert_allclose(logits[:n_active], expected[:n_active], rtol=1e-5, atol=1e-6)
    assert_array_equal(logits[n_active:], 7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", ["sigmoid", "softmax"])
@pytest.mark.parametrize("sizes", [(), (5,), (6, 4)])
def test_reference_gradients_agree_with_finite_differences(activation, loss, sizes):
    rng = np.random.default_rng(0)
    widths = [7, *sizes, 6]
    coefs = [rng.normal(size=shape) for shape in pairwise(widths)]
    intercepts = [rng.normal(size=n) for n in widths[1:]]
    x, target = rng.normal(size=7), np.array([1, 0, 0, 1, 0, 0])
    for active in (slice(None), [3, 0, 5, 1]):
        settings = {"activation": activation, "loss": loss, "active": active}
        _, *grads = reference.gradients(x, target, coefs, intercepts, **settings)
        for arrays, gradient in zip((coefs, intercepts), grads, strict=True):
            for array, g in zip(arrays, gradient, strict=True):
                for place in np.ndindex(array.shape):
                    array[place] += 1e-6
                    above = reference.gradients(x, target, coefs, intercepts, **settings)[0]
                    array[place] -= 2e-6
                    below = reference.gradients(x, target, coefs, intercepts, **settings)[0]
                    array[place] += 1e-6
                    assert_allclose(g[place], (above - below) / 2e-6, rtol=1e-4, atol=1e-6)


def test_backward_output_returns_the_derivative_by_the_hidden_vector(samples):
    network = make_model(samples, N_FEATURES, N_LABELS, hidden_layer_sizes=(6,)).network
    output, activity = network.output, layers.make_activity(network)
    activity.hidden[-1] = np.random.default_rng(4).normal(size=6)
    activity.gradients[:] = 7  # left by an earlier sample
    state = LayerState(*(SOLVERS["adagrad"].start(array.shape, 0.5) for array in output))
    active, residuals = np.array([3, 8, 1], dtype=np.int32), np.array([-0.7, 0.2, 0.4], dtype=np.float32)
    weights, biases = output.weights.copy(), output.biases.copy()
    backward_output(active, 3, residuals, output, state, np.float32(0.1), activity)
    assert_allclose(activity.gradients[-1], residuals @ weights[active], rtol=1e-5)
    touched = np.any(output.weights != weights, axis=1)
    assert_array_equal(np.flatnonzero(touched), [1, 3, 8])
    assert_array_equal(np.flatnonzero(output.biases != biases), [1, 3, 8])


@pytest.mark.parametrize(("sizes", "expected"), [((), 10), ((8,), 80), ((8, 4, 3), 80 + 32 + 12)])
def test_work_is_the_weights_that_are_read(samples, sizes, expected):
    network = make_model(samples, N_FEATURES, N_LABELS, hidden_layer_sizes=sizes, activation="relu").network
    assert forward_work(network, 10) == expected
