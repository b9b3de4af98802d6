"""Serial kernels over ranges of rows, run by joblib threads."""

from itertools import pairwise

from joblib import Parallel, delayed, effective_n_jobs


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
