"""Probabilities learned from held-out samples, and the thresholds of predictions."""

import pickle
import re
from copy import deepcopy

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import make
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score, log_loss
from sklearn.utils import shuffle

from sklearn_slide import SlideClassifier
from sklearn_slide._calibration import (
    AVERAGES,
    ClassCalibration,
    LabelCalibration,
    Pairs,
    _lower_pairs,
    best_threshold,
    calibrate_classes,
    calibrate_labels,
    ranks_among,
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


@pytest.mark.parametrize("average", ["micro", "macro", "samples"])
@pytest.mark.parametrize("seed", range(5))
def test_best_threshold_against_a_search(average, seed):
    rng = np.random.default_rng(seed)
    p = rng.integers(1, 20, size=(30, 12)) / 20  # many are equal
    true = rng.random((30, 12)) < p**2 * rng.random(12)
    true[:3], true[:, :2] = False, False
    rows, labels = np.indices(p.shape).reshape(2, -1)
    groups = {"micro": 0 * rows, "macro": labels, "samples": rows}[average]
    n_true = np.bincount(groups[true.ravel()], minlength=groups.max() + 1)
    found = best_threshold(p.ravel(), true.ravel(), np.ones(p.size), groups, n_true)

    def score(threshold):
        return f1_score(true, p > threshold, average=average, zero_division=0)

    assert score(found) == pytest.approx(max(score(threshold) for threshold in (np.arange(20) + 0.5) / 20))


def test_best_threshold_by_hand():
    def best(p, true, counts, n_true):
        return best_threshold(p, true, counts, np.zeros(len(p), dtype=int), [n_true])

    p, true = np.array([0.9, 0.8, 0.7, 0.2, 0.1]), np.array([True, True, False, True, False])
    # of 4 true labels one has no probability: F1 of the best n is 2/5, 4/6, 4/7, 6/8, 6/9
    one = np.ones(5)
    assert best(p, true, one, 4) == pytest.approx(0.15)
    assert best(p[:2], true[:2], one[:2], 2) == pytest.approx(0.4)
    assert best(p, np.zeros(5, dtype=bool), one, 4) == 0.5
    tied = np.array([0.5, 0.5, 0.1])
    assert best(tied, np.array([True, False, False]), one[:3], 1) == pytest.approx(0.3)
    # the fourth stands for nine labels: 2/5, 4/6, 4/7, 22/16, 22/17 of 4 and eight more true labels
    counts = np.array([1.0, 1, 1, 9, 1])
    assert best(p, true, counts, 12) == pytest.approx(0.15)
    assert best(p, np.array([True, True, False, False, False]), counts, 4) == pytest.approx(0.75)


def test_ranks_by_hand():
    best = np.array([[3.0, 2.0, 2.0, -1.0]])
    scores = np.array([[2.0, 3.0, 2.5, -1.0, -5.0, 2.0 - 1e-6, -np.inf]])
    assert_array_equal(ranks_among(best, scores), [[2, 1, 2, 4, 5, 2, 5]])


def as_pairs(scores, true):
    """Return the Pairs of samples whose labels are sorted, best first."""
    n_samples, n_labels = scores.shape
    return Pairs(
        scores.ravel(),
        np.repeat(scores[:, 0], n_labels),
        np.tile(np.arange(1, n_labels + 1), n_samples),
        true.ravel(),
        np.ones(scores.size),
    )


def groupings_of(true):
    """Return the groupings of such pairs: all together, by label and by sample."""
    rows, labels = np.indices(true.shape).reshape(2, -1)
    return [(0 * rows, [true.sum()]), (labels, true.sum(axis=0)), (rows, true.sum(axis=1))]


def test_pairs_below_the_ranks_stand_for_all_others():
    rng = np.random.default_rng(0)
    truth = sp.csr_array(rng.random((30, 400)) < 0.05)
    seen = rng.random(400) < 0.9
    found = np.array([rng.choice(np.flatnonzero(seen), 7, replace=False) for _ in range(30)])
    pairs, true, counts = _lower_pairs(found, truth, seen)
    rows = np.repeat(np.arange(30), np.diff(pairs.indptr))
    below = np.tile(seen, (30, 1))
    np.put_along_axis(below, found, False, axis=1)
    assert below[rows, pairs.indices].all()
    assert len(set(zip(rows, pairs.indices, strict=True))) == len(rows)
    assert_array_equal(true, truth.toarray()[rows, pairs.indices])
    assert true.sum() == (truth.toarray() & below).sum()
    assert (counts[true] == 1).all()
    assert counts.sum() == pytest.approx(below.sum())
    none = _lower_pairs(np.tile(np.arange(400), (30, 1)), truth, np.ones(400, dtype=bool))
    assert len(none[1]) == 0


def test_the_weights_minimise_the_loss():
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.normal(-1, 2, size=(400, 6)), axis=1)
    log_odds = 1.7 * scores - 0.4 * scores[:, :1] - 1.1 * np.log(np.arange(1, 7)) + 0.5
    true = rng.random(scores.shape) < expit(log_odds)
    found = calibrate_labels(as_pairs(scores, true), 6, groupings_of(true))
    shares = 1 / np.arange(1, 7)
    u = np.stack(np.broadcast_arrays(scores, scores[:, :1], np.log(np.arange(1, 7)), 1.0), axis=-1)
    middle = np.append(u.reshape(-1, 4).mean(axis=0)[:3], 0)
    units = np.array([scores.std(), scores.std(), 1, 1])
    rate = ((shares * true).sum() + 0.5) / (400 * shares.sum() + 1)
    start = np.array([1, 0, 0, np.log(rate / (1 - rate))])

    def loss(c):
        p = expit((u - middle) / units @ c)
        losses = -np.where(true, np.log(p), np.log(1 - p)) * shares
        return losses.sum() + 2 * np.sum((c - start) ** 2)

    c = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-6, "maxiter": 4000}).x / units
    assert_allclose(found.weights, c - [0, 0, 0, c @ middle], atol=2e-3)
    assert (found.slopes > 0).all()
    p = expit(found.log_odds(scores, scores[:, :1], np.arange(1, 7)))
    assert np.abs(p - expit(log_odds)).mean() < 0.03
    cuts = found.cuts(found.log_odds(scores[:, -1], scores[:, 0], 6), scores[:, 0])
    assert_allclose(cuts, scores[:, -1], rtol=1e-9)


def test_few_samples_are_trusted_little():
    scores = np.array([[2.0, -1.0, -3.0]])
    ranks = np.arange(1, 4)
    for true in ([[False] * 3], [[True] * 3], [[True, False, False]]):
        found = calibrate_labels(as_pairs(scores, np.array(true)), 3, groupings_of(np.array(true)))
        assert np.abs(found.log_odds(scores, scores[:, 0], ranks)).max() < 4
        assert ((found.thresholds > 0) & (found.thresholds < 1)).all()


def test_the_unit_of_scores_does_not_matter():
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.normal(-1, 2, size=(300, 12)), axis=1)
    true = rng.random(scores.shape) < expit(scores)
    ranks, groupings = np.arange(1, 13), groupings_of(true)
    found = [calibrate_labels(as_pairs(unit * scores, true), 12, groupings) for unit in (1, 1000)]
    p = [
        expit(c.log_odds(c_unit * scores, c_unit * scores[:, :1], ranks))
        for c, c_unit in zip(found, (1, 1000), strict=True)
    ]
    assert_allclose(p[1], p[0], rtol=1e-6)
    assert_allclose(found[1].thresholds, found[0].thresholds, rtol=1e-6)
    one, another = (calibrate_classes(unit * scores, true.argmax(axis=1)) for unit in (1, 1000))
    assert_allclose(of_classes(another, 1000 * scores), of_classes(one, scores), rtol=1e-3)


def test_labels_beyond_the_ranks_do_not_hide_the_first_ones():
    # scores as of a ridge regression: of 20,000 labels most are far below the first ones, of which seven of
    # ten are true whatever the score is
    rng = np.random.default_rng(0)
    n, n_labels = 500, 20_000
    best = -np.sort(-rng.gamma(4, 60, size=(n, 1)) * rng.random((n, 50)) ** 0.5, axis=1)
    lower = 20 * rng.random((n, 20))
    scores = np.hstack([best, lower])

    def log_odds(z):
        return np.minimum(-9 + z / 10, 0.85)

    true = rng.random(scores.shape) < expit(log_odds(scores))
    counts = np.hstack([np.ones_like(best), np.full(lower.shape, (n_labels - 50) / 20)])
    counts[:, 50:][true[:, 50:]] = 1
    pairs = Pairs(
        scores.ravel(),
        np.repeat(best[:, 0], 70),
        np.tile(np.minimum(np.arange(1, 71), 50), n),
        true.ravel(),
        counts.ravel(),
    )
    rows = np.repeat(np.arange(n), 70)
    c = calibrate_labels(pairs, 50, [(0 * rows, [true.sum()])] * 3)
    p = expit(c.log_odds(best, best[:, :1], np.arange(1, 51)))
    assert np.abs(p - expit(log_odds(best)))[:, :5].mean() < 0.05


def of_classes(c, scores):
    """Compute calibrated probabilities of classes, a row and a class at a time."""
    p = softmax(c.factor * scores, axis=1) / (1 + np.exp(-c.share))
    for row, z in zip(p, scores, strict=True):
        n = c.n_ranked
        order = np.argsort(-z, kind="stable")
        ranks = np.array([1 + (z > one + 2e-6 * (1 + abs(one))).sum() for one in z])
        part = np.zeros(len(z))
        for y in order[:n]:
            if n == len(z) or ranks[y] < ranks[order[n - 1]]:
                part[y] = np.exp(c.slope * (z[y] - z.max())) * ranks[y] ** -c.fall
        if part.sum():
            row += part / part.sum() / (1 + np.exp(c.share))
        else:
            row *= 1 + np.exp(-c.share)
    return p


def test_classes_of_a_softmax_keep_it():
    rng = np.random.default_rng(0)
    scores = 4 * rng.normal(size=(3000, 5))
    p = softmax(0.3 * scores, axis=1)
    found = calibrate_classes(scores, np.array([rng.choice(5, p=row) for row in p]))
    assert_allclose(of_classes(found, scores), p, atol=0.04)


def test_classes_among_the_first_or_anywhere():
    rng = np.random.default_rng(0)
    n, n_classes, tail = 4000, 400, 0.3
    scores = 3 * rng.normal(size=(n, n_classes)).astype(np.float32)
    order = np.argsort(-scores, axis=1)[:, :50]
    best = np.take_along_axis(scores, order, axis=1).astype(float)
    h = softmax(1.5 * best - 0.8 * np.log(np.arange(1, 51)), axis=1)
    true = np.array([rng.choice(row, p=p) for row, p in zip(order, h, strict=True)])
    anywhere = rng.random(n) < tail
    true[anywhere] = rng.integers(0, n_classes, anywhere.sum())
    expected = (1 - tail) * h + tail / n_classes
    found = calibrate_classes(scores[:2000], true[:2000])
    p = of_classes(found, scores[2000:].astype(float))
    assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert (np.diff(-np.sort(-p, axis=1)[:, :50], axis=1) <= 0).all()
    assert np.abs(np.take_along_axis(p, order[2000:], 1) - expected[2000:])[:, :5].mean() < 0.02
    of_true = p[np.arange(2000), true[2000:]]
    one_temperature = minimize(
        lambda c: -log_softmax(c * scores[:2000], axis=1)[np.arange(2000), true[:2000]].mean(), [0.5]
    ).x
    by_temperature = log_softmax(one_temperature * scores[2000:], axis=1)[np.arange(2000), true[2000:]]
    assert np.log(of_true).mean() > by_temperature.mean() + 0.05


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
    assert_allclose(p, of_classes(calibration, dense), rtol=1e-5, atol=1e-12)
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
        p = of_classes(calibration, other.decision_function(X_test).astype(float))  # compact() rounds weights
        best = other.predict_top_k(X_test, 3, scores="probability")[1]
        assert_allclose(best, -np.sort(-p, axis=1)[:, :3], rtol=1e-4)
    own = model.predict_proba(X_held[known])
    assert log_loss(y_held[known], own, labels=model.classes_) < log_loss(
        y_held[known], raw, labels=model.classes_
    )
    assert_array_equal(model.predict(X_test), model.classes_[np.argmax(dense, axis=1)])


def test_classes_that_score_alike():
    c = ClassCalibration(0.7, -0.3, 1.2, 0.5, 3)
    scores = np.array([[1.0, 1, 1, 1, 1, 1], [3, 2, 2, 2, 2, 1], [3, 3, 3, 1, 0, 0], [5, 4, 3, 2, 1, 0]])
    p = of_classes(c, scores)
    best = -np.sort(-scores, axis=1)[:, :3]
    about = [values[:, np.newaxis] for values in c.about(best, 6)]
    sums = np.log(np.exp(0.7 * scores).sum(axis=1, keepdims=True))
    found = np.exp(c.logarithms(scores, sums, ranks_among(best, scores), *about))
    assert_allclose(found, p, rtol=1e-12)
    assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    assert_allclose(found[0], 1 / 6)


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


def test_labels_that_were_never_true_take_nothing_from_the_others():
    found = np.array([[0, 3], [1, 0], [3, 1]])  # 3 was never true, and is ranked
    truth = sp.csr_array(np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]], dtype=bool))
    lower, true, counts = _lower_pairs(found, truth, np.array([True, True, True, False]))
    assert_array_equal(lower.indptr, [0, 2, 3, 5])
    assert_array_equal(lower.indices, [1, 2, 2, 0, 2])
    assert_array_equal(true, [False, False, True, False, False])
    # 9 pairs of a sample and a label that was true, less 4 that are ranked and one that is true
    assert_array_equal(counts, [1, 1, 1, 1, 1])
