"""Parts of a batch, run by threads that stay: a pool made for each call takes longer than a batch."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from sklearn_slide._core.parallel import count_threads, split_range

# Multiplications below which a second thread costs more than it gains.
_PART_WORK = 2_000_000


def run_rows(function, n_rows, n_jobs, work):
    """Call function(start, stop) on parts of n_rows rows, and return the results in order.

    work is the number of multiplications for a row.
    """
    n_parts = count_parts(n_rows, n_jobs, work)
    if n_parts == 1:
        return [function(0, n_rows)]
    pool = _pool(n_parts, os.getpid())
    return list(pool.map(lambda part: function(*part), split_range(0, n_rows, n_parts)))


def count_parts(n_rows, n_jobs, work):
    """Return into how many parts run_rows splits the rows."""
    most = min(n_rows, int(n_rows * work // _PART_WORK))
    return min(most, count_threads(n_jobs)) if most > 1 and n_jobs != 1 else 1


@cache
def _pool(n_threads, process):
    """Return the pool of so many threads of this process: a fork has none of its parent's threads."""
    del process
    return ThreadPoolExecutor(n_threads, thread_name_prefix="sklearn-slide")
