"""How long the samples are that a model meets: what the scale of X and the first steps are chosen by."""

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from sklearn.utils.extmath import row_norms

# Lengths are counted by quarters of an octave; float32 values are from 2**-149 to 2**128 large.
_STEPS, _N_OCTAVES = 4, 400
# A scale is kept while the median length is within so many octaves of it, a mean square within this factor.
_OCTAVES_OFF, _SQUARES_OFF = 0.75, 1.5


def _no_counts():
    return np.zeros(_STEPS * _N_OCTAVES)


@dataclass
class Lengths:
    """The lengths of samples since the scale was last judged, in units of X, and what it was judged by.

    Samples without entries have a length of 0 and tell nothing of the scale, but count in mean squares.
    """

    mean_square: float  # of the scaled lengths, by which first weights and the direct weights' gain were set
    n_before: float  # weight of the samples before
    counts: np.ndarray = field(default_factory=_no_counts)  # float64, weights of samples by length
    n_empty: float = 0.0  # weight of those of length 0
    squares: float = 0.0  # sum of the squared lengths by weight

    @classmethod
    def of(cls, samples):
        """Begin with the Samples of a first call."""
        filled = samples.weights[np.diff(samples.x.indptr) > 0]
        return cls(mean_square_norm(samples) or 1.0, float(filled.sum(dtype=np.float64)))

    def add(self, samples, scale):
        """Take notice of later Samples, whose X was multiplied by scale."""
        x, weights = samples.x, samples.weights.astype(np.float64)
        shape = (x.n_rows, x.indices.max(initial=0) + 1)
        lengths = (
            row_norms(sp.csr_array((x.data.astype(np.float64), x.indices, x.indptr), shape=shape)) / scale
        )
        filled = lengths > 0
        steps = np.rint(_STEPS * (np.log2(lengths[filled]) + _N_OCTAVES / 2)).astype(np.int64)
        self.counts += np.bincount(steps, weights[filled], minlength=len(self.counts))
        self.n_empty += weights[~filled].sum()
        self.squares += np.dot(weights, lengths**2)

    def judge(self, scale):
        """Return the scale and the mean square that later samples ask for, or None while those there are do.

        Later samples are listened to once they weigh as much as all before, and then begin anew.
        """
        n = self.counts.sum()
        if n == 0 or n < self.n_before:
            return None
        middle = np.searchsorted(np.cumsum(self.counts), n / 2)
        octave = middle / _STEPS - _N_OCTAVES / 2
        chosen = scale
        if abs(octave + np.log2(scale)) > _OCTAVES_OFF:
            chosen = float(2.0 ** -np.rint(octave))
        mean_square = self.squares / (n + self.n_empty) * chosen**2
        self.n_before += n
        self.counts, self.n_empty, self.squares = _no_counts(), 0.0, 0.0
        if chosen == scale and 1 / _SQUARES_OFF < mean_square / self.mean_square < _SQUARES_OFF:
            return None
        return chosen, mean_square


def mean_square_norm(samples):
    """Return the mean, by their weights, of the squared lengths of Samples as they are."""
    x, weights = samples.x, samples.weights
    squares = np.dot(np.repeat(weights, np.diff(x.indptr)) * x.data, x.data)
    return squares / np.sum(weights, dtype=np.float64)
