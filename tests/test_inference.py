"""Rankings against a full sort."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import SlideClassifier, _inference


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


def test_ties_go_to_the_lower_label(model, X):
    tied = SlideClassifier((16,), n_active=40, max_iter=1, random_state=0).fit(
        X, sp.csr_array((70, 400), dtype=np.int8)
    )
    tied.coefs_[-1][:] = 0
    tied.intercepts_[-1][:] = np.arange(400) % 3
    labels, scores = tied.predict_top_k(X, 5)
    assert_array_equal(labels, np.tile([2, 5, 8, 11, 14], (70, 1)))
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
