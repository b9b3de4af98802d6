"""Ranges and their parts, and what is left of threads after an error."""

import threading

import pytest

from sklearn_slide._core.parallel import count_threads, run_over_range, split_work


@pytest.mark.parametrize(
    ("work", "n_parts", "expected"), [(0, 1, 1), (0, 3, 3), (2**25, 1, 10), (2**24, 2, 5)]
)
def test_parts_are_as_many_as_the_work_asks_for(work, n_parts, expected):
    parts = split_work(5, 15, work, n_parts)
    assert len(parts) == expected
    assert [i for part in parts for i in range(*part)] == list(range(5, 15))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_are_in_order(n_jobs):
    ranges = run_over_range(lambda start, stop: range(start, stop), 0, 100, n_jobs, work=2**23)
    assert len(ranges) == 25
    assert [i for part in ranges for i in part] == list(range(100))


def test_an_error_waits_for_the_parts_that_run():
    begun, failed, running = threading.Event(), threading.Event(), []

    def part(start, stop):
        if start == 0:
            assert begun.wait(60)
            failed.set()
            raise KeyError("failed")
        running.append(start)
        begun.set()
        assert failed.wait(60)
        for _ in range(10**6):
            pass
        running.remove(start)

    with pytest.raises(KeyError, match="failed"):
        run_over_range(part, 0, 2, 2)
    assert running == []


@pytest.mark.parametrize("n_jobs", [0, 1.5, "2", [2]])
def test_no_number_of_threads(n_jobs):
    with pytest.raises(ValueError, match="n_jobs must be None or a whole number of threads"):
        count_threads(n_jobs)


def test_more_threads_than_any_machine_has():
    assert count_threads(2**40) == 1024
