"""Codes -> candidate labels: hash tables as CSR arrays, built by a counting sort, and when that is due."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_slide._core.compilation import inner, njit
from sklearn_slide._core.hashing import hash_rows
from sklearn_slide._core.matrices import float_rows, matrix_shape
from sklearn_slide._core.parallel import run_over_range
from sklearn_slide._core.random_numbers import random_below

# From so many labels on, hashing them side by side saves more than its kernel takes to compile.
_MANY_LABELS = 50_000


class Tables(NamedTuple):
    """Labels by code: those of code c in table t are ids[t, offsets[t, c]:offsets[t, c + 1]]."""

    offsets: np.ndarray  # int32 (n_tables, n_codes + 1)
    ids: np.ndarray  # int32 (n_tables, n_labels)


def rebuild_tables(weights, hasher, tables, n_jobs):
    """Hash the weights of every label, a row each, and sort the labels into the tables anew.

    The places of the labels hold the codes meanwhile. Buckets are empty until their table is built, lest an
    interrupt lets a code be read as a label.
    """
    n_labels, n_units = matrix_shape(weights)
    tables.offsets[:] = 0

    def hash_part(start, stop):
        hash_rows(float_rows(weights, start, stop), hasher, tables.ids, start, n_labels >= _MANY_LABELS)

    def build_part(first, last):
        build_tables(first, last, tables)

    run_over_range(hash_part, 0, n_labels, n_jobs, work=n_units * hasher.n_tables)
    run_over_range(build_part, 0, hasher.n_tables, n_jobs, work=4 * n_labels)


def allocate_tables(hasher, n_labels):
    """Allocate the tables of a Hasher, in which every bucket is empty."""
    return Tables(
        np.zeros((hasher.n_tables, 2**hasher.code_bits + 1), dtype=np.int32),
        np.zeros((hasher.n_tables, n_labels), dtype=np.int32),
    )


@njit
def build_tables(first, last, tables):
    """Sort the labels of the tables first to last - 1 by their codes, which lie at ids[t, y] of label y."""
    n_codes = tables.offsets.shape[1] - 1
    position, codes = np.empty(n_codes, dtype=np.int32), np.empty(tables.ids.shape[1], dtype=np.int32)
    for t in range(first, last):
        ids, offsets = tables.ids[t], tables.offsets[t]
        position[:] = 0
        for y in range(len(ids)):
            codes[y] = ids[y]
            position[codes[y]] += 1
        n_before = np.int32(0)
        for c in range(n_codes):
            size = position[c]
            position[c] = n_before
            n_before += size
        for y in range(len(ids)):
            ids[position[codes[y]]] = y
            position[codes[y]] += 1
        # where a bucket is full, the next one begins
        offsets[0] = 0
        for c in range(n_codes):
            offsets[c + 1] = position[c]


@inner
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

    def advance(self, n_seen):
        """Set the next due time, once the tables were rebuilt after n_seen samples, due or later.

        They are rebuilt later if training went on without them meanwhile.
        """
        late = n_seen - self.due >= 1
        self.due = (n_seen if late else self.due) + self.interval
        self.interval *= self.growth
