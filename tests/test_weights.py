"""Weights of samples against samples left out and repeated, and against the reference."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from test_classifier import assert_same, make

from sklearn_slide import SlideClassifier
from sklearn_slide._network import DIRECT_NORM, HIDDEN_ACCUMULATOR, OUTPUT_ACCUMULATOR
from sklearn_slide._sampling import MAX_PASSES, Pattern, make_samples, pass_weight
from sklearn_slide._validation import as_rows
from sklearn_slide.metrics import top_k_scorer

EXACT = {"sampling": "full", "max_iter": 3}


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(0).integers(0, 4, size=120)


def assert_close(one, two):
    arrays = [[*m.coefs_, *m.intercepts_, m.direct_coef_.toarray()] for m in (one, two)]
    for a, b in zip(*arrays, strict=True):
        assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert_allclose(one.loss_curve_, two.loss_curve_, rtol=1e-4)
    assert one.t_ == two.t_


@pytest.mark.parametrize("params", [EXACT, {"sampling": "lsh"}, {"sampling": "uniform", "solver": "adam"}])
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


@pytest.mark.parametrize("sampling", ["lsh", "uniform"])
def test_repeated_passes_draw_labels_as_repeated_samples_do(data, weights, sampling):
    X, Y = data
    repeated = np.repeat(np.arange(120), weights)
    params = {"sampling": sampling, "negatives": {"uniform": 0.2}, "learning_rate_init": 1e-30}
    model = make(**params).fit(X, Y, sample_weight=weights)
    assert model.active_size_curve_ == make(**params).fit(X[repeated], Y[repeated]).active_size_curve_


def test_repetition_of_classes(weights):
    rng = np.random.default_rng(1)
    y = rng.integers(5, size=120)
    X = rng.normal(size=(120, 8)) + np.eye(5, 8)[y]
    repeated = np.repeat(np.arange(120), weights)
    assert_close(make(**EXACT).fit(X, y, sample_weight=weights), make(**EXACT).fit(X[repeated], y[repeated]))
    without = np.where(y == 3, 0, 1)  # a class all of whose samples weigh nothing is not there
    assert_array_equal(make().fit(X, y, sample_weight=without).classes_, [0, 1, 2, 4])


@pytest.mark.parametrize("solver", ["adagrad", "adam"])
@pytest.mark.parametrize("loss", ["sigmoid", "softmax"])
def test_weights_multiply_the_loss_of_the_reference(solver, loss):
    rng = np.random.default_rng(0)
    X = sp.random(40, 30, density=0.2, format="csr", dtype=np.float32, random_state=rng)
    Y = sp.random(40, 12, density=0.15, format="csr", random_state=rng).astype(bool)
    weights = rng.uniform(0.05, 30, size=40)
    settings = {"loss": loss, "solver": solver, "sampling": "full", "shuffle": False, "random_state": 3}
    settings |= {"max_iter": 1, "learning_rate": "constant"}
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
    assert_allclose([pass_weight(w) for w in weights[1:]], [0.25, 1, 2.5 / 3, 1, 2.5], rtol=1e-6)
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
            {"slideclassifier__sampling": ["full"]},
            scoring=scorer,
            cv=KFold(3),
            error_score="raise",
        ).fit(X, Y, sample_weight=weights)
        alone = make().set_partial_fit_request(sample_weight=True, classes=False)
        assert alone.get_metadata_routing().partial_fit.requests["sample_weight"]
    expected = make(sampling="full").fit(Normalizer().fit_transform(X), Y, sample_weight=weights)
    assert_same(search.best_estimator_[-1], expected)
