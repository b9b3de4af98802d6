"""Sparse containers: what comes in is sound, what goes out is as scikit-learn is set."""

import numpy as np
import scipy.sparse as sp
import sklearn


def as_configured(matrix):
    """Turn CSR into the matrix or array that scikit-learn's configuration asks for, without a copy."""
    is_array = sklearn.get_config().get("sparse_interface") == "sparray"
    return sp.csr_array(matrix) if is_array else sp.csr_matrix(matrix)


def check_indices(matrix, name):
    """Raise ValueError if a sparse matrix has an entry outside its shape, which SciPy does not look for.

    Compiled code, SciPy's and that of this package, would read and write past the end of arrays. Anything but
    CSR, CSC, BSR, COO and LIL passes: the other formats check by themselves.
    """
    kind = getattr(matrix, "format", None) if sp.issparse(matrix) else None
    if kind in ("csr", "csc", "bsr") and matrix.ndim == 2:
        n_lists, n_places = matrix.shape if kind != "csc" else matrix.shape[::-1]
        if kind == "bsr":
            n_lists, n_places = n_lists // matrix.blocksize[0], n_places // matrix.blocksize[1]
        _check_pointers(matrix, n_lists, name)
        _check_range(matrix.indices, n_places, "row" if kind == "csc" else "column", name)
    elif kind == "coo":
        names = ("row", "column") if matrix.ndim == 2 else ["place"] * matrix.ndim
        coordinates = (matrix.row, matrix.col) if matrix.ndim == 2 else matrix.coords
        for indices, length, axis in zip(coordinates, matrix.shape, names, strict=True):
            _check_range(indices, length, axis, name)
    elif kind == "lil":
        _check_lists(matrix, name)


def _check_lists(matrix, name):
    """Raise ValueError if the lists of a LIL matrix have other lengths than its values, or wrong columns."""
    for row, values in zip(matrix.rows, matrix.data, strict=True):
        if len(row) != len(values):
            raise ValueError(
                f"{name} is a lil matrix with a row of {len(row)} columns and {len(values)} values. Build "
                "the matrix anew, for instance from coordinates by scipy.sparse.coo_array."
            )
    ends = [end(row) for row in matrix.rows if row for end in (min, max)]
    _check_range(np.asarray(ends, dtype=object), matrix.shape[1], "column", name)


def _check_pointers(matrix, n_lists, name):
    """Raise ValueError if indptr does not divide the entries into n_lists lists."""
    indptr, n_entries = matrix.indptr, min(len(matrix.indices), len(matrix.data))
    sound = len(indptr) == n_lists + 1 and indptr[0] == 0 and indptr[-1] <= n_entries
    if not sound or np.any(indptr[1:] < indptr[:-1]):
        raise ValueError(
            f"{name} is a {matrix.format} matrix of shape {matrix.shape} whose indptr does not fit: it must "
            f"rise from 0 to at most the {n_entries} entries in {n_lists} steps. Build the matrix anew, for "
            "instance from coordinates by scipy.sparse.coo_array."
        )


def _check_range(indices, length, axis, name):
    """Raise ValueError if an index is not from 0 to length - 1."""
    if not len(indices):
        return
    least, most = int(indices.min()), int(indices.max())
    if least < 0 or most >= length:
        hint = f" All are at least 1: were {axis}s counted from 1? Subtract 1." if least >= 1 else ""
        found = most if most >= length else least
        raise ValueError(
            f"{name} has an entry in {axis} {found}, but with its shape {axis}s go from 0 to {length - 1}."
            f"{hint} Give the right indices, or a shape that holds them."
        )
