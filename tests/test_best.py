"""The best k against a sort."""

import numpy as np
import pytest
from helpers import callable_kernel
from numpy.testing import assert_array_equal

from sklearn_slide._core.best import holds_more, insert_best, kth_largest


@pytest.mark.parametrize("n_values", [1, 3, 1000])
def test_kth_largest(n_values):
    """Compare values with and without ties, in any order and sorted either way, with a sort."""
    rng = np.random.default_rng(0)
    for n in [*range(1, 30), 200]:
        drawn = rng.integers(n_values, size=n + 3).astype(np.float32)
        for values in (drawn, np.sort(drawn), -np.sort(-drawn)):
            expected = -np.sort(-values[:n])
            for k in {1, 2, (n + 1) // 2, n - 1, n} - {0} & set(range(1, n + 1)):
                ordered = values.copy()
                assert callable_kernel(kth_largest)(ordered, n, k) == expected[k - 1]
                assert_array_equal(np.sort(ordered[:n]), np.sort(values[:n]))
                assert_array_equal(ordered[n:], values[n:])


def test_insert_best():
    rng = np.random.default_rng(0)
    for k in (1, 4, 9):
        scores = rng.integers(12, size=40).astype(np.float32)
        labels, best = np.zeros(k, dtype=np.int32), np.full(k, -np.inf, dtype=np.float32)
        for y in rng.permutation(40):
            callable_kernel(insert_best)(y, scores[y], labels, best)
        expected = np.argsort(-scores, kind="stable")[:k]
        assert_array_equal(labels, expected)
        assert_array_equal(best, scores[expected])


def test_holds_more():
    values = np.array([5, 1, 2, 3, 9], dtype=np.float32)
    for least, found in ((2.5, True), (3.0, True), (3.5, False)):
        assert callable_kernel(holds_more)(values, 1, 4, np.float32(least)) == found
