"""
Rank many rows on a Dask cluster
================================

Rank a large array of rows on a cluster.

A fitted model goes to each worker once, as a future that all tasks share, and ranks the blocks of a dask
array where they are. ``DaskSlideClassifier.predict_top_k`` does the same with a model that is divided. Run
it with

    python examples/dask_rank.py
"""

import logging

import dask.array as da
import numpy as np
import scipy.sparse as sp
from distributed import Client, LocalCluster

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import make_xmc_classification
from sklearn_slide.metrics import precision_at_k

K = 5


def rank(X, model):
    """Rank the labels for a block of rows."""
    return model.predict_top_k(X, K)[0]


def main():
    """Fit a model here, and rank rows on the workers."""
    X, Y = make_xmc_classification(n_samples=20_000, n_labels=2_000, random_state=0)
    X = sp.csr_array(X, dtype=np.float32)
    model = SlideClassifier((64,), random_state=0).fit(X[:10_000], Y[:10_000]).compact()
    rows = da.from_array(X[10_000:], chunks=(2_000, -1))
    # a warning that a worker is slow to end is of no interest here
    quiet = {"silence_logs": logging.ERROR, "dashboard_address": ":0"}
    with LocalCluster(n_workers=2, threads_per_worker=1, **quiet) as cluster, Client(cluster) as client:
        on_worker = client.scatter(model)  # travels once to each worker that ranks with it
        labels = rows.map_blocks(
            rank, on_worker, dtype=np.int64, chunks=(rows.chunks[0], (K,)), meta=np.empty((0, 0), np.int64)
        )
        found = labels.compute()
    print(f"{found.shape[0]} rows: P@1 {100 * precision_at_k(Y[10_000:], found, k=1):.1f} %")


if __name__ == "__main__":
    main()
