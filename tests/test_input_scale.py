"""The scale of X: columns of quite another size, and what the weights of a classifier are then units of."""

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import assert_same, make
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_slide import SlideClassifier
from sklearn_slide._samples import InputScale, as_rows, choose_scale, scale_rows


@pytest.fixture
def table():
    """Return X with columns of sizes from 2**-9 to 2**9, some of them 0 in most rows, and class labels."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 9)).astype(np.float32)
    y = X[:, :3].argmax(axis=1)
    X[:, 6:][rng.random((300, 3)) < 0.8] = 0
    return X * np.float32(2.0) ** np.array([-9, 9, 0, 0, 1, -1, 0, 7, 0], dtype=np.float32), y


def test_columns_far_from_the_median_are_brought_to_it(table):
    X, _ = table
    scale = choose_scale(as_rows(X), 9)
    assert_array_equal(scale.columns, [9, -9, 0, 0, -1, 1, 0, -7, 0])
    scaled = sp.csr_array(scale_rows(as_rows(X), scale)[::-1], shape=X.shape).toarray()
    assert_array_equal(scaled, X * 2.0**scale.columns * scale.factor)
    sizes = np.sqrt([np.mean(column[column != 0] ** 2) for column in scaled.T])
    assert sizes.max() / sizes.min() < 8


def test_single_values_move_no_column(table):
    X, _ = table
    columns = choose_scale(as_rows(X), 9).columns
    X[0] *= 2.0**40
    assert_array_equal(choose_scale(as_rows(X), 9).columns, columns)
    # nor do columns of a few values tell their size
    X[9:, 6:] = 0
    assert_array_equal(choose_scale(as_rows(X), 9).columns[6:], 0)


def test_of_sparse_columns_only_those_far_off_are_changed(table):
    X, _ = table
    X = np.where(np.random.default_rng(1).random(X.shape) < 0.6, 0, X)
    assert_array_equal(choose_scale(as_rows(X), 9).columns, [9, -9, 0, 0, 0, 0, 0, -7, 0])


@pytest.mark.parametrize(("octaves", "expected"), [(-7, 0), (7, -7)])
def test_a_few_full_columns_beside_words_are_made_smaller_only(octaves, expected):
    rng = np.random.default_rng(0)
    words = sp.random(400, 30, density=0.2, random_state=0, format="csr", dtype=np.float32)
    words.data[:] = 1
    full = np.where(rng.random((400, 5)) < 0.5, -1, 1) * np.float32(2.0) ** octaves
    columns = choose_scale(as_rows(sp.csr_array(sp.hstack([words, full]), dtype=np.float32)), 35).columns
    if expected:
        assert_array_equal(columns, [0] * 30 + [expected] * 5)
    else:
        assert columns is None


def test_columns_of_like_sizes_stay_as_they_are(data):
    X, _ = data
    assert choose_scale(as_rows(X), 40).columns is None
    assert choose_scale(as_rows(X * 8), 40) == InputScale(choose_scale(as_rows(X), 40).factor / 8)
    assert choose_scale(as_rows(sp.csr_array((3, 4), dtype=np.float32)), 4) == InputScale()


@pytest.mark.parametrize(
    "params", [{}, {"hidden_layer_sizes": ()}, {"direct_limit": 0}, {"activation": "tanh"}]
)
def test_sizes_of_columns_change_nothing(table, params):
    X, y = table
    units = np.float32(2.0) ** np.array([-30, 20, 0, 0, 0, 0, 0, 0, 0], dtype=np.float32)
    one, two = make(**params).fit(X, y), make(**params).fit(X * units, y)
    assert_array_equal(one.predict_top_k(X, 3)[1], two.predict_top_k(X * units, 3)[1])
    assert_array_equal(one.coefs_[0], two.coefs_[0] * units[:, np.newaxis])
    assert_array_equal(one.direct_coef_.toarray(), two.direct_coef_.toarray() * units[:, np.newaxis])


@pytest.mark.parametrize("params", [{}, {"hidden_layer_sizes": ()}])
def test_weights_are_in_units_of_x(table, params):
    X, y = table
    model = make(**params).fit(sp.csr_array(X), y)
    assert model._model.column_scale is not None
    scores = X.astype(np.float64)
    for coefs, intercepts in zip(model.coefs_, model.intercepts_, strict=True):
        scores = scores @ coefs + intercepts
    scores += X @ model.direct_coef_.toarray()
    assert_allclose(model.decision_function(X), scores, rtol=1e-4, atol=1e-4)


def test_later_calls_and_compact_keep_the_scale(table):
    X, y = table
    model = make().fit(X, y)
    columns = model._model.column_scale.copy()
    before = model.decision_function(X)
    assert_array_equal(make().fit(X, y).compact().decision_function(X), before)
    model.partial_fit(X[:, ::-1].copy()[:3], y[:3])
    assert_array_equal(model._model.column_scale, columns)
    joined = make(n_estimators=2).fit(X, y)
    assert_array_equal(joined._model.column_scale, columns)
    warm = make(warm_start=True).fit(X, y).fit(X, y)
    assert_array_equal(warm._model.column_scale, columns)
    assert warm.score(X, y) > 0.9


def test_dense_and_sparse_agree(table):
    X, y = table
    assert_same(make().fit(X, y), make().fit(sp.csr_array(X), y))


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_raw_columns_of_a_table(load):
    X, y = load(return_X_y=True)
    own = cross_val_score(SlideClassifier(random_state=0), X, y).mean()
    peer = cross_val_score(make_pipeline(StandardScaler(), LogisticRegression()), X, y).mean()
    assert own > peer - 0.05
