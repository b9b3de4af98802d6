"""Weights of samples and classes against samples left out and repeated, and against the reference."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
import sklearn
from helpers import assert_same, callable_kernel, make
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from sklearn_slide import SlideClassifier
from sklearn_slide._core.losses import LOSSES
from sklearn_slide._core.rows import Pattern
from sklearn_slide._core.sgd import MAX_PASSES, weigh
from sklearn_slide._first_weights import DIRECT_NORM, HIDDEN_ACCUMULATOR, OUTPUT_ACCUMULATOR
from sklearn_slide._samples import as_rows, make_samples
from sklearn_slide.metrics import top_k_scorer

EXACT = {"n_active": None, "max_iter": 3}
UNIFORM = {"negatives": {"uniform": 1.0}}


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(0).integers(0, 4, size=120)


def assert_close(one, two):
    arrays = [[*m.coefs_, *m.intercepts_, m.direct_coef_.toarray()] for m in (one, two)]
    for a, b in zip(*arrays, strict=True):
        assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert_allclose(one.loss_curve_, two.loss_curve_, rtol=1e-4)
    assert one.t_ == two.t_


@pytest.mark.parametrize("params", [EXACT, {}, UNIFORM | {"solver": "adam"}])
@pytest.mark.parametrize("shuffle", [True, False])
def test_weight_zero_is_removal_to_the_bit(data, weights, params, shuffle):
    X, Y = data
    kept = weights > 0
    model = make(shuffle=shuffle, **params).fit(X, Y, sample_weight=kept)
    expected = make(shuffle=shuffle, **params).fit(X[kept], Y[kept])
    assert_same(model, expected)
    assert model.loss_curve_ == expected.loss_curve_
    assert model.t_ == expected.t_
    assert_same(model.partial_fit(X, Y, sample_weight=kept), expected.partial_fit(X[kept], Y[kept]))


@pytest.mark.parametrize(
    "params", [{}, {"solver": "adam"}, {"hidden_layer_sizes": (8, 6), "activation": "relu"}]
)
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("init", ["centroid", "random"])
def test_whole_weights_are_repetition(data, weights, params, shuffle, init):
    X, Y = data
    repeated = np.repeat(np.arange(120), weights)
    params = EXACT | {"shuffle": shuffle, "init": init, "learning_rate_init": 0.01} | params
    model = make(**params).fit(X, Y, sample_weight=weights)
    expected = make(**params).fit(X[repeated], Y[repeated])
    assert_close(model, expected)
    assert_close(
        model.partial_fit(X, Y, sample_weight=weights), expected.partial_fit(X[repeated], Y[repeated])
    )
    with pytest.raises(AssertionError):
        assert_close(model, make(**params).fit(X, Y).partial_fit(X, Y))


@pytest.mark.parametrize("negatives", [{"lsh": 0.8, "uniform": 0.2}, {"uniform": 1.0}])
def test_repeated_passes_draw_labels_as_repeated_samples_do(data, weights, negatives):
    X, Y = data
    repeated = np.repeat(np.arange(120), weights)
    params = {"negatives": negatives, "learning_rate_init": 1e-30}
    model = make(**params).fit(X, Y, sample_weight=weights)
    assert model.active_size_curve_ == make(**params).fit(X[repeated], Y[repeated]).active_size_curve_


def test_repetition_of_classes(weights):
    rng = np.random.default_rng(1)
    y = rng.integers(5, size=120)
    X = rng.normal(size=(120, 8)) + np.eye(5, 8)[y]
    repeated = np.repeat(np.arange(120), weights)
    assert_close(make(**EXACT).fit(X, y, sample_weight=weights), make(**EXACT).fit(X[repeated], y[repeated]))
    without = np.where(y == 3, 0, 1)  # a class all of whose samples weigh nothing stays one
    assert_array_equal(make().fit(X, y, sample_weight=without).classes_, range(5))


@pytest.mark.parametrize(
    ("solver", "loss", "label_weight"),
    [
        ("adagrad", "sigmoid", None),
        ("adagrad", "sigmoid", np.linspace(0, 4, 12)),
        ("adagrad", "softmax", np.linspace(0, 4, 12)),
        ("adagrad", "sigmoid+softmax", np.linspace(0, 4, 12)),
        ("adam", "sigmoid", None),
    ],
)
def test_weights_multiply_the_loss_of_the_reference(solver, loss, label_weight, monkeypatch):
    monkeypatch.setattr(LOSSES[loss], "least_residual", 0.0)
    rng = np.random.default_rng(0)
    X = sp.random(40, 30, density=0.2, format="csr", dtype=np.float32, random_state=rng)
    Y = sp.random(40, 12, density=0.15, format="csr", random_state=rng).astype(bool)
    weights = rng.uniform(0.05, 30, size=40)
    settings = {"loss": loss, "solver": solver, "n_active": None, "shuffle": False, "random_state": 3}
    settings |= {"max_iter": 1, "learning_rate": "constant", "label_weight": label_weight}
    start = SlideClassifier((8,), learning_rate_init=1e-30, **settings).fit(X, Y, sample_weight=weights)
    model = SlideClassifier((8,), learning_rate_init=0.02, **settings).fit(X, Y, sample_weight=weights)
    coefs, intercepts = ([a.astype(float) for a in part] for part in (start.coefs_, start.intercepts_))
    direct = start.direct_coef_.toarray().astype(float)
    n_passes = np.minimum(np.ceil(weights), MAX_PASSES).astype(int)
    order = np.repeat(np.arange(40), n_passes)
    squares = np.sum(X.toarray() ** 2, axis=1)
    expected_loss = reference.train(
        X.toarray().astype(float),
        Y.toarray().astype(float),
        order,
        coefs,
        intercepts,
        direct,
        activation="identity",
        loss=loss,
        solver=solver,
        rates=np.full(len(order), 0.02),
        starts=[HIDDEN_ACCUMULATOR, OUTPUT_ACCUMULATOR],
        gain=DIRECT_NORM**2 / np.average(squares, weights=weights),
        weights=weights / n_passes,
        label_weights=1.0 if label_weight is None else label_weight,
    )
    assert_allclose(model.loss_, expected_loss * len(order) / weights.sum(), rtol=1e-4)
    for got, expected in zip([*model.coefs_, *model.intercepts_], [*coefs, *intercepts], strict=True):
        assert_allclose(got, expected, rtol=2e-3, atol=5e-4)
    assert_allclose(model.direct_coef_.toarray(), direct, rtol=2e-3, atol=5e-4)


def test_first_weights_agree_with_the_reference(data):
    X, Y = data
    weights = np.random.default_rng(0).uniform(0, 3, size=120)
    model = make(learning_rate_init=1e-30, direct_limit=0).fit(X, Y, sample_weight=weights)
    H = X.toarray() @ model.coefs_[0] + model.intercepts_[0]
    expected = reference.centroid_weights(H * weights[:, np.newaxis], Y.toarray())
    present = expected.any(axis=1)
    assert present.sum() > 20
    assert_allclose(model.coefs_[1].T[present], expected[present], rtol=1e-3, atol=1e-4)


def test_passes():
    X = sp.csr_array(np.eye(6, dtype=np.float32))
    y = Pattern(np.zeros(7, dtype=np.int64), np.zeros(0, dtype=np.int32))
    weights = np.array([0, 0.25, 1, 2.5, 10, 25], dtype=np.float32)
    samples = make_samples(as_rows(X), y, weights)
    assert_array_equal(np.bincount(samples.passes), [0, 1, 1, 3, 10, MAX_PASSES])
    assert (np.diff(samples.passes) >= 0).all()
    for weight, counted in zip(weights[1:], [0.25, 1, 2.5 / 3, 1, 2.5], strict=True):
        residuals = np.array([1, -2, 3], dtype=np.float32)
        assert_allclose(callable_kernel(weigh)(8.0, residuals, 2, weight), 8 * counted, rtol=1e-6)
        assert_allclose(residuals, [counted, -2 * counted, 3], rtol=1e-6)
    assert_array_equal(make_samples(as_rows(X), y).passes, np.arange(6))


def test_weights_of_one_change_nothing(data):
    for params in ({}, EXACT):
        assert_same(make(**params).fit(*data, sample_weight=np.ones(120)), make(**params).fit(*data))


def test_heavy_samples_are_learned_better(data):
    X, Y = data
    heavy = np.arange(120) < 10
    losses = []
    for weight in (0.1, 1, 5, 1000):
        model = make(n_active=25, max_iter=10).fit(X, Y, sample_weight=np.where(heavy, weight, 1))
        p = model.predict_proba(X[heavy])
        truth = Y[heavy].toarray()
        losses.append(-np.mean(np.log(np.where(truth, p, 1 - p))))
    assert losses[0] > losses[1] > losses[2] > losses[3]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(120), "All weights in sample_weight are zero|at least one non-zero"),
        (np.full(120, -1.0), "[Nn]egative"),
        (np.full(120, np.nan), "NaN"),
        (np.ones(119), "sample_weight.shape"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_weights(data, weights, message, method):
    model = make()
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(*data, sample_weight=weights)
    assert vars(model) == vars(make())


def test_metadata_routing(data, weights):
    X, Y = data
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(Normalizer(), make().set_fit_request(sample_weight=True))
        scorer = top_k_scorer("precision_at_k", k=1)
        search = GridSearchCV(
            pipeline,
            {"slideclassifier__n_active": [None]},
            scoring=scorer,
            cv=KFold(3),
            error_score="raise",
        ).fit(X, Y, sample_weight=weights)
        alone = make().set_partial_fit_request(sample_weight=True, classes=False)
        assert alone.get_metadata_routing().partial_fit.requests["sample_weight"]
    expected = make(n_active=None).fit(Normalizer().fit_transform(X), Y, sample_weight=weights)
    assert_same(search.best_estimator_[-1], expected)


# Weights of classes


@pytest.fixture(scope="module")
def classes():
    """Return 200 samples and their classes, of which "b" has most and "9" fewest."""
    rng = np.random.default_rng(2)
    y = rng.choice(4, p=[0.2, 0.6, 0.15, 0.05], size=200)
    return rng.normal(size=(200, 6)) + np.eye(4, 6)[y], np.array(["a", "b", "c", "9"])[y]


@pytest.mark.parametrize("class_weight", ["balanced", {"a": 0.3, "b": 2.5, "c": 1, "9": 30}, {"c": 3}])
@pytest.mark.parametrize("params", [{}, {"loss": "sigmoid"}, {"solver": "adam", "n_estimators": 2}])
@pytest.mark.parametrize("sample_weight", [None, np.arange(200) % 3])
def test_class_weights_are_sample_weights_to_the_bit(classes, class_weight, params, sample_weight):
    X, y = classes
    counted = np.ones(200) if sample_weight is None else sample_weight
    kept = counted > 0
    weights = np.array([class_weight.get(name, 1) for name in y] if class_weight != "balanced" else counted)
    if class_weight == "balanced":
        weights = weights.astype(float)
        weights[kept] = compute_sample_weight("balanced", y[kept])
    model = make(class_weight=class_weight, **params).fit(X, y, sample_weight)
    assert_same(model, make(**params).fit(X, y, weights * counted))
    with pytest.raises(AssertionError):
        assert_same(model, make(**params).fit(X, y, sample_weight))


def test_balanced_is_the_dict_of_compute_class_weight(classes):
    X, y = classes
    names = np.unique(y)
    balanced = dict(zip(names.tolist(), compute_class_weight("balanced", classes=names, y=y), strict=True))
    assert balanced["9"] > 2 > 0.5 > balanced["b"]
    model = make(class_weight=balanced)
    assert_same(make(class_weight="balanced").fit(X, y), model.fit(X, y))
    # partial_fit goes on with the same weights, and other classes than those of a chunk may be named
    chunk = y != "9"
    weights = np.array([balanced[name] for name in y])
    alone = make().fit(X, y, weights)
    alone.partial_fit(X[chunk], y[chunk], sample_weight=weights[chunk])
    assert_same(model.partial_fit(X[chunk], y[chunk]), alone)


def test_balanced_classes_are_found_more_evenly(classes):
    X, y = classes
    recalls = [
        (make(class_weight=weight, max_iter=20).fit(X, y).predict(X)[y == "9"] == "9").mean()
        for weight in ({"9": 0.05}, None, "balanced")
    ]
    assert recalls[0] < recalls[1] < recalls[2]


@pytest.mark.parametrize(
    ("y", "class_weight"),
    [([0, 1, 2, 1], {1: 5}), ([0.0, 1.0, 2.0, 1.0], {1.0: 5}), ([True, False] * 2, {True: 5})],
)
def test_classes_of_any_type_have_weights(y, class_weight):
    X, y = np.random.default_rng(0).normal(size=(4, 3)), np.array(y)
    weights = np.where(y == next(iter(class_weight)), 5, 1)
    assert_same(make(class_weight=class_weight).fit(X, y), make().fit(X, y, weights))


def test_a_class_of_weight_zero_stays_a_class(classes):
    X, y = classes
    model = make(class_weight={"c": 0}).fit(X, y)
    assert_array_equal(model.classes_, ["9", "a", "b", "c"])
    assert model.t_ == model.n_iter_ * np.sum(y != "c")


def test_class_weights_leave_the_validation_score_alone(classes):
    X, y = classes
    model = make(class_weight="balanced", early_stopping=True, scoring="accuracy", max_iter=10)
    model.fit(X[:150], y[:150], X_val=X[150:], y_val=y[150:])
    assert model.best_validation_score_ == model.score(X[150:], y[150:])


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({"a": -1}, "class_weight must hold finite numbers, none of them negative. Got -1.0. Give a dict"),
        ({"a": np.nan}, "class_weight must hold finite numbers.*Got nan"),
        ({"a": 1e300}, "class_weight must hold finite numbers.*Got 1e\\+300"),
        ({"a": "much"}, "class_weight must hold numbers"),
        ({"d": 2, "a": 1}, "class_weight names 'd', which is not among the classes .*Name only classes of y"),
        (dict.fromkeys("abc9", 0), "class_weight=.*gives every sample a weight of zero. Give at least one"),
        ("unbalanced", "The 'class_weight' parameter"),
    ],
)
def test_bad_class_weights(classes, class_weight, message):
    model = make(class_weight=class_weight)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(*classes)
    assert vars(model) == before


def test_what_class_and_label_weights_are_refused_for(classes, data):
    with pytest.raises(ValueError, match=r"class_weight='balanced' is for class labels.*as label_weight"):
        make(class_weight="balanced").fit(*data)
    with pytest.raises(
        ValueError, match=r"label_weight=\[1, 2, 1, 1\] is for a multi-label.*as class_weight"
    ):
        make(label_weight=[1, 2, 1, 1]).fit(*classes)
    model = make().fit(*classes).set_params(class_weight="balanced")
    with pytest.raises(
        ValueError, match=r"'balanced' is not supported for partial_fit.*compute_class_weight"
    ):
        model.partial_fit(*classes)
    assert model.t_ == 400
    with pytest.raises(
        ValueError, match=r"'propensity' is not supported for partial_fit.*label_propensities"
    ):
        make(label_weight="propensity").partial_fit(*data)
