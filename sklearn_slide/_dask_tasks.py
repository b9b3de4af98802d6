"""What workers run for `sklearn_slide.dask`."""

import threading
from typing import NamedTuple

import distributed
import numpy as np
import scipy.sparse as sp
from dask.sizeof import sizeof

from sklearn_slide._blocks import stack_blocks
from sklearn_slide._memory import held_bytes
from sklearn_slide._shard_files import stored
from sklearn_slide._shards import merge_top_k, predict_shard, probabilities_shard, top_k_shard

RANKED = np.dtype([("label", np.int64), ("score", np.float32)])

# A worker of several threads trains one shard at a time, with all of them.
_training = threading.Lock()


@sizeof.register(sp.csr_array)
def _sizeof_csr(matrix):
    return object.__sizeof__(matrix) + held_bytes([matrix.data, matrix.indices, matrix.indptr])


class Report(NamedTuple):
    """What the client is told of a shard."""

    n_labels: int
    loss_curve: list  # of float
    seconds: float  # that training took
    n_bytes: int  # that the shard holds
    address: str  # of the worker


def as_it_is(value):
    """Return the value: a task that has it as its recipe."""
    return value


def make_block(X, y, sample_weight):
    """Put the parts of a block together."""
    return X, y, sample_weight


def one_block(blocks):
    """Return a list of one block with the rows of all."""
    return [stack_blocks(blocks)]


def train(function, path, *args, **options):
    """Call fit_shard or update_shard with the threads of this worker, unless the file at path has the shard.

    It stops after an epoch in which nobody wants it any more.
    """
    with _training:
        watch = watch_task()
        watch()
        n_jobs = distributed.get_worker().state.nthreads
        return stored(path, lambda: function(*args, n_jobs=n_jobs, after_epoch=watch, **options))


class Unwanted(Exception):
    """The client has left, or cancelled the task."""


def watch_task():
    """Return a function that raises Unwanted once the running task was cancelled."""
    worker = distributed.get_worker()
    key = worker.get_current_task()

    def look():
        task = worker.state.tasks.get(key)
        if task is None or task.state not in ("executing", "long-running"):
            raise Unwanted(f"{key} is not wanted any more.")

    return look


def report(shard):
    """Return the Report of a shard."""
    curve = [float(loss) for loss in shard.classifier.loss_curve_]
    address = distributed.get_worker().address
    return Report(len(shard.columns), curve, shard.seconds, shard.__sizeof__(), address)


def rank_block(X, shard, k):
    """Rank a shard's labels for a block of rows: RANKED (n_rows, at most k)."""
    labels, scores = top_k_shard(shard, X, k)
    return _ranked(labels, scores)


def merge_ranked(*parts, k):
    """Return the k best of what rank_block gave."""
    return _ranked(*merge_top_k([(part["label"], part["score"]) for part in parts], k))


def _ranked(labels, scores):
    ranked = np.empty(labels.shape, dtype=RANKED)
    ranked["label"], ranked["score"] = labels, scores
    return ranked


def predict_block(X, shard, n_labels):
    """Predict a shard's labels for a block of rows."""
    return predict_shard(shard, X, n_labels)


def probabilities_block(X, shard, labels):
    """Compute the probabilities of those labels that a shard has, for a block of rows."""
    return probabilities_shard(shard, X, labels)


def add(*parts):
    """Add arrays up."""
    return sum(parts[1:], parts[0])
