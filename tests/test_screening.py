"""Rankings of single samples, which the screen makes shorter, against a full sort and batches."""

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from helpers import all_scores, callable_kernel, make_model, no_report, to_samples, train_model
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide._core import screening
from sklearn_slide._core.layers import Layer
from sklearn_slide._core.matrices import float_rows, quantize
from sklearn_slide._ranker import Ranker

N_LABELS = 400


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(9)
    return sp.random(20, 50, density=0.2, format="csr", dtype=np.float32, random_state=rng)


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


def assert_single_rows_are_sorted(model, X, k):
    """Compare the ranking of each row by itself with that of all rows and with a full sort."""
    ranker, scores = Ranker(model), all_scores(model, X)
    batch = ranker.best(model.rows(X), k, no_report)
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
def test_single_samples_are_a_full_sort(kind, X, k):
    assert_single_rows_are_sorted(train(kind), X, k)


@pytest.mark.parametrize("direct_limit", [0, 1000])
@pytest.mark.parametrize("n_axis_weights", [2**20, 20_000])
def test_more_units_than_axes(X, direct_limit, n_axis_weights, monkeypatch):
    # the weights of all 300 units count alike, of which 128 axes tell less than a half
    monkeypatch.setattr(screening, "_N_AXIS_WEIGHTS", n_axis_weights)
    samples, rng = to_samples(X, make_target(20)), np.random.default_rng(2)
    model = make_model(samples, 50, N_LABELS, hidden_layer_sizes=(300,), direct_limit=direct_limit)
    model.network.output.weights[:] = rng.normal(size=(N_LABELS, 300))
    for k in (1, 5, 50):
        assert_single_rows_are_sorted(model, X, k)


@pytest.mark.parametrize("n_axes", [3, 16, 128])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_screen_tells_how_far_it_is_off(n_axes, dtype, monkeypatch):
    monkeypatch.setattr(screening, "_N_AXES", n_axes)
    monkeypatch.setattr(screening, "_LABELS_AT_ONCE", 50)
    project = callable_kernel(screening.project)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((203, 17), dtype=np.float32) * rng.lognormal(size=(203, 1)).astype("f")
    weights[5] = 0
    stored = quantize(weights, 1) if dtype == "int8" else weights
    weights = float_rows(stored, 0, 203).astype(float)
    screen = screening.make_screen(Layer(stored, np.zeros((203, 1), dtype=np.float32)), 2)
    axes, copies = screen.axes.astype(float), float_rows(screen.rounded, 0, 203).astype(float)
    assert axes.shape == (min(n_axes, 17), 17)
    assert_allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-6)
    assert_allclose(screen.rests, np.linalg.norm(weights - weights @ axes.T @ axes, axis=1), atol=1e-5)
    assert (np.linalg.norm(weights @ axes.T - copies, axis=1) <= screen.errors).all()
    assert (screen.errors <= 0.02 * np.linalg.norm(weights, axis=1)).all()
    for h in rng.standard_normal((20, 17), dtype=np.float32):
        along, left = (np.empty(n, dtype=np.float32) for n in axes.shape)
        rest = project(h, screen.axes, along, left)
        assert_allclose(along, axes @ h, rtol=1e-5, atol=1e-5)
        assert_allclose(left, h - axes.T @ (axes @ h), atol=1e-5)
        assert_allclose(rest, np.linalg.norm(h - axes.T @ (axes @ h)), rtol=1e-4, atol=1e-5)
        bounds = screen.errors * np.linalg.norm(h) + screen.rests * rest
        assert (np.abs(weights @ h - copies @ along) <= bounds + 1e-6).all()


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_axes_are_those_of_a_singular_value_decomposition(shape):
    rows = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    axes = screening.principal_axes(rows)
    assert axes.shape == (6, shape[1])
    expected = np.linalg.svd(rows.astype(float), full_matrices=False)[2]
    assert_allclose(np.abs(axes @ expected.T), np.eye(6), atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 3, 4, 7, 40])
def test_rounded_scores_of_candidates(n):
    rng = np.random.default_rng(0)
    weights, biases = rng.normal(size=(40, 5)).astype(np.float32), rng.normal(size=(40, 1)).astype(np.float32)
    screen = screening.make_screen(Layer(weights, biases), 1)
    along, candidates = rng.normal(size=5).astype(np.float32), rng.permutation(40).astype(np.int32)
    logits = np.full(40, 7, dtype=np.float32)
    callable_kernel(screening.score_rounded)(along, candidates, n, screen, logits)
    expected = float_rows(screen.rounded, 0, 40)[candidates] @ along + biases[candidates, 0]
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
