"""How probabilities and thresholds are learned from scores, by hand and against searches."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import f1_score

from sklearn_slide._calibration import (
    ClassCalibration,
    Pairs,
    _lower_pairs,
    best_threshold,
    calibrate_classes,
    calibrate_labels,
    ranks_among,
)


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
    assert_allclose(
        reference.class_probabilities(another, 1000 * scores),
        reference.class_probabilities(one, scores),
        rtol=1e-3,
    )


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


def test_classes_of_a_softmax_keep_it():
    rng = np.random.default_rng(0)
    scores = 4 * rng.normal(size=(3000, 5))
    p = softmax(0.3 * scores, axis=1)
    found = calibrate_classes(scores, np.array([rng.choice(5, p=row) for row in p]))
    assert_allclose(reference.class_probabilities(found, scores), p, atol=0.04)


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
    p = reference.class_probabilities(found, scores[2000:].astype(float))
    assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert (np.diff(-np.sort(-p, axis=1)[:, :50], axis=1) <= 0).all()
    assert np.abs(np.take_along_axis(p, order[2000:], 1) - expected[2000:])[:, :5].mean() < 0.02
    of_true = p[np.arange(2000), true[2000:]]
    one_temperature = minimize(
        lambda c: -log_softmax(c * scores[:2000], axis=1)[np.arange(2000), true[:2000]].mean(), [0.5]
    ).x
    by_temperature = log_softmax(one_temperature * scores[2000:], axis=1)[np.arange(2000), true[2000:]]
    assert np.log(of_true).mean() > by_temperature.mean() + 0.05


def test_classes_that_score_alike():
    c = ClassCalibration(0.7, -0.3, 1.2, 0.5, 3)
    scores = np.array([[1.0, 1, 1, 1, 1, 1], [3, 2, 2, 2, 2, 1], [3, 3, 3, 1, 0, 0], [5, 4, 3, 2, 1, 0]])
    p = reference.class_probabilities(c, scores)
    best = -np.sort(-scores, axis=1)[:, :3]
    about = [values[:, np.newaxis] for values in c.about(best, 6)]
    sums = np.log(np.exp(0.7 * scores).sum(axis=1, keepdims=True))
    found = np.exp(c.logarithms(scores, sums, ranks_among(best, scores), *about))
    assert_allclose(found, p, rtol=1e-12)
    assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    assert_allclose(found[0], 1 / 6)


def test_labels_that_were_never_true_take_nothing_from_the_others():
    found = np.array([[0, 3], [1, 0], [3, 1]])  # 3 was never true, and is ranked
    truth = sp.csr_array(np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]], dtype=bool))
    lower, true, counts = _lower_pairs(found, truth, np.array([True, True, True, False]))
    assert_array_equal(lower.indptr, [0, 2, 3, 5])
    assert_array_equal(lower.indices, [1, 2, 2, 0, 2])
    assert_array_equal(true, [False, False, True, False, False])
    # 9 pairs of a sample and a label that was true, less 4 that are ranked and one that is true
    assert_array_equal(counts, [1, 1, 1, 1, 1])
