"""Hash tables against dictionaries of lists."""

import numpy as np
import pytest
import reference
from helpers import callable_kernel
from numpy.testing import assert_array_equal

from sklearn_slide._core import hashing, parallel, random_numbers
from sklearn_slide._core import tables as tables_room
from sklearn_slide._core.hashing import FAMILIES, SimHash
from sklearn_slide._core.matrices import quantize
from sklearn_slide._core.tables import (
    RehashSchedule,
    allocate_tables,
    auto_rehash_interval,
    build_tables,
    rebuild_tables,
)

read_bucket, start_stream = map(callable_kernel, (tables_room.read_bucket, random_numbers.start_stream))


def make_tables(n_labels=200, n_tables=4, hash_length=3):
    hasher = SimHash.draw(8, n_tables, hash_length, np.random.RandomState(0))
    codes = np.random.default_rng(0).integers(2**hash_length, size=(n_labels, n_tables)).astype(np.int32)
    tables = allocate_tables(hasher, n_labels)
    tables.ids[:] = codes.T
    build_tables(0, n_tables, tables)
    return codes, tables


def read(tables, table, code, size, seed=0):
    bucket, stream = np.zeros(size, dtype=np.int32), np.zeros(1, dtype=np.uint64)
    start_stream(stream, seed, 0, 0)
    return bucket[: read_bucket(tables, table, code, size, stream, bucket)]


def test_buckets_hold_the_labels_of_their_code():
    codes, tables = make_tables()
    for t, expected in enumerate(reference.build_tables(codes)):
        for code in range(8):
            assert_array_equal(read(tables, t, code, 200), expected.get(code, []))


def test_a_rebuild_forgets_the_old_codes():
    codes, tables = make_tables()
    tables.ids[:] = 0
    build_tables(0, codes.shape[1], tables)
    assert_array_equal(read(tables, 2, 0, 200), np.arange(200))
    assert len(read(tables, 2, 1, 200)) == 0


def test_parts_of_the_tables_can_be_built_apart():
    codes, tables = make_tables()
    _, other = make_tables()
    other.ids[:] = codes.T
    build_tables(0, 1, other)
    build_tables(1, 4, other)
    for one, two in zip(tables, other, strict=True):
        assert_array_equal(one, two)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("in_bytes", [False, True])
def test_a_rebuild_hashes_every_row_in_its_part(family, n_jobs, in_bytes, monkeypatch):
    rng = np.random.default_rng(0)
    weights = rng.integers(-3, 4, size=(90, 20)).astype(np.float32)
    weights[:, 0] = 127  # bytes, with a scale of 1, hold these numbers as they are
    hasher = FAMILIES[family].draw(20, 5, 2, np.random.RandomState(0))
    codes = np.array([reference.hash_vector(row, family, hasher) for row in weights])
    tables, parts = allocate_tables(hasher, 90), []
    tables.ids[:], tables.offsets[:] = 77, 99  # of another build
    monkeypatch.setattr(tables_room, "_MANY_LABELS", 91 - in_bytes)
    monkeypatch.setattr(parallel, "_PART_WORK", 1000)  # parts of ten rows, and of two tables

    def hash_rows(rows, *args):
        parts.append(len(rows))
        return hashing.hash_rows(rows, *args)

    monkeypatch.setattr(tables_room, "hash_rows", hash_rows)
    rebuild_tables(quantize(weights, 1) if in_bytes else weights, hasher, tables, n_jobs)
    assert parts == [10] * 9
    for t, expected in enumerate(reference.build_tables(codes)):
        assert_array_equal(tables.ids[t], np.concatenate([expected[code] for code in sorted(expected)]))
        assert_array_equal(
            np.diff(tables.offsets[t]), np.bincount(codes[:, t], minlength=2**hasher.code_bits)
        )
        assert tables.offsets[t, 0] == 0


def test_an_interrupt_leaves_no_codes_that_are_read_as_labels(monkeypatch):
    weights = np.random.default_rng(0).standard_normal((90, 20)).astype(np.float32)
    hasher = SimHash.draw(20, 5, 12, np.random.RandomState(0))
    tables, built = allocate_tables(hasher, 90), []
    rebuild_tables(weights, hasher, tables, 1)
    complete = [array.copy() for array in tables]
    monkeypatch.setattr(parallel, "_PART_WORK", 1)  # parts of one table

    def interrupted(first, last, tables):
        if first == 2:
            raise KeyboardInterrupt
        built.append(first)
        build_tables(first, last, tables)

    monkeypatch.setattr(tables_room, "build_tables", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rebuild_tables(weights, hasher, tables, 1)
    assert built == [0, 1]
    for array, expected in zip(tables, complete, strict=True):
        assert_array_equal(array[:2], expected[:2])
    assert tables.ids[2:].max() >= 90  # a code
    assert not tables.offsets[2:].any()  # empty


def test_full_buckets_are_read_from_a_random_position():
    codes, tables = make_tables()
    members = reference.build_tables(codes)[1][5]
    seen = np.zeros(200, dtype=int)
    for seed in range(4000):
        bucket = read(tables, 1, 5, 6, seed)
        assert len(set(bucket)) == 6
        seen[bucket] += 1
    assert set(np.flatnonzero(seen)) == set(members)
    # each member is read with probability 6 / size: within five standard deviations of a binomial
    p = 6 / len(members)
    assert abs(seen[members] - 4000 * p).max() < 5 * np.sqrt(4000 * p * (1 - p))


def test_schedule_backs_off():
    schedule, due = RehashSchedule(100, 2.0, due=0), []
    for _ in range(4):
        due.append(schedule.due)
        schedule.advance(schedule.due)
    assert due == [0, 100, 300, 700]


def test_schedule_adds_up_fractions():
    schedule, due = RehashSchedule(3, 1.5, due=0), []
    for _ in range(5):
        due.append(schedule.due)
        schedule.advance(int(np.ceil(schedule.due)))
    assert due == [0, 3, 7.5, 14.25, 24.375]


@pytest.mark.parametrize("interval", [1, 100])
@pytest.mark.parametrize("n_seen", [51, 5000])
def test_schedule_goes_on_from_a_late_rebuild(interval, n_seen):
    schedule = RehashSchedule(interval, 2.0, due=50)
    schedule.advance(n_seen)
    assert (schedule.due, schedule.interval) == (n_seen + interval, 2 * interval)


@pytest.mark.parametrize(("n_labels", "interval"), [(10, 20_000), (80_004, 20_001), (1_000_000, 250_000)])
def test_automatic_interval_grows_with_the_labels(n_labels, interval):
    assert auto_rehash_interval(n_labels) == interval
