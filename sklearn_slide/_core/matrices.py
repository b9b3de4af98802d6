"""Matrices that kernels read by row: plain arrays, and their copies of one byte a value for predictions."""

from typing import NamedTuple

import numpy as np

from sklearn_slide._core.compilation import as_writable, by_type, inner, njit
from sklearn_slide._core.parallel import run_over_range


class Quantized(NamedTuple):
    """Values in one byte each, with a scale for each row; a row may be of a matrix or of a ragged list."""

    values: np.ndarray  # int8
    scales: np.ndarray  # float32 (n_rows,)


@by_type
def stored(matrix):
    """Return the array that holds the values of a matrix, without its scales."""


@stored.register(np.ndarray)
def _stored_array(matrix):
    return matrix


@stored.register(Quantized)
def _stored_bytes(matrix):
    return matrix.values


@by_type
def row_scale(matrix, row):
    """Return what the stored values of a row must be multiplied by, float32."""


@row_scale.register(np.ndarray)
def _one(matrix, row):
    return np.float32(1.0)


@row_scale.register(Quantized)
def _scale(matrix, row):
    return matrix.scales[row]


@inner
def add_row(matrix, row, factor, out):
    """Add factor times a row of the matrix to out, float32 (n_columns,)."""
    values, factor = stored(matrix), factor * row_scale(matrix, row)
    for u in range(values.shape[1]):
        out[u] += factor * np.float32(values[row, u])


@inner
def add_rows(matrix, rows, factors, out):
    """Add factors[p] times the row rows[p] of the matrix to out, for each p; rows int32, factors float32."""
    values, n_fours = stored(matrix), rows.shape[0] - rows.shape[0] % 4
    for p in range(0, n_fours, 4):
        # four rows at a time: out is read and written once for them
        j0, j1, j2, j3 = rows[p], rows[p + 1], rows[p + 2], rows[p + 3]
        f0, f1 = factors[p] * row_scale(matrix, j0), factors[p + 1] * row_scale(matrix, j1)
        f2, f3 = factors[p + 2] * row_scale(matrix, j2), factors[p + 3] * row_scale(matrix, j3)
        for u in range(values.shape[1]):
            one = f0 * np.float32(values[j0, u]) + f1 * np.float32(values[j1, u])
            two = f2 * np.float32(values[j2, u]) + f3 * np.float32(values[j3, u])
            out[u] += one + two
    for p in range(n_fours, rows.shape[0]):
        add_row(matrix, rows[p], factors[p], out)


@inner
def row_dot(matrix, row, vector):
    """Multiply a row of the matrix by a vector, float32 (n_columns,)."""
    values, z = stored(matrix), np.float32(0.0)
    for u in range(vector.shape[0]):
        z += np.float32(values[row, u]) * vector[u]
    return z * row_scale(matrix, row)


@inner
def vector_length(vector):
    """Compute the Euclidean length of a vector, float32."""
    square = np.float32(0.0)
    for u in range(vector.shape[0]):
        square += vector[u] * vector[u]
    return np.sqrt(square)


@inner
def square_length(vector):
    """Compute the square of the Euclidean length of a vector, float64."""
    square = 0.0
    for u in range(vector.shape[0]):
        square += np.float64(vector[u]) * np.float64(vector[u])
    return square


@njit
def round_rows(rows, values, scales):
    """Round rows, float32 (n_rows, n_columns), to values, int8, with a scale for each, float32 (n_rows,)."""
    for r in range(rows.shape[0]):
        largest = np.float32(0.0)
        for u in range(rows.shape[1]):
            largest = max(largest, abs(rows[r, u]))
        scales[r] = largest / np.float32(127.0)
        inverse = np.float32(1.0) / scales[r] if scales[r] > 0.0 else np.float32(0.0)
        for u in range(rows.shape[1]):
            values[r, u] = np.int8(np.rint(rows[r, u] * inverse))


def quantize(matrix, n_jobs):
    """Return a float32 matrix as Quantized."""
    matrix = as_writable(matrix)
    rounded, scales = np.empty(matrix.shape, dtype=np.int8), np.empty(len(matrix), dtype=np.float32)

    def part(start, stop):
        round_rows(matrix[start:stop], rounded[start:stop], scales[start:stop])

    run_over_range(part, 0, len(matrix), n_jobs, work=matrix.shape[1])
    return Quantized(rounded, scales)


def matrix_shape(matrix):
    """Return the shape of a plain or a Quantized matrix."""
    return matrix.values.shape if isinstance(matrix, Quantized) else matrix.shape


def float_rows(matrix, start, stop):
    """Return the rows start to stop of a matrix, float32: a view, or made of bytes and their scales."""
    if not isinstance(matrix, Quantized):
        return matrix[start:stop]
    return matrix.scales[start:stop, np.newaxis] * matrix.values[start:stop].astype(np.float32)


def row_lengths(rows):
    """Compute the Euclidean length of each row, (n_rows,)."""
    return np.sqrt(np.einsum("yu,yu->y", rows, rows))
