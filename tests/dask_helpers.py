"""What the test files of Dask clusters share; import it after Dask was found."""

import dask
import dask.array as da
import distributed
import numpy as np
import scipy.sparse as sp

from sklearn_slide import SlideClassifier
from sklearn_slide._shards import deal_labels, fit_shard, shard_parameters
from sklearn_slide.dask import DaskSlideClassifier
from sklearn_slide.datasets import make_xmc_classification

N_WORKERS, N_SHARDS, N_LABELS = 3, 3, 60
SMALL = {"hidden_layer_sizes": (8,), "n_active": 15, "direct_limit": 60, "random_state": 0, "max_iter": 2}
# Longer than anything here takes, so that what hangs fails.
LIMITS = {"timeout": 120, "worker_timeout": 120}
# A LocalCluster drops a killed worker for good that is not back by then, 15 seconds if nobody says otherwise.
dask.config.set({"distributed.deploy.lost-worker-timeout": 120})


def start_cluster(n_workers):
    return distributed.LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=":0",
        memory_limit=0,
    )


def make_task():
    """Return X and Y, CSR: 300 samples."""
    X, Y = make_xmc_classification(n_samples=300, n_labels=N_LABELS, random_state=0)
    return sp.csr_array(X, dtype=np.float32), sp.csr_array(Y)


def in_blocks(array, size=100):
    return da.from_array(array, chunks=(size, -1))


def blocks_of(X, Y, size=100):
    return [(X[start : start + size], Y[start : start + size]) for start in range(0, X.shape[0], size)]


def parameters(**others):
    return SlideClassifier(**SMALL | others).get_params(deep=False)


def deal(counts, **others):
    """Return the parameters and the labels of each shard."""
    columns = deal_labels(counts, N_SHARDS)
    return list(zip(shard_parameters(parameters(**others), counts, columns), columns, strict=True))


def fit_locally(blocks, **others):
    """Train the shards in this process, without Dask."""
    counts = sum(np.asarray(block[1].sum(axis=0)).ravel() for block in blocks)
    pilot, *rest = deal(counts, **others)
    pilot = fit_shard(*pilot, blocks)
    return [pilot, *(fit_shard(*own, blocks, pilot) for own in rest)]


def make(client, **others):
    return DaskSlideClassifier(n_shards=N_SHARDS, client=client, **SMALL | LIMITS | others)


def fit(client, task, **others):
    return make(client, **others).fit(in_blocks(task[0]), in_blocks(task[1]))
