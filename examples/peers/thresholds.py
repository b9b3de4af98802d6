"""The threshold that gives scores of labels the best F1 of all pairs."""

import numpy as np
import scipy.sparse as sp


def best_threshold(Y, scores):
    """Return the threshold of the best micro-F1: labels are predicted whose scores are above it.

    Y is an indicator, scores a CSR matrix of its shape; a label without a stored score is not predicted.
    With n labels predicted, t of them right, of m true ones the F1 is 2 t / (n + m).
    """
    scores, Y = sp.coo_matrix(scores), sp.csr_matrix(Y)
    if not scores.nnz:
        return 0.0
    right = np.asarray(Y[scores.row, scores.col]).ravel() > 0
    order = np.argsort(-scores.data, kind="stable")
    values, right = scores.data[order], np.cumsum(right[order])
    f1 = 2 * right / (np.arange(1, len(values) + 1) + Y.nnz)
    # a threshold falls between two scores that differ
    ends = np.flatnonzero(np.append(values[1:] < values[:-1], True))
    best = ends[np.argmax(f1[ends])]
    below = values[best + 1] if best + 1 < len(values) else values[best] - 1
    return float((values[best] + below) / 2)
