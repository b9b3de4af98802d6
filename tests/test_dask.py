"""Shards on a Dask cluster of processes: the answers of a local loop, and what is refused."""

import pickle
import sys

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from helpers import assert_same
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

distributed = pytest.importorskip("distributed", reason="needs sklearn-slide[dask]")
pytest.importorskip("dask.array", reason="needs sklearn-slide[dask]")

import cloudpickle
import dask
import dask.array as da
from dask.sizeof import sizeof
from dask_helpers import (
    LIMITS,
    N_LABELS,
    N_SHARDS,
    N_WORKERS,
    SMALL,
    blocks_of,
    deal,
    fit,
    fit_locally,
    in_blocks,
    make,
    make_task,
    parameters,
    start_cluster,
)

from sklearn_slide import SlideClassifier, _dask_client, _dask_tasks
from sklearn_slide._dask_client import Cluster
from sklearn_slide._shard_files import load
from sklearn_slide._shards import fit_shard, join_shards, merge_top_k, top_k_shard, update_shard
from sklearn_slide.dask import DaskSlideClassifier
from sklearn_slide.metrics import top_k_scorer

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster():
    with start_cluster(N_WORKERS) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def task():
    return make_task()


@pytest.fixture(scope="module")
def shards(task):
    return fit_locally(blocks_of(*task))


@pytest.fixture(scope="module")
def joined(shards):
    return join_shards(shards, parameters())


def test_shards_are_those_of_a_local_loop(client, task, shards, joined):
    X = in_blocks(task[0])
    model = fit(client, task)
    for future, shard in zip(model.shards_, shards, strict=True):
        assert_same(future.result(timeout=60).classifier, shard.classifier)
    assert_same(model.to_local(), joined)
    assert model.to_local().get_params() == joined.get_params()
    assert (model.n_outputs_, model.n_features_in_) == (N_LABELS, X.shape[1])
    assert_array_equal(model.classes_, np.arange(N_LABELS))
    assert model.loss_curves_ == [shard.classifier.loss_curve_ for shard in shards]


def test_predictions_are_lazy_and_those_of_the_joined_model(client, task, shards, joined):
    X = in_blocks(task[0])
    model = fit(client, task)
    for given in (X, task[0], da.from_array(task[0].toarray(), chunks=(100, -1))):
        lazy = model.predict_top_k(given, 7)
        assert all(isinstance(part, da.Array) and part.shape == (300, 7) for part in lazy)
        labels, scores = dask.compute(*lazy)
        expected = merge_top_k([top_k_shard(shard, task[0], 7) for shard in shards], 7)
        assert_array_equal(labels, expected[0])
        assert_array_equal(scores, expected[1])
        assert (lazy[0].dtype, lazy[1].dtype) == (labels.dtype, scores.dtype)
    assert model.predict_top_k(X, 1000)[0].compute().shape == (300, N_LABELS)
    predicted = model.predict(X)
    assert predicted.chunks == ((100, 100, 100), (N_LABELS,))
    assert_array_equal(predicted.compute().toarray(), joined.predict(task[0]).toarray())
    probabilities = model.predict_proba(X, [40, 3, 3])
    assert_allclose(probabilities.compute(), joined.predict_proba(task[0])[:, [40, 3, 3]], rtol=1e-4)
    assert probabilities.shape == (300, 3)


def test_one_shard_is_the_plain_classifier(client, task):
    X, Y = task
    one = DaskSlideClassifier(n_shards=1, client=client, loss="softmax", **SMALL | LIMITS)
    plain = SlideClassifier(loss="softmax", **SMALL).fit(X, Y)
    assert_same(one.fit(in_blocks(X), in_blocks(Y)).to_local(), plain)
    assert_array_equal(one.predict_top_k(in_blocks(X))[0].compute(), plain.predict_top_k(X)[0])
    assert_same(one.partial_fit(X, Y).to_local(), plain.partial_fit(X, Y))
    assert_allclose(one.predict_proba(X, [5, 2]).compute(), plain.predict_proba(X)[:, [5, 2]], rtol=1e-5)


def test_partial_fit_goes_on(client, task):
    X, Y = task
    model = make(client).partial_fit(X[:150], Y[:150]).partial_fit(in_blocks(X[150:]), in_blocks(Y[150:]))
    first, then = [(X[:150], Y[:150])], blocks_of(X[150:], Y[150:])
    pilot, *rest = deal(np.asarray(Y[:150].sum(axis=0)).ravel())
    before = [fit_shard(*pilot, first, one_pass=True)]
    before += [fit_shard(*own, first, before[0], one_pass=True) for own in rest]
    pilot = update_shard(before[0], then)
    after = [pilot, *(update_shard(shard, then, pilot) for shard in before[1:])]
    assert_same(model.to_local(), join_shards(after, parameters()))
    with pytest.raises(ValueError, match="features and 60 labels, as before"):
        model.partial_fit(X, Y[:, :50])


def test_weights_and_blocks_that_do_not_know_their_length(client, task):
    X, Y = task
    weights = np.arange(300) % 3
    blocks = [(x, y, weights[100 * i : 100 * (i + 1)]) for i, (x, y) in enumerate(blocks_of(X, Y))]
    expected = join_shards(fit_locally(blocks), parameters())
    known = make(client).fit(in_blocks(X), in_blocks(Y), sample_weight=weights)
    assert_same(known.to_local(), expected)

    def read(number, part):
        return blocks[number][part]

    X, Y, weights = (
        da.concatenate(
            [
                da.from_delayed(dask.delayed(read)(number, part), shape, meta=blocks[0][part][:0])
                for number in range(3)
            ]
        )
        for part, shape in enumerate([(np.nan, X.shape[1]), (np.nan, N_LABELS), (np.nan,)])
    )
    model = make(client).fit(X, Y, weights)
    assert_same(model.to_local(), expected)
    assert model.predict_top_k(X)[0].compute().shape == (300, 5)


def test_a_local_model_on_the_cluster(client, task, joined):
    X, Y = task
    model = DaskSlideClassifier.from_local(joined, n_shards=2, client=client, **LIMITS)
    assert_array_equal(model.predict_top_k(in_blocks(X))[0].compute(), joined.predict_top_k(X)[0])
    assert_same(model.to_local(), joined)
    assert model.partial_fit(X, Y).to_local().t_ == joined.t_ + 300
    with pytest.raises(ValueError, match="n_active"):
        DaskSlideClassifier.from_local(joined.set_params(n_active=-1), client=client)
    joined.set_params(n_active=SMALL["n_active"])


def test_the_client_is_found_and_not_pickled(client, task):
    model = make(None)
    assert model.client_ is client
    model = clone(make(client, lsh=None))
    assert model.client is client
    assert pickle.loads(pickle.dumps(model)).client is None
    fitted = fit(client, task)
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        pickle.dumps(fitted)
    assert not hasattr(clone(fitted), "shards_")
    assert fitted.set_params(max_iter=1).get_params()["max_iter"] == 1


def test_without_a_client():
    with pytest.raises(ValueError, match="There is no Dask client"):
        make(None).fit(sp.csr_array(np.eye(5)), sp.csr_array(np.eye(5)))


def test_random_states(client, task):
    class_of = np.random.RandomState
    state = class_of(5)
    one = DaskSlideClassifier(n_shards=1, client=client, **SMALL | LIMITS | {"random_state": state})
    plain_state = class_of(5)
    plain = SlideClassifier(**SMALL | {"random_state": plain_state})
    for _ in range(2):
        assert_same(one.fit(*task).to_local(), plain.fit(*task))
    fitted = [fit(client, task, random_state=None).to_local().coefs_[0] for _ in range(2)]
    assert not np.array_equal(*fitted)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"n_shards": 0}, "n_shards"),
        ({"n_shards": 61}, "n_shards must be at most"),
        ({"timeout": 0}, "timeout"),
        ({"warm_start": True}, "warm_start"),
        ({"max_iter": 0}, "max_iter"),
        ({"n_estimators": 3}, "n_estimators"),
        ({"class_weight": {1: 2}}, "class_weight"),
        ({"label_weight": [1, 2]}, "label_weight"),
    ],
)
def test_wrong_parameters(client, task, others, message):
    model = make(client).set_params(**others)
    with pytest.raises(ValueError, match=message):
        model.fit(*task)
    with pytest.raises(AttributeError, match="not fitted"):
        model.predict_top_k(task[0])


def test_unknown_parameters():
    with pytest.raises(TypeError, match="'n_activ' is a parameter neither"):
        DaskSlideClassifier(n_shards=2, n_activ=3)


def test_wrong_blocks_are_named_before_any_training(client, task, monkeypatch):
    X, Y = task
    monkeypatch.setattr(Cluster, "submit_training", lambda *args: pytest.fail("training began"))
    nan = X.copy()
    nan.data[X.indptr[150]] = np.nan
    with pytest.raises(ValueError, match=r"Block 1 of X and y: .*NaN"):
        make(client).fit(in_blocks(nan), in_blocks(Y))

    def shape(x, n_rows, n_columns):
        return da.from_delayed(dask.delayed(lambda: x)(), (n_rows, n_columns), meta=x[:0])

    n = X.shape[1]
    narrow = da.concatenate([in_blocks(X[:100]), shape(X[100:200, : n - 1], 100, n), in_blocks(X[200:])])
    with pytest.raises(ValueError, match=f"Block 1 of X and y: X must have shape .n_rows, {n}."):
        make(client).fit(narrow, in_blocks(Y))
    short = da.concatenate([in_blocks(Y[:200]), shape(Y[200:299], 100, N_LABELS)])
    with pytest.raises(ValueError, match="Block 2 of X and y: X has 100 rows and y has 99"):
        make(client).fit(in_blocks(X), short)


def test_arrays_in_wrong_chunks(client, task, monkeypatch):
    X, Y = task
    monkeypatch.setattr(Cluster, "check_blocks", lambda *args: pytest.fail("tasks began"))
    with pytest.raises(ValueError, match="3 blocks of rows and y has 6"):
        make(client).fit(in_blocks(X), in_blocks(Y, 50))
    with pytest.raises(ValueError, match=r"all columns in one chunk\. Got \d"):
        make(client).fit(da.from_array(X, chunks=(100, 200)), in_blocks(Y))
    with pytest.raises(ValueError, match="y must have two dimensions"):
        make(client).fit(in_blocks(X), np.arange(300) % 7)


def test_wrong_arguments_of_predictions(client, task):
    X, _ = task
    model = fit(client, task)
    with pytest.raises(ValueError, match=r"X must have .* features, as in fit"):
        model.predict_top_k(X[:, :10])
    with pytest.raises(ValueError, match="k must be an int"):
        model.predict_top_k(X, 0)
    for labels in ([60], [-1], 3, [0.5]):
        with pytest.raises(ValueError, match="labels must be a list of column numbers of y, from 0 to 59"):
            model.predict_proba(X, labels)


def best_at_first(model, X, Y):
    """Score a model the higher, the fewer epochs it was trained."""
    return -model.n_iter_


def best_after_one(model, X, Y):
    """Score a model the higher, the nearer to one epoch it was trained."""
    return -abs(model.n_iter_ - 1)


@pytest.mark.parametrize(("scoring", "n_epochs"), [(best_at_first, 0), (best_after_one, 1)])
def test_rows_that_the_pilot_holds_out_tell_all_shards(client, task, capsys, scoring, n_epochs):
    stopping = {"early_stopping": True, "validation_fraction": 0.3, "scoring": scoring}
    model = fit(client, task, verbose=1, **stopping)
    assert_same(model.to_local(), join_shards(fit_locally(blocks_of(*task), **stopping), parameters()))
    assert [len(curve) for curve in model.loss_curves_] == [2, n_epochs, n_epochs]
    assert capsys.readouterr().out.count("20 labels, first weights, ") == (0 if n_epochs else 2)


def test_finished_shards_of_another_method_are_not_taken(client, task, tmp_path, monkeypatch):
    for method, n_files in ((1, 3), (2, 6), (1, 6)):
        monkeypatch.setattr(_dask_client, "METHOD", method)
        fit(client, task, folder=str(tmp_path))
        assert len(list(tmp_path.glob("*.shard"))) == n_files


@pytest.mark.parametrize(("dense", "expected"), [(False, 400), (True, 1600)])
def test_active_labels_of_dense_rows(client, monkeypatch, dense, expected):
    given = []

    def submit_training(self, work, *args):
        given.extend(parameters["n_active"] for _, parameters, *_ in work)
        raise KeyError("not to be trained")

    monkeypatch.setattr(Cluster, "submit_training", submit_training)
    rng = np.random.default_rng(0)
    X = sp.csr_array(rng.random((40, 10)) < (0.9 if dense else 0.3), dtype=np.float32)
    Y = sp.csr_array(rng.random((40, 6000)) < 0.01)
    with pytest.raises(KeyError, match="not to be trained"):
        make(client, n_active="auto").fit(in_blocks(X, 20), in_blocks(Y, 20))
    assert len(given) == N_SHARDS
    assert expected <= sum(given) < expected + N_SHARDS  # each is rounded up


def test_finished_shards_are_taken_from_a_folder(client, task, tmp_path, joined):
    def training_seconds(model):
        return client.gather(client.map(lambda shard: shard.seconds, model.shards_, pure=False))

    model = fit(client, task, folder=str(tmp_path))
    assert_same(model.to_local(), joined)
    (path,) = tmp_path.glob("*-1.shard")
    shard = load(path)
    shard.seconds = 1234.5
    path.write_bytes(pickle.dumps(shard))
    assert training_seconds(fit(client, task, folder=str(tmp_path)))[1] == 1234.5
    for others in ({"max_iter": 1}, {"random_state": 1}):
        assert training_seconds(fit(client, task, folder=str(tmp_path), **others))[1] < 1234.5
    X, Y = task
    assert training_seconds(make(client, folder=str(tmp_path)).fit(X, Y))[1] < 1234.5  # other blocks
    model.partial_fit(X, Y)
    assert_same(model.to_local(), make(client).fit(in_blocks(X), in_blocks(Y)).partial_fit(X, Y).to_local())


def test_sizes_of_what_workers_hold(client, task, shards):
    X, _ = task
    n_bytes = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    assert n_bytes < sizeof(X) < n_bytes + 1000
    assert sizeof(shards[0]) > sum(coef.nbytes for coef in shards[0].classifier.coefs_)
    model = fit(client, task)
    keys = [future.key for future in model.shards_]
    held = client.run_on_scheduler(lambda dask_scheduler: [dask_scheduler.tasks[key].nbytes for key in keys])
    assert min(held) > shards[1].classifier.coefs_[0].nbytes


def test_a_line_for_each_shard(client, task, capsys):
    fit(client, task, verbose=1)
    lines = sorted(capsys.readouterr().out.splitlines())
    assert [line.split(":")[0] for line in lines] == ["Shard 1/3", "Shard 2/3", "Shard 3/3"]
    assert all("20 labels, loss = " in line and "tcp://" in line for line in lines)


def test_threads_are_those_of_the_worker():
    def record(*, n_jobs, after_epoch):
        after_epoch()
        return n_jobs

    options = {"threads_per_worker": 2, "processes": False, "dashboard_address": ":0"}
    with distributed.LocalCluster(1, **options) as cluster, distributed.Client(cluster) as client:
        assert client.submit(_dask_tasks.train, record, None).result(timeout=60) == 2


def test_searches_on_processes_give_the_same_answers(client, task):
    X, Y = task

    def search():
        scoring = {"scoring": top_k_scorer("precision_at_k"), "cv": KFold(2), "error_score": "raise"}
        return GridSearchCV(SlideClassifier(**SMALL, n_jobs=1), {"max_iter": [1, 2]}, **scoring).fit(X, Y)

    serial = search()
    with joblib.parallel_config(backend="dask"):
        found = search()
    for name in ("mean_test_score", "std_test_score"):
        assert_array_equal(found.cv_results_[name], serial.cv_results_[name])
