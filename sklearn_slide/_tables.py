"""Codes -> candidate labels: hash tables as CSR arrays, built by a counting sort."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_slide._numba import njit, random_below


class Tables(NamedTuple):
    """Labels by code: those of code c in table t are ids[t, offsets[t, c]:offsets[t, c + 1]]."""

    offsets: np.ndarray  # int32 (n_tables, n_codes + 1)
    ids: np.ndarray  # int32 (n_tables, n_labels)


NO_TABLES = Tables(np.zeros((0, 2), dtype=np.int32), np.zeros((0, 0), dtype=np.int32))


def allocate_tables(hasher, n_labels):
    """Allocate the tables of a Hasher, in which every bucket is empty."""
    return Tables(
        np.zeros((hasher.n_tables, 2**hasher.code_bits + 1), dtype=np.int32),
        np.zeros((hasher.n_tables, n_labels), dtype=np.int32),
    )


@njit
def build_tables(codes, first, last, tables):
    """Sort the labels of the tables first to last - 1 by code; codes int32 (n_labels, n_tables)."""
    n_codes = tables.offsets.shape[1] - 1
    position = np.empty(n_codes, dtype=np.int32)
    for t in range(first, last):
        tables.offsets[t, :] = 0
        for y in range(codes.shape[0]):
            tables.offsets[t, codes[y, t] + 1] += 1
        for c in range(n_codes):
            tables.offsets[t, c + 1] += tables.offsets[t, c]
            position[c] = tables.offsets[t, c]
        for y in range(codes.shape[0]):
            c = codes[y, t]
            tables.ids[t, position[c]] = y
            position[c] += 1


@njit
def read_bucket(tables, table, code, bucket_size, stream, bucket):
    """Copy the labels of one bucket to bucket, int32 (bucket_size,), and return how many they are.

    A bucket that holds more than bucket_size labels is read from a random position, around its end.
    """
    start = tables.offsets[table, code]
    size = tables.offsets[table, code + 1] - start
    if size <= bucket_size:
        for b in range(size):
            bucket[b] = tables.ids[table, start + b]
        return size
    position = random_below(stream, size)
    for b in range(bucket_size):
        bucket[b] = tables.ids[table, start + position]
        position += 1
        if position == size:
            position = 0
    return bucket_size


def auto_rehash_interval(n_labels):
    """Choose the samples between the first two builds: a build takes time in proportion to the labels."""
    return max(20_000, n_labels // 4)


@dataclass
class RehashSchedule:
    """When the tables are rebuilt: after interval samples, then ever later (Chen et al., 2020, section 4.2).

    The k-th rebuild comes interval * growth**(k - 1) samples after the one before it.
    """

    interval: float
    growth: float
    due: float  # the number of samples seen at which the next rebuild is due

    def advance(self):
        """Set the next due time, once the tables were rebuilt."""
        self.due += self.interval
        self.interval *= self.growth
