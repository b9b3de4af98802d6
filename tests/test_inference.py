"""Rankings against a full sort."""

import pickle

import numpy as np
import pandas as pd
import pytest
import reference
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import SlideClassifier, _inference, _parallel, _progress, _retrieval, _screening
from sklearn_slide._compact import round_weights
from sklearn_slide._network import float_rows


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    X = sp.random(300, 50, density=0.2, format="csr", dtype=np.float32, random_state=rng)
    Y = sp.random(300, 400, density=0.01, format="csr", random_state=rng)
    Y.data[:] = 1
    return SlideClassifier((16,), n_active=40, max_iter=2, random_state=0).fit(X, Y)


@pytest.fixture(scope="module")
def X():
    return sp.random(
        70, 50, density=0.2, format="csr", dtype=np.float32, random_state=np.random.default_rng(9)
    )


@pytest.mark.parametrize("k", [1, 2, 5, 399, 400])
@pytest.mark.parametrize("blocks", [(512, 8192), (1, 1), (7, 33), (70, 400)])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_exact_is_a_full_sort(model, X, k, blocks, n_jobs, monkeypatch):
    if blocks == (1, 1) and k > 2:
        pytest.skip("blocks of one label are slow, and smaller k show the same")
    monkeypatch.setattr(_inference, "_BLOCK_ROWS", blocks[0])
    monkeypatch.setattr(_inference, "_BLOCK_LABELS", blocks[1])
    scores = model.decision_function(X)
    labels, best = model.set_params(n_jobs=n_jobs).predict_top_k(X, k)
    expected_labels, expected = reference.top_k(scores, k)
    assert_allclose(best, expected, rtol=1e-4, atol=1e-5)
    # products in blocks may round otherwise: a label may stand elsewhere only among equals
    assert_allclose(np.take_along_axis(scores, labels, 1), expected, rtol=1e-4, atol=1e-5)
    assert (labels == expected_labels).mean() > 0.99
    assert all(len(set(row)) == k for row in labels)


@pytest.mark.parametrize("k", [1, 5, 399, 400])
def test_a_single_sample_is_a_full_sort(model, X, k):
    scores = model.decision_function(X)
    for i in range(10):
        labels, best = model.predict_top_k(X[i : i + 1], k)
        expected_labels, expected = reference.top_k(scores[i : i + 1], k)
        assert_allclose(best, expected, rtol=1e-5, atol=1e-5)
        assert_allclose(scores[i, labels[0]], expected[0], rtol=1e-5, atol=1e-5)
        assert (labels == expected_labels).mean() > 0.99
        assert len(set(labels[0])) == k


@pytest.mark.parametrize("n_axes", [3, 16, 128])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_screen_tells_how_far_it_is_off(n_axes, dtype, monkeypatch):
    monkeypatch.setattr(_screening, "_N_AXES", n_axes)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((203, 17), dtype=np.float32) * rng.lognormal(size=(203, 1)).astype("f")
    weights[5] = 0
    rounded = round_weights(weights, dtype, 1)
    weights = float_rows(rounded, 0, 203).astype(float)
    screen = _screening.make_screen(rounded, 2)
    axes, copies = screen.axes.astype(float), screen.scales[:, np.newaxis] * screen.values.astype(float)
    assert axes.shape == (min(n_axes, 17), 17)
    assert_allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-6)
    assert_allclose(screen.rests, np.linalg.norm(weights - weights @ axes.T @ axes, axis=1), atol=1e-5)
    assert (np.linalg.norm(weights @ axes.T - copies, axis=1) <= screen.errors).all()
    assert (screen.errors <= 0.02 * np.linalg.norm(weights, axis=1)).all()
    for h in rng.standard_normal((20, 17), dtype=np.float32):
        along = np.empty(len(axes), dtype=np.float32)
        rest = _screening.project(h, screen.axes, along)
        assert_allclose(along, axes @ h, rtol=1e-5, atol=1e-5)
        bounds = screen.errors * np.linalg.norm(h) + screen.rests * rest
        assert (np.abs(weights @ h - copies @ along) <= bounds + 1e-6).all()


def test_labels_that_the_screen_confuses_are_told_apart(X):
    # the weights of all labels round to nearly the same numbers
    model = SlideClassifier((16,), n_active=40, max_iter=1, random_state=0, direct_limit=0).fit(
        X, sp.csr_array((70, 400), dtype=np.int8)
    )
    rng = np.random.default_rng(0)
    model.coefs_[-1][:] = np.linspace(1, 2, 16)[:, None] + 1e-4 * rng.standard_normal((16, 400))
    model.intercepts_[-1][:] = 0
    scores = model.decision_function(X[:20])
    for i in range(20):
        labels, best = model.predict_top_k(X[i : i + 1], 5)
        assert_allclose(best[0], np.sort(scores[i])[::-1][:5], rtol=1e-5, atol=1e-6)
        assert_allclose(scores[i, labels[0]], best[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("retrieval", ["exact", "lsh"])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_rounds_change_nothing_and_tell_how_far_they_are(model, X, retrieval, n_jobs, monkeypatch, capsys):
    model = pickle.loads(pickle.dumps(model)).set_params(retrieval=retrieval, n_jobs=n_jobs)
    methods = [lambda: model.predict_top_k(X, 4)[0], lambda: model.predict(X).toarray()]
    methods += [lambda: model.decision_function(X)]
    expected = [method() for method in methods]
    model.set_params(verbose=1)
    assert [method() is None for method in methods] == [False] * 3
    assert capsys.readouterr().out == ""  # a short prediction prints nothing
    monkeypatch.setattr(_parallel, "_ROUND_WORK", 1.0)
    monkeypatch.setattr(_progress, "_SECONDS_BETWEEN_LINES", -1.0)
    for method, wanted in zip(methods, expected, strict=True):
        assert_array_equal(method(), wanted)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == (35 if n_jobs == 2 else 70)
        assert all(line.startswith("Predicted ") for line in lines)
        assert lines[-1].startswith("Predicted 70 of 70 samples, samples/s = ")
        assert lines[-1].endswith(", remaining = 0 s")


def test_clean_rows_and_others_are_checked_alike(model, X):
    expected = model.predict_top_k(X, 3)[0]
    for same in (X.astype(np.float64), X.tocsc(), X.toarray(), sp.csr_array(X)):
        assert_array_equal(model.predict_top_k(same, 3)[0], expected)
    for value in (np.nan, np.inf):
        bad = X.copy()
        bad.data[7] = value
        with pytest.raises(ValueError, match="contains NaN" if np.isnan(value) else "contains infinity"):
            model.predict_top_k(bad)
    with pytest.raises(ValueError, match="X has 49 features, but SlideClassifier is expecting 50"):
        model.predict_top_k(X[:, :49])
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        model.predict_top_k(X[:0])
    named = SlideClassifier((4,), n_active=40, max_iter=1, random_state=0)
    named.fit(pd.DataFrame(X.toarray()).rename(columns=str), np.eye(70, dtype=int))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        named.predict_top_k(X, 3)


def test_input_that_is_known_to_be_clean_gives_the_same(model, X):
    for rows in (X, X[:1]):
        for found, expected in zip(
            model.predict_top_k(rows, 3, check_input=False), model.predict_top_k(rows, 3), strict=True
        ):
            assert_array_equal(found, expected)


def test_what_predictions_build_follows_training_and_is_not_pickled(X):
    Y = sp.random(70, 400, density=0.01, format="csr", random_state=np.random.default_rng(3)).astype(bool)
    model = SlideClassifier((16,), n_active=40, max_iter=1, random_state=0).fit(X, Y)
    size = len(pickle.dumps(model))
    model.predict_top_k(X[:1], 3)
    assert len(pickle.dumps(model)) == size
    model.partial_fit(X, Y)
    expected = np.sort(model.decision_function(X[:1]))[:, ::-1][:, :3]
    assert_allclose(model.predict_top_k(X[:1], 3)[1], expected, rtol=1e-5)
    assert_allclose(pickle.loads(pickle.dumps(model)).predict_top_k(X[:1], 3)[1], expected, rtol=1e-5)


def test_ties_go_to_the_lower_label(model, X):
    tied = SlideClassifier((16,), n_active=40, max_iter=1, random_state=0).fit(
        X, sp.csr_array((70, 400), dtype=np.int8)
    )
    tied.coefs_[-1][:] = 0
    tied.intercepts_[-1][:] = np.arange(400) % 3
    for rows in (X, X[:1]):
        labels, scores = tied.predict_top_k(rows, 5)
        assert_array_equal(labels, np.tile([2, 5, 8, 11, 14], (rows.shape[0], 1)))
        assert_array_equal(scores, 2)


def test_retrieval_ranks_the_candidates_exactly(model, X):
    model.set_params(retrieval="lsh")
    try:
        labels, scores = model.predict_top_k(X, 20)
    finally:
        model.set_params(retrieval="exact")
    assert all(len(set(row)) == 20 for row in labels)
    assert ((labels >= 0) & (labels < 400)).all()
    exact = model.decision_function(X)
    assert_allclose(scores, np.take_along_axis(exact, labels, 1), rtol=1e-5, atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()
    best = reference.top_k(exact, 5)[0]
    found = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(labels, best, strict=True)])
    assert found > 0.5


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_retrieval_scores_the_best_labels_of_direct_weights(model, X, share, monkeypatch):
    monkeypatch.setattr(_retrieval, "_SHARE", share)
    limit = int(np.ceil(share * 400))
    model.set_params(retrieval="lsh")
    try:
        found = [model.set_params(n_jobs=n_jobs).predict_top_k(X, limit)[0] for n_jobs in (None, 2)]
    finally:
        model.set_params(retrieval="exact", n_jobs=None)
    assert_array_equal(*found)
    direct = (X @ model.direct_coef_).toarray() + model.intercepts_[-1]
    pairs = (X @ (model.direct_coef_ != 0).astype(np.float32)).toarray() > 0
    assert pairs.any(axis=1).all()
    for i in range(70):
        assert len(set(found[0][i])) == limit
        named = np.flatnonzero(pairs[i])
        best = named[np.argsort(-direct[i, named])][: (limit + 1) // 2]
        assert set(best) <= set(found[0][i])


def test_retrieval_of_every_label_is_exact(model, X):
    model.set_params(retrieval="lsh")
    try:
        labels, scores = model.predict_top_k(X, 400)
    finally:
        model.set_params(retrieval="exact")
    assert_array_equal(np.sort(labels, axis=1), np.tile(np.arange(400), (70, 1)))
    assert_allclose(scores, model.predict_top_k(X, 400)[1], rtol=1e-4, atol=1e-5)


def test_retrieval_follows_further_training(X):
    Y = sp.random(70, 400, density=0.01, format="csr", random_state=np.random.default_rng(3)).astype(bool)
    model = SlideClassifier((16,), n_active=40, max_iter=1, random_state=0, retrieval="lsh").fit(X, Y)
    first = model.predict_top_k(X, 3)[1]
    model.partial_fit(X, Y)
    assert (model.predict_top_k(X, 3)[1] != first).any()


def test_positive_labels_are_those_of_the_decision_function(model, X):
    shifted = model.predict(X)
    assert_array_equal(shifted.toarray(), model.decision_function(X) > 0)
    model.intercepts_[-1][:] += 7
    try:
        predicted = model.predict(X)
        assert predicted.nnz > 100
        assert_array_equal(predicted.toarray(), model.decision_function(X) > 0)
    finally:
        model.intercepts_[-1][:] -= 7
