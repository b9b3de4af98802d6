"""Early stopping: which samples are set aside, by what they are scored, and which weights are kept."""

import numpy as np
import pytest
import sklearn
from helpers import assert_same, make
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer

from sklearn_slide._early_stopping import hold_out
from sklearn_slide.metrics import precision_at_k, recall_at_k, top_k_scorer

LONG = {"max_iter": 30, "n_iter_no_change": 4, "learning_rate": "constant"}


@pytest.fixture(scope="module")
def split(data):
    return train_test_split(*data, test_size=0.3, random_state=0)


def record(networks):
    """Return the default scorer, which copies the network of each epoch into a list."""
    scorer = top_k_scorer("precision_at_k", k=1)

    def score(model, X, Y):
        networks.append([a.copy() for a in model.coefs_ + model.intercepts_])
        return scorer(model, X, Y)

    return score


@pytest.mark.parametrize("params", [{}, {"solver": "adam"}, {"retrieval": "lsh"}, {"hidden_layer_sizes": ()}])
def test_the_best_epoch_is_kept(split, params, monkeypatch):
    monkeypatch.setattr("sklearn_slide._core.retrieval.MIN_LABELS", 0)
    X, X_val, Y, Y_val = split
    networks = []
    model = make(early_stopping=True, scoring=record(networks), **LONG | params)
    model.fit(X, Y, X_val=X_val, y_val=Y_val)
    scores = model.validation_scores_
    assert len(scores) == len(networks) == model.n_iter_ == len(model.loss_curve_)
    best = int(np.argmax(scores))
    for kept, then in zip(model.coefs_ + model.intercepts_, networks[best], strict=True):
        assert_array_equal(kept, then)
    assert model.best_validation_score_ == scores[best]
    if "retrieval" not in params:  # tables differ from epoch to epoch
        assert precision_at_k(Y_val, model.predict_top_k(X_val, 1)[0], k=1) == scores[best]
    assert model.n_iter_ == 30 or model.n_iter_ - 1 - best >= LONG["n_iter_no_change"]
    assert (
        any((a != b).any() for a, b in zip(networks[best], networks[-1], strict=True))
        or best == len(scores) - 1
    )


def test_training_stops_when_the_score_no_longer_improves(split):
    X, X_val, Y, Y_val = split
    scores = iter([0.1, 0.3, 0.3, 0.35, 0.2, 0.31, 0.1])
    model = make(
        early_stopping=True, max_iter=50, n_iter_no_change=2, tol=0.01, scoring=lambda *_: next(scores)
    )
    model.fit(X, Y, X_val=X_val, y_val=Y_val)
    assert model.validation_scores_ == [0.1, 0.3, 0.3, 0.35, 0.2, 0.31]
    assert model.best_validation_score_ == 0.35


def test_the_training_is_that_of_the_other_samples_alone(data):
    X, Y = data
    model = make(early_stopping=True, validation_fraction=0.25, max_iter=3, n_iter_no_change=3).fit(X, Y)
    (X_train, Y_train, _), (X_val, Y_val, _) = hold_out(X, Y, None, 0.25, model._model.seed)
    assert X_val.shape[0] == Y_val.shape[0] == 30
    assert X_train.shape[0] == Y_train.shape[0] == 90
    again = make(early_stopping=True, max_iter=3, n_iter_no_change=3).fit(
        X_train, Y_train, X_val=X_val, y_val=Y_val
    )
    assert_same(model, again)
    assert model.validation_scores_ == again.validation_scores_
    assert model.t_ == 3 * 90
    assert model.loss_curve_ == make(max_iter=3).fit(X_train, Y_train).loss_curve_


def test_hold_out_splits_and_keeps_rows_together():
    X, y = np.arange(40).reshape(20, 2), np.arange(20)
    for weights in (None, np.arange(20) * 10.0):
        train, held = hold_out(X, y, weights, 0.2, 3)
        assert_array_equal(np.sort(np.concatenate([train[1], held[1]])), y)
        assert len(held[1]) == 4
        for samples, targets, w in (train, held):
            assert_array_equal(samples[:, 0], 2 * targets)
            assert w is None if weights is None else (w == 10 * targets).all()
    assert (hold_out(X, y, None, 0.2, 4)[1][1] != held[1]).any()


@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        ("precision_at_3", top_k_scorer("precision_at_k", k=3)),
        ("ndcg_at_10", top_k_scorer("ndcg_at_k", k=10)),
        ("coverage_at_2", top_k_scorer("coverage_at_k", k=2)),
        ("f1_samples", get_scorer("f1_samples")),
        (top_k_scorer("recall_at_k", k=2), top_k_scorer("recall_at_k", k=2)),
        (lambda model, X, Y: -model.loss_, lambda model, X, Y: -model.loss_),
    ],
)
def test_scorers(split, scoring, expected):
    X, X_val, Y, Y_val = split
    model = make(early_stopping=True, scoring=scoring, max_iter=1, n_active=25).fit(
        X, Y, X_val=X_val, y_val=Y_val
    )
    model._model.calibration = None  # it is learned after the last epoch
    assert model.validation_scores_ == [expected(model, X_val, Y_val)]


def test_weights_count_in_the_score(data):
    X, Y = data
    weights = np.random.default_rng(0).integers(0, 4, size=120)
    for scoring in ("recall_at_5", "coverage_at_5"):  # the latter takes no weights
        model = make(early_stopping=True, scoring=scoring, max_iter=1).fit(X, Y, sample_weight=weights)
        kept = weights > 0
        _, (X_val, Y_val, w) = hold_out(X[kept], Y[kept], weights[kept], 0.1, model._model.seed)
        if scoring == "recall_at_5":
            top = model.predict_top_k(X_val, 5)[0]
            assert model.validation_scores_ == [recall_at_k(Y_val, top, k=5, sample_weight=w)]


def test_classes():
    X, y = load_iris(return_X_y=True)
    names = np.array(["x", "y", "z"])[y]
    model = make(early_stopping=True, max_iter=50, n_iter_no_change=10).fit(X, names)
    _, (X_val, y_val, _) = hold_out(X, names, None, 0.1, model._model.seed)
    assert model.best_validation_score_ == model.score(X_val, y_val)
    assert_array_equal(model.classes_, ["x", "y", "z"])
    # a class that is only among the samples set aside is a class all the same
    rare = names.copy()
    _, (_, [number, *_], _) = hold_out(X, np.arange(150), None, 0.1, model._model.seed)
    rare[number] = "s"
    assert_array_equal(make(early_stopping=True, max_iter=1).fit(X, rare).classes_, ["s", "x", "y", "z"])


def test_several_networks_each_keep_their_best(split):
    X, X_val, Y, Y_val = split
    params = LONG | {"early_stopping": True, "scoring": "ndcg_at_5"}
    model = make(n_estimators=2, **params).fit(X, Y, X_val=X_val, y_val=Y_val)
    scores, first = model.validation_scores_, make(**params)
    first.fit(X, Y, X_val=X_val, y_val=Y_val)
    assert len(scores) == len(model.loss_curve_) == model.n_iter_ > first.n_iter_
    assert scores[: first.n_iter_] == first.validation_scores_
    assert max(scores[first.n_iter_ :]) > scores[first.n_iter_]  # the second one has a best of its own
    assert model.coefs_[0].shape == (40, 24)
    assert_array_equal(model.coefs_[0][:, :12], first.coefs_[0])
    # the score is that of both together
    assert model.best_validation_score_ == top_k_scorer("ndcg_at_k", k=5)(model, X_val, Y_val)
    assert model.best_validation_score_ not in scores


def test_warm_start_and_partial_fit_go_on(data):
    X, Y = data
    model = make(early_stopping=True, warm_start=True).fit(X, Y)
    n_before, seed = len(model.validation_scores_), model._model.seed
    model.fit(X, Y)
    assert len(model.validation_scores_) > n_before
    assert model._model.seed == seed
    n_before = len(model.validation_scores_)
    model.partial_fit(X, Y)
    assert len(model.validation_scores_) == n_before
    assert model.t_ == model.n_iter_ * 108 + 12  # partial_fit takes all


def test_without_early_stopping_there_are_no_scores(data):
    model = make(scoring="nonsense", validation_fraction=0.5).fit(*data)
    assert model.validation_scores_ is None
    assert model.best_validation_score_ is None
    assert_same(model, make().fit(*data))


@pytest.mark.parametrize(
    ("params", "arguments", "message"),
    [
        ({"scoring": "nonsense"}, {}, "scoring must be 'precision_at_1'.*Got 'nonsense'"),
        ({"scoring": "precision_at_0"}, {}, "scoring must be"),
        ({"scoring": "precision_at_26"}, {}, r"y_pred must have shape \(n_samples, m\) with m >= k"),
        ({"scoring": lambda *_: np.nan}, {}, "scoring=.*gave nan.*Give another one"),
        ({"validation_fraction": 1.0}, {}, "validation_fraction"),
        ({"validation_fraction": 0.999}, {}, "train set will be empty"),
        ({}, {"X_val"}, "X_val and y_val must be given together"),
        ({}, {"y_val"}, "X_val and y_val must be given together"),
        ({"early_stopping": False}, {"X_val", "y_val"}, "only used with early_stopping=True"),
    ],
)
def test_what_is_refused(data, params, arguments, message):
    X, Y = data
    model = make(**{"early_stopping": True} | params)
    before = dict(vars(model))
    given = {name: {"X_val": X, "y_val": Y}[name] for name in arguments}
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, **given)
    assert vars(model) == before


@pytest.mark.parametrize(("features", "labels"), [(39, 25), (40, 24)])
def test_validation_samples_of_another_shape(data, features, labels):
    X, Y = data
    model = make(early_stopping=True)
    with pytest.raises(ValueError, match=f"X has {features} features|y has {labels} columns"):
        model.fit(X, Y, X_val=X[:, :features], y_val=Y[:, :labels])
    assert not hasattr(model, "classes_")


def test_a_pipeline_transforms_the_validation_samples(split):
    X, X_val, Y, Y_val = split
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = Pipeline(
            [
                ("norm", Normalizer("max")),
                ("slide", make(early_stopping=True).set_fit_request(X_val=True, y_val=True)),
            ],
            transform_input=["X_val"],
        ).fit(X, Y, X_val=X_val, y_val=Y_val)
    norm = Normalizer("max")
    expected = make(early_stopping=True).fit(norm.transform(X), Y, X_val=norm.transform(X_val), y_val=Y_val)
    assert_same(pipeline[-1], expected)
    assert pipeline[-1].validation_scores_ == expected.validation_scores_


def test_verbose_prints_the_score(data, capsys):
    make(early_stopping=True, verbose=True, max_iter=2).fit(*data)
    assert capsys.readouterr().out.count("Validation score: ") == 2
