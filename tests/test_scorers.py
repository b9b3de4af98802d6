"""Top-k prediction by every kind of model, and scorers in model selection."""

import pickle
import re

import numpy as np
import pytest
import reference
import scipy.sparse as sp
import sklearn
from helpers import make
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler
from test_metrics import METRICS, WITH_WEIGHTS, evaluate

from sklearn_slide.metrics import (
    coverage_at_k,
    label_propensities,
    ndcg_at_k,
    precision_at_k,
    predict_top_k,
    recall_at_k,
    top_k_scorer,
)


class Centroids(ClassifierMixin, BaseEstimator):
    """Score a label by a sample times the sum of the label's rows, minus a share of the label's count."""

    def __init__(self, penalty=0.0):
        self.penalty = penalty

    def fit(self, X, y, sample_weight=None):
        self.classes_ = None
        if not sp.issparse(y) and np.ndim(y) == 1:
            self.classes_, ids = np.unique(y, return_inverse=True)
            y = sp.csr_array((np.ones(len(ids)), (np.arange(len(ids)), ids)))
        y = sp.csr_array(y, dtype=float)
        self.coef_ = sp.csr_array(X).T @ y
        self.counts_ = y.sum(axis=0)
        return self

    def predict(self, X):
        raise AssertionError("a scorer at k has no use for predict")

    def predict_top_k(self, X, k=5):
        scores = (sp.csr_array(X) @ self.coef_).toarray() - self.penalty * self.counts_
        labels = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        found = labels if self.classes_ is None else self.classes_[labels]
        return found, np.take_along_axis(scores, labels, axis=1)


def grid_search(grid, scoring, model=None, **options):
    options = {"cv": 3, "error_score": "raise", **options}
    return GridSearchCV(Centroids() if model is None else model, grid, scoring=scoring, **options)


class NeverDense(sp.csr_matrix):
    """A target that refuses to be made dense, also when rows of it are taken."""

    def toarray(self, *args, **kwargs):
        raise AssertionError("a sparse target was made dense")

    todense = __array__ = toarray


@pytest.fixture
def task():
    rng = np.random.default_rng(0)
    X = sp.random(90, 30, density=0.3, format="csr", random_state=0)
    weights = rng.random((30, 12)) ** 4
    y = X @ weights
    y = NeverDense(sp.csr_matrix(y >= np.sort(y, axis=1)[:, [-3]], dtype=float))
    return X, y


def dense(y):
    return sp.csr_matrix(y).toarray()


def test_the_guard_of_the_sparse_target_works(task):
    with pytest.raises(AssertionError, match="made dense"):
        task[1][:3].toarray()
    with pytest.raises(AssertionError, match="made dense"):
        np.asarray(task[1])


def test_predict_top_k_on_every_kind_of_model(task):
    X, y = task
    bare = Centroids().fit(X, y)
    labels, scores = bare.predict_top_k(X, 3)
    for found in (predict_top_k(bare, X, 3), predict_top_k(bare, X, k=3)):
        np.testing.assert_array_equal(found[0], labels)
        np.testing.assert_array_equal(found[1], scores)
    assert predict_top_k(bare, X)[0].shape == (90, 5)

    pipe = make_pipeline(MaxAbsScaler(), FunctionTransformer(np.negative), Centroids()).fit(X, y)
    scaled = -MaxAbsScaler().fit(X).transform(X)
    expected = Centroids().fit(scaled, y).predict_top_k(scaled, 3)[0]
    np.testing.assert_array_equal(predict_top_k(pipe, X, 3)[0], expected)
    assert not np.array_equal(expected, labels)

    skipping = Pipeline([("none", "passthrough"), ("within", pipe)])
    np.testing.assert_array_equal(predict_top_k(skipping, X, 3)[0], expected)
    alone = Pipeline([("only", bare)])
    np.testing.assert_array_equal(predict_top_k(alone, X, 3)[0], labels)

    outside = grid_search({"within__centroids__penalty": [0.0]}, top_k_scorer("precision_at_k"), skipping)
    inside = Pipeline([("search", grid_search({}, top_k_scorer("precision_at_k"), pipe))])
    for search in (outside, inside):
        np.testing.assert_array_equal(predict_top_k(search.fit(X, y), X, 3)[0], expected)


def test_predict_top_k_names_what_cannot_predict(task):
    X, y = task
    no_refit = grid_search({}, top_k_scorer("precision_at_k"), refit=False).fit(X, y)
    logistic = LogisticRegression()
    for model, got in (
        (logistic, "LogisticRegression()"),
        (make_pipeline(MaxAbsScaler(), logistic).fit(X, np.arange(90) % 2), "LogisticRegression()"),
        (no_refit, "GridSearchCV("),
        (grid_search({}, None), "GridSearchCV("),
        (None, "None"),
    ):
        message = f"model must be an estimator with a method predict_top_k.*; got {re.escape(got)}"
        with pytest.raises(TypeError, match=message):
            predict_top_k(model, X, 3)


@pytest.mark.parametrize("name", METRICS)
def test_scorer_equals_the_metric(name, task):
    X, y = task
    model = make_pipeline(MaxAbsScaler(), Centroids()).fit(X[:60], y[:60])
    p = label_propensities(y[:60])
    params = {"propensities": p} if name == "ps_precision_at_k" else {}
    scorer = top_k_scorer(name, k=3, **params)
    labels = predict_top_k(model, X[60:], 3)[0]
    expected = evaluate(name, y[60:], labels, 3, propensities=p)
    value = scorer(model, X[60:], y[60:])
    assert type(value) is float
    assert 0 < value < 1
    assert value == expected
    copy = pickle.loads(pickle.dumps(scorer))
    assert copy(model, X[60:], y[60:]) == expected
    assert repr(copy) == repr(scorer)
    weights = np.arange(30)
    if name in WITH_WEIGHTS:
        weighted = scorer(model, X[60:], y[60:], sample_weight=weights)
        assert weighted == evaluate(name, y[60:], labels, 3, weights, p)
        assert weighted != expected
    else:
        with pytest.raises(ValueError, match="sample_weight must be None, since coverage_at_k takes no"):
            scorer(model, X[60:], y[60:], sample_weight=weights)


def naive_grid(model, grid, X, y, k, n_splits):
    """Return the precision at k of each value of the grid and fold, by hand, with the folds of KFold."""
    folds = np.array_split(np.arange(X.shape[0]), n_splits)
    scores = []
    for params in grid:
        for test in folds:
            train = np.setdiff1d(np.arange(X.shape[0]), test)
            fitted = sklearn.clone(model).set_params(**params).fit(X[train], y[train])
            top = predict_top_k(fitted, X[test], k)[0]
            truth = [set(np.flatnonzero(row).tolist()) for row in dense(y[test])]
            scores.append(
                reference.ranking_metric("precision_at_k", truth, top.tolist(), k, [1] * len(test), None)
            )
    return np.reshape(scores, (len(grid), n_splits))


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_grid_search_over_a_sparse_target(task, in_pipeline):
    X, y = task
    model = make_pipeline(MaxAbsScaler(), Centroids()) if in_pipeline else Centroids()
    name = "centroids__penalty" if in_pipeline else "penalty"
    values = [-5.0, 0.0, 0.1, 5.0]
    search = grid_search({name: values}, top_k_scorer("precision_at_k", k=3), model).fit(X, y)
    expected = naive_grid(model, [{name: value} for value in values], X, y, 3, 3)
    found = np.stack([search.cv_results_[f"split{i}_test_score"] for i in range(3)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert len(np.unique(expected.mean(axis=1))) > 1
    assert search.best_params_ == {name: values[np.argmax(expected.mean(axis=1))]}
    best = sklearn.clone(model).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(predict_top_k(search, X, 3)[0], predict_top_k(best, X, 3)[0])
    # the search's own score, and a scorer called on the search
    expected = precision_at_k(y, predict_top_k(best, X, 3)[0], k=3)
    assert search.score(X, y) == expected
    assert top_k_scorer("precision_at_k", k=3)(search, X, y) == expected


@pytest.mark.parametrize("refit", ["P@1", "PSP@3", "coverage"])
def test_several_metrics_in_one_search(task, refit):
    X, y = task
    scoring = {
        "P@1": top_k_scorer("precision_at_k", k=1),
        "PSP@3": top_k_scorer("ps_precision_at_k", k=3, propensities=label_propensities(y)),
        "coverage": top_k_scorer("coverage_at_k", k=2),
    }
    grid = {"penalty": [-5.0, 0.0, 0.2]}
    search = grid_search(grid, scoring, refit=refit).fit(X, y)
    for name, scorer in scoring.items():
        single = grid_search(grid, scorer).fit(X, y)
        means = single.cv_results_["mean_test_score"]
        np.testing.assert_array_equal(search.cv_results_[f"mean_test_{name}"], means)
        assert len(np.unique(means)) > 1
        if name == refit:
            assert search.best_params_ == single.best_params_
            assert search.score(X, y) == single.score(X, y)


def test_random_search_in_other_processes(task):
    X, y = task
    scorer = top_k_scorer("ndcg_at_k", k=3)
    options = {"n_iter": 3, "scoring": scorer, "cv": 2, "random_state": 0, "error_score": "raise"}
    grid = {"penalty": np.linspace(0, 1, 11)}
    serial = RandomizedSearchCV(Centroids(), grid, **options).fit(X, y).cv_results_
    parallel = RandomizedSearchCV(Centroids(), grid, n_jobs=2, **options).fit(X, y).cv_results_
    np.testing.assert_array_equal(serial["mean_test_score"], parallel["mean_test_score"])


def test_cross_validation_functions(task):
    X, y = task
    expected = naive_grid(Centroids(), [{}], X, y, 3, 3)[0]
    scorer = top_k_scorer("precision_at_k", k=3)
    np.testing.assert_allclose(cross_val_score(Centroids(), X, dense(y), scoring=scorer, cv=3), expected)
    scoring = {"P@3": scorer, "P@1": top_k_scorer("precision_at_k", k=1)}
    with sklearn.config_context(skip_parameter_validation=True):
        np.testing.assert_allclose(cross_val_score(Centroids(), X, y, scoring=scorer, cv=3), expected)
        found = cross_validate(Centroids(), X, y, scoring=scoring, cv=3, error_score="raise")
    np.testing.assert_allclose(found["test_P@3"], expected)
    assert np.all(found["test_P@1"] > 0)


@pytest.mark.parametrize("names", [np.arange(4), np.array(["ant", "bee", "cat", "dog"])])
def test_scorer_on_class_labels(names):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 4, size=80)
    X, y = rng.random((80, 4)) + np.eye(4)[ids], names[ids]
    search = grid_search({"penalty": [0.0, 0.5]}, top_k_scorer("recall_at_k", k=1)).fit(X, y)
    assert search.best_score_ > 0.5
    labels = search.best_estimator_.predict_top_k(X, 1)[0]
    assert search.score(X, y) == np.mean(labels[:, 0] == y)


@pytest.mark.filterwarnings("ignore:The scoring coverage=.*does not support sample_weight:UserWarning")
def test_weights_in_a_search_with_several_metrics(task):
    X, y = task
    weights = np.tile([0.0, 1.0, 3.0], 30)
    scoring = {"P@2": top_k_scorer("precision_at_k", k=2), "coverage": top_k_scorer("coverage_at_k", k=2)}
    search = grid_search({}, scoring, refit="P@2", cv=2).fit(X, y, sample_weight=weights)
    y_test, labels = y[45:], Centroids().fit(X[:45], y[:45]).predict_top_k(X[45:], 2)[0]
    assert search.cv_results_["split1_test_coverage"][0] == coverage_at_k(y_test, labels, k=2)
    # not every release of scikit-learn hands the weights to the scorers
    expected = [precision_at_k(y_test, labels, k=2, sample_weight=w) for w in (None, weights[45:])]
    assert search.cv_results_["split1_test_P@2"][0] in expected


def double_precision(y_true, y_pred, *, k, factor=2.0):
    return factor * precision_at_k(y_true, y_pred, k=k)


def test_scorer_of_a_callable(task):
    X, y = task
    model = Centroids().fit(X, y)
    scorer = pickle.loads(pickle.dumps(top_k_scorer(double_precision, k=2, factor=3.0)))
    assert repr(scorer) == "top_k_scorer(double_precision, k=2, factor=3.0)"
    assert scorer(model, X, y) == 3 * precision_at_k(y, model.predict_top_k(X, 2)[0], k=2)
    assert top_k_scorer(ndcg_at_k, k=2)(model, X, y) == top_k_scorer("ndcg_at_k", k=2)(model, X, y)


def test_repr_of_scorers():
    assert repr(top_k_scorer("precision_at_k")) == "top_k_scorer('precision_at_k', k=5)"
    assert repr(top_k_scorer(recall_at_k, 3)) == "top_k_scorer('recall_at_k', k=3)"
    assert repr(top_k_scorer("recall_at_k", zero_division=1.0)).endswith("k=5, zero_division=1.0)")
    shown = repr(top_k_scorer("ps_precision_at_k", k=1, propensities=np.full(109_129, 0.5)))
    assert shown == "top_k_scorer('ps_precision_at_k', k=1, propensities=<array of shape (109129,)>)"


@pytest.mark.parametrize("classes", [[f"tag {y % 7}{y}" for y in range(25)], list(range(25, 0, -1))])
def test_names_of_columns_are_looked_up(data, classes):
    X, Y = data
    model = make(n_active=None).partial_fit(X, Y, classes=classes)
    positions = np.argsort(-model.decision_function(X), axis=1, kind="stable")
    scorer = top_k_scorer("precision_at_k", k=1)
    expected = precision_at_k(Y, positions[:, :1], k=1)
    assert expected > 0.2
    assert scorer(model, X, Y) == scorer(make_pipeline(FunctionTransformer(), model), X, Y) == expected
    model.set_params(warm_start=True, early_stopping=True, max_iter=1).fit(X, Y)
    assert model.best_validation_score_ == max(model.validation_scores_) > 0.2


def test_names_given_to_a_metric_say_the_way_out(data):
    X, Y = data
    model = make(n_active=None).partial_fit(X, Y, classes=[f"tag {y}" for y in range(25)])
    with pytest.raises(ValueError, match="their positions in the classes_ of the estimator"):
        precision_at_k(Y, model.predict_top_k(X)[0], k=1)
