"""What the client of a Dask cluster does where things go wrong: workers that are killed, and limits."""

import os
import pickle
import signal
import threading

import pytest
from helpers import assert_same
from numpy.testing import assert_array_equal

distributed = pytest.importorskip("distributed", reason="needs sklearn-slide[dask]")
pytest.importorskip("dask.array", reason="needs sklearn-slide[dask]")

import dask
import dask.array as da
from dask_helpers import (
    N_WORKERS,
    blocks_of,
    fit,
    fit_locally,
    in_blocks,
    make,
    make_task,
    parameters,
    start_cluster,
)

from sklearn_slide._shard_files import load
from sklearn_slide._shards import join_shards


@pytest.fixture(scope="module")
def cluster():
    with start_cluster(N_WORKERS) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def mortal():
    """Return a client of three workers of its own, for a test to kill."""
    with start_cluster(N_WORKERS) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def task():
    return make_task()


@pytest.fixture(scope="module")
def joined(task):
    return join_shards(fit_locally(blocks_of(*task)), parameters())


def arm(client, folder, n):
    """Let the first n workers that train a shard kill themselves after an epoch; each leaves a file."""

    def watch_task():
        calls = []

        def look():
            calls.append(1)
            for number in range(n if len(calls) > 1 else 0):  # the first call is before training
                try:
                    os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)

        return look

    def make_deadly():
        from sklearn_slide import _dask_tasks

        _dask_tasks.watch_task = watch_task

    client.run(make_deadly)


def kill(client, addresses):
    """Kill the processes of workers."""
    pids = client.run(os.getpid, workers=addresses)
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("n_killed", [1, 2])
def test_workers_killed_in_training(mortal, task, joined, tmp_path, n_killed):
    arm(mortal, tmp_path, n_killed)
    assert_same(fit(mortal, task).to_local(), joined)
    assert len(list(tmp_path.iterdir())) == n_killed


@pytest.mark.parametrize("n_killed", [1, 3])
def test_workers_killed_after_training(mortal, task, joined, n_killed):
    X = in_blocks(task[0])
    model = fit(mortal, task)
    expected = joined.predict_top_k(task[0])[0]
    kill(mortal, sorted(mortal.scheduler_info(n_workers=-1)["workers"])[:n_killed])
    assert_array_equal(model.predict_top_k(X)[0].compute(), expected)
    assert_same(model.to_local(), joined)


def test_workers_killed_in_prediction(mortal, task, joined, tmp_path):
    X, n_killed = task[0], 2
    model = fit(mortal, task)

    def read(number):
        try:
            if number < n_killed:
                os.close(os.open(tmp_path / str(number), os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
        return X[100 * number : 100 * (number + 1)]

    deadly = da.concatenate(
        [da.from_delayed(dask.delayed(read)(number), (100, X.shape[1]), meta=X[:0]) for number in range(3)]
    )
    assert_array_equal(model.predict_top_k(deadly)[0].compute(), joined.predict_top_k(X)[0])
    assert len(list(tmp_path.iterdir())) == n_killed


def test_lost_workers_and_a_folder(mortal, task, joined, tmp_path):
    model = fit(mortal, task, folder=str(tmp_path))
    kill(mortal, list(mortal.scheduler_info(n_workers=-1)["workers"]))
    for path in tmp_path.iterdir():  # read again, not trained again
        shard = load(path)
        shard.seconds = 1234.5
        path.write_bytes(pickle.dumps(shard))
    assert_array_equal(model.predict_top_k(task[0])[0].compute(), joined.predict_top_k(task[0])[0])
    assert (
        mortal.submit(lambda shard: shard.seconds, model.shards_[0], pure=False).result(timeout=60) == 1234.5
    )


def test_scattered_blocks_that_were_lost_are_an_error(mortal, task):
    X, Y = task
    holder = sorted(mortal.scheduler_info(n_workers=-1)["workers"])[0]
    x, y = mortal.scatter([X, Y], workers=[holder], hash=False)
    X = da.from_delayed(dask.delayed(x), X.shape, meta=X[:0])
    Y = da.from_delayed(dask.delayed(y), Y.shape, meta=Y[:0])
    kill(mortal, [holder])
    with pytest.raises(RuntimeError, match="was lost, and could not be made again"):
        make(mortal).fit(X, Y)


def test_no_worker_is_an_error(task):
    message = r"no worker for worker_timeout=0\.1 seconds, and Block 0"
    with (
        start_cluster(0) as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(TimeoutError, match=message),
    ):
        make(client, worker_timeout=0.1).fit(*task)


def test_waiting_has_a_limit(client, task):
    X, Y = task
    stop = distributed.Event("stop", client=client)

    def read():
        distributed.Event("stop").wait(60)
        return X

    slow = da.from_delayed(dask.delayed(read)(), X.shape, meta=X[:0])
    with pytest.raises(TimeoutError, match=r"Block 0 is not done, and nothing was for timeout=0.1"):
        make(client, timeout=0.1).fit(slow, Y)
    stop.set()


def test_a_lost_client_ends_the_work_after_an_epoch(cluster, client, task):
    def announce():
        from sklearn_slide import _dask_tasks

        original = _dask_tasks.watch_task

        def watch_task():
            look = original()

            def look_and_tell():
                distributed.Event("begun").set()
                try:
                    look()
                except _dask_tasks.Unwanted:
                    _dask_tasks.watch_task = original
                    distributed.Event("stopped").set()
                    raise

            return look_and_tell

        _dask_tasks.watch_task = watch_task

    client.run(announce)
    begun, stopped = (distributed.Event(name, client=client) for name in ("begun", "stopped"))
    other = distributed.Client(cluster, set_as_default=False)

    def fit_until_lost():
        with pytest.raises(RuntimeError, match=r"client was closed before|was lost, and could not"):
            fit(other, task, max_iter=10**6, tol=0)

    thread = threading.Thread(target=fit_until_lost)
    thread.start()
    assert begun.wait(60)
    other.close()
    thread.join(60)
    assert not thread.is_alive()
    assert stopped.wait(60)
