"""Ridge regression beside a network: the closed form, the choice by held-out samples, what follows."""

import pickle
from copy import deepcopy
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import all_scores, make, make_model, no_report, to_samples
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import SlideClassifier, _fitting, _ridge, _ridge_choice
from sklearn_slide._core.direct import add_pairs
from sklearn_slide._core.layers import ACTIVATIONS
from sklearn_slide._ranker import Ranker
from sklearn_slide._ridge import fit_ridge, principal_axes
from sklearn_slide._ridge_choice import Judge, can_have_ridge, choose_ridge, choose_share, choose_weights
from sklearn_slide._shards import join_shards, split_classifier
from sklearn_slide.datasets import make_xmc_classification

N_FEATURES, N_LABELS = 20, 9


@pytest.fixture(scope="module")
def task():
    """Return X of 60 samples, CSR, and an indicator of 9 labels."""
    rng = np.random.default_rng(0)
    X = sp.random(60, N_FEATURES, density=0.3, random_state=1, format="csr", dtype=np.float32)
    Y = sp.csr_array(rng.random((60, N_LABELS)) < 0.2)
    return X, Y


def closed_form(X, Y, penalty, weights=None):
    """Solve (X'X + penalty I) W = X'Y."""
    X, Y = X.toarray().astype(float), Y.toarray().astype(float)
    weighted = X.T if weights is None else X.T * weights
    return np.linalg.solve(weighted @ X + penalty * np.eye(X.shape[1]), weighted @ Y)


def weights_of(network):
    """Return the weights (n_features, n_labels) that a Network of one hidden layer amounts to."""
    direct, n_labels = network.direct, network.n_labels
    weights = network.input.weights.astype(float) @ network.output.weights.T.astype(float)
    pairs = sp.csr_array((direct.weights, direct.labels, direct.indptr), shape=(len(weights), n_labels))
    return weights + pairs.toarray()


@pytest.mark.parametrize("most_pairs", [10**6, 400, 0])
@pytest.mark.parametrize("weighted", [False, True])
def test_all_axes_give_the_closed_form(task, most_pairs, weighted, monkeypatch):
    monkeypatch.setattr(_ridge, "_MOST_PAIRS", most_pairs)
    X, Y = task
    weights = np.random.default_rng(2).integers(1, 4, size=60).astype(np.float32) if weighted else None
    ridge = fit_ridge([to_samples(X, Y, weights)], N_FEATURES, N_LABELS, 100, 0, 1)
    assert ridge.n_axes == N_FEATURES
    assert (len(ridge.direct.labels) == 0) == (most_pairs == 0)
    ridge.penalty = 0.7
    expected = closed_form(X, Y, 0.7, weights)
    assert_allclose(weights_of(ridge.network(ACTIVATIONS["identity"])), expected, rtol=1e-3, atol=1e-4)
    lengths = np.linalg.norm(expected, axis=0)
    if most_pairs == 10**6:
        assert_allclose(ridge.lengths([ridge.factors()])[:, 0], lengths, rtol=1e-3)
        ridge.power = 0.5
        scaled = weights_of(ridge.network(ACTIVATIONS["identity"], share=3.0))
        assert_allclose(scaled, 3 * expected * lengths**-0.5, rtol=1e-3, atol=1e-3)


def test_beyond_the_axes_all_squares_are_the_tail(task):
    X, Y = task
    ridge = fit_ridge([to_samples(X, Y)], N_FEATURES, N_LABELS, 100, 0, 1)
    axes, sums = (np.ascontiguousarray(matrix[:, :5]) for matrix in (ridge.axes, ridge.sums))
    ridge = replace(ridge, axes=axes, sums=sums, squares=ridge.squares[:5], penalty=0.5, tail=0.3)
    _, s, rows = np.linalg.svd(X.toarray().astype(float), full_matrices=False)
    squares = np.append(s[:5] ** 2, np.full(N_FEATURES - 5, 0.3))
    expected = rows.T @ np.diag(1 / (squares + 0.5)) @ rows @ (X.T @ Y).toarray()
    network = ridge.network(ACTIVATIONS["identity"])
    assert network.n_units == 5
    assert_allclose(weights_of(network), expected, rtol=1e-3, atol=1e-3)
    assert_allclose(ridge.lengths([ridge.factors()])[:, 0], np.linalg.norm(expected, axis=0), rtol=1e-3)


def test_a_label_without_samples_has_no_score(task):
    X, Y = task
    Y = sp.csr_array(sp.hstack([Y, sp.csr_array((60, 1), dtype=bool)]))
    ridge = fit_ridge([to_samples(X, Y)], N_FEATURES, N_LABELS + 1, 5, 0, 1)
    ridge.power = 0.85
    weights = weights_of(ridge.network(ACTIVATIONS["identity"]))
    assert np.isfinite(weights).all()
    assert_array_equal(weights[:, -1], 0)


def test_axes_of_a_part_of_many_samples_stand_for_all(monkeypatch):
    X = sp.random(3000, 12, density=0.5, random_state=0, format="csr", dtype=np.float32)
    X.data *= np.exp(np.linspace(0, -2, 12))[X.indices].astype(np.float32)
    samples = to_samples(X, sp.csr_matrix((3000, 2), dtype=bool))
    expected, axes = principal_axes([samples], 12, 4, 0, 1)
    _, s, rows = np.linalg.svd(X.toarray().astype(float), full_matrices=False)
    assert_allclose(expected, s[:4] ** 2, rtol=1e-4)
    assert_allclose(abs((axes.T @ rows[:4].T).diagonal()), 1, rtol=1e-3)
    monkeypatch.setattr(_ridge, "_MOST_ROWS", 1500)
    assert_allclose(principal_axes([samples], 12, 4, 0, 1)[0], expected, rtol=0.1)


def test_pairs_of_two_are_added(task):
    X, Y = task
    one, other = (
        fit_ridge([to_samples(X[part], Y[part])], N_FEATURES, N_LABELS, 3, 0, 1).direct
        for part in (slice(30), slice(20, 60))
    )
    both = add_pairs(one, other, N_LABELS)
    matrices = [
        sp.csr_array((part.weights, part.labels, part.indptr), shape=(N_FEATURES, N_LABELS)).toarray()
        for part in (one, other, both)
    ]
    assert_allclose(matrices[2], matrices[0] + matrices[1], rtol=1e-6)
    assert add_pairs(None, other, N_LABELS) is other
    assert add_pairs(one, None, N_LABELS) is one


@pytest.fixture(scope="module")
def judged(task):
    """Return a Judge with the samples of the task, networks of two ridges, and the first of these."""
    X, Y = task
    ridge = fit_ridge([to_samples(X, Y)], N_FEATURES, N_LABELS, 4, 0, 1)
    rough = fit_ridge([to_samples(X, Y)], N_FEATURES, N_LABELS, 2, 0, 1)
    networks = [each.network(ACTIVATIONS["identity"]) for each in (ridge, rough)]
    return Judge(to_samples(X, Y), networks, (1, 3), 1), networks, ridge


def slow_precision(X, Y, scores):
    """Return the mean of precision at 1 and 3 of each row."""
    order = np.argsort(-scores, axis=1)
    true = np.take_along_axis(Y.toarray(), order, axis=1)
    return (true[:, 0] + true[:, :3].mean(axis=1)) / 2


def test_precision_is_that_of_a_full_ranking(task, judged):
    judge, networks, _ = judged
    for network in networks:
        scores = task[0] @ weights_of(network)
        assert_allclose(judge.precision(judge.scores(network)), slow_precision(*task, scores), rtol=1e-6)


def test_few_candidates_hold_the_best_of_each_network(task, monkeypatch):
    monkeypatch.setattr(_ridge_choice, "_N_CANDIDATES", 3)
    X, Y = task
    ridge = fit_ridge([to_samples(X, Y)], N_FEATURES, N_LABELS, 4, 0, 1)
    network = ridge.network(ACTIVATIONS["identity"])
    judge = Judge(to_samples(X, Y), [network], (1, 3), 1)
    assert len(judge.pairs.indices) == 60 * 3
    found = judge.precision(judge.scores(network))
    assert_allclose(found, slow_precision(X, Y, X @ weights_of(network)))


@pytest.mark.parametrize("most_pairs", [10**6, 400])
def test_scores_of_several_factors_are_those_of_networks(task, most_pairs, monkeypatch):
    monkeypatch.setattr(_ridge, "_MOST_PAIRS", most_pairs)
    X, Y = task
    ridge = fit_ridge([to_samples(X, Y)], N_FEATURES, N_LABELS, 6, 0, 1)
    assert ridge.crowded.any() == (most_pairs == 400)
    tried = [replace(ridge, penalty=0.3), replace(ridge, penalty=2.0, tail=0.4)]
    networks = [each.network(ACTIVATIONS["identity"]) for each in tried]
    judge = Judge(to_samples(X, Y), networks, (1,), 1)
    found = judge.ridge_scores(ridge, [each.factors() for each in tried])
    assert_allclose(found, [judge.scores(network) for network in networks], rtol=1e-3, atol=1e-4)


def test_the_best_penalty_power_and_share_are_chosen(task, judged):
    judge, networks, ridge = judged
    X, Y = task
    found = choose_weights(ridge, judge, 1.0)
    precisions = []
    for penalty, tail in product(_ridge_choice._PENALTIES, _ridge_choice._TAILS):
        for power in _ridge_choice._POWERS:
            ridge.penalty, ridge.tail, ridge.power = penalty, tail * ridge.squares[-1], power
            scores = X @ weights_of(ridge.network(ACTIVATIONS["identity"]))
            precisions.append(slow_precision(X, Y, scores).mean())
    ridge.penalty, ridge.tail, ridge.power = 1.0, 0.0, 0.0
    reached = slow_precision(X, Y, X @ weights_of(found.network(ACTIVATIONS["identity"]))).mean()
    assert_allclose(reached, max(precisions), atol=1e-9)
    share, gain = choose_share(found, judge, networks[1])
    alone, its = X @ weights_of(networks[1]), X @ weights_of(found.network(ACTIVATIONS["identity"]))
    unit = judge.scores(networks[1]).std() / judge.scores(found.network(ACTIVATIONS["identity"])).std()
    gains = [
        (slow_precision(X, Y, alone + factor * unit * its) - slow_precision(X, Y, alone)).mean()
        for factor in _ridge_choice._SHARES
    ]
    assert_allclose(gain, max(gains), atol=1e-9)
    assert_allclose(share, _ridge_choice._SHARES[np.argmax(gains)] * unit, rtol=1e-5)


@pytest.fixture(scope="module")
def fitted():
    """Return a classifier with a ridge regression beside its network, and its data."""
    X, Y = make_xmc_classification(n_samples=300, n_labels=40, n_features=60, random_state=0)
    X, Y = sp.csr_matrix(X), sp.csr_matrix(Y)
    model = make(max_iter=2).fit(X, Y)
    samples = model._encode((X, Y, None), model._model.labels, model._model.scale)
    ridge = fit_ridge([samples], X.shape[1], Y.shape[1], 5, 0, 1)
    model._model.ridge = ridge.network(model._model.network.activation, share=4.0)
    model._take(model._model)
    return model, X, Y


def scores_of(model, network, X):
    """Compute the scores of a Network for X, with the scale of a Model."""
    return (
        Ranker(model).scores(model.rows(X), no_report)
        if network is None
        else np.asarray(X @ weights_of(network) * model.input_scale + network.output.biases.ravel())
    )


def test_scores_are_the_sums_of_both(fitted):
    model, X, _ = fitted
    alone = deepcopy(model)
    alone._model.ridge = None
    alone._take(alone._model)
    expected = alone.decision_function(X) + scores_of(model._model, model._model.ridge, X)
    assert_allclose(model.decision_function(X), expected, rtol=1e-3, atol=1e-4)
    assert_allclose(all_scores(model._model, X), expected, rtol=1e-3, atol=1e-4)
    assert [coef.shape[1] for coef in model.coefs_] == [12 + 5, 40]
    assert (model.n_ridge_axes_, alone.n_ridge_axes_) == (5, 0)
    labels, scores = model.predict_top_k(X, k=40)
    assert_array_equal(labels[:, :3], np.argsort(-model.decision_function(X), axis=1, kind="stable")[:, :3])
    for retrieval in ("exact", "lsh"):
        model.set_params(retrieval=retrieval)
        one = model.predict_top_k(X[:1], k=5)
        assert_array_equal(one[0], labels[:1, :5])
        assert_array_equal(one[1], scores[:1, :5])
    model.set_params(retrieval="exact")


def test_tables_hash_the_vectors_of_both(fitted, monkeypatch):
    monkeypatch.setattr("sklearn_slide._core.retrieval.MIN_LABELS", 0)
    model, X, _ = fitted
    labels, scores = deepcopy(model).set_params(retrieval="lsh").predict_top_k(X, k=1)
    assert_allclose(scores[:, 0], model.decision_function(X)[np.arange(300), labels[:, 0]], rtol=1e-5)


def test_it_is_stored_explained_and_made_compact(fitted):
    model, X, _ = fitted
    labels, scores = model.predict_top_k(X, k=3)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict_top_k(X, k=3)[0], labels)
    explanation = model.explain(X[:5], labels[:5])
    assert_allclose(explanation.scores, scores[:5], rtol=1e-4, atol=1e-4)
    small = deepcopy(model).compact()
    assert small._model.ridge is None
    assert (small.n_ridge_axes_, again.n_ridge_axes_) == (5, 5)
    assert pickle.loads(pickle.dumps(small)).n_ridge_axes_ == 5
    assert_allclose(small.predict_top_k(X, k=3)[1], scores, rtol=1e-4, atol=1e-5)


def test_training_goes_on_beside_it(fitted):
    model, X, Y = deepcopy(fitted[0]), *fitted[1:]
    ridge = deepcopy(model._model.ridge)
    before = model.decision_function(X)
    wider = sp.csr_matrix(sp.hstack([Y, sp.csr_matrix(Y[:, :1])]))
    model.partial_fit(X, wider)
    assert model._model.ridge.n_labels == 41
    assert model.n_ridge_axes_ == 5
    assert_array_equal(model._model.ridge.output.weights[:40], ridge.output.weights)
    assert_array_equal(model._model.ridge.output.weights[40], 0)
    assert (model.decision_function(X)[:, :40] != before).any()
    expected = all_scores(model._model, X)
    assert_allclose(model.decision_function(X), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:Samples are now about")
def test_another_scale_leaves_its_scores_as_they_are(fitted):
    model, X, Y = deepcopy(fitted[0]), *fitted[1:]
    before = scores_of(model._model, model._model.ridge, X)
    scale = model._model.input_scale
    for _ in range(3):
        model.partial_fit(16 * X, Y)
    assert model._model.input_scale != scale
    assert_allclose(scores_of(model._model, model._model.ridge, X), before, rtol=1e-4, atol=1e-5)


def test_shards_take_their_labels_of_it(fitted):
    model, X, _ = fitted
    shards = split_classifier(model, 3)
    joined = join_shards(shards, model.get_params(deep=False))
    assert_allclose(joined.decision_function(X), model.decision_function(X), rtol=1e-4, atol=1e-4)
    assert joined.n_ridge_axes_ == 5


def halves():
    """Return sets of which half is given: what ridge regression does well, and few passes do not."""
    rng = np.random.default_rng(0)
    groups = [rng.choice(150, size=12, replace=False) for _ in range(60)]
    X, Y = np.zeros((2, 700, 150), dtype=np.float32)
    for i in range(700):
        members = rng.permutation(np.union1d(*(groups[g] for g in rng.integers(0, 60, size=2))))
        X[i, members[::2]], Y[i, members[1::2]] = 1, 1
    return sp.csr_matrix(X), sp.csr_matrix(Y)


@pytest.fixture
def small_data(monkeypatch):
    """Let early_stopping="auto" set samples aside from 100 on, and more of them."""
    monkeypatch.setattr(_fitting, "AUTO_STOPPING", 100)
    monkeypatch.setattr(_fitting, "MOST_HELD_OUT", 10**6)


def test_fit_takes_it_where_it_ranks_better(small_data, capsys):
    X, Y = halves()
    model = make(validation_fraction=0.3, hidden_layer_sizes=(30,), verbose=1).fit(X, Y)
    axes = model.n_ridge_axes_
    assert f"Ridge regression stands beside it, {axes} axes.\n" in capsys.readouterr().out
    assert axes == model._model.ridge.n_units > 0
    assert model.best_validation_score_ > max(model.validation_scores_)
    assert model._model.calibration is not None
    stopped = make(validation_fraction=0.3, hidden_layer_sizes=(30,), early_stopping=True).fit(X, Y)
    assert stopped._model.ridge is None
    assert stopped.n_ridge_axes_ == 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True),
        ({"activation": "relu"}, False),
        ({"hidden_layer_sizes": (30, 8)}, False),
        ({"hidden_layer_sizes": (), "direct_limit": 0}, False),
    ],
)
def test_other_networks_stand_alone(task, settings, expected):
    model = make_model(to_samples(*task), N_FEATURES, N_LABELS, **settings)
    assert can_have_ridge(model.network) == expected


@pytest.mark.parametrize(
    ("few", "scores", "expected"),
    [(1, [0.3, 0.5, 0.4], False), (1, [0.3, 0.32, 0.3], True), (701, [0.3, 0.5, 0.4], True)],
)
def test_it_is_tried_with_few_samples_or_where_training_gained_little(
    small_data, monkeypatch, few, scores, expected
):
    asked, told = [], iter(scores)
    monkeypatch.setattr(_fitting, "_FEW_SAMPLES", few)
    monkeypatch.setattr(_fitting, "choose_ridge", lambda *args: asked.append(args))
    make(scoring=lambda *args: next(told)).fit(*halves())
    assert bool(asked) == expected


def test_it_must_be_worth_its_memory_and_time(fitted, monkeypatch):
    model, X, Y = fitted
    samples = model._encode((X, Y, None), model._model.labels, model._model.scale)
    plain = deepcopy(model._model)
    plain.ridge = None
    assert choose_ridge(plain, [samples], samples, 12, 1) is not None
    monkeypatch.setattr(_ridge_choice, "_WORTH", 1.0)
    assert choose_ridge(plain, [samples], samples, 12, 1) is None
    monkeypatch.setattr(_ridge_choice, "_WORTH", 0.0)
    monkeypatch.setattr(_ridge_choice, "physical_memory", lambda: 10_000)
    assert choose_ridge(plain, [samples], samples, 12, 1) is None


def test_first_weights_of_all_samples_keep_the_calibration_of_a_part(small_data, monkeypatch):
    told = iter([0.9, 0.1, 0.1])
    calibrated = []
    calibrate = SlideClassifier._calibrate

    def note(self, X, y):
        calibrated.append(self._model.network.output.weights.copy())
        return calibrate(self, X, y)

    monkeypatch.setattr(SlideClassifier, "_calibrate", note)
    monkeypatch.setattr(_fitting, "choose_ridge", lambda *args: None)
    model = make(scoring=lambda *args: next(told)).fit(*halves())
    assert (model._model.network.output.weights != calibrated[0]).any()
    assert model._model.calibration is not None


def test_a_batch_of_one_thread_and_two_rank_alike(fitted):
    model, X, _ = fitted
    batches = [deepcopy(model).set_params(n_jobs=n).predict_top_k(X, k=4) for n in (1, 2)]
    for one, two in zip(*batches, strict=True):
        assert_array_equal(one, two)
