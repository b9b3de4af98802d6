"""Random numbers and compilation."""

import os
import subprocess
import sys

import numpy as np

from sklearn_slide._numba import njit, random_below, start_stream


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


def test_import_without_a_folder_for_the_cache():
    # a kernel's decorator raises RuntimeError where no locator of Numba finds a folder
    code = (
        "import numba.core.caching as c; c.CacheImpl._locator_classes = []\n"
        "from sklearn_slide._numba import mix; import numpy as np; print(mix(np.uint64(1)) > 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True
    )
    assert result.stdout.strip() == "True"
