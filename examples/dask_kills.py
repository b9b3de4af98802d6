"""
Kill the workers of a Dask cluster
==================================

Kill workers at twenty moments, and compare what comes out with a model trained without Dask.

Of three processes, some are killed (SIGKILL) while a ``DaskSlideClassifier`` is fitted, after that, or while
it ranks. In the end there must be the very bits of the local model, or, where a shard cannot be made again,
an error that says so, within LIMIT seconds. A line for each trial tells what came of it. Run it with

    python examples/dask_kills.py
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import dask
import dask.array as da
import numpy as np
import scipy.sparse as sp
from distributed import Client, LocalCluster, WorkerPlugin

from sklearn_slide import SlideClassifier
from sklearn_slide._shards import (
    deal_labels,
    fit_shard,
    join_shards,
    merge_top_k,
    shard_parameters,
    top_k_shard,
    update_shard,
)
from sklearn_slide.dask import DaskSlideClassifier
from sklearn_slide.datasets import make_xmc_classification

N_WORKERS, N_SHARDS, N_BLOCKS, BLOCK_SIZE = 3, 3, 3, 100
LIMIT = 120  # seconds for each call
PARAMETERS = {"hidden_layer_sizes": (8,), "n_active": 12, "max_iter": 2, "random_state": 0, "n_jobs": 1}
ITSELF, OTHERS, ALL = "itself", "the others", "all"


class Killer(WorkerPlugin):
    """Kills workers at some moments, which all workers count together by files in a folder.

    A moment is the start of a task (kind "tasks"), or a look of a task that trains: one before training, and
    one after each epoch or block (kind "epochs"). At those that were chosen, a worker kills itself, the
    others, or all; pids are theirs.
    """

    def __init__(self, folder, at, whom=ITSELF, pids=(), kind="epochs"):
        self.folder, self.at, self.whom, self.pids, self.kind = folder, at, whom, pids, kind

    def setup(self, worker):
        """Watch the epochs of this worker."""
        from sklearn_slide import _dask_tasks

        if self.kind == "epochs":
            watch = _dask_tasks.watch_task

            def watch_and_count():
                look = watch()

                def look_and_count():
                    look()
                    self.count()

                return look_and_count

            _dask_tasks.watch_task = watch_and_count

    def transition(self, key, start, finish, **others):
        """Note that a task begins."""
        if self.kind == "tasks" and finish == "executing":
            self.count()

    def count(self):
        """Count a moment, and kill if it is one of the chosen."""
        number = 0
        while True:
            try:
                os.close(os.open(f"{self.folder}/{number}", os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                number += 1
        if number not in self.at:
            return
        if self.whom != ITSELF:
            kill(pid for pid in self.pids if pid != os.getpid())
        if self.whom != OTHERS:
            kill([os.getpid()])


def kill(pids):
    """Kill processes, which may be gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Trial:
    """A cluster to kill, and data for it."""

    def __init__(self, client, X, Y, folder):
        self.client, self.X, self.Y, self.folder = client, X, Y, Path(folder)
        self.arrays = [da.from_array(part, chunks=(BLOCK_SIZE, -1)) for part in (X, Y)]

    def arm(self, at, whom=ITSELF, kind="epochs"):
        """Let workers be killed at these moments."""
        moments = self.folder / "moments"
        moments.mkdir()
        pids = list(self.client.run(os.getpid).values())
        self.client.register_plugin(Killer(str(moments), at, whom, pids, kind), name="killer")

    def fit(self, **others):
        """Fit a classifier on the cluster."""
        limits = {"timeout": LIMIT, "worker_timeout": LIMIT}
        model = DaskSlideClassifier(n_shards=N_SHARDS, client=self.client, **PARAMETERS | limits | others)
        return model.fit(*self.arrays)

    def kill(self, addresses):
        """Kill the workers at these addresses."""
        kill(self.client.run(os.getpid, workers=list(addresses)).values())

    def answers(self, model):
        """Return the model's ranking as Dask finds it, and the local model."""
        ranked = self.client.compute(model.predict_top_k(self.arrays[0])[0]).result(timeout=LIMIT)
        return ranked, model.to_local()


def in_fit(trial, at, whom=ITSELF, **others):
    """Kill in training."""
    trial.arm(at, whom)
    return trial.answers(trial.fit(**others))


def in_fit_with_folder(trial, at, whom):
    """Kill in training, with finished shards in a folder."""
    return in_fit(trial, at, whom, folder=str(trial.folder / "shards"))


def in_partial_fit(trial, at, whom):
    """Kill in the training that follows the first one."""
    model = trial.fit()
    trial.arm(at, whom)
    return trial.answers(model.partial_fit(*trial.arrays))


def after_fit(trial, n):
    """Kill n workers that hold shards, the pilot's first."""
    model = trial.fit()
    holders = trial.client.who_has(model.shards_)
    first = [address for future in model.shards_ for address in holders[future.key]]
    workers = dict.fromkeys([*first, *trial.client.scheduler_info(n_workers=-1)["workers"]])
    trial.kill(list(workers)[:n])
    return trial.answers(model)


def in_ranking(trial, at, whom):
    """Kill while rows are ranked."""
    model = trial.fit()
    trial.arm(at, whom, "tasks")
    return trial.answers(model)


def before_fit_scattered(trial):
    """Kill the worker that holds rows that no task can make again."""
    holder = next(iter(trial.client.scheduler_info(n_workers=-1)["workers"]))
    scattered = trial.client.scatter([trial.X, trial.Y], workers=[holder], hash=False)
    trial.arrays = [
        da.from_delayed(dask.delayed(part), whole.shape, meta=whole[:0])
        for part, whole in zip(scattered, (trial.X, trial.Y), strict=True)
    ]
    trial.kill([holder])
    return trial.answers(trial.fit())


# What is done, who is killed and when, and what comes of it: the bits of the local model after fit, or after
# partial_fit, or an error.
SAME, AGAIN = "fit", "partial_fit"
TRIALS = [
    (partial(in_fit, at={0}), "before the first shard trains", SAME),
    (partial(in_fit, at={1}), "in the first shard", SAME),
    (partial(in_fit, at={2}), "as the first shard ends", SAME),
    (partial(in_fit, at={4}), "in a later shard", SAME),
    (partial(in_fit, at={1, 5}), "twice, in different shards", SAME),
    (partial(in_fit, at={1}, whom=OTHERS), "the others, with their blocks, in the first shard", SAME),
    (partial(in_fit, at={5}, whom=OTHERS), "the others, with their blocks, in a later shard", SAME),
    (partial(in_fit, at={1}, whom=ALL), "all, in the first shard", SAME),
    (partial(in_fit, at={5}, whom=ALL), "all, in a later shard", SAME),
    (partial(in_fit_with_folder, at={5}, whom=ALL), "all, in a later shard, with a folder", SAME),
    (partial(in_partial_fit, at={1}, whom=ALL), "all, in partial_fit", AGAIN),
    (partial(in_fit, at=range(99)), "whoever trains, each time", RuntimeError),
    (partial(after_fit, n=1), "the holder of the first shard", SAME),
    (partial(after_fit, n=2), "all but one", SAME),
    (partial(after_fit, n=3), "all", SAME),
    (partial(before_fit_scattered), "the holder of scattered rows", RuntimeError),
    (partial(in_ranking, at={1}, whom=ITSELF), "one that ranks", SAME),
    (partial(in_ranking, at={2}, whom=OTHERS), "all but one that ranks", SAME),
    # from here on, no worker starts again
    (partial(in_fit, at={4}, whom=OTHERS), "all but one, for good", SAME),
    (partial(in_fit, at={4}, whom=ALL, worker_timeout=10), "all, for good", TimeoutError),
]
N_FOR_GOOD = 2


def same(answers, expected):
    """Tell whether a ranking and a model have the very bits of the expected ones."""
    (ranked, model), (its_ranking, other) = answers, expected
    weights = [
        [*each.coefs_, *each.intercepts_, each.direct_coef_.data, each.direct_coef_.indices]
        for each in (model, other)
    ]
    pairs = zip([ranked, *weights[0]], [its_ranking, *weights[1]], strict=True)
    return all(np.array_equal(one, two) for one, two in pairs)


def attempt(trial, what, expected, error):
    """Run a trial; return what came of it, and whether that is right."""
    try:
        answers = what(trial)
    except Exception as raised:
        return type(raised).__name__, isinstance(error, type) and isinstance(raised, error)
    right = not isinstance(error, type) and same(answers, expected[error])
    return "the same bits" if right else "SOMETHING ELSE", right


def start_no_more(dask_worker):
    """Let a nanny start no worker again."""

    async def instantiate():
        return dask_worker.status

    dask_worker.instantiate = instantiate


def local_answers(X, Y):
    """Return what comes of training without Dask, after fit and after a partial_fit that follows."""
    blocks = [(X[i : i + BLOCK_SIZE], Y[i : i + BLOCK_SIZE]) for i in range(0, X.shape[0], BLOCK_SIZE)]
    parameters = SlideClassifier(**PARAMETERS).get_params(deep=False)
    counts = np.bincount(Y.indices, minlength=Y.shape[1])
    columns = deal_labels(counts, N_SHARDS)
    fitted, updated = [], []
    for given, own in zip(shard_parameters(parameters, counts, columns), columns, strict=True):
        fitted.append(fit_shard(given, own, blocks, *fitted[:1]))
        updated.append(update_shard(fitted[-1], blocks, *updated[:1]))
    return {
        name: (
            merge_top_k([top_k_shard(shard, X, 5) for shard in shards], 5)[0],
            join_shards(shards, parameters),
        )
        for name, shards in ((SAME, fitted), (AGAIN, updated))
    }


def run_trial(number, data, expected):
    """Run a trial on a cluster of its own, and print a line; return whether it came out right in time."""
    what, whom, outcome = TRIALS[number]
    options = {"n_workers": N_WORKERS, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client, TemporaryDirectory() as folder:
        if number >= len(TRIALS) - N_FOR_GOOD:
            client.run(start_no_more, nanny=True)
        started = time.monotonic()
        came, right = attempt(Trial(client, *data, folder), what, expected, outcome)
        seconds = time.monotonic() - started
    moment = what.func.__name__.replace("_", " ")
    print(f"{number + 1:2} {moment:21} {whom:50} {came:14} {seconds:4.0f} s", flush=True)
    return right and seconds < LIMIT


def main():
    """Run all trials, or those whose numbers are given."""
    numbers = [int(number) - 1 for number in sys.argv[1:]] or range(len(TRIALS))
    # processes are copies of one that has imported what they need
    multiprocessing.set_forkserver_preload(["distributed.nanny", "sklearn_slide.dask"])
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    # a LocalCluster drops a worker for good that is not back by then
    dask.config.set({"distributed.deploy.lost-worker-timeout": LIMIT})
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"  # of the workers
    for name in ("client", "core", "scheduler", "nanny", "comm"):
        logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)
    X, Y = make_xmc_classification(n_samples=300, n_labels=60, random_state=0)
    data = sp.csr_array(X, dtype=np.float32), sp.csr_array(Y)
    expected = local_answers(*data)
    n_right = sum(run_trial(number, data, expected) for number in numbers)
    print(f"{n_right} of {len(numbers)} are right.")
    return int(n_right < len(numbers))


if __name__ == "__main__":
    sys.exit(main())
