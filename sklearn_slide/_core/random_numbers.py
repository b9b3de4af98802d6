"""Random numbers that depend on a counter alone: each sample has a stream of its own in each epoch."""

import numpy as np

from sklearn_slide._core.compilation import inner


@inner
def mix(z):
    """Scatter the 64 bits of z, uint64 -> uint64 (finaliser of SplitMix64; Steele et al., 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inner
def start_stream(stream, seed, epoch, sample):
    """Set stream, uint64 (1,), to the start of the random numbers of one sample in one epoch."""
    state = mix(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15))
    state = mix(state ^ np.uint64(epoch))
    stream[0] = mix(state ^ np.uint64(sample))


@inner
def random_below(stream, n):
    """Draw an integer from 0 to n - 1, n below 2**32, and advance stream, uint64 (1,)."""
    stream[0] += np.uint64(0x9E3779B97F4A7C15)
    return np.int64(((mix(stream[0]) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@inner
def start_shared_stream(stream, seed, epoch, group):
    """Set stream, uint64 (1,), to the start of the random numbers of a group of samples in one epoch."""
    start_stream(stream, seed, np.int64(epoch) + (np.int64(1) << 32), group)
