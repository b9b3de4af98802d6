"""What a user says of labels: which to score for each sample, and which to leave out of a ranking."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._core.rows import Pattern
from sklearn_slide._sparse import as_configured, check_indices


class LeftOut(NamedTuple):
    """Labels that a ranking leaves out: the same for all samples, or some of each; one of them is None."""

    labels: np.ndarray | None  # bool (n_labels,)
    rows: Pattern | None  # sorted, without duplicates


def labels_left_out(exclude, n_samples, n_labels):
    """Turn a mask of labels, or an indicator of the labels of each sample, into LeftOut; None stays None."""
    if exclude is None:
        return None
    if sp.issparse(exclude):
        check_indices(exclude, "exclude")
        if exclude.ndim == 2 and exclude.shape == (n_samples, n_labels):
            return LeftOut(None, _pattern_of(exclude))
        shape = exclude.shape
    else:
        mask = np.asarray(exclude)
        if mask.dtype == bool and mask.shape == (n_labels,):
            return LeftOut(mask, None)
        if mask.shape == (n_samples, n_labels) and mask.dtype.kind in "biuf":
            return LeftOut(None, _pattern_of(sp.csr_array(mask != 0)))
        shape = f"{mask.shape} and dtype {mask.dtype}"
    raise ValueError(
        f"exclude must be a bool array of shape (n_outputs_,) = ({n_labels},), for all samples, or an "
        f"indicator of shape (n_samples, n_outputs_) = ({n_samples}, {n_labels}), which may be sparse. Got "
        f"shape {shape}. numpy.isin(model.classes_, labels) makes a mask of labels."
    )


def _pattern_of(matrix):
    """Return where a sparse matrix has entries that are not 0, as a sorted Pattern."""
    matrix = sp.csr_array(matrix, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return Pattern(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32, copy=False))


def chosen_pairs(chosen, labels, n_samples):
    """Return a Pattern of the labels to score for each sample, and what makes the scores a result.

    chosen are labels for all samples, labels of each sample, (n_samples, m), or a sparse indicator, whose
    entries are scored. labels are the Labels that there are. The second result turns values of the pairs,
    (n_pairs,), into an array of shape (n_samples, m), or CSR with the entries of the indicator.
    """
    if sp.issparse(chosen):
        check_indices(chosen, "labels")
        if chosen.shape != (n_samples, len(labels)):
            raise ValueError(
                "Sparse labels must have shape (n_samples, n_outputs_) = "
                f"({n_samples}, {len(labels)}). Got {chosen.shape}. Give a column for each of classes_."
            )
        pairs = _pattern_of(chosen)
        shape = chosen.shape
        return pairs, lambda values: as_configured(
            sp.csr_array((values, pairs.indices, pairs.indptr), shape=shape)
        )
    try:
        chosen = np.asarray(chosen)
    except ValueError:  # lists of different lengths
        chosen = np.empty(())
    if chosen.ndim not in (1, 2) or (chosen.ndim == 2 and len(chosen) != n_samples):
        raise ValueError(
            "labels must be 1-D, the same for all samples; of shape (n_samples, m) = "
            f"({n_samples}, m), some of each; or a sparse indicator. Got shape {chosen.shape}. For lists of "
            "different lengths give MultiLabelBinarizer(classes=model.classes_, "
            "sparse_output=True).fit_transform(lists)."
        )
    positions = labels.positions(chosen)
    shape = (n_samples, positions.shape[-1])
    indices = np.broadcast_to(positions, shape).ravel()
    indptr = np.arange(n_samples + 1, dtype=np.int64) * shape[1]
    return Pattern(indptr, indices), lambda values: values.reshape(shape)


def drop_pairs(positions, scores, rows, k):
    """Leave the pairs of a Pattern out of rankings; return the first k of what is left.

    positions int32 and scores float32 (n_samples, m), best first. Places without a label hold -1 and -inf.
    """
    n_labels = max(positions.max(initial=0), rows.indices.max(initial=0)) + np.int64(1)
    samples = np.arange(len(positions))
    keys = np.repeat(samples, np.diff(rows.indptr)) * n_labels + rows.indices
    left_out = np.isin(samples[:, np.newaxis] * n_labels + positions, keys, assume_unique=True)
    left_out |= scores == -np.inf
    order = np.argsort(left_out, axis=1, kind="stable")[:, :k]
    gone = np.take_along_axis(left_out, order, axis=1)
    positions, scores = (np.take_along_axis(part, order, axis=1) for part in (positions, scores))
    return np.where(gone, np.int32(-1), positions), np.where(gone, np.float32(-np.inf), scores)
