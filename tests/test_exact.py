"""Rankings of batches against a full sort."""

import os
from copy import deepcopy
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from helpers import all_scores, no_report, train_model
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide._core import exact, parallel, retrieval
from sklearn_slide._core.best import no_best
from sklearn_slide._core.chosen import no_pairs
from sklearn_slide._core.layers import Batch
from sklearn_slide._core.screen import ROUNDING
from sklearn_slide._ranker import Ranker

N_LABELS = 400


def make_rows(n_samples, seed):
    rng = np.random.default_rng(seed)
    return sp.random(n_samples, 50, density=0.2, format="csr", dtype=np.float32, random_state=rng)


@pytest.fixture(scope="module")
def X():
    return make_rows(70, 9)


@cache
def train(kind):
    """Return a Model with direct weights, without, of single bytes, or without a hidden layer."""
    Y = sp.random(300, N_LABELS, density=0.01, format="csr", random_state=np.random.default_rng(1))
    settings = {"plain": {"direct_limit": 0}, "linear": {"direct_limit": 0, "hidden_layer_sizes": ()}}
    model = train_model(make_rows(300, 0), Y.astype(bool), **settings.get(kind, {}))
    return model.compact("int8", 1) if kind == "bytes" else model


@pytest.fixture(params=["direct", "plain", "bytes", "linear"])
def model(request):
    return train(request.param)


@pytest.mark.parametrize("k", [1, 5, 399, 400])
@pytest.mark.parametrize(("blocks", "n_jobs"), [((512, 8192), 2), ((7, 33), 1), ((7, 65), 2), ((70, 400), 1)])
def test_best_is_a_full_sort(model, X, k, blocks, n_jobs, monkeypatch):
    monkeypatch.setattr(exact, "_BLOCK_ROWS", blocks[0])
    monkeypatch.setattr(exact, "_BLOCK_LABELS", blocks[1])
    assert_is_a_full_sort(Ranker(model, n_jobs).best(model.rows(X), k, no_report), all_scores(model, X), k)


@pytest.mark.parametrize("k", [1, 2])
def test_blocks_of_one_score_change_nothing(model, X, k, monkeypatch):
    monkeypatch.setattr(exact, "_BLOCK_ROWS", 1)
    monkeypatch.setattr(exact, "_BLOCK_LABELS", 1)
    assert_is_a_full_sort(Ranker(model, 1).best(model.rows(X[:9]), k, no_report), all_scores(model, X[:9]), k)


def assert_is_a_full_sort(found, scores, k):
    labels, best = found
    expected_labels, expected = reference.top_k(scores, k)
    assert_allclose(best, expected, rtol=1e-5, atol=1e-5)
    # sums that round otherwise may let a label stand elsewhere, but only among equals
    assert_allclose(np.take_along_axis(scores, labels, 1), expected, rtol=1e-5, atol=1e-5)
    assert (labels == expected_labels).mean() > 0.99
    assert all(len(set(row)) == k for row in labels)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scores_are_those_of_every_label(model, X, n_jobs, monkeypatch):
    monkeypatch.setattr(parallel, "_ROUND_WORK", 1e5)
    scores = Ranker(model, n_jobs).scores(model.rows(X), no_report)
    assert scores.dtype == np.float32
    assert_allclose(scores, all_scores(model, X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("blocks", [(512, 8192), (7, 33)])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_labels_above_a_cut_are_those_with_a_higher_score(model, X, blocks, n_jobs, monkeypatch):
    monkeypatch.setattr(exact, "_BLOCK_ROWS", blocks[0])
    monkeypatch.setattr(exact, "_BLOCK_LABELS", blocks[1])
    model = deepcopy(model)
    for shift, fewest in ((7, 100), (-1000, 0)):
        model.network.output.biases[:] += shift
        cuts = np.linspace(0, 0.5, 70, dtype=np.float32)
        indptr, indices = Ranker(model, n_jobs).above(model.rows(X), cuts, no_report)
        expected = all_scores(model, X) > cuts[:, np.newaxis]
        assert fewest <= expected.sum() < expected.size
        found = sp.csr_array((np.ones(len(indices)), indices, indptr), shape=expected.shape)
        assert_array_equal(found.toarray(), expected)
        assert all((np.diff(indices[a:b]) > 0).all() for a, b in pairwise(indptr))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_rounds_change_nothing_and_tell_how_many_samples_are_done(X, n_jobs, monkeypatch):
    model = train("direct")
    ranker, batch = Ranker(model, n_jobs), model.rows(X)
    methods = [
        lambda report: np.hstack(ranker.best(batch, 4, report)),
        lambda report: ranker.above(batch, np.zeros(70, dtype=np.float32), report)[1],
        lambda report: ranker.scores(batch, report),
        lambda report: ranker.best_retrieved(batch, 4, report)[1],
    ]
    monkeypatch.setattr(retrieval, "MIN_LABELS", 0)
    expected = [method(no_report) for method in methods]
    monkeypatch.setattr(parallel, "_ROUND_WORK", 1.0)
    for method, wanted in zip(methods, expected, strict=True):
        told = []
        # products of other blocks may round otherwise
        assert_allclose(method(told.append), wanted, rtol=1e-5, atol=1e-5)
        assert told == [n_jobs] * (70 // n_jobs)


def test_rounding_is_bounded_by_the_lengths_of_what_is_multiplied(model, X):
    model, signed = deepcopy(model), X.copy()
    signed.data[::2] *= -1
    if model.network.direct is not None:
        weights = model.network.direct.weights
        getattr(weights, "values", weights)[:] *= -1  # the largest ones are negative now
    x, coefs = model.rows(signed), [coef.astype(float) for coef in model.coefs()]
    lengths = exact.measure_lengths(model.network)
    direct = model.direct_coef().toarray()
    if model.kept_labels is not None:  # of single bytes: all pairs of a feature count as its largest
        direct = (direct != 0) * abs(direct).max(axis=1, keepdims=True)
    expected = np.linalg.norm(coefs[-1], axis=0) + abs(direct).max(axis=0)
    kept = slice(None) if model.kept_labels is None else model.kept_labels
    assert_allclose(lengths, expected[kept], rtol=1e-5)
    hidden = reference.forward(signed.toarray().astype(float), coefs, model.intercepts(), "identity")[-2]
    errors = np.zeros(60, dtype=np.float32)
    exact.bound_errors(Batch(x, model.network), 10, hidden[10:].astype(np.float32), errors)
    sums = abs(signed).sum(axis=1).A1[10:]
    assert_allclose(errors, ROUNDING * np.maximum(np.linalg.norm(hidden[10:], axis=1), sums), rtol=1e-4)


def test_a_long_row_does_not_make_all_labels_be_scored(X, monkeypatch):
    model = deepcopy(train("plain"))
    output, far = model.network.output, np.float32(1e6)
    output.weights[0] = far
    output.biases[0] = -far * 100  # far from the best in spite of its length
    asked = []
    monkeypatch.setattr(exact, "settle_rows", lambda *args: asked.append(args))
    exact.exact_top_k(
        Batch(model.rows(X), model.network), 5, exact.measure_lengths(model.network), 1, no_report
    )
    _, _, _, _, (_, bounds), _, _ = asked[0]
    assert (bounds[:, -1] < bounds[:, 4] - 1e-3).all()


@pytest.mark.parametrize(
    ("better", "bounds", "expected"),
    [
        # the best is among those found, and others may be better than the k-th
        (7, [1e-6] * 12 + [-1.0], [7, 0, 1, 2, 3]),
        # every label found may be among the best, and so may the others
        (399, [1e-6] * 13, [399, 0, 1, 2, 3]),
        # what a label is at most is less than the k-th best: it is not asked for its score
        (12, [1e-6] * 12 + [-1.0], [0, 1, 2, 3, 4]),
    ],
)
def test_labels_that_may_be_among_the_best_are_scored(better, bounds, expected, X):
    model = deepcopy(train("plain"))
    output = model.network.output
    output.weights[:], output.biases[:], output.biases[better] = 0, 0, 1e-6
    batch, (labels, scores) = Batch(model.rows(X), model.network), no_best(70, 5)
    found = np.tile(np.arange(13, dtype=np.int32), (70, 1)), np.tile(np.array(bounds, dtype="f"), (70, 1))
    hidden = np.empty(model.network.hidden_shape, dtype=np.float32)
    exact.settle_rows(batch, 0, 70, no_pairs(70), found, hidden, (labels, scores))
    assert_array_equal(labels, np.tile(expected, (70, 1)))


@pytest.mark.parametrize("kind", ["plain", "linear"])
def test_ties_go_to_the_lower_label(kind, X):
    model = deepcopy(train(kind))
    model.network.output.weights[:], model.network.output.biases[:, 0] = 0, np.arange(N_LABELS) % 3
    for rows in (X, X[:1]):
        labels, scores = Ranker(model).best(model.rows(rows), 5, no_report)
        assert_array_equal(labels, np.tile([2, 5, 8, 11, 14], (rows.shape[0], 1)))
        assert_array_equal(scores, 2)


@pytest.mark.skipif(
    "NUMBA_BOUNDSCHECK" in os.environ, reason="checks of indices change the order of sums in one kernel"
)
def test_scores_of_all_labels_are_those_of_the_best_bit_by_bit(model, X):
    ranker, n_labels = Ranker(model), len(model.seen_labels)
    every, rows = ranker.scores(model.rows(X), no_report), model.rows(X)
    labels, scores = ranker.best(rows, n_labels, no_report)
    assert_array_equal(scores, np.take_along_axis(every, labels, axis=1))
    assert_array_equal(labels, reference.top_k(every, n_labels)[0])
