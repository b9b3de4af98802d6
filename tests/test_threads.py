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
    from sklearn_slide._core import retrieval
    from sklearn_slide.datasets import make_xmc_classification
    retrieval.MIN_LABELS = 0
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


def test_two_threads_fit_two_estimators():
    run("""
    for n_jobs in (None, 2):
        with ThreadPoolExecutor(2) as pool:
            ranked = list(pool.map(lambda seed: fit_and_rank(seed, n_jobs), [0, 1]))
        for seed, labels in enumerate(ranked):
            if n_jobs is None:
                assert (labels == fit_and_rank(seed)).all()
            assert labels.min() >= 0 and labels.max() < 500
    """)


def test_eight_threads_predict_while_another_trains():
    run("""
    for how in ("exact", "lsh"):
        model = make(retrieval=how).fit(X, Y)
        done = threading.Event()
        def train():
            for _ in range(20):
                model.partial_fit(X, Y)
            done.set()
        def rank(_):
            n = 0
            while n < 3 or not done.is_set():
                labels, scores = model.predict_top_k(X[: 1 + 99 * (n % 2)], 5)
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


def test_threads_predict_while_another_adds_labels():
    run("""
    for how in ("exact", "lsh"):
        model = make(retrieval=how, max_iter=1).fit(X, Y[:, :20])
        done = threading.Event()
        def train():
            for n_labels in range(40, 501, 20):
                model.partial_fit(X[:60], Y[:60, :n_labels])
            done.set()
        def rank(_):
            n = 0
            while n < 3 or not done.is_set():
                labels, scores = model.predict_top_k(X[: 1 + n % 2], 20)
                assert np.isfinite(scores).all()
                assert labels.min() >= 0 and labels.max() < 500
                assert all(len(set(row)) == 20 for row in labels)
                n += 1
        trainer = threading.Thread(target=train)
        trainer.start()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(rank, range(4)))
        trainer.join()
        assert done.is_set() and model.n_outputs_ == 500
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
def test_a_fork_server_fits_and_predicts():
    run("""
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as pool:
        for n_jobs in (None, 2):
            model = make(n_jobs=n_jobs).fit(X, Y)
            expected = model.predict_top_k(X, 3)[0]
            assert (pool.submit(model.predict_top_k, X, 3).result(60)[0] == expected).all()
            refitted = pool.submit(make(n_jobs=n_jobs).fit, X, Y).result(60).predict_top_k(X, 3)[0]
            if n_jobs is None:
                assert (refitted == expected).all()
    """)


def test_joblib_workers_give_the_same_answers():
    run("""
    for backend in ("loky", "threading"):
        with joblib.parallel_config(backend=backend):
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
    params = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with distributed.LocalCluster(**params) as cluster, distributed.Client(cluster) as client:
"""


def test_threads_of_a_dask_worker_give_the_same_answers():
    pytest.importorskip("distributed", reason="needs sklearn-slide[dask]")
    run(
        DASK
        + """
        for n_jobs in (None, 1, 2):
            fits = [client.submit(fit_and_rank, seed, n_jobs, pure=False) for seed in (0, 1, 0, 1)]
            ranks = [client.submit(lambda: model.predict_top_k(X, 3)[0], pure=False) for _ in range(4)]
            fits, ranks = client.gather(fits), client.gather(ranks)
            for seed, labels in zip((0, 1, 0, 1), fits):
                assert labels.shape == (600, 3) and labels.min() >= 0 and labels.max() < 500
                if n_jobs != 2:
                    assert (labels == expected[seed]).all()
            assert all((labels == expected[0]).all() for labels in ranks)

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
    for folder in {path.parent for path in package.rglob("*.py")}:
        (folder / "__pycache__").touch()
    (tmp_path / "home").touch()
    home = str(tmp_path / "home")
    run(
        """
    import sklearn_slide
    from sklearn_slide._core.tables import build_tables
    assert sklearn_slide.__file__.startswith(os.getcwd())
    assert build_tables.stats.cache_path is None
    X, Y = X[:50], Y[:50]
    labels = SlideClassifier((), max_iter=1).fit(X, Y).predict_top_k(X, 3)[0]
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


INTERRUPT = """
    from sklearn_slide import _predictions, _epochs
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    def interrupted(progress, call):
        # sends the signal from another thread once a part is done; returns how many samples were done then
        done, original = [], progress.add
        def add(self, n_samples, *sums):
            done.append(n_samples)
            if len(done) == 1:
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
        progress.add = add
        try:
            call()
        except KeyboardInterrupt:
            return sum(done)
        finally:
            progress.add = original
        raise AssertionError("not interrupted")
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_an_interrupt_of_predict_leaves_the_model():
    run(
        INTERRUPT
        + """
    import scipy.sparse
    many = scipy.sparse.csr_matrix(scipy.sparse.vstack([X] * 250))
    model = make().fit(X, Y)
    for how in ("exact", "lsh"):
        for n_jobs in (1, 2):
            model.set_params(retrieval=how, n_jobs=n_jobs)
            expected = model.predict_top_k(X, 3)[0]
            n_done = interrupted(_predictions.RowProgress, lambda: model.predict_top_k(many, 3))
            assert 0 < n_done < many.shape[0], n_done
            assert (model.predict_top_k(X, 3)[0] == expected).all()
    """
    )


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_an_interrupt_of_training_leaves_no_model_or_one_that_works():
    run(
        INTERRUPT
        + """
    import scipy.sparse as sp
    rng = np.random.default_rng(0)
    X = sp.random(20_000, 300, density=0.02, format="csr", dtype=np.float32, random_state=rng)
    Y = sp.random(20_000, 3000, density=0.001, format="csr", random_state=rng).astype(bool)
    for n_jobs in (1, 2):
        params = {"max_iter": 100_000, "tol": 0, "n_iter_no_change": 100_000, "early_stopping": False}
        model = SlideClassifier((64,), n_jobs=n_jobs, **params)
        interrupted(_epochs.Progress, lambda: model.fit(X, Y))
        assert not hasattr(model, "classes_")
        model.set_params(max_iter=1).fit(X, Y)
        before = model.coefs_[-1].copy()
        model.predict_top_k(X[:1])  # makes a copy of the weights for single rows
        assert interrupted(_epochs.Progress, lambda: model.partial_fit(X, Y)) < 20_000
        assert (model.coefs_[-1] != before).any()
        assert (model.n_iter_, model.t_) == (1, 20_000)
        one, many = model.predict_top_k(X[:1], 9), model.predict_top_k(X[:2], 9)
        assert (one[0][0] == many[0][0]).all() and np.allclose(one[1][0], many[1][0], atol=1e-5)
        assert np.isfinite(model.predict_top_k(X[:10])[1]).all()
        model.partial_fit(X, Y)
        assert (model.n_iter_, model.t_) == (2, 40_000)
    """
    )
