"""Compact classifiers against the ones that they are made of."""

import copy
import pickle
from dataclasses import replace

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from helpers import assert_same, make_labels
from numpy.testing import assert_allclose, assert_array_equal
from test_persistence import arrays_in

from sklearn_slide import SlideClassifier
from sklearn_slide._core.direct import Direct
from sklearn_slide._core.layers import Identity, Layer, Network
from sklearn_slide._core.rows import Rows
from sklearn_slide._model import Model, ModelSettings, TrainingState
from sklearn_slide._samples import place_features
from sklearn_slide.datasets import make_xmc_classification
from sklearn_slide.metrics import precision_at_k

N_FEATURES, UNSEEN = 400, [0, 7, 399]
MODELS = {
    "default": {},
    "adam": {"solver": "adam"},
    "two layers": {"hidden_layer_sizes": (24, 16), "activation": "relu"},
    "linear": {"hidden_layer_sizes": ()},
    "no direct weights": {"direct_limit": 0},
    "two networks": {"n_estimators": 2},
}


@pytest.fixture(scope="module")
def task():
    X, Y = make_xmc_classification(1200, N_FEATURES, 600, random_state=0)
    keep = np.ones(N_FEATURES)
    keep[UNSEEN] = 0
    X_train = sp.csr_matrix(X.multiply(keep), dtype=np.float32)
    X_train.eliminate_zeros()
    return X_train, Y, X


def make(**params):
    return SlideClassifier(**{"hidden_layer_sizes": (16,), "max_iter": 1, "random_state": 0} | params)


@pytest.fixture(scope="module", params=MODELS)
def fitted(request, task):
    X, Y, _ = task
    return make(**MODELS[request.param]).fit(X, Y)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_every_prediction_is_that_of_the_rounded_weights(fitted, task, dtype):
    X = task[2][:60]
    model = copy.deepcopy(fitted).compact(dtype)
    h = X.toarray()
    for coef, intercept in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        h = h @ coef + intercept
        h = np.maximum(h, 0) if model.activation == "relu" else h
    expected = h @ model.coefs_[-1] + model.intercepts_[-1] + X @ model.direct_coef_.toarray()
    assert_allclose(model.decision_function(X), expected, rtol=1e-3, atol=1e-3)
    for rows, wanted in ((X, expected), (X[:1], expected[:1])):
        labels, scores = model.predict_top_k(rows, 7)
        assert_allclose(scores, -np.sort(-wanted)[:, :7], rtol=1e-3, atol=1e-3)
        assert_allclose(np.take_along_axis(wanted, labels, 1), scores, rtol=1e-3, atol=1e-3)
        assert_array_equal(model.predict_top_k(rows, 7, check_input=False)[0], labels)
    assert ((model.predict(X) != 0).toarray() == (expected > 0))[abs(expected) > 1e-2].all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_retrieved_labels_have_their_scores(task, dtype, monkeypatch):
    monkeypatch.setattr("sklearn_slide._core.retrieval.MIN_LABELS", 0)
    X, Y, X_test = task
    model = make(retrieval="lsh").fit(X, Y).compact(dtype)
    labels, scores = model.predict_top_k(X_test[:60], 7)
    expected = np.take_along_axis(model.decision_function(X_test[:60]), labels, 1)
    assert_allclose(scores, expected, rtol=1e-3, atol=1e-3)
    assert precision_at_k(Y[:60], labels, k=1) > 0.5


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0), ("float16", 2.0**-11), ("int8", 0.5 / 127)])
def test_weights_are_rounded_by_half_a_step_at_most(fitted, dtype, error):
    model = copy.deepcopy(fitted).compact(dtype)
    pairs = list(zip(fitted.coefs_, model.coefs_, strict=True))
    pairs = [*pairs[:-1], (pairs[-1][0].T, pairs[-1][1].T), (fitted.direct_coef_, model.direct_coef_)]
    true = fitted._model.seen_labels
    for old, new in pairs:
        old, new = (sp.csr_array(each).toarray() for each in (old, new))
        if len(old) == len(true):
            assert not new[~true].any()
            old, new = old[true], new[true]
        if len(old) == N_FEATURES:
            assert not new[UNSEEN].any()
            old, new = np.delete(old, UNSEEN, axis=0), np.delete(new, UNSEEN, axis=0)
        steps = 1.001 * error * np.abs(old).max(axis=1, initial=0)
        assert (np.abs(old - new).max(axis=1, initial=0) <= steps + 1e-7).all()


@pytest.mark.parametrize(("dtype", "share"), [("float32", 1.0), ("float16", 0.55), ("int8", 0.5)])
def test_sizes(fitted, task, dtype, share):
    model = copy.deepcopy(fitted).compact(dtype)
    network = fitted._model.network
    float_bytes = sum(layer.weights.nbytes for layer in (*network.hidden, network.output))
    labels_bytes = 0
    if network.direct is not None:
        labels_bytes = network.direct.labels.nbytes + network.direct.indptr.nbytes  # keep their size
        float_bytes += network.direct.weights.nbytes + labels_bytes
    n_bytes = len(pickle.dumps(model))
    assert n_bytes < share * float_bytes + labels_bytes + 60_000  # biases, scales, hash functions
    if dtype != "float16":
        assert n_bytes <= 1.1 * sum(array.nbytes for array in arrays_in(vars(model)))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_stored_one_predicts_the_same(fitted, task, tmp_path, dtype):
    X = task[2][:30]
    model = copy.deepcopy(fitted).compact(dtype)
    expected, scores = model.predict_top_k(X, 5)
    joblib.dump(model, tmp_path / "model.joblib")
    for read in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        joblib.load(tmp_path / "model.joblib", mmap_mode="r"),
    ):
        labels, read_scores = read.predict_top_k(X, 5)
        assert_array_equal(labels, expected)
        assert_array_equal(read_scores, scores)


def test_int8_costs_little_precision(task):
    X, Y, X_test = task
    model = make(max_iter=5).fit(X, Y)
    before = precision_at_k(Y, model.predict_top_k(X_test, 1)[0], k=1)
    after = precision_at_k(Y, model.compact("int8").predict_top_k(X_test, 1)[0], k=1)
    assert before > 0.5
    assert abs(after - before) < 0.005


def test_training_is_refused_until_a_new_fit(task):
    X, Y, _ = task
    model = make().fit(X, Y)
    original = copy.deepcopy(model)
    before = model.compact("int8").predict_top_k(X[:20])
    with pytest.raises(ValueError, match=r"compact\(\) has dropped"):
        model.partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"compact\(\) has dropped"):
        model.set_params(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="already compact, with dtype='int8'"):
        model.compact()
    for found, expected in zip(model.predict_top_k(X[:20]), before, strict=True):
        assert_array_equal(found, expected)
    model.set_params(warm_start=False).fit(X, Y).partial_fit(X, Y)
    assert_array_equal(model.coefs_[0], original.partial_fit(X, Y).coefs_[0])


def test_features_seen_later_are_kept(task):
    X, Y, X_all = task
    model = make().fit(X, Y).partial_fit(X_all, Y)
    assert_array_equal(copy.deepcopy(model).compact().coefs_[0], model.coefs_[0])


def test_errors(task):
    X, Y, _ = task
    model = make().fit(X, Y)
    with pytest.raises(ValueError, match=r"dtype must be one of .*Got 'int4'"):
        model.compact("int4")
    original = copy.deepcopy(model)
    model.coefs_[-1][0, 0] = 1e6
    with pytest.raises(ValueError, match=r"'float16' cannot hold the weight 1e\+06. Use 'float32' or 'int8'"):
        model.compact("float16")
    model.coefs_[-1][0, 0] = original.coefs_[-1][0, 0]
    assert_same(model.partial_fit(X, Y), original.partial_fit(X, Y))  # nothing was dropped


def test_class_labels_and_no_samples_with_features():
    X = sp.csr_matrix((6, 4), dtype=np.float32)
    y = np.array(["a", "b", "b", "c", "b", "b"])
    model = make().fit(X, y)
    expected = model.predict(X)
    assert_array_equal(model.compact("int8").predict(X), expected)
    assert model.coefs_[0].shape == (4, 16)


def test_places_by_hand():
    places = np.array([-1, 0, -1, 1, -1], dtype=np.int32)
    x = Rows(np.array([0, 2, 2, 5]), np.array([0, 3, 1, 2, 3]), np.array([1, 2, 3, 4, 5], dtype=np.float32))
    placed = place_features(x, places)
    assert_array_equal(placed.indptr, [0, 1, 1, 3])
    assert_array_equal(placed.indices, [1, 0, 1])
    assert_array_equal(placed.data, [2, 3, 5])
    assert place_features(x, None) is x


@pytest.fixture
def by_hand():
    """Return a Model of 5 features, of which the samples had 1, 2 and 3, and of 2 labels."""
    weights = np.array([[9, 9], [2.54, -1], [0, 0], [0.127, 0.002], [9, 9]], dtype=np.float32)
    first = Layer(weights, np.array([[0.3, 1 + 2.0**-13]], dtype=np.float32))
    output = Layer(np.array([[1 + 2.0**-13, 0.5], [0, -2]], "f"), np.array([[0.7], [1e-9]], dtype=np.float32))
    pairs = np.array([0, 0, 2, 2, 3, 3]), np.array([0, 1, 1], dtype=np.int32)
    direct = Direct(*pairs, np.array([-2.54, 1.0, 0], dtype=np.float32), np.float32(1))
    return Model(
        network=Network(first, None, output, direct, Identity()),
        training=TrainingState(None, None, None, None),
        settings=ModelSettings.of(make(), multilabel=True),
        labels=make_labels(output.shape[0]),
        input_scale=1.0,
        n_features=5,
        places=None,
        seen=np.array([False, True, True, True, False]),
        seen_labels=np.ones(output.shape[0], dtype=bool),
        kept_labels=None,
        seed=0,
    )


def test_int8_by_hand(by_hand):
    small = by_hand.compact("int8", None)
    assert small.training is None
    assert_array_equal(small.places, [-1, 0, 1, 2, -1])
    network = small.network
    assert_array_equal(network.input.weights.values, [[127, -50], [0, 0], [127, 2]])
    assert_allclose(network.input.weights.scales, [0.02, 0, 0.001], rtol=1e-6)
    assert_array_equal(network.output.weights.values, [[127, 63], [0, -127]])
    assert_array_equal(network.output.biases, by_hand.network.output.biases)
    # pairs whose weight is 0 are dropped
    assert_array_equal(network.direct.indptr, [0, 2, 2, 2])
    assert_array_equal(network.direct.labels, [0, 1])
    assert_array_equal(network.direct.weights.values, [-127, 50])
    assert_allclose(network.direct.weights.scales[0], 0.02, rtol=1e-6)
    assert by_hand.training is not None
    assert len(by_hand.network.input.weights) == 5


def test_float16_by_hand(by_hand):
    small = by_hand.compact("float16", None)
    assert_array_equal(small.network.output.weights, [[1, 0.5], [0, -2]])
    assert small.network.output.weights.dtype == np.float32
    assert_array_equal(small.network.input.biases, by_hand.network.input.biases)
    assert small.__getstate__()["network"].output.weights.dtype == np.float16


def test_a_compact_linear_model_keeps_all_features(by_hand):
    rows = by_hand.network.input._replace(biases=np.zeros((5, 1), dtype=np.float32))
    linear = by_hand.network._replace(input=None, output=rows)
    small = replace(by_hand, network=linear, hasher=None).compact("float32", None)
    assert small.places is None
    assert_array_equal(small.network.output.weights, by_hand.network.input.weights)
