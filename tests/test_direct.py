"""The direct weights against dense products."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import SlideClassifier, _direct
from sklearn_slide._direct import (
    add_direct,
    count_products,
    find_pairs,
    first_at_least,
    make_matches,
    match_direct,
    no_pairs,
)
from sklearn_slide._sampling import Pattern, make_samples
from sklearn_slide._validation import as_rows

N_FEATURES, N_LABELS = 25, 18


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    X = sp.random(60, N_FEATURES, density=0.15, format="csr", dtype=np.float32, random_state=rng)
    Y = sp.random(60, N_LABELS, density=0.1, format="csr", random_state=rng)
    Y.data[:] = 1
    return X, Y


@pytest.fixture(scope="module")
def samples(arrays):
    X, Y = arrays
    return make_samples(as_rows(X), Pattern(Y.indptr.astype(np.int64), Y.indices.astype(np.int32)))


def as_dense(direct):
    return sp.csr_array(
        (direct.weights, direct.labels, direct.indptr), shape=(N_FEATURES, N_LABELS)
    ).toarray()


@pytest.mark.parametrize("limit", [1, 11, 13, N_LABELS])
@pytest.mark.parametrize("block_work", [1, 50, 20_000_000])
def test_pairs_are_those_of_features_with_few_labels(arrays, samples, limit, block_work, monkeypatch):
    monkeypatch.setattr(_direct, "_BLOCK_WORK", block_work)
    X, Y = arrays
    expected = X.T.toarray() @ Y.toarray()
    n_labels = (expected > 0).sum(axis=1)
    assert 0 < (n_labels <= 11).sum() < N_FEATURES  # some features are left out
    expected[n_labels > limit] = 0
    direct = find_pairs(samples, N_FEATURES, N_LABELS, limit, 9.0)
    assert_allclose(as_dense(direct), expected, rtol=1e-5)
    assert len(direct.labels) == np.count_nonzero(expected) <= count_products(samples)
    for start, stop in zip(direct.indptr, direct.indptr[1:], strict=False):
        assert (np.diff(direct.labels[start:stop]) > 0).all()
    assert direct.gain == 9


def test_first_at_least_is_a_sorted_search():
    labels = np.array([3, 3, 5, 8, 13], dtype=np.int32)
    for start in range(6):
        for stop in range(start, 6):
            for y in range(15):
                expected = start + np.searchsorted(labels[start:stop], y)
                assert first_at_least(labels, start, stop, y) == expected


@pytest.mark.parametrize(("first", "last"), [(0, N_LABELS), (0, 5), (4, 11), (17, 18), (3, 3)])
def test_add_direct_is_a_product(arrays, samples, first, last):
    X, _ = arrays
    direct = find_pairs(samples, N_FEATURES, N_LABELS, 13, 1.0)
    expected = 2 + (X @ as_dense(direct))[:, first:last]
    for i in range(X.shape[0]):
        scores = np.full(last - first, 2, dtype=np.float32)
        add_direct(samples.x, i, direct, first, scores)
        assert_allclose(scores, expected[i], rtol=1e-5)


@pytest.mark.parametrize("n_active", [1, 7, N_LABELS])
@pytest.mark.parametrize("spread", [1, 16])
def test_matches_are_the_pairs_of_active_labels(arrays, samples, n_active, spread):
    X, _ = arrays
    direct = find_pairs(samples, N_FEATURES, N_LABELS, 13, 1.0)
    expected = 2 + X @ as_dense(direct)
    # labels that are 16 apart have few different keys
    direct = direct._replace(labels=spread * direct.labels)
    matches = make_matches(samples.x, direct, N_LABELS, n_active)
    matches = matches._replace(slots=np.full(64, -1, dtype=np.int32))
    rng = np.random.default_rng(1)
    for i in range(X.shape[0]):
        active = rng.permutation(N_LABELS)[:n_active].astype(np.int32)
        logits = np.full(n_active, 2, dtype=np.float32)
        n = match_direct(samples.x, i, direct, spread * active, n_active, matches, logits)
        assert_allclose(logits, expected[i, active], rtol=1e-5)
        assert (matches.slots == -1).all()
        assert_array_equal(direct.labels[matches.pairs[:n]], spread * active[matches.actives[:n]])
        parts = np.bincount(
            matches.actives[:n], matches.values[:n] * direct.weights[matches.pairs[:n]], minlength=n_active
        )
        assert_allclose(2 + parts, expected[i, active], rtol=1e-5)


def test_matches_have_room(arrays, samples):
    X, _ = arrays
    direct = find_pairs(samples, N_FEATURES, N_LABELS, 13, 1.0)
    pairs_of = np.diff(direct.indptr)
    most = max(pairs_of[X[[i]].indices].sum() for i in range(X.shape[0]))
    assert len(make_matches(samples.x, direct, N_LABELS, N_LABELS).pairs) == most
    assert len(make_matches(samples.x, direct, N_LABELS, 1).pairs) == np.diff(X.indptr).max()
    assert len(make_matches(samples.x, no_pairs(N_FEATURES), N_LABELS, 5).pairs) == 0
    assert len(make_matches(samples.x, direct, 10**6, 100).slots) == 2048


def test_no_pairs_add_nothing(samples):
    scores = np.ones(N_LABELS, dtype=np.float32)
    add_direct(samples.x, 0, no_pairs(N_FEATURES), 0, scores)
    assert_array_equal(scores, 1)


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
