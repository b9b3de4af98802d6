"""Retrieved labels against plain Python, and their ranking against a full sort."""

from functools import cache

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from helpers import all_scores, callable_kernel, no_report, train_model
from numpy.testing import assert_allclose, assert_array_equal
from reference_slide import candidates

from sklearn_slide import LSH
from sklearn_slide._core import retrieval
from sklearn_slide._core.active_set import make_active_set
from sklearn_slide._core.direct import Direct
from sklearn_slide._core.rows import Rows
from sklearn_slide._core.screen import Shadow
from sklearn_slide._core.screening import Guess
from sklearn_slide._ranker import Ranker

N_LABELS = 400


def make_rows(n_samples, seed):
    rng = np.random.default_rng(seed)
    return sp.random(n_samples, 50, density=0.2, format="csr", dtype=np.float32, random_state=rng)


@cache
def train(kind="direct", family="simhash", hash_length=2, n_tables=20):
    """Return a Model with direct weights, without ("plain"), or with them and two hidden layers ("deep")."""
    Y = sp.random(300, N_LABELS, density=0.01, format="csr", random_state=np.random.default_rng(1))
    lsh = LSH(family, n_tables=n_tables, hash_length=hash_length)
    sizes, limit = (16, 12) if kind == "deep" else (16,), 0 if kind == "plain" else 1000
    return train_model(make_rows(300, 0), Y > 0, lsh=lsh, direct_limit=limit, hidden_layer_sizes=sizes)


@pytest.fixture(scope="module")
def X():
    return make_rows(70, 9)


@pytest.fixture(autouse=True)
def of_any_number(monkeypatch):
    """Retrieve however few labels there are."""
    monkeypatch.setattr(retrieval, "MIN_LABELS", 0)


def test_a_few_labels_are_ranked_exactly(X, monkeypatch):
    ranker = Ranker(train("plain", hash_length=20, n_tables=1), 1)
    for limit, alike in ((N_LABELS, True), (N_LABELS - 1, False)):
        monkeypatch.setattr(retrieval, "MIN_LABELS", limit)
        for rows in (X, X[:1]):
            x = ranker.model.rows(rows)
            (labels, _), (expected, _) = ranker.best_retrieved(x, 5, no_report), ranker.best(x, 5, no_report)
            assert (labels == expected).all() == alike


def retrieve(model, X, k, n_jobs=1):
    return Ranker(model, n_jobs).best_retrieved(model.rows(X), k, no_report)


def expected_candidates(model, X, n_scored, k, family):
    """Return the set of labels that are ranked for each row."""
    hasher, coefs, intercepts = model.hasher, model.coefs(), model.intercepts()
    codes = [reference.hash_vector(row, family, hasher) for row in coefs[-1].T]
    tables, direct = reference.build_tables(codes), model.direct_coef().toarray().astype(float)
    for x in X.toarray().astype(float):
        h = np.float32(reference.forward(x, coefs, intercepts, "identity")[-2])
        found = reference.hash_vector(h, family, hasher)
        yield set(candidates(x, h, direct, intercepts[-1].astype(float), tables, found, n_scored, k))


@pytest.mark.parametrize(
    ("kind", "family"),
    [("direct", "simhash"), ("plain", "simhash"), ("direct", "dwta"), ("deep", "simhash")],
)
@pytest.mark.parametrize("share", [0.012, 0.05, 0.5])  # 5, 20 and 200 labels
def test_candidates_are_those_of_direct_weights_and_buckets(kind, family, share, X, monkeypatch):
    monkeypatch.setattr(retrieval, "_SHARE", share)
    model, n_scored = train(kind, family, 2 if family == "simhash" else 1), int(np.ceil(share * N_LABELS))
    scores = all_scores(model, X)
    # as many as are ranked: these are the candidates; then a few of them, the best
    for k in (n_scored, max(1, n_scored // 4)):
        labels, best = retrieve(model, X, k)
        for i, expected in enumerate(expected_candidates(model, X, n_scored, k, family)):
            order = sorted(expected, key=lambda y, i=i: -scores[i, y])[:k]
            assert set(labels[i]) == set(order)
            assert_allclose(best[i], scores[i, order], rtol=1e-5, atol=1e-5)
            assert_allclose(scores[i, labels[i]], best[i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("limit", "expected"), [(1, [{2}]), (2, [{0, 2}, {1, 2}]), (3, [{0, 1, 2}]), (4, [{0, 1, 2, 3}])]
)
def test_a_better_label_goes_before_equal_ones(limit, expected):
    weights = np.array([1, 1, 2, 0.5], dtype=np.float32)
    x = Rows(np.array([0, 1]), np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.float32))
    direct = Direct(np.array([0, 4]), np.arange(4, dtype=np.int32), weights, np.float32(1))
    zeros = np.zeros(4, dtype=np.float32)
    guess = Guess(zeros[np.newaxis], Shadow(zeros, zeros), zeros.copy(), np.zeros(4, dtype=np.int32))
    scratch = retrieval.Scratch(make_active_set(4, 4), None, guess, zeros.copy(), zeros.copy())
    n = callable_kernel(retrieval.add_best_direct)(x, 0, direct, zeros, limit, scratch)
    assert set(scratch.active.labels[:n].tolist()) in expected
    assert n == limit


def test_too_few_candidates_are_filled_up(X):
    # long codes: most buckets hold one label
    model = train("plain", hash_length=20, n_tables=1)
    labels, best = retrieve(model, X, 30)
    scores = all_scores(model, X)
    n_found = 0
    for i, expected in enumerate(expected_candidates(model, X, 20, 30, "simhash")):
        assert set(labels[i]) == expected
        assert_allclose(best[i], np.sort(scores[i, list(expected)])[::-1], rtol=1e-5, atol=1e-5)
        n_found += expected != set(range(30))
    assert 0 < n_found < 70


def test_retrieval_finds_most_of_the_best(X):
    model = train()
    scores = all_scores(model, X)
    labels, _ = retrieve(model, X, 20)
    best = reference.top_k(scores, 5)[0]
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(labels, best, strict=True)]) > 0.5


@pytest.mark.parametrize("kind", ["direct", "plain"])
def test_retrieval_of_every_label_is_a_full_sort(kind, X):
    model = train(kind)
    labels, scores = retrieve(model, X, N_LABELS)
    assert_array_equal(np.sort(labels, axis=1), np.tile(np.arange(N_LABELS), (70, 1)))
    assert_allclose(scores, reference.top_k(all_scores(model, X), N_LABELS)[1], rtol=1e-5, atol=1e-5)


def test_threads_and_earlier_samples_change_nothing(X):
    ranker = Ranker(train(), 1)
    expected = ranker.best_retrieved(ranker.model.rows(X), 20, no_report)
    ranker.n_jobs = 2
    for _ in range(2):
        for got, wanted in zip(
            ranker.best_retrieved(ranker.model.rows(X), 20, no_report), expected, strict=True
        ):
            assert_array_equal(got, wanted)
    for i in (3, 69, 0):
        row = ranker.best_retrieved(ranker.model.rows(X[i : i + 1]), 20, no_report)
        for got, wanted in zip(row, expected, strict=True):
            assert_array_equal(got[0], wanted[i])
