"""The direct weights against dense products."""

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import callable_kernel, to_samples
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import SlideClassifier
from sklearn_slide._core import direct as kernels
from sklearn_slide._core.direct import make_matches, take_pairs
from sklearn_slide._core.losses import Nonzero
from sklearn_slide._core.matrices import Quantized
from sklearn_slide._core.optimizers import SOLVERS
from sklearn_slide._first_weights import find_pairs
from sklearn_slide._growth import features_of

N_FEATURES, N_LABELS = 25, 18

first_at_least, add_direct, add_direct_of, match_direct, update_direct = map(
    callable_kernel,
    (
        kernels.first_at_least,
        kernels.add_direct,
        kernels.add_direct_of,
        kernels.match_direct,
        kernels.update_direct,
    ),
)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    X = sp.random(60, N_FEATURES, density=0.15, format="csr", dtype=np.float32, random_state=rng)
    Y = sp.random(60, N_LABELS, density=0.1, format="csr", random_state=rng)
    Y.data[:] = 1
    return X, Y


@pytest.fixture(scope="module")
def samples(arrays):
    return to_samples(*arrays)


@pytest.fixture
def direct(samples):
    """Return the direct weights of features with up to 13 labels, and some that are negative."""
    direct = find_pairs(samples, np.zeros(N_FEATURES, dtype=bool), N_LABELS, 13, 1.0, 1)
    direct.weights[::3] *= -1
    return direct


def as_dense(direct):
    return sp.csr_array(
        (direct.weights, direct.labels, direct.indptr), shape=(N_FEATURES, N_LABELS)
    ).toarray()


def quantized(direct):
    """Return the Direct in bytes, with a scale for each feature, and with the weights that it then has."""
    scales = np.random.default_rng(2).uniform(0.01, 0.1, size=N_FEATURES).astype(np.float32)
    spread = np.repeat(scales, np.diff(direct.indptr))
    values = np.clip(direct.weights / spread, -127, 127).astype(np.int8)
    return direct._replace(weights=Quantized(values, scales)), direct._replace(weights=spread * values)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_taken_pairs_are_in_their_places(direct, share):
    kept = np.random.default_rng(0).random(len(direct.labels)) < share
    taken = take_pairs(direct, kept)
    assert taken.indptr.dtype == np.int64
    assert len(taken.labels) == len(taken.weights) == kept.sum()
    whole = as_dense(direct)
    whole[features_of(direct)[~kept], direct.labels[~kept]] = 0
    assert_array_equal(as_dense(taken), whole)
    small, _ = quantized(direct)
    of_bytes = take_pairs(small, kept).weights
    assert_array_equal(of_bytes.values, small.weights.values[kept])
    assert of_bytes.scales is small.weights.scales


def test_first_at_least_is_a_sorted_search():
    labels = np.array([3, 3, 5, 8, 13], dtype=np.int32)
    for start in range(6):
        for stop in range(start, 6):
            for y in range(15):
                expected = start + np.searchsorted(labels[start:stop], y)
                assert first_at_least(labels, start, stop, y) == expected


@pytest.mark.parametrize(("first", "last"), [(0, N_LABELS), (0, 5), (4, 11), (17, 18), (3, 3)])
@pytest.mark.parametrize("in_bytes", [False, True])
def test_added_direct_weights_are_a_product(arrays, samples, direct, first, last, in_bytes):
    X, _ = arrays
    stored, plain = quantized(direct) if in_bytes else (direct, direct)
    expected = 2 + X @ as_dense(plain)
    for i in range(X.shape[0]):
        scores = np.full(last - first, 2, dtype=np.float32)
        add_direct(samples.x, i, stored, first, scores)
        assert_allclose(scores, expected[i, first:last], rtol=1e-5)
        for y in range(first, last):
            z = add_direct_of(samples.x, i, stored, y, np.float32(2))
            assert_allclose(z, expected[i, y], rtol=1e-5)


@pytest.mark.parametrize("n_active", [1, 7, N_LABELS])
def test_matches_are_the_pairs_of_active_labels(arrays, samples, direct, n_active):
    X, _ = arrays
    expected = 2 + X @ as_dense(direct)
    matches = make_matches(samples.x, direct, N_LABELS, n_active)
    rng = np.random.default_rng(1)
    for i in range(X.shape[0]):
        active = rng.permutation(N_LABELS)[:n_active].astype(np.int32)
        logits = np.full(n_active, 2, dtype=np.float32)
        n = match_direct(samples.x, i, direct, active, n_active, matches, logits)
        assert_allclose(logits, expected[i, active], rtol=1e-5)
        assert not matches.flags.any()
        assert n == (as_dense(direct)[X[[i]].indices][:, active] != 0).sum()
        assert_array_equal(direct.labels[matches.pairs[:n]], active[matches.actives[:n]])
        parts = np.bincount(
            matches.actives[:n], matches.values[:n] * direct.weights[matches.pairs[:n]], minlength=n_active
        )
        assert_allclose(2 + parts, expected[i, active], rtol=1e-5)


def test_matches_have_room(arrays, samples, direct):
    X, _ = arrays
    pairs_of = np.diff(direct.indptr)
    most = max(pairs_of[X[[i]].indices].sum() for i in range(X.shape[0]))
    assert len(make_matches(samples.x, direct, N_LABELS, N_LABELS).values) == most
    assert len(make_matches(samples.x, direct, N_LABELS, 1).values) == np.diff(X.indptr).max()


def test_matched_weights_step_against_their_gradients(arrays, samples, direct):
    X, _ = arrays
    direct = direct._replace(gain=np.float32(4))
    expected = as_dense(direct)
    paired = expected != 0
    state = SOLVERS["adagrad"].start((N_LABELS, 3), 0.25)
    state.sums[:] = np.linspace(0.25, 4, N_LABELS)
    active = np.array([5, 0, 17, 11, 3], dtype=np.int32)
    residuals = np.array([-0.5, 0.25, 0, 1, 0.75, 9], dtype=np.float32)
    slots = np.array([0, 1, 3, 4, 2], dtype=np.int32)  # the last one is beyond those listed
    nonzero = Nonzero(slots, active[slots], residuals[slots])
    matches = make_matches(samples.x, direct, N_LABELS, 5)
    matches.factors[:] = 7  # what they were before does not count
    logits = np.zeros(5, dtype=np.float32)
    for i in range(X.shape[0]):
        n = match_direct(samples.x, i, direct, active, 5, matches, logits)
        update_direct(direct, state, nonzero, 4, 5, np.float32(0.1), matches, n)
        gradient = np.zeros(N_LABELS)
        gradient[active] = residuals[:5]
        expected -= paired * np.outer(X[[i]].toarray(), 0.1 * 4 * gradient / np.sqrt(state.sums))
    assert_allclose(as_dense(direct), expected, rtol=1e-4, atol=1e-6)


def test_no_direct_weights_add_nothing(samples):
    scores = np.ones(N_LABELS, dtype=np.float32)
    add_direct(samples.x, 0, None, 0, scores)
    assert make_matches(samples.x, None, N_LABELS, 5) is None
    assert match_direct(samples.x, 0, None, np.arange(5, dtype=np.int32), 5, None, scores) == 0
    assert_array_equal(scores, 1)
    assert add_direct_of(samples.x, 0, None, 3, np.float32(2)) == 2


def test_decision_function_is_the_sum_of_both_parts(arrays):
    X, Y = arrays
    model = SlideClassifier((6,), direct_limit=13, random_state=0).fit(X, Y)
    deep = X @ model.coefs_[0] + model.intercepts_[0]
    expected = deep @ model.coefs_[1] + model.intercepts_[1] + X @ model.direct_coef_
    assert model.direct_coef_.nnz > 20
    assert_allclose(model.decision_function(X), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("sizes", "limit"), [((6,), 0), ((), 1000)])
def test_without_direct_weights(arrays, sizes, limit):
    model = SlideClassifier(sizes, direct_limit=limit, random_state=0).fit(*arrays)
    assert model.direct_coef_.shape == (N_FEATURES, N_LABELS)
    assert model.direct_coef_.nnz == 0


def test_rare_features_are_remembered():
    # each label has a feature of its own, among loud noise: one hidden unit cannot tell 60 labels apart
    rng = np.random.default_rng(0)
    Y = sp.csr_array(np.tile(np.eye(60, dtype=int), (8, 1)))
    noise = sp.random(480, 40, density=0.2, random_state=rng, format="csr")
    X = sp.hstack([Y, noise], format="csr", dtype=np.float32)
    precision = {}
    for limit in (0, 5):
        model = SlideClassifier((1,), direct_limit=limit, max_iter=10, random_state=0).fit(X, Y)
        precision[limit] = np.mean(model.predict_top_k(X, 1)[0][:, 0] == np.tile(np.arange(60), 8))
    assert precision[5] > 0.95
    assert precision[0] < 0.3
