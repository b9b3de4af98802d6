"""The Model: settings, what further training shares with it, joined networks, and X on its way in."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import all_scores, make, make_model, to_samples, train_model
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import LSH
from sklearn_slide._growth import settle_scale
from sklearn_slide._model import Model, ModelSettings, TrainingState, join
from sklearn_slide._trainer import Trainer, TrainingSettings

N_LABELS = 25
SETTINGS = TrainingSettings(15, "auto", shuffle=True, n_jobs=1)


def arrays_of(state):
    """List the arrays in a tree of tuples."""
    if isinstance(state, np.ndarray):
        return [state]
    return [array for part in state or () for array in arrays_of(part)] if isinstance(state, tuple) else []


def weights_of(model):
    """List the arrays of a Model that training changes."""
    return arrays_of((model.network, model.training.solver, model.training.index))


# Settings


def test_settings_of_an_estimator():
    settings = ModelSettings.of(make(hidden_layer_sizes=np.array([7, 5]), solver="adam"), multilabel=True)
    assert settings.hidden_layer_sizes == (7, 5)
    assert all(type(size) is int for size in settings.hidden_layer_sizes)
    assert (settings.activation, settings.solver, settings.init) == ("identity", "adam", "centroid")
    assert settings.lsh.get_params() == LSH().get_params()
    assert ModelSettings.of(make(hidden_layer_sizes=3), True).hidden_layer_sizes == (3,)


@pytest.mark.parametrize(
    ("loss", "multilabel", "expected"),
    [("auto", True, "sigmoid"), ("auto", False, "softmax"), ("sigmoid+softmax", False, "sigmoid+softmax")],
)
def test_the_automatic_loss(loss, multilabel, expected):
    assert ModelSettings.of(make(loss=loss), multilabel).loss == expected


def test_a_linear_model_has_no_direct_weights():
    assert ModelSettings.of(make(hidden_layer_sizes=(), direct_limit=9), True).direct_limit == 0
    assert ModelSettings.of(make(direct_limit=9), True).direct_limit == 9


def test_settings_keep_a_copy_of_the_tables_parameters():
    lsh = LSH(n_tables=3)
    settings = ModelSettings.of(make(lsh=lsh), True)
    lsh.n_tables = 4
    assert settings.lsh.n_tables == 3


@pytest.mark.parametrize("sizes", [(5, 0), (5.5,), -3, ("5",), (None,), [[5]]])
def test_sizes_that_cannot_be(sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes must hold whole numbers of neurons"):
        ModelSettings.of(make(hidden_layer_sizes=sizes), True)


def test_differences():
    settings = ModelSettings.of(make(), True)
    assert settings.differences(ModelSettings.of(make(lsh=LSH()), True)) == []
    other = ModelSettings.of(make(solver="adam", activation="tanh", lsh=LSH(n_tables=3)), True)
    assert settings.differences(other) == ["activation", "solver", "lsh"]
    assert settings.differences(other) == other.differences(settings)


# Further training


def test_further_training_shares_the_arrays_but_not_the_counters(data):
    model = train_model(*data, n_active=15)
    n_passes, due = model.n_passes, model.training.schedule.due
    assert model.open_to_training(model.settings) is model
    later = model.to_train()
    assert all(map(np.shares_memory, weights_of(model), weights_of(later)))
    before = [array.copy() for array in arrays_of(model.network)]
    for _ in range(2):
        Trainer(later, to_samples(*data), SETTINGS).run_epoch((0.1, 0.1))
    assert (later.n_passes, later.n_epochs) == (n_passes + 240, 4)
    assert (model.n_passes, model.n_epochs) == (n_passes, 2)
    assert model.training.schedule.due == due
    assert any((a != b).any() for a, b in zip(before, arrays_of(model.network), strict=True))


def test_arrays_that_cannot_be_written_to_are_copied(data):
    model = train_model(*data, n_active=15)
    expected = [array.copy() for array in weights_of(model)]
    locked = weights_of(model)[::2]
    for array in locked:
        array.flags.writeable = False
    later = model.open_to_training(model.settings).to_train()
    Trainer(later, to_samples(*data), SETTINGS).run_epoch((0.1, 0.1))
    for place, (now, then) in enumerate(zip(weights_of(model), expected, strict=True)):
        assert np.shares_memory(now, weights_of(later)[place]) == bool(place % 2)
        if place % 2 == 0:
            assert_array_equal(now, then)
    # with the arrays goes what is known of the samples that they were trained with
    settle_scale(later, to_samples(data[0][:60], data[1][:60]))
    assert (later.training.lengths.counts.sum(), model.training.lengths.counts.sum()) == (60, 0)


def test_what_cannot_be_trained(data):
    model = train_model(*data, n_active=15)
    other = replace(model.settings, init="x")
    with pytest.raises(ValueError, match=r"init cannot change.*init='centroid'.*now has 'x'. Set it back"):
        model.open_to_training(other)
    small = model.compact("float32", None)
    for call in (small.require_trainable, lambda: small.open_to_training(model.settings)):
        with pytest.raises(ValueError, match=r"compact\(\) has dropped what training goes on from"):
            call()
    with pytest.raises(ValueError, match="has dropped"):
        Trainer(small, to_samples(*data), SETTINGS)


# Joined networks


@pytest.mark.parametrize("settings", [{}, {"solver": "adam"}, {"direct_limit": 0, "activation": "tanh"}])
@pytest.mark.parametrize("n", [2, 3])
def test_joined_networks_score_the_mean(data, settings, n):
    X, samples = data[0], to_samples(*data)
    models = [make_model(samples, 40, N_LABELS, seed=seed, **settings) for seed in range(n)]
    for epochs, model in enumerate(models, 1):
        for _ in range(epochs):
            Trainer(model, samples, SETTINGS).run_epoch((0.05, 0.05))
    both = join(models)
    expected = np.mean([all_scores(model, X) for model in models], axis=0)
    assert_allclose(all_scores(both, X), expected, rtol=1e-4, atol=1e-4)
    assert (both.n_epochs, both.n_passes) == (sum(range(n + 1)), 120 * sum(range(n + 1)))
    assert both.seed == models[0].seed
    assert both.network.input.shape == (40, 8 * n)
    assert_array_equal(both.seen, models[0].seen)
    # what the solver remembers has the shapes of what it steps, and training goes on
    fresh = make_model(samples, 40, N_LABELS, hidden_layer_sizes=(8 * n,), **settings)
    shapes = [array.shape for array in arrays_of(both.training.solver)]
    assert shapes == [array.shape for array in arrays_of(fresh.training.solver)]
    before = all_scores(both, X)
    Trainer(both, samples, SETTINGS).run_epoch((0.05, 0.05))
    assert not np.allclose(all_scores(both, X), before)


def test_what_a_solver_remembers_of_a_row_is_averaged(data):
    samples = to_samples(*data)
    models = [make_model(samples, 40, N_LABELS, seed=seed) for seed in range(2)]
    for model in models:
        Trainer(model, samples, SETTINGS).run_epoch((0.1, 0.1))
    first, second, both = (model.training.solver for model in [*models, join(models)])
    for layer in ("input", "output"):
        for part in ("weights", "biases"):
            sums = [getattr(getattr(state, layer), part).sums for state in (first, second, both)]
            assert_allclose(sums[2], (sums[0] + sums[1]) / 2, rtol=1e-6)


def test_moments_stand_side_by_side_as_the_weights_do(data):
    samples = to_samples(*data)
    models = [make_model(samples, 40, N_LABELS, seed=seed, solver="adam") for seed in range(2)]
    for epochs, model in enumerate(models, 1):
        for _ in range(epochs):
            Trainer(model, samples, SETTINGS).run_epoch((0.01, 0.01))
    first, second, both = (model.training.solver for model in [*models, join(models)])
    for layer, part, combine in (
        ("input", "weights", np.hstack),
        ("input", "biases", np.hstack),
        ("output", "weights", np.hstack),
        ("output", "biases", sum),
    ):
        one, two, joined = (getattr(getattr(state, layer), part) for state in (first, second, both))
        assert_allclose(joined.counts, (one.counts + two.counts) / 2)
        assert_array_equal(joined.first_moment, combine([one.first_moment, two.first_moment]))
        assert_array_equal(joined.second_moment, combine([one.second_moment, two.second_moment]))


def test_one_model_joined_is_itself(data):
    model = train_model(*data, n_active=15)
    assert join([model]) is model


# What goes in, and what is told


@pytest.mark.parametrize("places", [None, np.array([0, -1, 1, -1, 2], dtype=np.int32)])
def test_samples_are_scaled_and_find_their_places(places):
    X = sp.random(6, 5, density=0.6, format="csr", dtype=np.float32, random_state=1)
    model = make_model(to_samples(X, np.eye(6)), 5, 6)
    model.input_scale, model.places = 0.25, places
    x = model.rows(X)
    n_places = 5 if places is None else 3
    found = sp.csr_array((x.data, x.indices, x.indptr), shape=(6, n_places))
    kept = slice(None) if places is None else [0, 2, 4]
    assert_array_equal(found.toarray(), X.toarray()[:, kept] / 4)


@pytest.mark.parametrize("sizes", [(8,), (8, 6), ()])
@pytest.mark.parametrize("exponent", [-3, 0, 5])
def test_weights_are_told_in_units_of_X(data, sizes, exponent):
    X, Y = data
    params = {"hidden_layer_sizes": sizes, "activation": "identity"}
    scaled = X * np.float32(2.0**exponent)
    model = make(**params).fit(scaled, Y)
    assert model._model.input_scale == 2.0**-exponent
    scores = model.decision_function(scaled)
    assert_array_equal(scores, make(**params).fit(X, Y).decision_function(X))
    assert_allclose(all_scores(model._model, scaled), scores, rtol=1e-4, atol=1e-4)


def test_hash_functions_follow_from_the_seed(data):
    samples = to_samples(*data)
    one, same, other = (make_model(samples, 40, N_LABELS, seed=seed) for seed in (3, 3, 4))
    assert_array_equal(one.hasher.signs, same.hasher.signs)
    assert (one.hasher.signs != other.hasher.signs).any()
    read = pickle.loads(pickle.dumps(one))
    assert_array_equal(read.hasher.signs, one.hasher.signs)


def test_half_precision_is_what_is_stored_and_not_what_is_in_memory(data):
    model = train_model(*data, n_active=15).compact("float16", None)
    state = model.__getstate__()
    assert [a.dtype for a in (state["network"].input.weights, state["network"].direct.weights)] == [
        "f2",
        "f2",
    ]
    read = pickle.loads(pickle.dumps(model))
    for got, expected in zip(arrays_of(read.network), arrays_of(model.network), strict=True):
        assert got.dtype == expected.dtype != np.float16
        assert_array_equal(got, expected)


def test_a_training_state_starts_without_tables(data):
    model = make_model(to_samples(*data), 40, N_LABELS)
    assert isinstance(model, Model)
    assert isinstance(model.training, TrainingState)
    assert (model.training.index, model.training.schedule) == (None, None)
    assert (model.n_passes, model.n_epochs) == (0, 0)
    assert not model.seen.any()
