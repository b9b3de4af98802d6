"""Calibration of a classifier by held-out samples, and the thresholds of its predictions."""

import pickle
import re
from copy import deepcopy

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from helpers import make
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score, log_loss
from sklearn.utils import shuffle

from sklearn_slide import SlideClassifier
from sklearn_slide._calibration import (
    AVERAGES,
    ClassCalibration,
    LabelCalibration,
)
from sklearn_slide.datasets import make_xmc_classification
from sklearn_slide.metrics import expected_calibration_error

N_LABELS = 150


@pytest.fixture(scope="module")
def task():
    X, Y = make_xmc_classification(1600, 200, N_LABELS, random_state=0)
    return X[:800], Y[:800], X[800:1200], Y[800:1200], X[1200:], Y[1200:]


@pytest.fixture(scope="module", params=["sigmoid", "softmax", "sigmoid+softmax"])
def model(request, task):
    X, Y, X_held, Y_held, _, _ = task
    return make(n_active=None, max_iter=3, loss=request.param).fit(X, Y).calibrate(X_held, Y_held)


def by_hand(model, X):
    """Compute calibrated probabilities of all labels, a row and a label at a time."""
    c, scores = model._model.calibration, model.decision_function(X).astype(float)
    if model.out_activation_ == "softmax":
        scores = log_softmax(scores, axis=1)
    values = [c.offset]
    for low, high, slope in zip(c.knots[:-1], c.knots[1:], c.slopes[1:-1], strict=True):
        values.append(values[-1] + slope * (high - low))
    p, raw = np.empty_like(scores), model.decision_function(X)
    for i, row in enumerate(scores):
        for y, z in enumerate(row):
            higher = raw[i] > raw[i, y] + 2e-6 * (1 + abs(raw[i, y]))
            rank = min(1 + higher.sum(), c.n_ranked)
            u = c.weights @ [z, row.max(), np.log(rank), 1]
            if u < c.knots[0]:
                value = values[0] + c.slopes[0] * (u - c.knots[0])
            elif u > c.knots[-1]:
                value = values[-1] + c.slopes[-1] * (u - c.knots[-1])
            else:
                value = np.interp(u, c.knots, values)
            p[i, y] = 1 / (1 + np.exp(-value))
    return p


def test_every_way_gives_the_same_probabilities(model, task):
    X = task[4][:50]
    expected = by_hand(model, X)
    p = model.predict_proba(X)
    assert_allclose(p, expected, rtol=2e-3, atol=1e-9)
    assert_allclose(model.predict_log_proba(X), np.log(p), rtol=1e-9)
    labels, best = model.predict_top_k(X, 7, scores="probability")
    assert_allclose(best, np.take_along_axis(p, labels, 1), rtol=1e-4)
    for k in (1, N_LABELS):
        one, own = model.predict_top_k(X[:1], k, scores="probability")
        assert_allclose(own, np.take_along_axis(p[:1], one, 1), rtol=1e-4)
    assert_allclose(model.predict_proba(X, labels), best, rtol=1e-4)
    assert_allclose(model.predict_log_proba(X, labels), np.log(best), rtol=1e-4)
    # labels that are left out keep their ranks
    mask = sp.csr_array((np.ones(50), labels[:, 0], np.arange(51)), shape=p.shape)
    others, rest = model.predict_top_k(X, 6, scores="probability", exclude=mask)
    assert_array_equal(others, labels[:, 1:])
    assert_allclose(rest, best[:, 1:], rtol=1e-4)


def test_rankings_stay_what_they_are(model, task):
    X = task[4]
    before = deepcopy(model)
    before._model.calibration = None
    assert_array_equal(model.predict_top_k(X, 20)[0], before.predict_top_k(X, 20)[0])
    p = model.predict_top_k(X, N_LABELS, scores="probability")[1]
    assert (np.diff(p, axis=1) <= 1e-9).all()


def test_probabilities_come_true(model, task):
    X, Y = task[4:]
    before = deepcopy(model)
    before._model.calibration = None
    form = {"scores": "probability", "sparse_output": True}
    for k in (1, 5):
        raw, calibrated = (
            expected_calibration_error(Y, m.predict_top_k(X, k, **form)) for m in (before, model)
        )
        assert calibrated < 0.1
        assert calibrated < raw
    dense = Y.toarray()
    losses = [log_loss(dense.ravel(), m.predict_proba(X).ravel()) for m in (before, model)]
    assert losses[1] < losses[0]


@pytest.mark.parametrize("threshold", [0.02, 0.3, 0.5, 0.9, "auto", *AVERAGES])
def test_predict_says_labels_above_the_threshold(model, task, threshold):
    X = task[4]
    for m in (model, deepcopy(model)):
        if m is not model:
            m._model.calibration = None
            if threshold in AVERAGES:
                continue
        p = m.predict_proba(X)
        m.set_params(threshold=threshold)
        expected = p > m.threshold_
        assert_array_equal(m.predict(X).toarray(), expected)
        m.set_params(threshold="auto")
        assert_array_equal(m.predict(X, threshold=threshold).toarray(), expected)
        if isinstance(threshold, float):
            assert m.set_params(threshold=threshold).threshold_ == threshold
            m.set_params(threshold="auto")
        top = np.zeros_like(expected)
        np.put_along_axis(top, m.predict_top_k(X, 2)[0], True, axis=1)
        assert_array_equal(m.predict(X, threshold=threshold, min_labels=2).toarray(), expected | top)


def test_samples_with_more_likely_labels_than_have_ranks(model, task):
    X = task[4][:60]
    m = deepcopy(model)
    m._model.calibration = m._model.calibration._replace(n_ranked=3)
    p = by_hand(m, X)
    assert_allclose(m.predict_proba(X), p, rtol=2e-3, atol=1e-9)
    threshold = np.median(np.sort(p, axis=1)[:, -9])
    assert ((p > threshold).sum(axis=1) > 3).any()
    assert_array_equal(m.predict(X, threshold=threshold).toarray(), m.predict_proba(X) > threshold)


@pytest.mark.parametrize("average", ["micro", "macro", "samples"])
def test_the_threshold_is_that_of_the_best_f1(model, task, average):
    _, _, X_held, Y_held, _, _ = task
    truth = Y_held.toarray()

    def score(threshold):
        predicted = model.predict(X_held, threshold=threshold).toarray()
        return f1_score(truth, predicted, average=average, zero_division=0)

    found = score(f"{average}_f1")
    for threshold in np.linspace(0.02, 0.9, 45):
        assert found >= score(threshold) - 1e-9


@pytest.mark.parametrize("n_classes", [10, 120])
def test_class_labels_every_way(n_classes):
    if n_classes == 10:
        X, y = shuffle(*load_digits(return_X_y=True), random_state=0)
    else:
        X, Y = make_xmc_classification(1600, 300, n_classes, random_state=0)
        kept = np.diff(Y.indptr) > 0
        X, y = X[kept], Y.indices[Y.indptr[:-1][kept]]
    X, y, X_held, y_held, X_test = X[:900], y[:900], X[900:1200], y[900:1200], X[1200:1400]
    model = SlideClassifier((32,), random_state=0).fit(X, y)
    known = np.isin(y_held, model.classes_)
    raw = model.predict_proba(X_held[known])
    model.calibrate(X_held[known], y_held[known])
    calibration, dense = model._model.calibration, model.decision_function(X_test).astype(float)
    assert isinstance(calibration, ClassCalibration)
    p = model.predict_proba(X_test)
    assert_allclose(p, reference.class_probabilities(calibration, dense), rtol=1e-5, atol=1e-12)
    assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    assert_allclose(model.predict_log_proba(X_test), np.log(p), rtol=1e-6)
    for k in (1, 3, n_classes):
        labels, best = model.predict_top_k(X_test, k, scores="probability")
        assert best.shape[1] == min(k, p.shape[1])
        places = np.searchsorted(model.classes_, labels)
        assert_allclose(best, np.take_along_axis(p, places, 1), rtol=1e-4, atol=1e-9)
        assert (np.diff(best, axis=1) <= 1e-12).all()
    labels, best = model.predict_top_k(X_test, 3, scores="probability")
    assert_allclose(model.predict_proba(X_test, labels), best, rtol=1e-4)
    for other in (pickle.loads(pickle.dumps(model)), deepcopy(model).compact()):
        scores = other.decision_function(X_test).astype(float)  # compact() rounds weights
        p = reference.class_probabilities(calibration, scores)
        best = other.predict_top_k(X_test, 3, scores="probability")[1]
        assert_allclose(best, -np.sort(-p, axis=1)[:, :3], rtol=1e-4)
    own = model.predict_proba(X_held[known])
    assert log_loss(y_held[known], own, labels=model.classes_) < log_loss(
        y_held[known], raw, labels=model.classes_
    )
    assert_array_equal(model.predict(X_test), model.classes_[np.argmax(dense, axis=1)])


def test_fit_calibrates_where_samples_are_held_out(task):
    X, Y, X_held, Y_held, _, _ = task
    early = make(n_active=None, early_stopping=True).fit(X, Y, X_val=X_held, y_val=Y_held)
    by_itself = deepcopy(early)
    by_itself._model.calibration = None
    by_itself.calibrate(X_held, Y_held)
    for a, b in zip(early._model.calibration, by_itself._model.calibration, strict=True):
        assert_array_equal(a, b)
    assert make(n_active=None).fit(X, Y)._model.calibration is None
    several = make(n_active=None, early_stopping=True, n_estimators=2).fit(X, Y)
    assert isinstance(several._model.calibration, LabelCalibration)
    X, y = load_digits(return_X_y=True)
    assert make(early_stopping=True).fit(X, y)._model.calibration.factor > 0


def test_a_calibration_stays(model, task):
    X, Y, _, _, X_test, _ = task
    p = model.predict_proba(X_test)
    seen = np.unique(Y.indices)  # compact() drops the others, and the ranks below them
    for other in (pickle.loads(pickle.dumps(model)), deepcopy(model).compact()):
        assert_allclose(other.predict_proba(X_test)[:, seen], p[:, seen], rtol=1e-6)
    further = deepcopy(model)
    kept = further._model.calibration
    wide = sp.hstack([Y, Y[:, :5]]).tocsr()
    for data in ((X, Y), (X, wide)):
        further.partial_fit(*data)
        assert further._model.calibration is kept
    assert further.predict_proba(X_test).shape == (400, N_LABELS + 5)
    warm = deepcopy(model).set_params(warm_start=True)
    kept = warm._model.calibration
    assert warm.fit(X, Y)._model.calibration is kept
    assert clone(model).fit(X, Y)._model.calibration is None


def test_bad_arguments(model, task):
    X, Y, X_held, Y_held, _, _ = task
    fresh = make().fit(X, Y)
    for threshold in (0, 1, -0.1, 1.5, np.nan, "f1", None):
        match = (
            "threshold must be a number between 0 and 1, 'auto', 'micro_f1', 'macro_f1' or 'samples_f1'. Got "
        )
        with pytest.raises(ValueError, match=match + re.escape(repr(threshold))):
            fresh.set_params(threshold=threshold).predict(X)
        with pytest.raises(ValueError, match="threshold"):
            make(threshold=threshold).fit(X, Y)
        fresh.set_params(threshold="auto")
    for name in AVERAGES:
        match = rf"threshold='{name}' is learned .*Call calibrate\(X, y\) with some, fit with early_stopping"
        with pytest.raises(ValueError, match=match):
            fresh.predict(X, threshold=name)
    for min_labels in (-1, 1.5, "a"):
        with pytest.raises(ValueError, match="min_labels must be an int of at least 0"):
            fresh.predict(X, min_labels=min_labels)
    with pytest.raises(ValueError, match="fitted with a multi-label indicator"):
        fresh.calibrate(X_held, np.arange(400) % 3)
    with pytest.raises(ValueError, match="features"):
        fresh.calibrate(X_held[:, 1:], Y_held)
    classes = make().fit(*load_digits(return_X_y=True))
    for params in ({"threshold": 0.5}, {"min_labels": 1}):
        with pytest.raises(ValueError, match="of class labels the best is predicted"):
            classes.predict(load_digits().data, **params)
