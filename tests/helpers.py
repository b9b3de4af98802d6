"""What several test files share."""

from functools import cache

import numba
from numpy.testing import assert_array_equal

from sklearn_slide import SlideClassifier
from sklearn_slide._core.compilation import _OPTIONS


def make(**params):
    """Return a small SlideClassifier with these parameters."""
    return SlideClassifier(
        **{"hidden_layer_sizes": (12,), "n_active": 15, "max_iter": 2, "random_state": 0} | params
    )


def assert_same(one, two):
    """Assert that two classifiers have the same weights and biases, bit by bit."""
    for a, b in zip(one.coefs_ + one.intercepts_, two.coefs_ + two.intercepts_, strict=True):
        assert_array_equal(a, b)


@cache
def callable_kernel(kernel):
    """Compile a kernel that has no Python wrapper, `inner` or by_type, so that Python can call it.

    It is not cached on disk, where the kernel without a wrapper has the same name.
    """
    if hasattr(kernel, "py_func"):
        return numba.njit(**_OPTIONS)(kernel.py_func)

    def call(*args):
        return kernel(*args)

    return numba.njit(**_OPTIONS)(call)
