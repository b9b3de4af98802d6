"""Whole trainings: what is learned, repeatability, rates and threads."""

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import assert_same, make_model, to_samples
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import LSH, SlideClassifier
from sklearn_slide._core import parallel
from sklearn_slide._trainer import Trainer, TrainingSettings


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


ACTIVE = [
    {"n_active": 50},
    {"n_active": 50, "negatives": {"uniform": 1}},
    {"n_active": None},
]


@pytest.mark.parametrize("active", ACTIVE)
@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("solver", ["adagrad", "adam"])
def test_learns(data, active, n_jobs, solver):
    X, Y = data
    rate = {"adagrad": 0.05, "adam": 0.005}[solver]
    model = SlideClassifier(
        (64,), n_jobs=n_jobs, solver=solver, learning_rate_init=rate, random_state=0, **active
    )
    assert precision_at_1(model.fit(X[:500], Y[:500]), X[500:], Y[500:]) > 0.8
    # without the features no label is right more often than this
    assert Y[500:].toarray().mean(axis=0).max() < 0.1


@pytest.mark.parametrize(
    ("activation", "sizes", "n_active"),
    [("relu", (64, 64), None), ("tanh", (64,), 50), ("logistic", (64,), None)],
)
def test_learns_with_every_activation(data, activation, sizes, n_active):
    X, Y = data
    model = SlideClassifier(sizes, activation, max_iter=30, n_active=n_active, random_state=0)
    assert precision_at_1(model.fit(X[:500], Y[:500]), X[500:], Y[500:]) > 0.4


# A selection reads buckets, whichever family the codes are of: each of both is there once at least.
@pytest.mark.parametrize(
    ("family", "selection"),
    [("simhash", "vanilla"), ("dwta", "top_k"), ("wta", "threshold"), ("minhash", "vanilla")],
)
def test_learns_with_every_hash_family_and_selection(data, family, selection):
    X, Y = data
    lsh = LSH(family, selection=selection)
    model = SlideClassifier((64,), lsh=lsh, n_active=50, random_state=0)
    assert precision_at_1(model.fit(X[:500], Y[:500]), X[500:], Y[500:]) > 0.8


def test_random_initialisation_learns(data):
    X, Y = data
    model = SlideClassifier((64,), init="random", n_active=None, max_iter=30, random_state=0)
    assert precision_at_1(model.fit(X[:500], Y[:500]), X[500:], Y[500:]) > 0.8


@pytest.mark.parametrize(
    ("activation", "solver"), [("identity", "adagrad"), ("identity", "adam"), ("tanh", "adagrad")]
)
def test_several_networks_score_by_their_mean(data, activation, solver):
    X, Y = data
    settings = {"activation": activation, "solver": solver, "n_active": 50, "learning_rate_init": 0.01}
    state = np.random.RandomState(7)  # of which each fit draws the next seed
    fits = [SlideClassifier((8,), random_state=state, **settings).fit(X, Y) for _ in range(3)]
    singles = [fit.decision_function(X[:50]) for fit in fits]
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


@pytest.mark.parametrize("active", ACTIVE)
def test_one_seed_gives_the_same_bits(data, active):
    one, two, other = (SlideClassifier((16,), random_state=seed, **active).fit(*data) for seed in (5, 5, 6))
    assert_same(one, two)
    assert (other.coefs_[-1] != one.coefs_[-1]).any()


def test_first_weights_do_not_depend_on_threads(data):
    X, Y = data
    models = [
        SlideClassifier(
            (16,), learning_rate_init=1e-30, n_active=30, max_iter=1, n_jobs=n, random_state=5
        ).fit(X, Y)
        for n in (1, 2)
    ]
    assert_allclose(models[0].coefs_[-1], models[1].coefs_[-1], rtol=1e-6)
    assert models[0].active_size_curve_ == models[1].active_size_curve_
    assert_allclose(models[0].loss_, models[1].loss_, rtol=1e-6)


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

    def watched(trainer, epoch_rates, *args):
        rates.extend(epoch_rates)
        return run_epoch(trainer, epoch_rates, *args)

    run_epoch = Trainer.run_epoch
    monkeypatch.setattr(Trainer, "run_epoch", watched)
    model = SlideClassifier((8,), learning_rate_init=0.08, max_iter=4).fit(*data)
    assert_allclose(rates, [0.08, 0.06, 0.06, 0.04, 0.04, 0.02, 0.02, 0.0], atol=1e-12)
    rates.clear()
    model.set_params(learning_rate="constant", max_iter=1).fit(*data)
    model.partial_fit(*data)
    assert_allclose(rates, [0.08] * 4)


def test_stops_when_the_loss_no_longer_improves(data):
    model = SlideClassifier((8,), max_iter=50, tol=1e9, n_iter_no_change=3).fit(*data)
    assert model.n_iter_ == 4
    assert model.t_ == 4 * 600
    assert model.best_loss_ == min(model.loss_curve_)
    assert model.loss_ == model.loss_curve_[-1]


def start(data, **settings):
    """Return a Trainer of a small first Model."""
    X, Y = data
    samples = to_samples(X, Y)
    lsh = LSH(rehash_interval=70, rehash_growth=1.5)
    model = make_model(samples, 300, 150, lsh=lsh)
    defaults = {"n_active": 30, "negatives": "auto", "shuffle": True, "n_jobs": 1}
    return Trainer(model, samples, TrainingSettings(**defaults | settings))


def tables_of(trainer):
    return [array.copy() for array in trainer.model.training.index.tables]


@pytest.mark.parametrize(("round_work", "n_jobs"), [(1.0, 1), (1e5, 1), (1e5, 2), (3e8, 1), (3e8, 2)])
def test_rounds_end_where_the_tables_are_rebuilt(data, round_work, n_jobs, monkeypatch):
    monkeypatch.setattr(parallel, "_ROUND_WORK", round_work)
    trainer, done, built = start(data, n_jobs=n_jobs), [0], []
    tables = [None]

    def note(n_passes, loss, n_active):
        now = tables_of(trainer)
        if tables[0] is None or any((a != b).any() for a, b in zip(tables[0], now, strict=True)):
            built.append(done[0])  # before the round that has just ended
        tables[0] = now
        done[0] += n_passes

    for _ in range(2):
        trainer.run_epoch((0.1, 0.1), note)
    assert done == [1200]
    # 0, 70, 70 + 105, 175 + 157.5 and so on, rounded up
    assert built == [0, 70, 175, 333, 569, 924]


def test_tables_are_built_for_those_who_ask(data):
    assert start(data, n_active=None).model.training.index is None
    assert start(data, negatives={"uniform": 1}).model.training.index is None
    trainer = start(data)
    model, samples = trainer.model, trainer.samples
    trainer.run_epoch((0.1, 0.1))
    before, index = tables_of(trainer), model.training.index
    # training without tables leaves them as they are; training with them goes on with the same
    settings = TrainingSettings(n_active=None, negatives="auto", shuffle=True, n_jobs=1)
    Trainer(model, samples, settings).run_epoch((0.1, 0.1))
    assert model.training.index is index
    for one, two in zip(before, tables_of(trainer), strict=True):
        assert_array_equal(one, two)
    again = Trainer(model, samples, TrainingSettings(30, "auto", True, 1))
    assert again.engine.index.tables is index.tables


def test_rebuilds_that_came_due_without_tables_are_one(data):
    trainer = start(data)
    model, samples = trainer.model, trainer.samples
    trainer.run_epoch((0.1, 0.1))
    for _ in range(2):
        Trainer(model, samples, TrainingSettings(None, "auto", True, 1)).run_epoch((0.1, 0.1))
    assert model.n_passes == 1800 > model.training.schedule.due
    before, told = tables_of(trainer), []
    trainer = Trainer(model, samples, TrainingSettings(30, "auto", True, 1))
    _, size = trainer.run_epoch((0.1, 0.1), lambda *args: told.append(args))
    assert any((a != b).any() for a, b in zip(before, tables_of(trainer), strict=True))
    assert sum(n_passes for n_passes, _, _ in told) == 600
    assert size < 30
    # intervals grew by the builds at 0, 70, 175, 333 and 569; the next ones were at 1800 and at 2332
    assert model.training.schedule.due == 1800 + 70 * 1.5**5 + 70 * 1.5**6


def test_epochs_differ_in_order_and_negatives(data):
    # with a learning rate of almost 0 nothing else tells the epochs apart
    def sizes_and_losses(trainer):
        noted = []
        for _ in range(2):
            trainer.run_epoch((1e-30, 1e-30), lambda *args: noted.append(args[1:]))
        return noted[:600], noted[600:]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "_ROUND_WORK", 1.0)
        shuffled, straight = start(data), start(data, shuffle=False)
        one, two = sizes_and_losses(shuffled)
        assert sum(a == b for a, b in zip(one, two, strict=True)) < 60
        one, two = sizes_and_losses(straight)
        assert sum(a == b for a, b in zip(one, two, strict=True)) < 60
        # every label is active, so that a pass costs what its sample does: straight on, epochs are the same
        one, two = sizes_and_losses(start(data, shuffle=False, n_active=None))
        assert one == two
        one, two = sizes_and_losses(start(data, n_active=None))
        assert one != two
        assert sorted(one) == sorted(two)


@pytest.mark.parametrize("loss", ["sigmoid", "softmax", "sigmoid+softmax"])
@pytest.mark.parametrize("weight", [None, 0.5])
def test_a_loss_that_is_not_finite_ends_the_epoch(loss, weight, data):
    X, Y = data
    weights = None if weight is None else np.full(X.shape[0], weight, dtype=np.float32)
    samples = to_samples(X, Y, weights)
    model = make_model(samples, X.shape[1], Y.shape[1], loss=loss)
    trainer = Trainer(model, samples, TrainingSettings(None, "auto", shuffle=True, n_jobs=1))
    network, solver = trainer.model.network, trainer.model.training.solver
    network.output.biases[:] = np.nan
    arrays = [*network.input, *network.output, network.direct.weights]
    arrays += [part.sums for state in (solver.input, solver.output) for part in state]
    before = [array.copy() for array in arrays]
    with pytest.raises(FloatingPointError, match=r"The loss became nan in epoch 1$"):
        trainer.run_epoch((0.1, 0.1))
    # the sample does not touch a weight
    for array, old in zip(arrays, before, strict=True):
        assert_array_equal(array, old)


def test_features_and_labels_of_training_samples_are_noted(data):
    X, Y = data
    first, second = to_samples(X[:3], Y[:3]), to_samples(X[3:5], Y[3:5])
    model = make_model(first, 300, 150)
    settings = TrainingSettings(None, "auto", True, 1)
    Trainer(model, first, settings)
    assert_array_equal(np.flatnonzero(model.seen), np.unique(X[:3].indices))
    assert_array_equal(np.flatnonzero(model.seen_labels), np.unique(Y[:3].indices))
    Trainer(model, second, settings)
    assert_array_equal(np.flatnonzero(model.seen), np.unique(X[:5].indices))
    assert_array_equal(np.flatnonzero(model.seen_labels), np.unique(Y[:5].indices))
