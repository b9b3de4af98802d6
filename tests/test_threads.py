"""Several Python threads, forks and process pools around the estimator, each in a process of its own."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sklearn_slide

SETUP = """
    import multiprocessing, os, signal, sys, threading, time
    import joblib
    import numpy as np
    from concurrent.futures import ThreadPoolExecutor
    from sklearn_slide import SlideClassifier
    from sklearn_slide.datasets import make_xmc_classification
    X, Y = make_xmc_classification(600, 300, 500, random_state=0)
    def make(**params):
        return SlideClassifier(**{"hidden_layer_sizes": (16,), "n_active": 60, "random_state": 0} | params)
    def fit_and_rank(seed=0, n_jobs=None):
        return make(random_state=seed, n_jobs=n_jobs).fit(X, Y).predict_top_k(X, 3)[0]
"""


def run(code, timeout=120, cwd=None, **environment):
    """Run code in a fresh process, which must print 'passed' as its last line."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SETUP) + textwrap.dedent(code) + "\nprint('passed')"],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=os.environ | environment,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("passed\n"), result.stderr


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_two_threads_fit_two_estimators(n_jobs):
    run(f"""
    with ThreadPoolExecutor(2) as pool:
        ranked = list(pool.map(lambda seed: fit_and_rank(seed, {n_jobs}), [0, 1]))
    for seed, labels in enumerate(ranked):
        if {n_jobs} is None:
            assert (labels == fit_and_rank(seed)).all()
        assert labels.min() >= 0 and labels.max() < 500
    """)


@pytest.mark.parametrize("retrieval", ["exact", "lsh"])
def test_eight_threads_predict_while_another_trains(retrieval):
    run(f"""
    model = make(retrieval="{retrieval}").fit(X, Y)
    done = threading.Event()
    def train():
        for _ in range(20):
            model.partial_fit(X, Y)
        done.set()
    def rank(_):
        n = 0
        while n < 3 or not done.is_set():
            labels, scores = model.predict_top_k(X[:100], 5)
            assert np.isfinite(scores).all()
            assert labels.min() >= 0 and labels.max() < 500
            assert all(len(set(row)) == 5 for row in labels)
            n += 1
        return n
    trainer = threading.Thread(target=train)
    trainer.start()
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(rank, range(8))) >= 24
    trainer.join()
    assert done.is_set()
    """)


@pytest.mark.skipif(os.name != "posix", reason="forks")
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_fork_after_a_fit_fits_and_predicts(n_jobs):
    run(f"""
    model = make(n_jobs={n_jobs}).fit(X, Y)
    expected = model.predict_top_k(X, 3)[0]
    def child(queue):
        ranked = model.predict_top_k(X, 3)[0]
        queue.put((ranked, fit_and_rank(n_jobs={n_jobs})))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    ranked, refitted = queue.get(timeout=60)
    process.join(60)
    assert process.exitcode == 0
    assert (ranked == expected).all()
    if {n_jobs} is None:
        assert (refitted == expected).all()
    """)


@pytest.mark.skipif(os.name != "posix", reason="forks")
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_fork_server_fits_and_predicts(n_jobs):
    run(f"""
    from concurrent.futures import ProcessPoolExecutor
    model = make(n_jobs={n_jobs}).fit(X, Y)
    expected = model.predict_top_k(X, 3)[0]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as pool:
        assert (pool.submit(model.predict_top_k, X, 3).result(60)[0] == expected).all()
        refitted = pool.submit(make(n_jobs={n_jobs}).fit, X, Y).result(60).predict_top_k(X, 3)[0]
    if {n_jobs} is None:
        assert (refitted == expected).all()
    """)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_workers_give_the_same_answers(backend):
    run(f"""
    with joblib.parallel_config(backend="{backend}"):
        ranked = joblib.Parallel(n_jobs=2)(
            joblib.delayed(lambda s: SlideClassifier(
                (16,), n_active=60, random_state=s).fit(X, Y).predict_top_k(X, 3)[0])(s) for s in (0, 1)
        )
    assert (ranked[0] == fit_and_rank(0)).all() and (ranked[1] == fit_and_rank(1)).all()
    """)


DASK = """
    import distributed
    expected = [fit_and_rank(seed, 1) for seed in (0, 1)]
    model = make().fit(X, Y)
    params = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**params) as cluster, distributed.Client(cluster) as client:
"""


@pytest.mark.parametrize("n_jobs", [None, 1, 2])
def test_threads_of_a_dask_worker_give_the_same_answers(n_jobs):
    pytest.importorskip("distributed")
    run(
        DASK
        + f"""
        fits = [client.submit(fit_and_rank, seed, {n_jobs}, pure=False) for seed in (0, 1, 0, 1)]
        ranks = [client.submit(lambda: model.predict_top_k(X, 3)[0], pure=False) for _ in range(4)]
        fits, ranks = client.gather(fits), client.gather(ranks)
    for seed, labels in zip((0, 1, 0, 1), fits):
        assert labels.shape == (600, 3) and labels.min() >= 0 and labels.max() < 500
        if {n_jobs} != 2:
            assert (labels == expected[seed]).all()
    assert all((labels == expected[0]).all() for labels in ranks)
    """
    )


def test_search_in_the_threads_of_a_dask_worker():
    pytest.importorskip("distributed")
    run(
        DASK
        + """
        from sklearn.model_selection import GridSearchCV, KFold
        from sklearn_slide.metrics import predict_top_k, top_k_scorer
        def search():  # with n_jobs=None each fit would take as many threads as Dask has
            params = {"scoring": top_k_scorer("precision_at_k"), "cv": KFold(2), "error_score": "raise"}
            return GridSearchCV(make(n_jobs=1), {"max_iter": [1, 3]}, **params).fit(X, Y)
        serial = search()
        with joblib.parallel_config(backend="dask"):
            found = search()
        for name in ("mean_test_score", "std_test_score"):
            assert (found.cv_results_[name] == serial.cv_results_[name]).all()
        assert (predict_top_k(found, X, 3)[0] == predict_top_k(serial, X, 3)[0]).all()
    """
    )


def test_without_a_place_for_the_cache(tmp_path):
    # a file where a folder is wanted cannot be written into, not even by root
    package = tmp_path / "sklearn_slide"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(sklearn_slide.__file__).parent, package, ignore=ignore)
    (package / "__pycache__").touch()
    (tmp_path / "home").touch()
    home = str(tmp_path / "home")
    run(
        """
    import sklearn_slide._numba
    assert sklearn_slide.__file__.startswith(os.getcwd())
    assert sklearn_slide._numba.mix.stats.cache_path is None
    X, Y = X[:50], Y[:50]
    labels = make(max_iter=1).fit(X, Y).predict_top_k(X, 3)[0]
    assert labels.min() >= 0 and labels.max() < 500
    """,
        timeout=300,
        cwd=tmp_path,
        HOME=home,
        XDG_CACHE_HOME=home,
        NUMBA_CACHE_DIR="",
        PYTHONPATH=str(tmp_path),
    )


def test_without_compilation():
    run(
        """
    X, Y = X[:20], Y[:20, :30]
    labels = SlideClassifier((4,), n_active=10, max_iter=1, random_state=0).fit(X, Y).predict_top_k(X, 3)[0]
    assert labels.max() < 30
    """,
        NUMBA_DISABLE_JIT="1",
    )


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("retrieval", ["exact", "lsh"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupt_of_predict_leaves_the_model(retrieval, n_jobs):
    run(f"""
    import scipy.sparse
    model = make(retrieval="{retrieval}", n_jobs={n_jobs}).fit(X, Y)
    expected = model.predict_top_k(X, 3)[0]
    many = scipy.sparse.csr_matrix(scipy.sparse.vstack([X] * (1_000_000 // X.shape[0])))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    sent = []
    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.5, interrupt).start()
    try:
        while True:
            model.predict_top_k(many, 3)
    except KeyboardInterrupt:
        took = time.perf_counter() - sent[0]
    assert took < 2, took
    assert (model.predict_top_k(X, 3)[0] == expected).all()
    """)
