"""
Learn from blocks on a Dask cluster
===================================

Learn from blocks on a cluster, in one estimator.

A dask array of CSR blocks, each made by a task that reads it, goes through one ``SlideClassifier``: the
client asks for the next block while it learns from this one, and never holds more than a few. Run it with

    python examples/dask_stream.py
"""

import logging
from collections import deque

import dask
import dask.array as da
import numpy as np
import scipy.sparse as sp
from distributed import Client, LocalCluster

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import precision_at_k

BLOCK_SIZE, AHEAD = 10_000, 2


@dask.delayed
def read(part, start, stop):
    """Read rows of WordNet, as another task would from a file of its own."""
    X, Y = load_wordnet("train", vectorize=True, return_X_y=True)
    return sp.csr_array((X, Y)[part][start:stop], dtype=np.float32)


def as_dask_array(part, shape):
    """Return a dask array whose blocks are read when they are asked for."""
    blocks = []
    for start in range(0, shape[0], BLOCK_SIZE):
        stop = min(start + BLOCK_SIZE, shape[0])
        meta = sp.csr_array((0, 0), dtype=np.float32)
        blocks.append(da.from_delayed(read(part, start, stop), (stop - start, shape[1]), meta=meta))
    return da.concatenate(blocks)


def stream(client, X, Y):
    """Yield blocks of X and Y in their order, a few being made ahead."""
    waiting = deque()
    for block in zip(X.to_delayed().ravel(), Y.to_delayed().ravel(), strict=True):
        waiting.append(client.compute(list(block)))
        if len(waiting) > AHEAD:
            yield client.gather(waiting.popleft())
    while waiting:
        yield client.gather(waiting.popleft())


def main():
    """Train on a stream of blocks, and say how well it ranks."""
    X_test, Y_test = load_wordnet("test", vectorize=True, return_X_y=True)
    n_rows = load_wordnet("train").target.shape[0]
    # a warning that a worker is slow to end is of no interest here
    quiet = {"silence_logs": logging.ERROR, "dashboard_address": ":0"}
    with LocalCluster(n_workers=2, threads_per_worker=1, **quiet) as cluster, Client(cluster) as client:
        X, Y = as_dask_array(0, (n_rows, X_test.shape[1])), as_dask_array(1, (n_rows, Y_test.shape[1]))
        model = SlideClassifier(random_state=0)
        for x, y in stream(client, X, Y):
            model.partial_fit(x, y)
            labels, _ = model.predict_top_k(X_test[:2000], k=1)
            precision = 100 * precision_at_k(Y_test[:2000], labels, k=1)
            print(f"{model.t_:7d} rows: P@1 {precision:4.1f} %", flush=True)


if __name__ == "__main__":
    main()
