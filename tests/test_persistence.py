"""Stored classifiers: what they weigh, who may read them, and in which version."""

import copy
import importlib
import pickle
import pkgutil
import warnings

import joblib
import numpy as np
import pytest
from helpers import assert_same
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import InconsistentVersionWarning

import sklearn_slide
from sklearn_slide import LSH, SlideClassifier
from sklearn_slide._core.active_set import SELECTIONS
from sklearn_slide._core.hashing import FAMILIES
from sklearn_slide._core.losses import LOSSES
from sklearn_slide._core.optimizers import SOLVERS
from sklearn_slide._labels import Labels
from sklearn_slide._model import Model, TrainingState
from sklearn_slide.datasets import make_xmc_classification


@pytest.fixture(scope="module")
def task():
    return make_xmc_classification(1500, 800, 1200, random_state=0)


def make(**params):
    return SlideClassifier(**{"hidden_layer_sizes": (16,), "max_iter": 1, "random_state": 0} | params)


def arrays_in(state):
    """List the arrays in a structure of objects, dicts, lists and tuples."""
    if isinstance(state, np.ndarray):
        return [state]
    if isinstance(state, (Labels, Model, TrainingState)):
        state = vars(state)
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return [array for part in parts for array in arrays_in(part)]


@pytest.mark.parametrize(
    "params", [{}, {"solver": "adam"}, {"negatives": {"uniform": 1.0}}, {"retrieval": "lsh"}]
)
def test_a_pickle_is_little_more_than_its_arrays(task, params, monkeypatch):
    monkeypatch.setattr("sklearn_slide._core.retrieval.MIN_LABELS", 0)
    X, Y = task
    model = make(**params).fit(X, Y)
    model.predict_top_k(X[:2])  # with retrieval="lsh", builds the tables
    n_bytes = sum(array.nbytes for array in arrays_in(vars(model)))
    assert n_bytes > sum(coef.nbytes for coef in model.coefs_)
    assert len(pickle.dumps(model)) <= 1.1 * n_bytes


@pytest.mark.parametrize("retrieval", ["exact", "lsh"])
def test_predicting_leaves_mapped_weights_in_the_file(task, tmp_path, retrieval, monkeypatch):
    monkeypatch.setattr("sklearn_slide._core.retrieval.MIN_LABELS", 0)
    X, Y = task
    model = make(retrieval=retrieval).fit(X, Y)
    expected = model.predict_top_k(X[:50], 3)
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    for got, wanted in zip(mapped.predict_top_k(X[:50], 3), expected, strict=True):
        assert_array_equal(got, wanted)
    assert_array_equal(mapped.predict_proba(X[:5]), model.predict_proba(X[:5]))
    assert (mapped.predict(X[:50]) != model.predict(X[:50])).nnz == 0
    arrays = [array for array in arrays_in(mapped._model) if array.size]
    assert all(isinstance(array, np.memmap) and not array.flags.writeable for array in arrays)


@pytest.mark.parametrize("n_jobs", [(None, 2), (2, None), (2, -1)])
def test_threads_may_differ_between_writer_and_reader(task, n_jobs):
    X, Y = task
    writer, reader = n_jobs
    model = make(n_jobs=writer).fit(X, Y)
    expected, scores = model.predict_top_k(X, 3)
    read = pickle.loads(pickle.dumps(model)).set_params(n_jobs=reader)
    labels, read_scores = read.predict_top_k(X, 3)
    assert_allclose(read_scores, scores, rtol=1e-4, atol=1e-4)  # threads differ in the blocks of a product
    assert (labels == expected).mean() > 0.99
    read.partial_fit(X, Y)
    assert read.t_ == 3000


def test_an_unfitted_classifier_can_be_stored():
    read = pickle.loads(pickle.dumps(make(n_active=7)))
    assert read.get_params() == make(n_active=7).get_params()
    assert vars(read) == vars(make(n_active=7))


@pytest.mark.parametrize("how", [pickle.dumps, lambda model: copy.deepcopy(model)])
def test_the_same_version_does_not_warn(task, how):
    model = make().fit(*task)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stored = how(model)
        read = pickle.loads(stored) if isinstance(stored, bytes) else stored
    assert vars(read).keys() == vars(model).keys()


def test_another_version_warns(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sklearn_slide, "__version__", "0.0.9")
        stored = pickle.dumps(make())
    message = (
        f"SlideClassifier was stored by sklearn-slide 0.0.9 .* {sklearn_slide.__version__}: .*Fit it again"
    )
    with pytest.warns(InconsistentVersionWarning, match=message):
        read = pickle.loads(stored)
    assert vars(read) == vars(make())


def test_a_missing_stamp_warns():
    model, state = make(), make().__getstate__()
    before = dict(state)
    del state["_sklearn_slide_version"]
    with pytest.warns(InconsistentVersionWarning, match="sklearn-slide of unknown version"):
        model.__setstate__(state)
    assert before.keys() - state.keys() == {"_sklearn_slide_version"}
    assert vars(model) == vars(make())


@pytest.mark.parametrize("old", [{"_network": (), "_tables": ()}, {"_model": None, "_labels": None}])
def test_a_form_that_is_no_longer_read(old):
    state = vars(make()) | {"_sklearn_slide_version": "0.1.0", **old}
    stored = pickle.dumps(_Stored(state))
    with pytest.raises(
        ValueError, match=r"stored by sklearn-slide 0.1.0 in a form that is no longer read. Fit"
    ):
        pickle.loads(stored)


class _Stored:
    """Is stored as a SlideClassifier of a given state."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return object.__new__, (SlideClassifier,), self.state


@pytest.mark.parametrize("params", [{}, {"solver": "adam"}, {"n_estimators": 2}])
def test_tables_are_kept_from_one_call_to_the_next(task, params, tmp_path):
    """Rebuilt at other times than before, they would name other labels."""
    X, Y = task
    # built after 1000, 3000, 7000, ... samples
    lsh = LSH(rehash_interval=1000, rehash_growth=2.0)
    model = make(lsh=lsh, negatives={"lsh": 1.0}, n_active=100, **params).fit(X, Y).partial_fit(X, Y)
    index, schedule = model._model.training.index, model._model.training.schedule
    read = pickle.loads(pickle.dumps(model))
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    copies = [read, copy.deepcopy(model), mapped]
    for each in copies:
        assert_array_equal(each._model.training.index.tables.ids, index.tables.ids)
        assert vars(each._model.training.schedule) == vars(schedule)
    n_rebuilt = 0
    for start, stop in [(0, 400), (400, 600), (600, 1500), (0, 1500)]:
        chunk, old = (X[start:stop], Y[start:stop]), index.tables.ids.copy()
        model.partial_fit(*chunk)
        assert model._model.training.index.tables.ids is index.tables.ids
        n_rebuilt += (index.tables.ids != old).any()
        for each in copies:
            assert_same(each.partial_fit(*chunk), model)
            assert each.active_size_curve_ == model.active_size_curve_
            assert_array_equal(each._model.training.index.tables.ids, index.tables.ids)
    assert 0 < n_rebuilt < 4


def test_every_state_is_a_named_tuple_by_itself():
    """Skops reads a class derived from a NamedTuple as a tuple."""
    names = [module.name for module in pkgutil.walk_packages(sklearn_slide.__path__, "sklearn_slide.")]
    own = [name for name in names if "torch" not in name and "dask" not in name]  # what needs no extra
    values = [value for name in own for value in vars(importlib.import_module(name)).values()]
    classes = {value for value in values if isinstance(value, type) and issubclass(value, tuple)}
    assert {*FAMILIES.values(), *SELECTIONS.values(), *SOLVERS.values(), *LOSSES.values()} <= classes
    assert {cls.__bases__ for cls in classes} == {(tuple,)}


def test_skops(task):
    """Trust no more than the types that the documentation lists."""
    sio = pytest.importorskip("skops.io", reason="skops is not installed")
    documented = {
        "numpy.dtype",
        "sklearn_slide._classifier.SlideClassifier",
        "sklearn_slide._core.active_set.Vanilla",
        "sklearn_slide._core.direct.Direct",
        "sklearn_slide._core.hashing.SimHash",
        "sklearn_slide._core.layers.Identity",
        "sklearn_slide._core.layers.Layer",
        "sklearn_slide._core.layers.LayerState",
        "sklearn_slide._core.layers.Network",
        "sklearn_slide._core.layers.NetworkState",
        "sklearn_slide._core.optimizers.Adagrad",
        "sklearn_slide._core.sgd.Index",
        "sklearn_slide._core.tables.RehashSchedule",
        "sklearn_slide._core.tables.Tables",
        "sklearn_slide._growth.Moments",
        "sklearn_slide._labels.Labels",
        "sklearn_slide._lengths.Lengths",
        "sklearn_slide._lsh.LSH",
        "sklearn_slide._model.Model",
        "sklearn_slide._model.ModelSettings",
        "sklearn_slide._model.TrainingState",
    }
    X, Y = task
    model = make().fit(X, Y)
    stored = sio.dumps(model)
    assert set(sio.get_untrusted_types(data=stored)) <= documented
    read = sio.loads(stored, trusted=sorted(documented))
    for each in (model, read):
        each.partial_fit(X, Y)
    assert_array_equal(read.predict_top_k(X, 3)[0], model.predict_top_k(X, 3)[0])


@pytest.mark.parametrize(
    "params",
    [
        {"lsh": LSH("dwta"), "activation": "tanh", "loss": "softmax"},
        {"lsh": LSH("wta", selection="top_k"), "solver": "adam", "loss": "sigmoid+softmax"},
        {
            "lsh": LSH("minhash", selection="threshold"),
            "hidden_layer_sizes": (16, 8),
            "activation": "relu",
            "retrieval": "lsh",
        },
        {"hidden_layer_sizes": (), "activation": "logistic"},
    ],
)
def test_skops_reads_every_state(task, params, monkeypatch):
    monkeypatch.setattr("sklearn_slide._core.retrieval.MIN_LABELS", 0)
    sio = pytest.importorskip("skops.io", reason="skops is not installed")

    def read_again(model):
        stored = sio.dumps(model)
        types = sio.get_untrusted_types(data=stored)
        assert all(name.startswith(("sklearn_slide.", "numpy.")) for name in types)
        return sio.loads(stored, trusted=types)

    X, Y = task
    model = make(**params).fit(X, Y)
    read = read_again(model)
    assert_array_equal(read.predict_top_k(X, 3)[0], model.predict_top_k(X, 3)[0])
    assert_same(read.partial_fit(X, Y), model.partial_fit(X, Y))
    assert_same(read.partial_fit(X[:99], Y[:99]), model.partial_fit(X[:99], Y[:99]))
    for dtype in ("float16", "int8"):
        small = copy.deepcopy(model).compact(dtype)
        assert_array_equal(read_again(small).predict_top_k(X, 3)[0], small.predict_top_k(X, 3)[0])
