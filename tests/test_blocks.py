"""Blocks of rows: what is checked of each and noted, and how they are put together."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from sklearn_slide._blocks import check_block, stack_blocks


def test_wrong_blocks_are_named(data):
    X, Y = data
    nan, twos = X.copy(), Y.copy()
    nan.data[3], twos.data[2] = np.nan, 2
    wrong = [
        ((nan, Y), "NaN"),
        ((X[:, :30], Y), r"X must have shape \(n_rows, 40\)"),
        ((X, Y[:, :20]), r"y must have shape \(n_rows, 25\)"),
        ((X[:90], Y), "X has 90 rows and y has 120"),
        ((X, twos), "0 and 1"),
        ((X, Y, np.full(120, -1.0)), "[Nn]egative"),
        ((X, Y, np.ones(119)), "sample_weight"),
    ]
    for block, message in wrong:
        with pytest.raises(ValueError, match=f"^Block 7 of X and y: .*{message}"):
            check_block(7, block, 40, 25)


def test_summaries_of_blocks(data):
    X, Y = data
    summary = check_block(0, (X, Y), 40, 25)
    assert summary.n_rows == 120
    assert summary.n_entries == X.nnz == check_block(0, (X.toarray(), Y), 40, 25).n_entries
    assert_array_equal(summary.counts, np.asarray(Y.sum(axis=0)).ravel())
    assert check_block(1, (sp.csr_array(X), Y, None), 40, 25).digest == summary.digest
    digests = {
        check_block(0, block, 40, 25).digest
        for block in [(X, Y), (X[::-1], Y[::-1]), (X * 2, Y), (X, Y[::-1]), (X, Y, np.ones(120))]
    }
    assert len(digests) == 5


def test_stacked_blocks(data):
    X, Y = data
    X2, Y2, weights = stack_blocks([(X[:50], Y[:50], np.ones(50)), (X[50:], Y[50:], np.zeros(70))])
    assert (X2 != X).nnz == (Y2 != Y).nnz == 0
    assert_array_equal(weights, np.repeat([1.0, 0.0], [50, 70]))
    assert stack_blocks([(X, Y)]) == (X, Y)
