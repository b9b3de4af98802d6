"""Compilation options of every kernel, and random numbers that depend on a counter alone.

A kernel is serial and releases the GIL, so that joblib threads may run it side by side on shared
arrays. Kernels that run in parallel themselves (``parallel=True``) are not used: Numba's threading
layers abort or hang when Python threads, forks or process pools meet them.
"""

import numba
import numpy as np

# Sums may be reordered and products fused, as vector units need; NaN and infinity stay what they are.
_FASTMATH = {"reassoc", "contract", "nsz", "arcp", "afn"}


def njit(function):
    """Compile a serial kernel without the GIL, cached on disk where a cache folder can be written."""
    options = {"nogil": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache: a read-only home and a read-only installation
        return numba.njit(**options)(function)


@njit
def mix(z):
    """Scatter the 64 bits of z, uint64 -> uint64 (finaliser of SplitMix64; Steele et al., 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit
def start_stream(stream, seed, epoch, sample):
    """Set stream, uint64 (1,), to the start of the random numbers of one sample in one epoch."""
    state = mix(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15))
    state = mix(state ^ np.uint64(epoch))
    stream[0] = mix(state ^ np.uint64(sample))


@njit
def random_below(stream, n):
    """Draw an integer from 0 to n - 1, n below 2**32, and advance stream, uint64 (1,)."""
    stream[0] += np.uint64(0x9E3779B97F4A7C15)
    return np.int64(((mix(stream[0]) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))
