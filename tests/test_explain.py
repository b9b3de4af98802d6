"""Explanations add up to the scores, and name what the weights say."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from helpers import make
from numpy.testing import assert_allclose, assert_array_equal

PARAMS = {
    "default": {},
    "no direct weights": {"direct_limit": 0},
    "linear": {"hidden_layer_sizes": ()},
    "two layers": {"hidden_layer_sizes": (12, 8)},
    "two networks": {"n_estimators": 2},
    "softmax": {"loss": "softmax"},
}


@pytest.fixture(scope="module")
def task():
    X = 5 * sp.random(120, 80, density=0.08, format="csr", dtype=np.float32, random_state=1)
    X = sp.csr_matrix(X.multiply(np.arange(80) > 6), dtype=np.float32)  # some features are never seen
    X.eliminate_zeros()
    Y = sp.random(120, 60, density=0.03, format="csr", random_state=2) != 0
    return X, sp.csr_matrix(sp.hstack([Y, sp.csr_matrix((120, 20), dtype=bool)]))


@pytest.mark.filterwarnings("ignore:hidden_layer_sizes")
@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@pytest.mark.parametrize("dtype", [None, "float16", "int8"])
def test_contributions_are_those_of_the_weights(task, params, dtype):
    X, Y = task
    model = make(**params).fit(X, Y)
    if dtype:
        model.compact(dtype)
    weights = np.eye(80)
    for coef in model.coefs_:
        weights = weights @ coef
    weights = weights + model.direct_coef_.toarray()
    labels = np.random.default_rng(0).integers(60, size=(120, 3))
    labels = np.where(np.isin(labels, np.flatnonzero(Y.sum(axis=0))), labels, Y.indices[0])
    why = model.explain(X, labels, n_features=None)
    dense = model.decision_function(X)
    assert_array_equal(why.labels, labels)
    assert_allclose(why.scores, np.take_along_axis(dense, labels, 1), rtol=1e-4, atol=1e-4)
    assert_allclose(why.contributions.sum(axis=2) + why.rest, why.scores, rtol=1e-12)
    for i in range(120):
        for a in range(3):
            named = why.features[i, a] >= 0
            assert_array_equal(np.sort(why.features[i, a][named]), X[[i]].indices)
            expected = X[[i]].toarray()[0] * weights[:, labels[i, a]]
            found = why.contributions[i, a][named]
            assert_allclose(found, expected[why.features[i, a][named]], rtol=1e-3, atol=1e-4)
            assert (np.diff(np.abs(found)) <= 1e-12).all()
            assert (why.contributions[i, a][~named] == 0).all()


def test_the_strongest_come_first_and_the_rest_is_the_rest(task):
    X, Y = task
    model = make().fit(X, Y)
    everything, some = (model.explain(X, [0, 5, 9], n_features=n) for n in (None, 2))
    assert some.features.shape == (120, 3, 2)
    assert_array_equal(some.features, everything.features[:, :, :2])
    assert_array_equal(some.contributions, everything.contributions[:, :, :2])
    rest = everything.rest + everything.contributions[:, :, 2:].sum(axis=2)
    assert_allclose(some.rest, rest, rtol=1e-9, atol=1e-9)
    best, scores = model.predict_top_k(X, 1)
    why = model.explain(X)
    assert_array_equal(why.labels, best)
    assert_allclose(why.scores, scores, rtol=1e-4, atol=1e-4)


def test_features_have_names(task):
    X, Y = task
    names = np.array([f"word {j}" for j in range(80)])
    by_number = make().fit(X, Y).explain(X, [1, 2], n_features=20)
    expected = np.where(by_number.features < 0, "", names[by_number.features])
    named = make().fit(X, Y).explain(X, [1, 2], n_features=20, feature_names=names.tolist())
    assert_array_equal(named.features, expected)
    frame = pd.DataFrame(X.toarray(), columns=names)
    framed = make().fit(frame, Y).explain(frame, [1, 2], n_features=20)
    assert_array_equal(framed.features, expected)


def test_labels_that_compact_dropped_have_no_reasons(task):
    X, Y = task
    why = make().fit(X, Y).compact().explain(X[:3], [70])
    assert (why.scores == -np.inf).all()
    assert (why.contributions == 0).all()


def test_bad_arguments(task):
    X, Y = task
    model = make().fit(X, Y)
    for args, match in [
        ({"labels": [80]}, "labels must be among classes_.*Got 80"),
        ({"labels": [[1], [2]]}, r"n_samples=120. Got \(2, 1\)"),
        ({"labels": Y}, "Give the labels of one sample"),
        ({"n_features": 0}, "at least 1, or None. Got 0"),
        ({"feature_names": ["a", "b"]}, r"\(80,\). Got \(2,\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            model.explain(X, **args)
    with pytest.raises(ValueError, match=r"activation='relu'.* Fit one with activation='identity'"):
        make(activation="relu").fit(X, Y).explain(X)
