"""Random numbers against the reference, a published one, and chance."""

import numpy as np
import pytest
import reference
from helpers import callable_kernel

from sklearn_slide._core.compilation import njit
from sklearn_slide._core.random_numbers import mix, random_below, start_stream


@njit
def draw(seed, epoch, sample, n, out):
    """Fill out, int64, with draws below n of one stream."""
    stream = np.zeros(1, dtype=np.uint64)
    start_stream(stream, seed, epoch, sample)
    for i in range(out.shape[0]):
        out[i] = random_below(stream, n)


def drawn(seed, epoch, sample, n, size=20_000):
    out = np.empty(size, dtype=np.int64)
    draw(seed, epoch, sample, n, out)
    return out


def test_draws_are_uniform():
    counts = np.bincount(drawn(1, 2, 3, 10), minlength=10)
    assert len(counts) == 10
    # five standard deviations of a binomial with p = 1/10
    assert abs(counts - 2000).max() < 5 * np.sqrt(20_000 * 0.09)


def test_streams_depend_on_seed_epoch_and_sample_alone():
    first = drawn(1, 2, 3, 1000)
    assert (first == drawn(1, 2, 3, 1000)).all()
    for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)]:
        # as many agreements as chance gives, 20 expected
        assert (first == drawn(*other, 1000)).sum() < 60


def test_first_draws_of_neighbouring_streams_are_uniform():
    first = np.array([drawn(0, 0, sample, 16, size=1)[0] for sample in range(4000)])
    counts = np.bincount(first, minlength=16)
    assert abs(counts - 250).max() < 5 * np.sqrt(4000 / 16)


def test_mix_is_that_of_splitmix64():
    # the first number of the generator from seed 0, as its authors' code gives it
    assert callable_kernel(mix)(np.uint64(0x9E3779B97F4A7C15)) == 0xE220A8397B1DCDAF


@pytest.mark.parametrize("n", [1, 2, 1000, 2**32 - 1])
def test_draws_are_those_of_the_reference(n):
    stream = reference.Stream(2**31 - 2, 7, 123_456)
    assert drawn(2**31 - 2, 7, 123_456, n, size=50).tolist() == [stream.below(n) for _ in range(50)]
