"""Weights of labels against other weights, label by label, and against inverse propensities."""

import warnings

import numpy as np
import pytest
from helpers import assert_same, make
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from test_weights import UNIFORM, assert_close

from sklearn_slide._labels import encode_indicator
from sklearn_slide._samples import as_rows, make_samples, mean_label_weight
from sklearn_slide._weights import weigh_labels
from sklearn_slide.metrics import label_propensities, top_k_scorer


@pytest.mark.parametrize("params", [{}, UNIFORM, {"loss": "softmax", "n_active": None}])
def test_label_weights_of_one_change_nothing(data, params):
    model = make(label_weight=np.ones(25), **params).fit(*data)
    assert_close(model, make(**params).fit(*data))


def test_propensity_is_the_array_of_inverse_propensities(data):
    X, Y = data
    inverse = 1 / label_propensities(Y)
    frequency = Y.sum(axis=0).A1
    weights = inverse / (inverse @ frequency / frequency.sum())
    model = make(label_weight="propensity", early_stopping=False).fit(X, Y)
    assert_close(model, make(label_weight=weights).fit(X, Y))
    with pytest.raises(AssertionError):
        assert_close(model, make(label_weight=inverse).fit(X, Y))
    pattern = encode_indicator(Y)
    found = weigh_labels("propensity", pattern, None, 25)
    assert_allclose(found, weights, rtol=1e-6)
    assert_allclose(mean_label_weight(make_samples(as_rows(X), pattern, None, found)), 1, rtol=1e-6)


def test_propensities_count_the_weights_of_samples(data):
    Y, weights = data[1], np.random.default_rng(0).integers(0, 4, size=120)
    repeated = Y[np.repeat(np.arange(120), weights)]
    patterns = [encode_indicator(y) for y in (Y, repeated)]
    assert_allclose(
        weigh_labels("propensity", patterns[0], weights.astype(np.float32), 25),
        weigh_labels("propensity", patterns[1], None, 25),
        rtol=1e-6,
    )


@pytest.mark.parametrize("n_active", [None, 15])
def test_heavier_labels_rank_higher(data, n_active):
    X, Y = data
    heavy = np.arange(25) % 2 == 1
    shares = []
    for weight in (0, 0.3, 1, 3, 30):
        model = make(label_weight=np.where(heavy, weight, 1), n_active=n_active, max_iter=10).fit(X, Y)
        shares.append(heavy[model.predict_top_k(X, 3)[0]].mean())
    assert (np.diff(shares) > 0).all()


def test_the_true_samples_of_a_label_of_weight_zero_do_not_touch_it(data):
    X, Y = data
    # the labels of a linear model learn by themselves
    settings = {"hidden_layer_sizes": (), "init": "random", "n_active": None, "shuffle": False}
    settings |= {"learning_rate": "constant", "loss": "sigmoid"}
    label = Y.sum(axis=0).argmax()
    model = make(label_weight=np.arange(25) != label, **settings).fit(X, Y)
    false = Y[:, [label]].toarray().ravel() == 0
    assert 10 < false.sum() < 110
    expected = make(**settings).fit(X[false], Y[false])
    assert_allclose(model.coefs_[0][:, label], expected.coefs_[0][:, label], rtol=1e-5, atol=1e-6)
    unweighted = make(**settings).fit(X, Y)
    assert abs(model.coefs_[0][:, label] - unweighted.coefs_[0][:, label]).max() > 0.1


@pytest.mark.parametrize("loss", ["sigmoid", "softmax", "sigmoid+softmax"])
def test_large_weights_are_not_taken_for_diverging(data, loss):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make(label_weight=np.full(25, 50.0), loss=loss, n_active=None).fit(*data)
    assert model.loss_ > 5 * make(loss=loss, n_active=None).fit(*data).loss_


def test_label_weights_grow_with_the_labels(data):
    X, Y = data
    weights = np.linspace(0.5, 2, 25)
    model = make(label_weight=weights[:20]).partial_fit(X, Y[:, :20])
    with pytest.raises(
        ValueError, match=r"label_weight must have shape \(n_labels,\) = \(25,\).*Got.*\(20,\)"
    ):
        model.partial_fit(X, Y)
    assert model.n_outputs_ == 20
    assert model.set_params(label_weight=weights).partial_fit(X, Y).n_outputs_ == 25


@pytest.mark.parametrize(
    ("label_weight", "message"),
    [
        (
            np.ones(24),
            r"label_weight must have shape \(n_labels,\) = \(25,\).*Got shape \(24,\). Give an array",
        ),
        (np.ones((25, 1)), r"Got shape \(25, 1\)"),
        (
            np.arange(25) - 1.0,
            "label_weight must hold finite numbers, none of them negative. Got -1.0. Give an",
        ),
        (np.full(25, np.nan), "label_weight must hold finite numbers.*Got nan"),
        (np.full(25, np.inf), "label_weight must hold finite numbers.*Got inf"),
        (np.zeros(25), "label_weight is zero for all labels"),
        (["one"] * 25, "label_weight must hold numbers.*Give an array of such a number for each of the 25"),
        ("propensities", "The 'label_weight' parameter"),
        (3.0, "The 'label_weight' parameter"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_label_weights(data, label_weight, message, method):
    model = make(label_weight=label_weight)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(*data)
    assert vars(model) == before


def test_propensities_need_samples(data):
    X, Y = data
    with pytest.raises(ValueError, match=r"'propensity' needs at least 3 samples.*Got 2, counted by"):
        make(label_weight="propensity").fit(X[:2], Y[:2])
    make(label_weight="propensity").fit(X[:3], 0 * Y[:3])


def test_search_over_label_weights(data):
    X, Y = data
    inverse = 1 / label_propensities(Y)
    grid = {"label_weight": [None, "propensity", inverse]}
    scorer = top_k_scorer("ps_precision_at_k", k=3, propensities=1 / inverse)
    search = GridSearchCV(make(), grid, scoring=scorer, cv=KFold(3), error_score="raise").fit(X, Y)
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    copied = clone(make(label_weight=inverse))
    assert_array_equal(copied.label_weight, inverse)
    assert_same(copied.fit(X, Y), make(label_weight=inverse).fit(X, Y))
    assert "label_weight=" in repr(copied)
