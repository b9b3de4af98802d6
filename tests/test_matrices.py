"""Rows of plain and of rounded matrices against NumPy."""

import numpy as np
import pytest
from helpers import callable_kernel
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide._core import matrices, parallel
from sklearn_slide._core.matrices import float_rows, matrix_shape, quantize

add_row, add_rows, row_dot = map(callable_kernel, (matrices.add_row, matrices.add_rows, matrices.row_dot))


@pytest.fixture
def matrix():
    matrix = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
    matrix[5] = 0
    return matrix


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_rounded_rows_are_off_by_half_a_step(matrix, n_jobs, monkeypatch):
    monkeypatch.setattr(parallel, "_PART_WORK", 70)  # parts of ten rows
    rounded = quantize(matrix, n_jobs)
    assert (rounded.values.dtype, rounded.scales.dtype) == (np.int8, np.float32)
    assert_allclose(rounded.scales, np.abs(matrix).max(axis=1) / 127, rtol=1e-6)
    off = np.abs(float_rows(rounded, 0, 40) - matrix)
    assert (off <= 0.501 * rounded.scales[:, np.newaxis]).all()
    assert_array_equal(np.abs(rounded.values).max(axis=1), np.where(matrix.any(axis=1), 127, 0))


@pytest.mark.parametrize("in_bytes", [False, True])
def test_rows_are_read_alike(matrix, in_bytes):
    stored = quantize(matrix, 1) if in_bytes else matrix
    plain = float_rows(stored, 0, 40)
    vector = np.random.default_rng(1).normal(size=7).astype(np.float32)
    assert matrix_shape(stored) == (40, 7)
    assert_array_equal(float_rows(stored, 12, 30), plain[12:30])
    for row in range(40):
        out = vector.copy()
        add_row(stored, row, np.float32(-3), out)
        assert_allclose(out, vector - 3 * plain[row], rtol=1e-5, atol=1e-6)
        assert_allclose(row_dot(stored, row, vector), plain[row] @ vector, rtol=1e-5, atol=1e-6)
    for n in (0, 1, 4, 7, 8):
        rows, factors = np.arange(n, dtype=np.int32) * 3, np.linspace(-1, 2, n, dtype=np.float32)
        out = vector.copy()
        add_rows(stored, rows, factors, out)
        assert_allclose(out, vector + factors @ plain[rows], rtol=1e-5, atol=1e-5)
