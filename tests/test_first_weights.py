"""First weights against the reference, and direct pairs against dense products."""

import tracemalloc

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from helpers import make_model, to_samples
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import _first_weights
from sklearn_slide._core import centroids, pairs, parallel
from sklearn_slide._core.direct import Direct
from sklearn_slide._core.layers import Batch, hidden_vectors
from sklearn_slide._core.losses import SIGMOID_BIAS
from sklearn_slide._core.rows import Pattern
from sklearn_slide._first_weights import (
    DIRECT_NORM,
    HIDDEN_NORM,
    HIDDEN_NORM_BESIDE_DIRECT,
    count_products,
    find_pairs,
    keep_strongest,
    sum_squares,
)
from sklearn_slide._memory import network_bytes

N_FEATURES, N_LABELS = 30, 12


@pytest.fixture(scope="module")
def samples():
    X = sp.random(
        40, N_FEATURES, density=0.2, format="csr", dtype=np.float32, random_state=np.random.default_rng(0)
    )
    Y = sp.random(40, N_LABELS, density=0.15, format="csr", random_state=np.random.default_rng(1))
    return to_samples(X, Y.astype(bool))


def dense(samples):
    """Return X and Y dense."""
    x, y = samples.x, samples.y
    Y = sp.csr_array((np.ones(len(y.indices)), y.indices, y.indptr), shape=(x.n_rows, N_LABELS))
    return sp.csr_array(x[::-1], shape=(x.n_rows, N_FEATURES)).toarray(), Y.toarray()


def build(samples, **settings):
    return make_model(samples, N_FEATURES, N_LABELS, **settings).network


def all_hidden_vectors(samples, network):
    return hidden_vectors(Batch(samples.x, network), 0, samples.x.n_rows, 1)


@pytest.mark.parametrize(
    ("activation", "sizes"), [("identity", (64,)), ("relu", (400,)), ("identity", (64, 48))]
)
@pytest.mark.parametrize(("limit", "norm"), [(0, HIDDEN_NORM), (N_LABELS, HIDDEN_NORM_BESIDE_DIRECT)])
def test_hidden_vectors_start_with_the_same_norm(samples, activation, sizes, limit, norm):
    for scale in (1e-3, 1.0, 1e3):
        scaled = samples._replace(x=samples.x._replace(data=samples.x.data * np.float32(scale)))
        settings = {"hidden_layer_sizes": sizes, "activation": activation, "direct_limit": limit}
        H = all_hidden_vectors(scaled, build(scaled, init="random", **settings))
        # random projections keep norms to a few standard deviations of sqrt(2 / n_units)
        assert_allclose(np.sqrt(np.mean(np.sum(H**2, axis=1))), norm, rtol=0.35)


@pytest.mark.parametrize("limit", [0, 9, N_LABELS])
def test_centroid_weights_agree_with_reference(samples, limit):
    network = build(samples, hidden_layer_sizes=(6,), direct_limit=limit)
    X, Y = dense(samples)
    present, H = Y.any(axis=0), all_hidden_vectors(samples, network)
    scale = DIRECT_NORM / np.sqrt(np.mean(np.sum(X**2, axis=1)))
    few = ((X.T @ Y > 0).sum(axis=1) <= limit) * scale
    assert (few.any(), few.all()) == (limit > 0, limit == N_LABELS)
    expected = reference.centroid_weights(np.hstack([H, X * few]), Y)
    assert_allclose(network.output.weights[present], expected[present, :6], rtol=1e-4)
    assert_array_equal(network.output.biases, SIGMOID_BIAS)
    assert (network.direct is None) == (limit == 0)
    if limit:
        # weights on x itself, whereas expected's are on the scaled x
        direct = sp.csr_array(network.direct[2::-1], shape=(N_FEATURES, N_LABELS)).toarray()
        assert_allclose(direct, (expected[:, 6:] * few).T, rtol=1e-4, atol=1e-6)


def test_random_weights_have_unit_rows(samples):
    network = build(samples, hidden_layer_sizes=(400,), init="random", loss="softmax")
    # the length of 400 normal variables of variance 1 / 400 is 1 but for a standard deviation of 0.035
    assert_allclose(np.linalg.norm(network.output.weights, axis=1), 1, atol=0.15)
    assert_array_equal(network.output.biases, 0)
    assert len(network.direct.weights) > 20
    assert_array_equal(network.direct.weights, 0)


def test_labels_without_samples_get_weights_too(samples):
    y = Pattern(samples.y.indptr, np.where(samples.y.indices == 4, 5, samples.y.indices).astype(np.int32))
    network = build(samples._replace(y=y), hidden_layer_sizes=(6,), loss="softmax")
    assert network.output.weights[4].any()
    assert_array_equal(network.output.biases, 0)


@pytest.mark.parametrize(("solver", "copies"), [("adagrad", 1), ("adam", 3)])
def test_network_bytes(samples, solver, copies):
    settings = {"hidden_layer_sizes": (8, 4), "activation": "relu", "solver": solver}
    model = make_model(samples, N_FEATURES, N_LABELS, **settings)
    network, state = model.network, model.training.solver
    arrays = [layer.weights.nbytes for layer in (*network.hidden, network.output)]
    if solver == "adam":
        for layer in (state.input, *state.deeper, state.output):
            arrays += [layer.weights.first_moment.nbytes, layer.weights.second_moment.nbytes]
    pairs = network.direct.labels.nbytes + network.direct.weights.nbytes
    n_pairs = len(network.direct.labels)
    assert network_bytes(N_FEATURES, N_LABELS, [8, 4], solver, n_pairs) == sum(arrays) + pairs
    assert sum(arrays) == copies * 4 * (30 * 8 + 8 * 4 + 4 * 12)


@pytest.mark.parametrize(
    ("block_size", "part_work", "n_jobs"), [(2**24, 2**25, 1), (30 * 7, 200, 3), (1, 1, 1)]
)
def test_hidden_vectors_are_summed_by_label(samples, block_size, part_work, n_jobs, monkeypatch):
    samples = samples._replace(weights=np.random.default_rng(0).random(40, dtype=np.float32))
    network = build(samples, hidden_layer_sizes=(30,))
    whole = centroids.sum_hidden_vectors(samples, network, 1)
    monkeypatch.setattr(centroids, "_BLOCK_SIZE", block_size)
    monkeypatch.setattr(parallel, "_PART_WORK", part_work)
    sums = centroids.sum_hidden_vectors(samples, network, n_jobs)
    expected = (dense(samples)[1].T * samples.weights) @ all_hidden_vectors(samples, network)
    assert_allclose(sums, expected, rtol=1e-5, atol=1e-6)
    assert_array_equal(sums, whole)


@pytest.mark.parametrize("limit", [1, 6, 9, N_LABELS])
@pytest.mark.parametrize(("part_work", "n_jobs"), [(1, 1), (50, 3), (20_000_000, 1)])
def test_pairs_are_those_of_features_with_few_labels(samples, limit, part_work, n_jobs, monkeypatch):
    monkeypatch.setattr(pairs, "_PART_WORK", part_work)
    X, Y = dense(samples)
    expected = X.T @ Y
    n_labels = (expected > 0).sum(axis=1)
    assert 0 < (n_labels <= 6).sum() < N_FEATURES  # some features are left out
    expected[n_labels > limit] = 0
    crowded = np.zeros(N_FEATURES, dtype=bool)
    direct = find_pairs(samples, crowded, N_LABELS, limit, 9.0, n_jobs)
    assert_array_equal(crowded, n_labels > limit)
    found = sp.csr_array(direct[2::-1], shape=(N_FEATURES, N_LABELS)).toarray()
    assert_allclose(found, expected, rtol=1e-5)
    assert len(direct.labels) == np.count_nonzero(expected) <= count_products(samples)
    for start, stop in zip(direct.indptr, direct.indptr[1:], strict=False):
        assert (np.diff(direct.labels[start:stop]) > 0).all()
    assert direct.gain == 9


@pytest.mark.parametrize(("n_samples", "common"), [(999, []), (1000, [0, 1]), (1002, [0])])
def test_features_of_most_of_many_samples_have_no_pairs(n_samples, common):
    numbers = np.arange(n_samples)
    X = np.stack([numbers >= 0, numbers < 501, numbers % 9 == 0, numbers < 0], axis=1)
    samples = to_samples(sp.csr_array(X, dtype=np.float32), sp.csr_array(np.eye(3, dtype=bool)[numbers % 2]))
    model = make_model(samples, 4, 3, direct_limit=3)
    assert_array_equal(np.flatnonzero(model.training.crowded), common)
    expected = np.array([2, 2, 2, 0])
    expected[common] = 0
    assert_array_equal(np.diff(model.network.direct.indptr), expected)


@pytest.mark.parametrize("n_kept", [1, 3, N_LABELS])
def test_the_strongest_pairs_of_a_feature_are_kept(samples, n_kept, monkeypatch):
    monkeypatch.setattr(_first_weights, "_LEAST_KEPT", n_kept)
    X, Y = dense(samples)
    sums = X.T @ Y
    direct = find_pairs(samples, np.zeros(N_FEATURES, dtype=bool), N_LABELS, N_LABELS, 9.0, 1)
    direct.weights[::2] *= -1
    kept = keep_strongest(direct, N_LABELS, 1)
    lengths = np.linalg.norm(sums, axis=0)
    weights = sums * np.where(lengths > 0, lengths, 1) ** -0.85
    for j in range(N_FEATURES):
        own = kept.labels[kept.indptr[j] : kept.indptr[j + 1]]
        paired = np.flatnonzero(weights[j])
        assert_array_equal(own, np.sort(paired[np.argsort(-weights[j, paired])[:n_kept]]))
    as_rows = [sp.csr_array(part[2::-1], shape=sums.shape) for part in (direct, kept)]
    both = as_rows[1] != 0
    assert_array_equal(as_rows[0].multiply(both).toarray(), as_rows[1].toarray())


@pytest.mark.parametrize(("limit", "most"), [(12, 12), (11, 3), (8, 2)])
def test_a_first_model_keeps_a_third_of_the_limit_or_few(samples, limit, most, monkeypatch):
    before = np.diff(build(samples, direct_limit=limit).direct.indptr)
    assert before.max() > 3
    monkeypatch.setattr(_first_weights, "_LEAST_KEPT", 2)
    counts = np.diff(build(samples, direct_limit=limit).direct.indptr)
    assert_array_equal(counts, np.minimum(before, most))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_squares_of_direct_weights_are_summed_in_order_and_by_parts(dtype):
    rng, n_pairs = np.random.default_rng(0), 2_000_000
    labels, weights = rng.integers(50, size=n_pairs, dtype=np.int32), rng.random(n_pairs, dtype=np.float32)
    direct = Direct(np.array([0, n_pairs]), labels, weights, np.float32(1))
    expected = np.bincount(labels, np.square(weights, dtype=dtype), minlength=60)
    tracemalloc.start()
    found = sum_squares(direct, 60, dtype)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_array_equal(found, expected)
    assert peak < 9 * n_pairs  # 20 bytes a pair of a copy with whole numbers and floats of eight bytes
