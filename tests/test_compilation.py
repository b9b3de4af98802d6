"""Kernels chosen by type, read-only arrays, and a place without a cache."""

import gc
import os
import subprocess
import sys
from typing import NamedTuple

import numba
import numpy as np
import pytest
from numba.extending import overload

from sklearn_slide._core.compilation import as_writable, by_type


class Square(NamedTuple):
    side: float


class Circle(NamedTuple):
    radius: float


class Line(NamedTuple):
    length: float


@by_type
def area(shape, factor):
    """Return factor times the area of a shape."""


@area.register(Square)
def _square(shape, factor):
    return factor * shape.side**2


@area.register(Circle)
def _circle(shape, factor):
    return factor * 3.0 * shape.radius**2


@area.register(np.ndarray)
def _polygons(shape, factor):
    return factor * shape.sum()


@numba.njit
def call_area(shape, factor):
    return area(shape, factor)


def test_a_kernel_is_chosen_by_the_class_of_its_first_argument():
    assert call_area(Square(2.0), 10.0) == 40
    assert call_area(Circle(2.0), 10.0) == 120
    assert call_area(np.array([1.0, 2.0]), 10.0) == 30


def test_a_class_without_a_kernel_is_an_error():
    with pytest.raises(numba.errors.TypingError, match=r"area has no kernel for .*Line"):
        call_area(Line(2.0), 10.0)


def test_a_kernel_must_have_the_parameters_of_its_stub():
    with pytest.raises(TypeError, match="wrong must have the parameters of area"):

        @area.register(Line)
        def wrong(factor, shape):
            return 0.0


def test_read_only_arrays_pass_for_writable_ones_without_a_copy():
    locked, free = np.arange(3.0), np.ones(2)
    locked.flags.writeable = False
    shape, (part, number, none), array = as_writable((Square(locked), (locked[1:], 7, None), free))
    assert isinstance(shape, Square)
    for made, original in ((shape.side, locked), (part, locked[1:]), (array, free)):
        assert made.flags.writeable
        assert np.shares_memory(made, original)
        assert made.tolist() == original.tolist()
    assert array is free
    assert (number, none) == (7, None)
    assert not locked.flags.writeable


def test_the_memory_of_a_read_only_array_outlives_it():
    locked = np.arange(1000.0)
    locked.flags.writeable = False
    made = as_writable(locked)
    del locked
    assert np.zeros(1000).sum() == 0  # would take the place of memory that was given back
    assert made.sum() == 499_500


def test_import_without_a_folder_for_the_cache():
    # a kernel's decorator raises RuntimeError where no locator of Numba finds a folder
    code = (
        "import numba.core.caching as c; c.CacheImpl._locator_classes = []\n"
        "from sklearn_slide._core.compilation import njit\n"
        "print(njit(lambda x: x + 1)(1))\n"
        "import sklearn_slide"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True
    )
    assert result.stdout.strip() == "2"


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_the_search_for_cycles_rests_while_a_kernel_of_this_package_is_compiled():
    seen = []

    def probe(sound):
        """Stand for a kernel that notes whether the search is on when it is compiled."""

    @overload(probe)
    def note(sound):
        seen.append(gc.isenabled())
        return (lambda sound: 1) if isinstance(sound, numba.types.Integer) else None

    def compiled(module, argument):
        def kernel(sound):
            return probe(sound)

        kernel.__module__ = module
        seen.clear()
        try:
            return numba.njit(kernel)(argument)
        finally:
            assert gc.isenabled()

    assert compiled("sklearn_slide.toy", 2) == 1
    assert seen == [False] * len(seen) != []
    with pytest.raises(numba.errors.TypingError):
        compiled("sklearn_slide.toy", 2.5)
    assert compiled("elsewhere", np.int32(2)) == 1  # of another type, for which probe is compiled anew
    assert seen == [True] * len(seen) != []
