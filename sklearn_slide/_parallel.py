"""Serial kernels over ranges of rows, run by joblib threads."""

from contextlib import nullcontext
from itertools import pairwise

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

# A round of one thread is about this many multiplications by a weight: some tenths of a second.
_ROUND_WORK = 3e8


def split_range(start, stop, n_parts):
    """Split a range into at most n_parts ranges of nearly equal length, none of them empty."""
    n = stop - start
    n_parts = max(1, min(n_parts, n))
    bounds = [start + n * part // n_parts for part in range(n_parts + 1)]
    return list(pairwise(bounds))


def run_over_range(function, start, stop, n_jobs):
    """Call function(start, stop) on parts of a range, one a thread, and return the results in order.

    One worker is a plain call: no pool is made.
    """
    return run_parts(function, split_range(start, stop, effective_n_jobs(n_jobs)))


def run_parts(function, parts, parallel=None):
    """Call function(*part) for each part, in the threads of a joblib pool if there is more than one."""
    if len(parts) == 1:
        return [function(*parts[0])]
    parallel = parallel or Parallel(n_jobs=len(parts), prefer="threads", require="sharedmem")
    return parallel(delayed(function)(*part) for part in parts)


def rows_of_round(work):
    """Return how many rows a thread takes in a round, if each takes so many multiplications."""
    return int(np.clip(_ROUND_WORK / max(work, 1), 1, 8192))


def run_in_rounds(function, n_rows, rows_of_thread, n_jobs, report):
    """Call function(start, stop) on parts of n_rows rows and return the results in order.

    A round gives each thread rows_of_thread rows at most. After each, report(number of rows) is called, and
    an interrupt can arrive.
    """
    n_jobs = min(n_rows, effective_n_jobs(n_jobs)) if n_rows > 1 else 1
    results = []
    with Parallel(n_jobs, prefer="threads", require="sharedmem") if n_jobs > 1 else nullcontext() as parallel:
        for start, stop in blocks(0, n_rows, n_jobs * rows_of_thread):
            results += run_parts(function, split_range(start, stop, n_jobs), parallel)
            report(stop - start)
    return results


def blocks(start, stop, size):
    """Yield the bounds of the blocks of a range."""
    for first in range(start, stop, size):
        yield first, min(first + size, stop)
