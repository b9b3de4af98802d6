"""Arrays that cannot be written to: the same results, by the same compiled kernels."""

import importlib
import pickle
import pkgutil

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from helpers import assert_same, make
from numba.core.dispatcher import Dispatcher
from numpy.testing import assert_array_equal

import sklearn_slide._core
from sklearn_slide._core import retrieval


@pytest.fixture(autouse=True)
def of_any_number(monkeypatch):
    """Retrieve however few labels there are."""
    monkeypatch.setattr(retrieval, "MIN_LABELS", 0)


def n_compiled():
    """Count what was compiled of each kernel."""
    counts = {}
    for _, name, _ in pkgutil.iter_modules(sklearn_slide._core.__path__):
        for kernel in vars(importlib.import_module(f"sklearn_slide._core.{name}")).values():
            if isinstance(kernel, Dispatcher):
                counts[kernel.py_func.__qualname__] = len(kernel.signatures)
    return counts


def read_only(array):
    """Return a copy of an array, dense or CSR, that cannot be written to."""
    array = array.copy()
    for part in (array.data, array.indices, array.indptr) if sp.issparse(array) else (array,):
        part.flags.writeable = False
    return array


def answers(model, X):
    """Return what every method that predicts says of one sample and of several."""
    found = []
    for rows in (X, X[:1]):
        for how in ("exact", "lsh"):
            found += model.set_params(retrieval=how).predict_top_k(rows, 4)
        found += [model.decision_function(rows), sp.csr_array(model.predict(rows)).toarray()]
    return found


def assert_equal_answers(one, two, X):
    for got, expected in zip(answers(one, X), answers(two, X), strict=True):
        assert_array_equal(got, expected)


def train(model, X, y, weights):
    """Return what predictions and further training make of a classifier."""
    model.fit(X, y, weights)
    found = answers(model, X)
    model.partial_fit(X, y, sample_weight=weights).partial_fit(X, y)
    return [*found, *answers(model, X)]


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_samples_and_targets(data, dense, scale):
    X, Y = data[0] * np.float32(scale), data[1]
    if dense:
        X, Y = X.toarray(), Y.toarray()
    weights, label_weight = np.linspace(0.5, 2, 120, dtype=np.float32), np.ones(25, dtype=np.float32)
    model, other = make(label_weight=label_weight), make(label_weight=read_only(label_weight))
    expected = train(model, X, Y, weights)
    before = n_compiled()
    found = train(other, read_only(X), read_only(Y), read_only(weights))
    assert n_compiled() == before
    for got, wanted in zip(found, expected, strict=True):
        assert_array_equal(got, wanted)
    assert before["train_chunk"] >= 1
    assert before["rank_rows"] >= 1
    assert before["merge_top_k"] >= 1
    assert before["retrieve_rows"] >= 1


def test_class_labels_and_validation_samples(data):
    X, y = data[0], np.arange(120) % 3
    model, other = (make(early_stopping=True, n_active=None) for _ in range(2))
    model.fit(X, y, X_val=X, y_val=y)
    before = n_compiled()
    other.fit(*map(read_only, (X, y)), X_val=read_only(X), y_val=read_only(y))
    assert n_compiled() == before
    assert_same(model, other)
    assert model.validation_scores_ == other.validation_scores_


def test_new_labels(data):
    X, Y = data
    models = [make().fit(X, Y[:, :15]) for _ in range(2)]
    models[0].partial_fit(X, Y)
    before = n_compiled()
    models[1].partial_fit(read_only(X), read_only(Y))
    assert n_compiled() == before
    assert_same(*models)


@pytest.mark.parametrize("params", [{}, {"negatives": {"uniform": 0.5}}, {"solver": "adam"}])
def test_a_classifier_mapped_from_a_file(data, tmp_path, params):
    """Without tables of its training, it makes them from hash functions in the file."""
    X, Y = data
    model = make(**params).fit(X, Y)
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    in_memory, original = (pickle.loads(pickle.dumps(model)) for _ in range(2))
    assert not mapped._model.network.output.weights.flags.writeable
    expected = answers(in_memory, X)
    in_memory.set_params(negatives="auto").partial_fit(X, Y).partial_fit(X, Y)
    before = n_compiled()
    for got, wanted in zip(answers(mapped, X), expected, strict=True):
        assert_array_equal(got, wanted)
    mapped.set_params(negatives="auto").partial_fit(X, Y).partial_fit(X, Y)
    assert n_compiled() == before
    assert_same(mapped, in_memory)
    assert_equal_answers(mapped, in_memory, X)
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r").compact("int8")
    assert n_compiled() == before
    assert_array_equal(mapped.coefs_[0], model.compact("int8").coefs_[0])
    again = joblib.load(tmp_path / "model.joblib")
    assert_same(again, original)  # the file is as it was


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_compact_classifier_mapped_from_a_file(data, tmp_path, dtype):
    X, Y = data
    model = make().fit(X, Y).compact(dtype)
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    expected = answers(model, X)
    before = n_compiled()
    for got, wanted in zip(answers(mapped, X), expected, strict=True):
        assert_array_equal(got, wanted)
    assert n_compiled() == before
