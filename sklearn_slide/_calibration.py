"""Scores -> probabilities that come true as often as they say, learned from held-out samples.

The more labels score higher for a sample, the less likely a label of a given score is true: the labels of a
sample compete for few places, and training against a sample of negatives does not know the others. So the
log-odds of a label of an indicator are a rising function of

    u = a z + b max_y z_y - c log(rank) + d,    a > 0, c >= 0,

with the score z, the best score of the sample, and the rank of the label in it. The ranking of a sample stays
what it is. Class labels, of which one is true, have softmax(a z).
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logsumexp

from sklearn_slide._core.rows import Pattern

# Labels of a sample whose ranks are told apart, and which a calibration is learned from.
_N_RANKED = 50
_N_DRAWN = 20  # labels drawn for each sample, to learn of the others
_N_KNOTS = 16
# Samples of class labels are taken for so many scores at most.
_MOST_SCORES = 2**26
# How much a few samples are trusted: about as if so many had said that scores are right as they are.
_TRUST_IN_SCORES = 2.0
_LEAST_SLOPE = 0.05
# Scores that differ by less, absolute and relative, may be equal.
_ROUNDING = 2e-6
_FINE = 64  # values of u are told apart by a part of 1 / 64
# What a threshold is the best of: the F1 of all pairs, and the means of those of labels and of samples.
AVERAGES = ("micro_f1", "macro_f1", "samples_f1")


class Temperature(NamedTuple):
    """Probabilities of class labels: softmax(factor z)."""

    factor: float


class LabelCalibration(NamedTuple):
    """Log-odds of labels of an indicator: a line through knots, of u = weights . (z, best z, log rank, 1)."""

    weights: np.ndarray  # float64 (4,)
    knots: np.ndarray  # float64 (n_knots,), ascending values of u
    offset: float  # the log-odds at the first knot
    slopes: np.ndarray  # float64 (n_knots + 1,), positive: before the first knot, between them, and after
    n_ranked: int  # lower ranks count as this one
    thresholds: np.ndarray  # float64 (3,), the probabilities above which labels give the best of AVERAGES

    def log_odds(self, scores, best, ranks):
        """Compute the log-odds, float64, of scores with these ranks in samples whose best score is best."""
        ranks = np.log(np.minimum(ranks, self.n_ranked))
        u = self.weights[0] * scores + self.weights[1] * best + self.weights[2] * ranks + self.weights[3]
        return self._rise(u)

    def _rise(self, u):
        """Compute the piecewise linear function of u."""
        values = np.cumsum(np.append(self.offset, self.slopes[1:-1] * np.diff(self.knots)))
        rise = np.interp(u, self.knots, values)
        rise += self.slopes[0] * np.minimum(u - self.knots[0], 0)
        return rise + self.slopes[-1] * np.maximum(u - self.knots[-1], 0)

    def cuts(self, log_odds, best):
        """Compute the scores at which labels of the lowest rank have these log-odds, as best, float64."""
        values = np.cumsum(np.append(self.offset, self.slopes[1:-1] * np.diff(self.knots)))
        u = np.interp(log_odds, values, self.knots)
        u += np.minimum(log_odds - values[0], 0) / self.slopes[0]
        u += np.maximum(log_odds - values[-1], 0) / self.slopes[-1]
        rest = self.weights[1] * best + self.weights[2] * np.log(self.n_ranked) + self.weights[3]
        return (u - rest) / self.weights[0]


def ranks_among(best, scores):
    """Rank scores, (n_samples, m), by how many of the best, (n_samples, n) and falling, are higher: int64.

    Scores that differ by no more than rounding have the same rank.
    """
    ranks = np.full(scores.shape, best.shape[1] + 1, dtype=np.int64)
    with np.errstate(invalid="ignore"):  # -inf, of no label, comes last
        reach = scores + _ROUNDING * (1 + np.abs(scores))
    for own, higher, found in zip(ranks, reach, best, strict=True):
        some = higher >= found[-1]
        own[some] = 1 + np.searchsorted(-found, -higher[some], side="left")
    return ranks


class Pairs(NamedTuple):
    """Labels of held-out samples that a calibration is learned from, arrays of shape (n_pairs,)."""

    scores: np.ndarray  # float64
    best: np.ndarray  # float64, the best score of the sample
    ranks: np.ndarray  # int64, the lowest one for labels that are drawn at random below it
    true: np.ndarray  # bool
    counts: np.ndarray  # float64, the labels that a pair stands for


def calibrate_labels(pairs, n_ranked, groupings):
    """Learn a LabelCalibration that tells n_ranked ranks apart.

    groupings has for each of AVERAGES the groups of pairs that have an F1 each, and their numbers of true
    labels, as best_threshold takes them.
    """
    columns = [pairs.scores, pairs.best, np.log(pairs.ranks), np.ones(len(pairs.scores))]
    features = np.stack(columns, axis=1)
    # first ranks are few, and what is shown: they count for more
    shares = pairs.counts / pairs.ranks
    bounds = [(_LEAST_SLOPE, None), (None, None), (None, 0.0), (None, None)]
    weights = _fit_logistic(features, pairs.true, shares, np.array([1.0, 0, 0, 0]), bounds)
    knots, offset, slopes = _fit_rise(features @ weights, pairs.true, shares)
    calibration = LabelCalibration(weights, knots, offset, slopes, n_ranked, np.full(len(AVERAGES), 0.5))
    likely = expit(calibration.log_odds(pairs.scores, pairs.best, pairs.ranks))
    thresholds = [best_threshold(likely, pairs.true, pairs.counts, *grouping) for grouping in groupings]
    return calibration._replace(thresholds=np.array(thresholds))


def _fit_rise(u, true, shares):
    """Fit the piecewise linear log-odds of u; return the knots, the first value and the slopes."""
    _, groups = np.unique(np.rint(u * _FINE), return_inverse=True)
    sums = np.bincount(groups, shares)
    u, true = (np.bincount(groups, shares * values) / sums for values in (u, true))
    p = expit(u)
    doubt = np.cumsum(sums * np.sqrt(p * (1 - p)))
    knots = np.unique(np.interp(np.linspace(0, doubt[-1], _N_KNOTS + 2)[1:-1], doubt, u))
    parts = [np.minimum(u - knots[0], 0)]
    parts += [np.clip(u - low, 0, high - low) for low, high in pairwise(knots)]
    parts += [np.maximum(u - knots[-1], 0), np.ones_like(u)]
    start = np.append(np.ones(len(parts) - 1), knots[0])
    bounds = [(_LEAST_SLOPE, None)] * (len(parts) - 1) + [(None, None)]
    found = _fit_logistic(np.stack(parts, axis=1), true, sums, start, bounds)
    return knots, float(found[-1]), found[:-1]


def _fit_logistic(features, true, shares, start, bounds):
    """Minimise the log loss of features @ c, with a pull of c to where it starts, within bounds.

    shares are what rows count for, and true the shares of them that are true, both (n_rows,).
    """
    total = shares.sum()

    def loss(c):
        log_odds, off = features @ c, c - start
        value = shares @ (np.logaddexp(0, log_odds) - true * log_odds) + _TRUST_IN_SCORES * off @ off
        gradient = (shares * (expit(log_odds) - true)) @ features + 2 * _TRUST_IN_SCORES * off
        return value / total, gradient / total

    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x


def best_threshold(probabilities, true, counts, groups, n_true):
    """Return the threshold of the probabilities above which predictions have the best mean F1 of groups.

    counts are the labels that each stands for, groups, int (n,), what each belongs to, and n_true, of shape
    (n_groups,), the labels of a group that are true, with a probability or without.
    """
    order = np.argsort(-probabilities, kind="stable")
    p, true, counts, groups = (values[order] for values in (probabilities, true, counts, groups))
    by_group = np.argsort(groups, kind="stable")
    sorted_groups = groups[by_group]
    first = np.searchsorted(sorted_groups, sorted_groups)  # where the group of each begins
    hits, said = (
        np.cumsum(values) - (np.cumsum(values) - values)[first]
        for values in ((true * counts)[by_group], counts[by_group])
    )
    gains = (
        2 * hits / (said + np.asarray(n_true)[sorted_groups])
    )  # F1 of the group so far, less the one before
    gains[1:] -= np.where(np.arange(1, len(p)) > first[1:], gains[:-1], 0.0)
    f1 = np.empty_like(gains)
    f1[by_group] = gains
    f1 = np.cumsum(f1)
    f1[:-1][p[:-1] == p[1:]] = 0.0  # no threshold tells equal ones apart
    n = int(np.argmax(f1))
    if f1[n] <= 0.0:
        return 0.5
    return float((p[n] + p[n + 1]) / 2) if n + 1 < len(p) else float(p[n] / 2)


def calibrate_classes(scores, true):
    """Learn a Temperature from scores of every class, (n_samples, n_classes), and the true positions."""
    scores = scores.astype(np.float64)
    of_true = scores[np.arange(len(true)), true]

    def loss(log_factor):
        factor = np.exp(log_factor)
        losses = logsumexp(factor * scores, axis=1) - factor * of_true
        return losses.sum() + _TRUST_IN_SCORES * log_factor**2

    return Temperature(float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x)))


def calibrate(ranker, X, y, report):
    """Learn what turns the scores of a Ranker into probabilities, from samples that training did not see.

    X and y are validated, y a Pattern of the true labels. Return a Temperature or a LabelCalibration.
    """
    labels = ranker.model.labels
    if not labels.multilabel:
        most = max(1, _MOST_SCORES // len(labels))
        return calibrate_classes(ranker.scores(ranker.model.rows(X[:most]), report), y.indices[:most])
    x, n_ranked = ranker.model.rows(X), min(_N_RANKED, int(ranker.model.seen_labels.sum()) or len(labels))
    factor = 1.0 if ranker.model.out_activation == "softmax" else None
    found, scores, sums = ranker.rank(x, n_ranked, report, factor=factor)
    truth = sp.csr_array((np.ones(len(y.indices), dtype=bool), y.indices, y.indptr), (x.n_rows, len(labels)))
    lower, is_true, counts = _lower_pairs(found, truth, ranker.model.seen_labels)
    rows = np.repeat(np.arange(x.n_rows), np.diff(lower.indptr))
    places = np.repeat(np.arange(x.n_rows), n_ranked)
    all_scores = np.concatenate([scores.ravel(), ranker.chosen(x, lower, report)]).astype(np.float64)
    all_rows = np.concatenate([places, rows])
    shift = np.zeros(x.n_rows) if sums is None else sums
    pairs = Pairs(
        all_scores - shift[all_rows],
        (scores[:, 0] - shift)[all_rows],
        np.concatenate([np.tile(np.arange(1, n_ranked + 1), x.n_rows), np.full(len(rows), n_ranked)]),
        np.concatenate([np.asarray(truth[places, found.ravel()]).ravel(), is_true]),
        np.concatenate([np.ones(found.size), counts]),
    )
    all_labels = np.concatenate([found.ravel(), lower.indices])
    groupings = [
        (np.zeros(len(all_rows), dtype=np.int64), [len(y.indices)]),
        (all_labels, np.bincount(y.indices, minlength=len(labels))),
        (all_rows, np.diff(y.indptr)),
    ]
    return calibrate_labels(pairs, n_ranked, groupings)


def _lower_pairs(found, truth, seen):
    """Choose labels below the ranked ones: the true ones, and some of the others, for all of them.

    found are the ranked labels (n_samples, n_ranked), truth a CSR array of bool, seen bool (n_labels,).
    Return a Pattern, which of its labels are true, and how many labels each stands for.
    """
    n_samples, n_labels = truth.shape
    drawn = (
        np.random.default_rng(0).choice(np.flatnonzero(seen), (n_samples, _N_DRAWN)) if seen.any() else found
    )
    rows = np.repeat(np.arange(n_samples), drawn.shape[1])
    keys = np.unique(rows * n_labels + drawn.ravel())
    true = np.repeat(np.arange(n_samples), np.diff(truth.indptr)) * n_labels + truth.indices
    true = true[seen[truth.indices]]
    ranked = (np.arange(n_samples)[:, np.newaxis] * n_labels + found).ravel()
    true, others = np.setdiff1d(true, ranked), np.setdiff1d(keys, np.concatenate([true, ranked]))
    n_others = n_samples * seen.sum() - len(np.union1d(true, ranked[seen[found.ravel()]]))
    chosen = np.concatenate([true, others])
    order = np.argsort(chosen)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(chosen // n_labels, minlength=n_samples))])
    counts = np.concatenate([np.ones(len(true)), np.full(len(others), n_others / max(len(others), 1))])
    pattern = Pattern(indptr, (chosen[order] % n_labels).astype(np.int32))
    return pattern, order < len(true), counts[order]
