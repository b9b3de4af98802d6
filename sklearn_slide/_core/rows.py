"""CSR arrays as kernels take them: samples, targets, and both together with their weights."""

from typing import NamedTuple

import numpy as np


class Rows(NamedTuple):
    """A CSR matrix of samples."""

    indptr: np.ndarray  # int64 (n_samples + 1,)
    indices: np.ndarray  # int32 (n_stored,)
    data: np.ndarray  # float32 (n_stored,)

    @property
    def n_rows(self):
        """Number of samples."""
        return len(self.indptr) - 1


class Pattern(NamedTuple):
    """Where a CSR matrix has entries."""

    indptr: np.ndarray  # int64 (n_rows + 1,)
    indices: np.ndarray  # int32 (n_stored,)


class Samples(NamedTuple):
    """The training samples."""

    x: Rows  # (n_samples, n_features)
    y: Pattern  # (n_samples, n_labels), the true labels
    weights: np.ndarray  # float32 (n_samples,)
    passes: np.ndarray  # int32 (n_passes,), the sample of each pass of an epoch
    label_weights: np.ndarray | None  # float32 (n_labels,), what true labels count for in the loss; None: 1
