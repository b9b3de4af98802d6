"""Rankings do not depend on the other rows, ties go to the first label, dropped labels come last."""

import pickle
import sys
from copy import deepcopy

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import make
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide._core import exact


@pytest.fixture(scope="module")
def task():
    """Return 300 samples, and 300 labels of which the last 100 are copies of the first."""
    X = sp.random(300, 200, density=0.05, format="csr", dtype=np.float32, random_state=1)
    Y = sp.random(300, 200, density=0.01, format="csr", random_state=2)
    Y.data[:] = 1
    return X, sp.hstack([Y, Y[:, :100]]).tocsr()


@pytest.mark.parametrize("direct_limit", [0, 1000])
@pytest.mark.parametrize("dtype", [None, "int8"])
def test_a_row_is_ranked_as_it_is_in_any_batch(task, direct_limit, dtype, monkeypatch):
    X, Y = task
    model = make(direct_limit=direct_limit, n_active=None).fit(X, Y)
    if dtype:
        model.compact(dtype)
    monkeypatch.setattr(exact, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(exact, "_BLOCK_LABELS", 64)
    labels, scores = model.predict_top_k(X, 9)
    for start, size in [(0, 1), (17, 1), (3, 2), (50, 31), (299, 1)]:
        some_labels, some_scores = model.predict_top_k(X[start : start + size], 9)
        assert_array_equal(some_labels, labels[start : start + size])
        assert_array_equal(some_scores, scores[start : start + size])
    assert_allclose(
        scores,
        np.take_along_axis(model.decision_function(X), labels.astype(int), axis=1),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("n_rows", [1, 2, 300])
@pytest.mark.parametrize("k", [1, 5, 300])
def test_equal_scores_go_to_the_first_labels(task, n_rows, k):
    X, Y = task
    model = make(n_active=None, direct_limit=0).fit(X, Y)
    output = model._model.network.output
    output.weights[:], output.biases[:] = output.weights[0], -8.0
    labels, scores = model.predict_top_k(X[:n_rows], k)
    assert_array_equal(labels, np.tile(np.arange(k), (n_rows, 1)))
    assert (scores == scores[:, :1]).all()
    output.weights[200:] *= np.float32(1.0 + 1e-7)  # less than what sums round
    assert_array_equal(model.predict_top_k(X, k)[0][:n_rows], model.predict_top_k(X[:n_rows], k)[0])


def test_more_labels_than_there_are(task):
    X, Y = task
    model = make(n_active=None).fit(X, Y)
    labels, scores = model.predict_top_k(X, 10**6)
    assert labels.shape == scores.shape == Y.shape
    assert_array_equal(np.sort(labels, axis=1), np.tile(np.arange(300), (300, 1)))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("params", [{}, {"hidden_layer_sizes": ()}, {"direct_limit": 0}], ids=str)
def test_labels_that_were_never_true_are_dropped(task, dtype, params):
    X, Y = task
    wide = sp.csr_matrix((Y.data, 50 * Y.indices + 3, Y.indptr), shape=(300, 15_000))
    model = make(n_active=200, negatives={"frequency": 1.0}, **params).fit(X, wide)
    small = deepcopy(model).compact(dtype)
    true = np.flatnonzero(wide.sum(axis=0))
    assert small.n_outputs_ == 15_000
    assert_array_equal(small.classes_, np.arange(15_000))
    assert len(pickle.dumps(small)) < len(pickle.dumps(model)) / 4
    assert sys.getsizeof(small) < sys.getsizeof(model) / 4
    never = np.setdiff1d(np.arange(15_000), true)
    scores = small.decision_function(X)
    assert (scores[:, never] == -np.inf).all()
    tolerance = {"float32": 1e-5, "float16": 1e-2, "int8": 1e-1}[dtype]
    assert_allclose(scores[:, true], model.decision_function(X)[:, true], atol=tolerance)
    assert (small.predict_proba(X)[:, never] == 0).all()
    for n_rows in (1, 300):
        labels, best = small.predict_top_k(X[:n_rows], len(true) + 5)
        assert_array_equal(np.sort(labels[:, : len(true)], axis=1), np.tile(true, (n_rows, 1)))
        assert_array_equal(labels[:, len(true) :], np.tile(never[:5], (n_rows, 1)))
        assert_allclose(best[:, : len(true)], -np.sort(-scores[:n_rows, true], axis=1), rtol=1e-4, atol=1e-5)
        assert (best[:, len(true) :] == -np.inf).all()
    assert small.predict(X).shape == (300, 15_000)
    assert (small.predict(X) != (scores > 0)).sum() == 0
    assert [coef.shape for coef in small.coefs_] == [coef.shape for coef in model.coefs_]
    assert small.direct_coef_.shape == model.direct_coef_.shape
    outputs = (
        X @ small.coefs_[0]
        if len(small.coefs_) == 1
        else (X @ small.coefs_[0] + small.intercepts_[0]) @ small.coefs_[1]
    )
    rebuilt = outputs + X @ small.direct_coef_.toarray() + small.intercepts_[-1]
    assert_allclose(rebuilt[:, true], scores[:, true], rtol=1e-3, atol=1e-3)


def test_weights_that_diverged_are_not_used(task):
    X, Y = task
    for warm in (False, True):
        model = make(n_active=None, warm_start=warm).fit(X, Y)
        before = deepcopy(model)
        model.set_params(learning_rate_init=1e30)
        train = model.fit if warm else model.partial_fit
        with pytest.raises(ValueError, match="learning_rate_init=1e"):
            train(X, Y)
        for method in ("predict", "predict_top_k", "predict_proba", "decision_function"):
            with pytest.raises(ValueError, match="diverged in the last partial_fit or warm start"):
                getattr(model, method)(X)
        spoilt = pickle.dumps(model)
        for go_on in (model.partial_fit, deepcopy(model).set_params(warm_start=True).fit):
            with pytest.raises(
                ValueError, match=r"diverged in the last partial_fit or warm start.* Fit anew"
            ):
                go_on(X, Y)
        assert pickle.dumps(model) == spoilt
        assert (before.predict_top_k(X)[0] >= 0).all()
        model.set_params(learning_rate_init=0.1, warm_start=False).fit(X, Y)
        assert_array_equal(model.predict_top_k(X)[0], before.predict_top_k(X)[0])
    model.set_params(learning_rate_init=1e30)
    with pytest.raises(ValueError, match="learning_rate_init=1e"):
        model.fit(X, Y)  # a fit that begins anew leaves the old model alone
    assert_array_equal(model.predict_top_k(X)[0], before.predict_top_k(X)[0])


def test_scores_that_overflow_are_an_error(task):
    X, Y = task
    model = make(n_active=None).fit(X, Y)
    model._model.network.output.weights[:] = 3e38
    for n_rows in (1, 300):
        with pytest.raises(ValueError, match="Scores are not finite"):
            model.predict_top_k(1e3 * X[:n_rows])
