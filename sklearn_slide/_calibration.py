"""Scores -> probabilities that come true as often as they say, learned from held-out samples.

The more labels score higher for a sample, the less likely a label of a given score is true: the labels of a
sample compete for few places, and training against a sample of negatives does not know the others. So the
log-odds of a label of an indicator are a rising function of

    u = a z + b max_y z_y - c log(rank) + d,    a > 0, c >= 0,

with the score z, the best score of the sample, and the rank of the label in it. The ranking of a sample stays
what it is.

Of class labels one is true. Its rank has a long tail: it is mostly among the first few, and else anywhere. No
softmax(t z) is right for both, so that the probability of a class is a mixture of two,

    p = (1 - s) h + s softmax(t z),    h_y = exp(a z_y) rank_y^-c / sum of the same,    a > 0, c >= 0,

where h is that of the n_ranked best classes alone, and 0 for the others. Both parts fall with the rank, and
sum to one. Mixtures of temperatures are those of Zhang, Kailkhura and Han (2020), "Mix-n-Match".

Nothing here depends on the unit of the scores: those of a ridge regression may be a hundred times log-odds.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, logit

from sklearn_slide._core.rows import Pattern

# Labels of a sample whose ranks are told apart, and which a calibration is learned from.
_N_RANKED = 50
_N_DRAWN = 20  # labels drawn for each sample, to learn of the others
_N_KNOTS = 16
# Samples of class labels are taken for so many scores at most.
_MOST_SCORES = 2**26
# How much a few samples are trusted: about as if so many had said that a score which is higher by a standard
# deviation has log-odds which are higher by one.
_TRUST_IN_SCORES = 2.0
_LEAST_SLOPE = 1e-3  # log-odds rise, however little
# Losses are minimised until steps no longer change them, by sample or by true label.
_CONVERGED = {"ftol": 1e-11, "gtol": 1e-7, "maxiter": 1000}
# Scores that differ by less, absolute and relative, may be equal.
_ROUNDING = 2e-6
_FINE = 64  # values of u are told apart by a part of 1 / 64
# What a threshold is the best of: the F1 of all pairs, and the means of those of labels and of samples.
AVERAGES = ("micro_f1", "macro_f1", "samples_f1")


class ClassCalibration(NamedTuple):
    """Probabilities of class labels: (1 - s) h + s softmax(factor z), h of the n_ranked best."""

    factor: float
    share: float  # log-odds of s
    slope: float  # a of h
    fall: float  # c of h
    n_ranked: int

    def about(self, best, n_classes):
        """Return what samples with these best scores, (n_samples, n_ranked), tell of h, arrays (n_samples,).

        That is the logarithm of its sum, and the rank from which on classes have no part in it.
        """
        best, log_ranks, ends = _in_h(best, n_classes)
        return _log_sum(self.slope * best - self.fall * log_ranks), ends

    def logarithms(self, scores, sums, ranks, totals, ends):
        """Compute logarithms of probabilities, float64, of classes with these scores and ranks.

        sums are the logarithms of the sums of exp(factor z) over all classes; totals and ends as about has
        them.
        """
        of_all = np.minimum(self.factor * scores - sums, 0)  # two sums of the scores may round apart
        own = np.where(ranks < ends, self.slope * scores - self.fall * np.log(ranks), -np.inf)
        some = totals > -np.inf
        own = np.where(some, own - np.where(some, totals, 0.0), of_all)
        return np.logaddexp(log_expit(-self.share) + own, log_expit(self.share) + of_all)


class LabelCalibration(NamedTuple):
    """Log-odds of labels of an indicator: a line through knots, of u = weights . (z, best z, log rank, 1)."""

    weights: np.ndarray  # float64 (4,)
    knots: np.ndarray  # float64 (n_knots,), ascending values of u
    offset: float  # the log-odds at the first knot
    slopes: np.ndarray  # float64 (n_knots + 1,), positive: before the first knot, between them, and after
    n_ranked: int  # lower ranks count as this one
    thresholds: np.ndarray  # float64 (3,), the probabilities above which labels give the best of AVERAGES

    def about(self, best, n_labels):
        """Return what samples with these best scores tell of their labels: the first, (n_samples,)."""
        return (best[:, 0].astype(np.float64),)

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


def _in_h(best, n_classes):
    """Return best scores with -inf for those without a part in h, logarithms of ranks, and where h ends.

    The last of the best ones, and those that score as it does, are left out if there are further classes: of
    these, any number may score so.
    """
    best, ranks = best.astype(np.float64), ranks_among(best, best)
    ends = ranks[:, -1] if best.shape[1] < n_classes else np.full(len(best), best.shape[1] + 1)
    return np.where(ranks < ends[:, np.newaxis], best, -np.inf), np.log(ranks), ends


def _log_sum(values):
    """Compute the logarithms of the sums of exp(values) in rows that fall, -inf of rows that are -inf."""
    top = np.where(values[:, 0] > -np.inf, values[:, 0], 0.0)
    with np.errstate(divide="ignore"):
        return top + np.log(np.exp(values - top[:, np.newaxis]).sum(axis=1))


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
    # first ranks are few, and what is shown: they count for more
    shares = pairs.counts / pairs.ranks
    # scores in standard deviations, and about zero: so their unit is all the same, and steps converge
    columns = np.stack([pairs.scores, pairs.best, np.log(pairs.ranks)], axis=1)
    middle, unit = columns.mean(axis=0), pairs.scores.std() or 1.0
    units = np.array([unit, unit, 1.0, 1.0])
    features = np.column_stack([columns - middle, np.ones(len(columns))]) / units
    start = np.array([1.0, 0.0, 0.0, logit((shares @ pairs.true + 0.5) / (shares.sum() + 1.0))])
    bounds = [(_LEAST_SLOPE, None), (None, None), (None, 0.0), (None, None)]
    weights = _fit_logistic(features, pairs.true, shares, start, bounds) / units
    weights[3] -= weights[:3] @ middle
    u = columns @ weights[:3] + weights[3]
    knots, offset, slopes = _fit_rise(u, pairs.true, shares, 1 / pairs.ranks)
    calibration = LabelCalibration(weights, knots, offset, slopes, n_ranked, np.full(len(AVERAGES), 0.5))
    likely = expit(calibration.log_odds(pairs.scores, pairs.best, pairs.ranks))
    thresholds = [best_threshold(likely, pairs.true, pairs.counts, *grouping) for grouping in groupings]
    return calibration._replace(thresholds=np.array(thresholds))


def _fit_rise(u, true, shares, told):
    """Fit the piecewise linear log-odds of u; return the knots, the first value and the slopes.

    shares are what pairs count for, and told what they count for where knots are set, both (n_pairs,).
    """
    _, groups = np.unique(np.rint(u * _FINE), return_inverse=True)
    sums, told = np.bincount(groups, shares), np.bincount(groups, told)
    u, true = (np.bincount(groups, shares * values) / sums for values in (u, true))
    p = expit(u)
    doubt = np.cumsum(told * np.sqrt(p * (1 - p)))
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
    total = shares @ true + 1.0

    def loss(c):
        log_odds, off = features @ c, c - start
        value = shares @ (np.logaddexp(0, log_odds) - true * log_odds) + _TRUST_IN_SCORES * off @ off
        gradient = (shares * (expit(log_odds) - true)) @ features + 2 * _TRUST_IN_SCORES * off
        return value / total, gradient / total

    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=_CONVERGED).x


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
    """Learn a ClassCalibration from scores of every class, (n_samples, n_classes), and the true positions.

    The factor is that with which the other parameters reach the least log loss.
    """
    of_true = scores[np.arange(len(true)), true].astype(np.float64)
    kept = of_true > -np.inf  # compact() may have dropped the class
    scores, of_true = scores[kept], of_true[kept]
    n_ranked = min(_N_RANKED, scores.shape[1])
    best = -np.sort(np.partition(-scores, n_ranked - 1, axis=1)[:, :n_ranked], axis=1)
    ranks = ranks_among(best, of_true[:, np.newaxis])[:, 0]
    head = _in_h(best, scores.shape[1])
    finite = best[best > -np.inf]
    below = scores - best[:, :1]
    unit = (finite.std() if len(finite) else 0.0) or 1.0
    others = [np.zeros(3)]  # where the last fit ended, from which the next one starts

    def fit(log_factor):
        factor = float(np.exp(log_factor) / unit)
        sums = np.exp(np.float32(factor) * below).sum(axis=1, dtype=np.float64)
        sums = np.log(sums) + factor * best[:, 0].astype(np.float64)
        made, loss, others[0] = _fit_mixture(factor, of_true, sums, ranks, head, others[0])
        return made, loss + _TRUST_IN_SCORES * log_factor**2 / (len(of_true) + 1)

    options = {"xatol": 0.05}
    found = minimize_scalar(lambda c: fit(c)[1], bounds=(-6, 6), method="bounded", options=options)
    return fit(found.x)[0]


def _fit_mixture(factor, of_true, sums, ranks, head, start):
    """Fit a ClassCalibration of this factor; return it, its log loss by sample with a pull, and parameters.

    of_true, sums and ranks, (n_samples,), are scores of the true classes, the logarithms of the sums of
    exp(factor z), and the ranks of the true classes; head is what _in_h returns. The parameters, and those
    to start from, are log(a / factor), c, and the log-odds of s.
    """
    best, log_ranks, ends = head
    in_h, some, n = ranks < ends, best[:, 0] > -np.inf, len(of_true) + 1
    scores = np.where(best > -np.inf, best, 0.0)

    def made(c):
        return ClassCalibration(factor, float(c[2]), factor * float(np.exp(c[0])), float(c[1]), best.shape[1])

    def loss(c):
        found = made(c)
        values = found.slope * best - found.fall * log_ranks
        totals = _log_sum(values)
        logarithms = found.logarithms(of_true, sums, ranks, totals, ends)
        # the probability that h gave the class, and derivatives of log h by the slope and the fall
        by_h = 1 - np.exp(np.minimum(log_expit(found.share) + factor * of_true - sums - logarithms, 0))
        by_h[~in_h] = 0.0
        h = np.exp(values[in_h] - totals[in_h, np.newaxis])
        by_slope = of_true[in_h] - (h * scores[in_h]).sum(axis=1)
        by_fall = (h * log_ranks[in_h]).sum(axis=1) - np.log(ranks[in_h])
        gradient = [found.slope * (by_h[in_h] @ by_slope), by_h[in_h] @ by_fall, 0.0]
        gradient[2] = (1 - by_h - expit(found.share))[some].sum()
        value = _TRUST_IN_SCORES * c @ c - logarithms.sum()
        return value / n, (2 * _TRUST_IN_SCORES * c - gradient) / n

    bounds = [(-6, 6), (0.0, None), (None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return made(found.x), found.fun, found.x


def calibrate(ranker, X, y, report):
    """Learn what turns the scores of a Ranker into probabilities, from samples that training did not see.

    X and y are validated, y a Pattern of the true labels. Return a ClassCalibration or a LabelCalibration.
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
