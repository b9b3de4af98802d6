"""Training of whole networks against the reference, repeatability and threads."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import SlideClassifier, _training
from sklearn_slide._network import DIRECT_NORM, HIDDEN_ACCUMULATOR, OUTPUT_ACCUMULATOR


@pytest.fixture(scope="module")
def data():
    """Make samples whose features tell their labels: label y goes with the features 2 y and 2 y + 1."""
    rng = np.random.default_rng(0)
    Y = sp.random(600, 150, density=0.02, format="csr", random_state=rng)
    Y.data[:] = 1
    signal = sp.csr_array((np.ones(300), (np.repeat(np.arange(150), 2), np.arange(300))), shape=(150, 300))
    noise = sp.random(600, 300, density=0.01, format="csr", random_state=rng)
    return sp.csr_array(Y @ signal + noise, dtype=np.float32), sp.csr_array(Y, dtype=np.int8)


def precision_at_1(model, X, Y):
    labels, _ = model.predict_top_k(X, 1)
    return Y.toarray()[np.arange(Y.shape[0]), labels[:, 0]].mean()


@pytest.mark.parametrize("solver", ["adagrad", "adam"])
@pytest.mark.parametrize("direct_limit", [0, 5, 1000])
@pytest.mark.parametrize("learning_rate", ["constant", "linear"])
@pytest.mark.parametrize(
    ("activation", "sizes", "loss"),
    [
        ("identity", (8,), "sigmoid"),
        ("relu", (8,), "sigmoid"),
        ("relu", (8, 6), "sigmoid"),
        ("tanh", (7,), "softmax"),
        ("logistic", (5, 4, 6), "softmax"),
        ("identity", (8,), "sigmoid+softmax"),
        ("identity", (), "sigmoid"),
    ],
)
def test_full_sampling_trains_to_the_weights_of_the_reference(
    solver, activation, sizes, loss, direct_limit, learning_rate
):
    rng = np.random.default_rng(0)
    X = sp.random(40, 30, density=0.2, format="csr", dtype=np.float32, random_state=rng)
    Y = sp.random(40, 12, density=0.15, format="csr", random_state=rng).astype(bool)
    settings = {"activation": activation, "loss": loss, "solver": solver}
    settings |= {"sampling": "full", "shuffle": False, "random_state": 3}
    settings |= {"direct_limit": direct_limit, "learning_rate": learning_rate}
    model = SlideClassifier(sizes, learning_rate_init=0.02, max_iter=1, **settings)
    start = SlideClassifier(sizes, learning_rate_init=1e-30, max_iter=1, **settings).fit(X, Y)
    coefs = [c.astype(float) for c in start.coefs_]
    intercepts = [b.astype(float) for b in start.intercepts_]
    direct = start.direct_coef_.toarray().astype(float)
    assert bool(direct.any()) == (direct_limit > 0 and len(sizes) > 0)
    last_rate = {"constant": 0.02, "linear": 0.0}[learning_rate]
    expected_loss = reference.train(
        X.toarray().astype(float),
        Y.toarray().astype(float),
        np.arange(X.shape[0]),
        coefs,
        intercepts,
        direct,
        activation=activation,
        loss=loss,
        solver=solver,
        rates=np.linspace(0.02, last_rate, X.shape[0], endpoint=False),
        starts=[HIDDEN_ACCUMULATOR] * len(sizes) + [OUTPUT_ACCUMULATOR],
        gain=DIRECT_NORM**2 / np.mean(np.sum(X.toarray() ** 2, axis=1)),
    )
    model.fit(X, Y)
    assert_allclose(model.loss_, expected_loss, rtol=1e-4)
    for got, expected in zip([*model.coefs_, *model.intercepts_], [*coefs, *intercepts], strict=True):
        assert_allclose(got, expected, rtol=2e-3, atol=2e-4)
    assert_allclose(model.direct_coef_.toarray(), direct, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("sampling", ["lsh", "uniform", "full"])
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("solver", ["adagrad", "adam"])
def test_learns(data, sampling, n_jobs, solver):
    X, Y = data
    rate = {"adagrad": 0.05, "adam": 0.005}[solver]
    model = SlideClassifier(
        (64,),
        sampling=sampling,
        n_active=50,
        n_jobs=n_jobs,
        solver=solver,
        learning_rate_init=rate,
        random_state=0,
    )
    assert precision_at_1(model.fit(X[:500], Y[:500]), X[500:], Y[500:]) > 0.8
    # without the features no label is right more often than this
    assert Y[500:].toarray().mean(axis=0).max() < 0.1


@pytest.mark.parametrize(
    ("activation", "sizes"), [("relu", (64, 64)), ("tanh", (64, 64)), ("logistic", (64,))]
)
def test_learns_with_every_activation(data, activation, sizes):
    X, Y = data
    model = SlideClassifier(sizes, activation, max_iter=30, sampling="full", random_state=0)
    assert precision_at_1(model.fit(X[:500], Y[:500]), X[500:], Y[500:]) > 0.4


@pytest.mark.parametrize("family", ["simhash", "dwta", "wta", "minhash"])
@pytest.mark.parametrize("selection", ["vanilla", "top_k", "threshold"])
def test_learns_with_every_hash_family_and_selection(data, family, selection):
    X, Y = data
    model = SlideClassifier((64,), hash_family=family, selection=selection, n_active=50, random_state=0)
    assert precision_at_1(model.fit(X[:500], Y[:500]), X[500:], Y[500:]) > 0.8


def test_random_initialisation_learns(data):
    X, Y = data
    model = SlideClassifier((64,), init="random", sampling="full", max_iter=30, random_state=0)
    assert precision_at_1(model.fit(X[:500], Y[:500]), X[500:], Y[500:]) > 0.8


@pytest.mark.parametrize("activation", ["identity", "tanh"])
@pytest.mark.parametrize("solver", ["adagrad", "adam"])
def test_several_networks_score_by_their_mean(data, activation, solver):
    X, Y = data
    settings = {"activation": activation, "solver": solver, "n_active": 50, "learning_rate_init": 0.01}
    seeds = np.random.RandomState(7).randint(np.iinfo(np.int32).max, size=3)
    singles = []
    for seed in seeds:
        single = SlideClassifier((8,), **settings)
        single._draw_seeds = lambda n, seed=seed: [seed]
        singles.append(single.fit(X, Y).decision_function(X[:50]))
    assert abs(singles[0] - singles[1]).max() > 0.1
    model = SlideClassifier((8,), n_estimators=3, random_state=7, **settings).fit(X, Y)
    assert [c.shape for c in model.coefs_] == [(300, 24), (24, 150)]
    assert_allclose(model.decision_function(X[:50]), np.mean(singles, axis=0), rtol=1e-4, atol=1e-4)
    # the joined network can be trained further, and searched by its hash tables
    loss = model.loss_
    assert model.set_params(learning_rate_init=0.001).partial_fit(X, Y).loss_ < loss
    model.set_params(retrieval="lsh").predict_top_k(X[:5], 3)


def test_several_networks_need_one_hidden_layer(data):
    with pytest.raises(ValueError, match=r"n_estimators=2 needs .* one layer"):
        SlideClassifier((8, 8), "relu", n_estimators=2).fit(*data)
    with pytest.raises(ValueError, match="n_estimators"):
        SlideClassifier((), n_estimators=2).fit(*data)


@pytest.mark.parametrize("sampling", ["lsh", "uniform", "full"])
def test_one_seed_gives_the_same_bits(data, sampling):
    X, Y = data
    models = [
        SlideClassifier((16,), sampling=sampling, n_active=30, random_state=5).fit(X, Y) for _ in range(2)
    ]
    for one, two in zip(
        models[0].coefs_ + models[0].intercepts_, models[1].coefs_ + models[1].intercepts_, strict=True
    ):
        assert_array_equal(one, two)
    other = SlideClassifier((16,), sampling=sampling, n_active=30, random_state=6).fit(X, Y)
    assert (other.coefs_[-1] != models[0].coefs_[-1]).any()


def test_first_weights_do_not_depend_on_threads(data):
    X, Y = data
    models = [
        SlideClassifier((16,), learning_rate_init=1e-30, max_iter=1, n_jobs=n, random_state=5).fit(X, Y)
        for n in (1, 2)
    ]
    assert_allclose(models[0].coefs_[-1], models[1].coefs_[-1], rtol=1e-6)
    assert models[0].active_size_curve_ == models[1].active_size_curve_


def test_active_size(data):
    X, Y = data
    exact = SlideClassifier((8,), n_active=150, max_iter=1).fit(X, Y)
    assert exact.active_size_curve_ == [150]
    sampled = SlideClassifier((8,), n_active=20, max_iter=2, random_state=0).fit(X, Y)
    assert len(sampled.active_size_curve_) == 2
    assert all(5 < size <= 20 for size in sampled.active_size_curve_)


def test_loss_falls(data):
    curve = SlideClassifier((32,), max_iter=4, random_state=0).fit(*data).loss_curve_
    assert curve[3] < curve[1] < curve[0]


def test_learning_rate_falls_over_all_epochs_of_fit(data, monkeypatch):
    rates = []

    def watched(*args):
        rates.extend(args[4])
        return train_rounds(*args)

    train_rounds = _training.train_rounds
    monkeypatch.setattr(_training, "train_rounds", watched)
    model = SlideClassifier((8,), learning_rate_init=0.08, max_iter=4).fit(*data)
    assert_allclose(rates, [0.08, 0.06, 0.06, 0.04, 0.04, 0.02, 0.02, 0.0], atol=1e-12)
    rates.clear()
    model.partial_fit(*data)
    model.set_params(learning_rate="constant", max_iter=1).fit(*data)
    assert_allclose(rates, [0.08] * 4)


def test_stops_when_the_loss_no_longer_improves(data):
    model = SlideClassifier((8,), max_iter=50, tol=1e9, n_iter_no_change=3).fit(*data)
    assert model.n_iter_ == 4
    assert model.t_ == 4 * 600
    assert model.best_loss_ == min(model.loss_curve_)
    assert model.loss_ == model.loss_curve_[-1]
