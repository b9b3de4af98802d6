"""Serial kernels over ranges of rows, run by joblib threads."""

import threading
from contextlib import nullcontext
from functools import cache
from itertools import pairwise
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import ThreadingBackend, get_active_backend
from threadpoolctl import ThreadpoolController  # scikit-learn requires it

# A round of one thread is about this many multiplications by a weight: some tenths of a second.
_ROUND_WORK = 3e8
# Work of some hundredths of a second, and of no more than half a second on a slow machine.
_PART_WORK = 2**25
BLAS_SPEED = 50  # multiplications of BLAS in the time of one elsewhere
# More than any machine has processors: each thread has memory of its own.
_MOST_THREADS = 1024


def count_threads(n_jobs):
    """Return the number of threads that n_jobs stands for; None is 1, or what a context of joblib says.

    The context may be one of processes: in their workers joblib would warn if it were asked for its own
    count.
    """
    if n_jobs is None:
        n_jobs = get_active_backend()[1] or 1
    if not isinstance(n_jobs, Integral) or n_jobs == 0:
        raise ValueError(
            "n_jobs must be None or a whole number of threads, or -1 for one on each processor, but not 0. "
            f"Got {n_jobs!r}."
        )
    return min(ThreadingBackend().effective_n_jobs(int(n_jobs)), _MOST_THREADS)


def thread_pool(n_jobs):
    """Return a joblib pool of threads."""
    return Parallel(n_jobs=n_jobs, prefer="threads", require="sharedmem")


def split_range(start, stop, n_parts):
    """Split a range into at most n_parts ranges of nearly equal length, none of them empty."""
    n = stop - start
    n_parts = max(1, min(n_parts, n))
    bounds = [start + n * part // n_parts for part in range(n_parts + 1)]
    return list(pairwise(bounds))


def split_work(start, stop, work, n_parts=1):
    """Split a range into n_parts parts or more, each of some hundredths of a second, to let interrupts in.

    work is about the number of bytes, multiplications or the like for one of the range.
    """
    most = max(1, int(_PART_WORK / max(work, 1)))
    return split_range(start, stop, max(n_parts, -(-(stop - start) // most)))


def run_over_range(function, start, stop, n_jobs, work=0):
    """Call function(start, stop) on parts of a range in threads, and return the results in order.

    Each thread has one part, or several if work, that of one of the range as in split_work, is given. One
    worker makes plain calls, without a pool.
    """
    n_jobs = count_threads(n_jobs)
    parts = split_work(start, stop, work, n_jobs)
    if n_jobs == 1 or len(parts) == 1:
        return run_parts(function, parts)
    return run_parts(function, parts, thread_pool(n_jobs))


def run_parts(function, parts, parallel=None):
    """Call function(*part) for each part, in the threads of a joblib pool if one is given.

    After an error or an interrupt no part begins any more, and those that threads are at are awaited: what
    they write on is then at rest.
    """
    if parallel is None or len(parts) == 1:
        return [function(*part) for part in parts]
    calls = _Calls(function)
    try:
        return parallel(delayed(calls)(*part) for part in parts)
    finally:
        calls.end()


class _Calls:
    """Calls of a function by threads, which can be awaited."""

    def __init__(self, function):
        self._function, self._n_running, self._ended = function, 0, False
        self._changed = threading.Condition()

    def __call__(self, *args):
        with self._changed:
            if self._ended:
                return None
            self._n_running += 1
        try:
            return self._function(*args)
        finally:
            with self._changed:
                self._n_running -= 1
                self._changed.notify_all()

    def end(self):
        """Let no further call begin, and wait for those that have."""
        with self._changed:
            self._ended = True
            self._changed.wait_for(lambda: not self._n_running)


def take(unused, make):
    """Return one of a list of unused scratches, or what make() allocates; several threads may share it."""
    try:
        return unused.pop()
    except IndexError:
        return make()


def rows_of_round(work):
    """Return how many rows a thread takes in a round, if each takes so many multiplications."""
    return int(np.clip(_ROUND_WORK / max(work, 1), 1, 8192))


def run_in_rounds(function, n_rows, rows_of_thread, n_jobs, report):
    """Call function(start, stop) on parts of n_rows rows and return the results in order.

    A round gives each thread rows_of_thread rows at most. After each, report(number of rows) is called, and
    an interrupt can arrive.
    """
    n_jobs = min(n_rows, count_threads(n_jobs)) if n_rows > 1 else 1
    results = []
    with thread_pool(n_jobs) if n_jobs > 1 else nullcontext() as parallel:
        for start, stop in blocks(0, n_rows, n_jobs * rows_of_thread):
            results += run_parts(function, split_range(start, stop, n_jobs), parallel)
            report(stop - start)
    return results


def blocks(start, stop, size):
    """Yield the bounds of the blocks of a range."""
    for first in range(start, stop, size):
        yield first, min(first + size, stop)


def one_blas_thread():
    """Return a context in which BLAS has one thread: n_jobs says how many there are."""
    return blas_threads(1)


def blas_threads(n_threads):
    """Return a context in which BLAS has so many threads."""
    return _thread_pools().limit(limits=n_threads, user_api="blas")


@cache
def _thread_pools():
    """Find the libraries with thread pools; that takes longer than to rank a sample."""
    return ThreadpoolController()
