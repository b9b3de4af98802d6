"""Samples -> scores of labels by ridge regression in closed form."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd

from sklearn_slide._core.centroids import sum_hidden_vectors
from sklearn_slide._core.direct import Direct, add_pairs
from sklearn_slide._core.layers import Identity, Layer, Network
from sklearn_slide._core.pairs import common_features
from sklearn_slide._core.parallel import blas_threads, count_threads
from sklearn_slide._first_weights import count_products, find_pairs, sum_squares

# So many pairs of a feature and a label are kept at most, those of the rarest features first.
_MOST_PAIRS = 100_000_000
# The axes are those of so many samples at most, drawn at random.
_MOST_ROWS = 50_000
_LABELS_AT_ONCE = 4096


@dataclass(eq=False)
class Ridge:
    """Scores of labels by ridge regression: sums over samples, and what turns them into weights.

    With c_y the sum of the samples x of a label y, the weights that make |XW - Y|^2 + penalty |W|^2 smallest
    are (X'X + penalty I)^-1 c_y (Hoerl and Kennard, 1970; between a set and itself, EASE of Steck, 2019). V
    and s^2 are the first right singular vectors of X and the squares of its singular values; beyond these
    axes all squares are taken to be one, the tail::

        w_y = V diag(1 / (s^2 + penalty)) V'c_y + (c_y - V V'c_y) / (penalty + tail)
        score = |w_y|^-power (w_y . x)

    It has the form of a network with direct weights: those are the c_y, for features that are not crowded,
    and a hidden layer of one unit for each axis brings the rest. The power draws frequent and rare labels
    together.
    """

    axes: np.ndarray  # V, float32 (n_features, n_axes)
    squares: np.ndarray  # s^2, float64 (n_axes,)
    sums: np.ndarray  # the V'c_y, float32 (n_labels, n_axes)
    direct: Direct | None  # its weights are the c_y; None: there are none yet
    crowded: np.ndarray  # bool (n_features,): without direct weights
    penalty: float = 1.0
    tail: float = 0.0
    power: float = 0.0

    @property
    def n_axes(self):
        """Number of axes."""
        return len(self.squares)

    @property
    def shape(self):
        """Numbers of features and labels."""
        return len(self.axes), len(self.sums)

    def plus(self, blocks, n_jobs):
        """Return the Ridge with the sums of Samples, in blocks, added to its own."""
        hidden = Layer(self.axes, np.zeros((1, self.n_axes), dtype=np.float32))
        n_labels, sums, direct = len(self.sums), self.sums, self.direct
        output = Layer(nothing(n_labels, self.n_axes), nothing(n_labels, 1))
        network = Network(hidden, None, output, None, Identity())
        for samples in blocks:
            pairs = find_pairs(samples, self.crowded, n_labels, n_labels, 1.0, n_jobs)
            direct = add_pairs(direct, pairs, n_labels)
            found = sum_hidden_vectors(samples, network, n_jobs)
            found += sums
            sums = found
        return replace(self, sums=sums, direct=direct)

    def factors(self):
        """Return 1 / (penalty + tail), and the 1 / (s^2 + penalty), float64 (n_axes,)."""
        return 1 / (self.penalty + self.tail), 1 / (self.squares + self.penalty)

    def hidden_rows(self, beyond, within):
        """Return what multiplies the axes of features with direct weights, and of others: (2, n_axes)."""
        return np.array([within - beyond, within], dtype=np.float32)

    def lengths(self, factors):
        """Compute the |w_y|, 1 for those of 0, for each of several factors: float64 (n_labels, n_factors)."""
        beyond, within = np.array([first for first, _ in factors]), np.array([rest for _, rest in factors])
        squares = sum_squares(self.direct, len(self.sums), np.float64)
        found = np.zeros((len(squares), len(factors)))
        for start in range(0, len(found), _LABELS_AT_ONCE):
            part = slice(start, start + _LABELS_AT_ONCE)
            sums = self.sums[part].astype(np.float64) ** 2
            rest = np.maximum(squares[part] - sums.sum(axis=1), 0)
            found[part] = sums @ within.T**2 + rest[:, np.newaxis] * beyond**2
        return np.sqrt(np.where(found > 0, found, 1))

    def network(self, activation, share=1.0):
        """Return the Network, with that activation, the identity, whose scores are share times these."""
        beyond, within = self.factors()
        rows = self.hidden_rows(beyond, within)[self.crowded.astype(np.intp)]
        scale = np.full(len(self.sums), share, dtype=np.float32)
        if self.power:
            scale *= (self.lengths([(beyond, within)])[:, 0] ** -self.power).astype(np.float32)
        hidden = Layer(self.axes * rows, np.zeros((1, self.n_axes), dtype=np.float32))
        output = Layer(self.sums * scale[:, np.newaxis], np.zeros((len(scale), 1), dtype=np.float32))
        weights = self.direct.weights * (np.float32(beyond) * scale[self.direct.labels])
        return Network(hidden, None, output, self.direct._replace(weights=weights), activation)


def fit_ridge(blocks, n_features, n_labels, n_axes, seed, n_jobs):
    """Sum up Samples that come in blocks, by weight, in n_axes axes at most; return the Ridge.

    blocks are iterated several times.
    """
    crowded = _too_common(blocks, n_features)
    squares, axes = principal_axes(blocks, n_features, n_axes, seed, n_jobs)
    return Ridge(axes, squares, nothing(n_labels, len(squares)), None, crowded).plus(blocks, n_jobs)


def nothing(n_labels, n_axes):
    """Return the sums of no samples, float32 (n_labels, n_axes)."""
    return np.zeros((n_labels, n_axes), dtype=np.float32)


def principal_axes(blocks, n_features, n_axes, seed, n_jobs):
    """Return the largest squared singular values of weighted Samples, float64, and their axes, float32.

    The samples come in blocks, the axes are (n_features, n_axes). Halko, Martinsson and Tropp (2011), with
    two power iterations; of many samples, some of all blocks are taken for all.
    """
    rng = np.random.default_rng(seed)
    sizes = [(samples.x.n_rows, samples.weights.sum(dtype=np.float64)) for samples in blocks]
    ends, total = np.cumsum([n_rows for n_rows, _ in sizes]), sum(weight for _, weight in sizes)
    chosen = np.arange(ends[-1])
    if len(chosen) > _MOST_ROWS:
        chosen = np.sort(rng.choice(len(chosen), _MOST_ROWS, replace=False))
    parts, weight = [], 0.0
    for samples, end, rows in zip(
        blocks, ends, np.split(chosen, np.searchsorted(chosen, ends[:-1])), strict=True
    ):
        x = sp.csr_array(samples.x[::-1], shape=(samples.x.n_rows, n_features))
        weights = samples.weights
        if len(rows) < x.shape[0]:
            rows = rows - (end - x.shape[0])
            x, weights = x[rows], weights[rows]
        parts.append(sp.csr_matrix(x.multiply(np.sqrt(weights)[:, np.newaxis]), dtype=np.float32))
        weight += weights.sum(dtype=np.float64)
    x = parts[0] if len(parts) == 1 else sp.vstack(parts, format="csr")
    n_axes = min(n_axes, *x.shape)
    with blas_threads(count_threads(n_jobs)):
        _, s, rows = randomized_svd(x, n_axes, n_iter=2, random_state=int(rng.integers(2**31)))
    return total / weight * s.astype(np.float64) ** 2, np.ascontiguousarray(rows.T, dtype=np.float32)


def ridge_bytes(blocks, n_features, n_labels, n_axes):
    """Bound the memory of the Network of a Ridge, in bytes."""
    n_pairs = min(sum(map(count_products, blocks)), _MOST_PAIRS)
    return 4 * n_axes * (n_features + n_labels) + 8 * n_pairs


def _too_common(blocks, n_features):
    """Tell which features get no direct weights, lest there are too many pairs: bool (n_features,)."""
    products, counts, n_rows = np.zeros(n_features), np.zeros(n_features, dtype=np.int64), 0
    for samples in blocks:
        n_true = np.repeat(np.diff(samples.y.indptr), np.diff(samples.x.indptr)).astype(np.float64)
        products += np.bincount(samples.x.indices, n_true, minlength=n_features)
        counts += np.bincount(samples.x.indices, minlength=n_features)
        n_rows += samples.x.n_rows
    order = np.argsort(products, kind="stable")
    crowded = common_features(counts, n_rows)
    crowded[order[np.cumsum(products[order]) > _MOST_PAIRS]] = True
    return crowded
