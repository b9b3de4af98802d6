"""Rankings by the screen, of single samples and of many, against a full sort and products of all weights."""

import itertools
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from helpers import all_scores, callable_kernel, make_model, no_report, to_samples, train_model
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import _ranker
from sklearn_slide._core import retrieval, screen, screening
from sklearn_slide._core.layers import Layer, Network
from sklearn_slide._core.matrices import float_rows
from sklearn_slide._ranker import Ranker

N_LABELS = 400


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(9)
    return sp.random(20, 50, density=0.2, format="csr", dtype=np.float32, random_state=rng)


@pytest.fixture(autouse=True)
def few_labels_are_enough(monkeypatch):
    monkeypatch.setattr(retrieval, "MIN_LABELS", 0)


def make_target(n_samples):
    return (
        sp.random(n_samples, N_LABELS, density=0.01, format="csr", random_state=np.random.default_rng(3)) > 0
    )


@cache
def train(kind):
    """Return a trained Model: with direct weights, of single bytes, or with 300 units, more than axes."""
    rng = np.random.default_rng(0)
    X = sp.random(300, 50, density=0.2, format="csr", dtype=np.float32, random_state=rng)
    model = train_model(X, make_target(300), hidden_layer_sizes=(300 if kind == "wide" else 16,))
    return model.compact("int8", 1) if kind == "bytes" else model


def assert_rows_are_sorted(model, X, k):
    """Compare the ranking of each row with that of all rows, by the screen or not, and with a full sort."""
    ranker, scores, rows = Ranker(model), all_scores(model, X), model.rows(X)
    batch = ranker.best(rows, k, no_report)
    k_kept = min(k, ranker._network.n_labels)
    screened = screening.screened_top_k(ranker._batch(rows), k_kept, *ranker._screen(), 2, no_report)
    screened = ranker._of_all_labels(*screened, k)
    for found, expected in zip(screened, batch, strict=True):  # to the bit
        assert_array_equal(found, expected)
    expected_labels, expected = reference.top_k(scores, k)
    for i in range(X.shape[0]):
        labels, best = ranker.best(model.rows(X[i : i + 1]), k, no_report)
        assert_allclose(best[0], expected[i], rtol=1e-5, atol=1e-5)
        assert_allclose(batch[1][i], expected[i], rtol=1e-5, atol=1e-5)
        assert_allclose(scores[i, labels[0]], expected[i], rtol=1e-5, atol=1e-5)
        assert len(set(labels[0])) == k
        assert (labels[0] == batch[0][i]).mean() >= 0.99
        assert (labels[0] == expected_labels[i]).mean() >= 0.99


@pytest.mark.parametrize("k", [1, 5, 399, 400])
@pytest.mark.parametrize("kind", ["direct", "bytes", "wide"])
def test_samples_by_the_screen_are_a_full_sort(kind, X, k):
    assert_rows_are_sorted(train(kind), X, k)


@pytest.mark.parametrize("direct_limit", [0, 1000])
@pytest.mark.parametrize("n_axis_weights", [2**20, 20_000])
def test_more_units_than_axes(X, direct_limit, n_axis_weights, monkeypatch):
    # the weights of all 300 units count alike, of which 128 axes tell less than a half
    monkeypatch.setattr(screen, "_N_AXIS_WEIGHTS", n_axis_weights)
    samples, rng = to_samples(X, make_target(20)), np.random.default_rng(2)
    model = make_model(samples, 50, N_LABELS, hidden_layer_sizes=(300,), direct_limit=direct_limit)
    model.network.output.weights[:] = rng.normal(size=(N_LABELS, 300))
    for k in (1, 5, 50):
        assert_rows_are_sorted(model, X, k)


def test_scores_that_cancel_are_told_apart(X):
    # biases as large as the direct weights of the features that all samples have, and of both signs
    model, rng, signed = deepcopy(train("direct")), np.random.default_rng(4), X.copy()
    signed.data[::2] *= -1
    signed = sp.hstack([signed[:, :-1], np.ones((20, 1), dtype=np.float32)]).tocsr()
    direct, biases = model.network.direct, model.network.output.biases
    biases[:] = rng.choice([-1e4, 0, 1e4], size=biases.shape)
    last = slice(*direct.indptr[-2:])
    direct.weights[last] = -biases[direct.labels[last], 0]
    assert direct.weights[last].any()
    scores, ranker = all_scores(model, signed), Ranker(model)
    for i in range(20):
        labels, best = ranker.best(model.rows(signed[i : i + 1]), 5, no_report)
        _, expected = reference.top_k(scores[i : i + 1], 5)
        assert_allclose(best, expected, rtol=1e-5)
        assert_allclose(scores[i, labels[0]], expected[0], rtol=1e-5)


@pytest.mark.parametrize("method", ["best", "best_retrieved"])
@pytest.mark.parametrize("n_rows", [1, 20])
def test_biases_that_change_in_place_are_those_that_rank(X, method, n_rows, monkeypatch):
    monkeypatch.setattr(screening, "saves_time", lambda *_: True)
    model = deepcopy(train("direct"))
    ranker, rows = Ranker(model), model.rows(X[:n_rows])
    ranker.best(model.rows(X[:1]), 5, no_report)  # makes the screen
    ranker.best(model.rows(sp.vstack([X, X])), 5, no_report)
    before = getattr(ranker, method)(rows, 5, no_report)
    model.network.output.biases[::2] += 3
    found = getattr(ranker, method)(rows, 5, no_report)
    expected = getattr(Ranker(model), method)(rows, 5, no_report)
    assert (before[0] != found[0]).any()
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other)


def test_a_label_without_a_score_has_no_say_in_the_others(X):
    model = deepcopy(train("direct"))
    model.network.output.weights[7], model.network.output.weights[8, 0] = np.nan, np.nan
    ranker, rows = Ranker(model), model.rows(X)
    expected = ranker.best(rows, 5, no_report)
    for i in range(20):
        found = ranker.best(model.rows(X[i : i + 1]), 5, no_report)
        assert_array_equal(found[0][0], expected[0][i])
        assert_array_equal(found[1][0], expected[1][i])


@pytest.mark.parametrize("n", [0, 1, 3, 4, 7, 40])
def test_rounded_scores_of_candidates(n):
    rng = np.random.default_rng(0)
    weights, biases = rng.normal(size=(40, 5)).astype(np.float32), rng.normal(size=(40, 1)).astype(np.float32)
    network = Network(None, None, Layer(weights, biases), None, None)
    made = screen.make_screen(network, np.ones(40, dtype=np.float32), 1)
    along, candidates = rng.normal(size=5).astype(np.float32), rng.permutation(40).astype(np.int32)
    logits = np.full(40, 7, dtype=np.float32)
    callable_kernel(screening.score_rounded)(along, candidates, n, made, logits)
    expected = float_rows(made.rounded, 0, 40)[candidates] @ along + biases[candidates, 0]
    assert_allclose(logits[:n], expected[:n], rtol=1e-5, atol=1e-6)
    assert_array_equal(logits[n:], 7)


def test_labels_that_the_screen_confuses_are_told_apart(X):
    # the weights of all labels round to nearly the same numbers
    model = deepcopy(train_model(X, make_target(20), direct_limit=0))
    rng = np.random.default_rng(0)
    weights = np.linspace(1, 2, 16) + 1e-4 * rng.standard_normal((N_LABELS, 16))
    model.network.output.weights[:], model.network.output.biases[:] = weights, 0
    scores = all_scores(model, X)
    for i in range(20):
        labels, best = Ranker(model).best(model.rows(X[i : i + 1]), 5, no_report)
        assert_allclose(best[0], np.sort(scores[i])[::-1][:5], rtol=1e-5, atol=1e-6)
        assert_allclose(scores[i, labels[0]], best[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("product", "saves"), [(0.1, False), (10.0, True)])
def test_many_samples_are_screened_where_that_saves_time(X, product, saves, monkeypatch):
    model, asked, times = train("wide"), [], itertools.cycle([0.0, 0.1, 0.1 + product])
    monkeypatch.setattr(screening, "perf_counter", lambda: next(times))
    by_screen = screening.screened_top_k
    monkeypatch.setattr(screening, "screened_top_k", lambda *args: asked.append(1) or by_screen(*args))

    def is_screened(n_rows):
        asked.clear()
        ranker.best(model.rows(X[:n_rows]), 2, no_report)
        return bool(asked)

    monkeypatch.setattr(retrieval, "MIN_LABELS", N_LABELS)
    ranker = Ranker(model)
    assert [is_screened(n) for n in (20, 1)] == [False, False]
    monkeypatch.setattr(retrieval, "MIN_LABELS", N_LABELS - 1)
    ranker = Ranker(model)
    assert not is_screened(20)  # few samples, and no screen as yet
    assert is_screened(1)
    assert not is_screened(20)  # too few to tell whether the screen, which is there now, saves time
    monkeypatch.setattr(screening, "N_TRIED", 20)
    assert [is_screened(n) for n in (19, 20, 19)] == [False, saves, saves]
    monkeypatch.setattr(_ranker, "_MANY", 20)
    ranker = Ranker(model)
    assert [is_screened(n) for n in (19, 20)] == [False, saves]
