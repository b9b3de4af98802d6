"""First weights, forward and backward kernels against the reference and finite differences."""

from itertools import pairwise

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide._direct import find_pairs, no_pairs
from sklearn_slide._losses import SIGMOID, SOFTMAX
from sklearn_slide._network import (
    ACTIVATIONS,
    DIRECT_NORM,
    HIDDEN_NORM,
    HIDDEN_NORM_BESIDE_DIRECT,
    SIGMOID_BIAS,
    backward_output,
    hidden_vectors,
    initialise_output,
    make_network,
    network_bytes,
    norm_scale,
    score_labels,
    sum_hidden_vectors,
)
from sklearn_slide._optimizers import ADAGRAD, Solver
from sklearn_slide._sampling import Pattern, make_samples
from sklearn_slide._validation import as_rows

N_FEATURES, N_LABELS = 30, 12


@pytest.fixture
def samples():
    X = sp.random(
        40, N_FEATURES, density=0.2, format="csr", dtype=np.float32, random_state=np.random.default_rng(0)
    )
    Y = sp.random(40, N_LABELS, density=0.15, format="csr", random_state=np.random.default_rng(1))
    return make_samples(as_rows(X), Pattern(Y.indptr.astype(np.int64), Y.indices.astype(np.int32)))


def build(samples, sizes, activation="identity", init="random", loss=SIGMOID, limit=0):
    rng = np.random.default_rng(2)
    direct = no_pairs(N_FEATURES)
    if limit:
        gain = norm_scale(samples, DIRECT_NORM) ** 2
        direct = find_pairs(samples, N_FEATURES, N_LABELS, limit, gain)
    network = make_network(N_FEATURES, N_LABELS, sizes, activation, "adagrad", samples, direct, rng)
    centroids = None
    if init == "centroid":
        centroids = sum_hidden_vectors(samples, network, ACTIVATIONS[activation], 1)
    initialise_output(network, centroids, loss, rng)
    return network


def parameters(network):
    """Return coefs and intercepts as the reference has them, float64."""
    hidden = network.hidden[: network.n_hidden]
    coefs = [layer.weights.values for layer in hidden] + [network.output.weights.values.T]
    intercepts = [layer.biases.values[0] for layer in hidden] + [network.output.biases.values[:, 0]]
    return [c.astype(float) for c in coefs], [b.astype(float) for b in intercepts]


def dense_rows(samples):
    return sp.csr_array(samples.x[::-1], shape=(len(samples.x.indptr) - 1, N_FEATURES)).toarray()


def all_hidden_vectors(samples, network, activation, n_jobs=1):
    return hidden_vectors(samples.x, 0, len(samples.x.indptr) - 1, network, ACTIVATIONS[activation], n_jobs)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [[], [7], [9, 5], [4, 8, 6]])
def test_forward_agrees_with_reference(samples, activation, sizes):
    network = build(samples, sizes, activation)
    for layer in network.hidden:
        layer.biases.values[:] = np.random.default_rng(3).normal(size=layer.biases.values.shape)
    coefs, intercepts = parameters(network)
    H, X = all_hidden_vectors(samples, network, activation), dense_rows(samples)
    logits = np.zeros(N_LABELS, dtype=np.float32)
    for i, x in enumerate(X):
        outputs = reference.forward(x, coefs, intercepts, activation)
        assert_allclose(H[i], outputs[-2], rtol=1e-4, atol=1e-5)
        score_labels(H[i], np.arange(N_LABELS, dtype=np.int32), N_LABELS, network.output, logits)
        assert_allclose(logits, outputs[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", ["sigmoid", "softmax"])
@pytest.mark.parametrize("sizes", [(), (5,), (6, 4)])
def test_reference_gradients_agree_with_finite_differences(activation, loss, sizes):
    rng = np.random.default_rng(0)
    widths = [7, *sizes, 6]
    coefs = [rng.normal(size=shape) for shape in pairwise(widths)]
    intercepts = [rng.normal(size=n) for n in widths[1:]]
    x, target = rng.normal(size=7), np.array([1, 0, 0, 1, 0, 0])
    _, *grads = reference.gradients(x, target, coefs, intercepts, activation, loss)
    for arrays, gradient in zip((coefs, intercepts), grads, strict=True):
        for array, g in zip(arrays, gradient, strict=True):
            for place in np.ndindex(array.shape):
                array[place] += 1e-6
                above = reference.gradients(x, target, coefs, intercepts, activation, loss)[0]
                array[place] -= 2e-6
                below = reference.gradients(x, target, coefs, intercepts, activation, loss)[0]
                array[place] += 1e-6
                assert_allclose(g[place], (above - below) / 2e-6, rtol=1e-4, atol=1e-6)


def test_backward_output_returns_the_derivative_by_the_hidden_vector(samples):
    network = build(samples, [6])
    h = np.random.default_rng(4).normal(size=6).astype(np.float32)
    active, residuals = np.array([3, 8, 1], dtype=np.int32), np.array([-0.7, 0.2, 0.4], dtype=np.float32)
    gradient, one = np.zeros(6, dtype=np.float32), np.ones(1, dtype=np.float32)
    before = network.output.weights.values.copy()
    backward_output(h, active, 3, residuals, network.output, Solver(ADAGRAD, np.float32(0.1)), one, gradient)
    assert_allclose(gradient, residuals @ before[active], rtol=1e-5)
    touched = np.any(network.output.weights.values != before, axis=1)
    assert_array_equal(np.flatnonzero(touched), [1, 3, 8])


@pytest.mark.parametrize(
    ("activation", "sizes"), [("identity", [64]), ("relu", [400]), ("identity", [64, 48])]
)
@pytest.mark.parametrize(("limit", "norm"), [(0, HIDDEN_NORM), (N_LABELS, HIDDEN_NORM_BESIDE_DIRECT)])
def test_hidden_vectors_start_with_the_same_norm(samples, activation, sizes, limit, norm):
    for scale in (1e-3, 1.0, 1e3):
        x = samples.x._replace(data=samples.x.data * np.float32(scale))
        scaled = samples._replace(x=x)
        H = all_hidden_vectors(scaled, build(scaled, sizes, activation, limit=limit), activation)
        # random projections keep norms to a few standard deviations of sqrt(2 / n_units)
        assert_allclose(np.sqrt(np.mean(np.sum(H**2, axis=1))), norm, rtol=0.35)


@pytest.mark.parametrize("limit", [0, 9, N_LABELS])
def test_centroid_weights_agree_with_reference(samples, limit):
    network = build(samples, [6], init="centroid", limit=limit)
    Y = np.zeros((40, N_LABELS))
    for i in range(40):
        Y[i, samples.y.indices[samples.y.indptr[i] : samples.y.indptr[i + 1]]] = 1
    present = Y.any(axis=0)
    X, H = dense_rows(samples), all_hidden_vectors(samples, network, "identity")
    scale = DIRECT_NORM / np.sqrt(np.mean(np.sum(X**2, axis=1)))
    few = ((X.T @ Y > 0).sum(axis=1) <= limit) * scale
    assert (few.any(), few.all()) == (limit > 0, limit == N_LABELS)
    expected = reference.centroid_weights(np.hstack([H, X * few]), Y)
    assert_allclose(network.output.weights.values[present], expected[present, :6], rtol=1e-4)
    assert_array_equal(network.output.biases.values, SIGMOID_BIAS)
    direct = sp.csr_array(network.direct[2::-1], shape=(N_FEATURES, N_LABELS)).toarray()
    # weights on x itself, whereas expected's are on the scaled x
    assert_allclose(direct, (expected[:, 6:] * few).T, rtol=1e-4, atol=1e-6)


def test_labels_without_samples_get_weights_too(samples):
    y = Pattern(samples.y.indptr, np.where(samples.y.indices == 4, 5, samples.y.indices).astype(np.int32))
    network = build(samples._replace(y=y), [6], init="centroid", loss=SOFTMAX)
    assert network.output.weights.values[4].any()
    assert_array_equal(network.output.biases.values, 0)


@pytest.mark.parametrize(("solver", "copies"), [("adagrad", 1), ("adam", 3)])
def test_network_bytes(samples, solver, copies):
    direct = find_pairs(samples, N_FEATURES, N_LABELS, N_LABELS, 1.0)
    rng = np.random.default_rng(0)
    network = make_network(N_FEATURES, N_LABELS, [8, 4], "relu", solver, samples, direct, rng)
    arrays = [
        array.nbytes
        for layer in (*network.hidden, network.output)
        for array in (layer.weights.values, layer.weights.first_moment, layer.weights.second_moment)
    ]
    pairs = direct.labels.nbytes + direct.weights.nbytes
    assert network_bytes(N_FEATURES, N_LABELS, [8, 4], solver, len(direct.labels)) == sum(arrays) + pairs
    assert sum(arrays) == copies * 4 * (30 * 8 + 8 * 4 + 4 * 12)
