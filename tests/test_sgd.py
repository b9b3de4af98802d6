"""Training, sample by sample, against the reference in float64."""

from itertools import chain

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from helpers import make_model, to_samples
from numpy.testing import assert_allclose, assert_array_equal
from reference_slide import Slide

from sklearn_slide import LSH, _trainer
from sklearn_slide._core import parallel
from sklearn_slide._core.active_set import SHARES
from sklearn_slide._core.losses import LOSSES
from sklearn_slide._first_weights import HIDDEN_ACCUMULATOR, OUTPUT_ACCUMULATOR
from sklearn_slide._trainer import Trainer, TrainingSettings

N_SAMPLES, N_FEATURES, N_LABELS, SEED = 30, 24, 60, 4
# Float32 has seven digits; Adam, which divides a sum of gradients by its length, leaves two fewer where they
# cancel each other.
TOLERANCE = {"adagrad": 3e-5, "adam": 3e-4}
RATES = [(0.1, 0.1), (0.1, 0.0)]  # of two epochs
STRAIGHT = {"n_active": 20, "negatives": "auto", "shuffle": True, "n_jobs": 1}


@pytest.fixture(autouse=True)
def nothing_rounded():
    """Keep all residuals as they are: to round them at random makes much of the last digits."""
    with pytest.MonkeyPatch.context() as patch:
        for loss in LOSSES.values():
            patch.setattr(loss, "least_residual", 0.0)
        yield


def make_data(n_labels=N_LABELS, weighted=False, label_weighted=False):
    """Return Samples of some features and of 0 to about 5 labels, and X and Y dense."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0.1, 1, (N_SAMPLES, N_FEATURES)) * (rng.random((N_SAMPLES, N_FEATURES)) < 0.2)
    X = sp.csr_array(X, dtype=np.float32)
    Y = sp.csr_array(rng.random((N_SAMPLES, n_labels)) < 2.4 / n_labels)
    weights = label_weights = None
    if weighted:
        weights = rng.uniform(0.05, 3, size=N_SAMPLES).astype(np.float32)
        weights[7] = 25  # more than the passes that an epoch makes
    if label_weighted:
        label_weights = rng.uniform(0.5, 2, size=n_labels).astype(np.float32)
    return to_samples(X, Y, weights, label_weights), X.toarray().astype(float), Y.toarray().astype(float)


def make_start(samples, n_labels=N_LABELS, **settings):
    """Return a Model whose scores are near 0, so that every residual counts, and few units are off.

    Its weights are not whole multiples of each other: hashes of such rows would hang on the rounding of 0.
    """
    model = make_model(samples, N_FEATURES, n_labels, SEED, **settings)
    rng = np.random.default_rng(1)
    output = model.network.output.weights
    output += rng.normal(scale=0.1, size=output.shape)
    for layer in (*model.network.hidden, model.network.output):
        layer.biases[:] = rng.uniform(-0.1, 0.6, size=layer.biases.shape)
    if model.network.direct is not None:
        model.network.direct.weights[:] = rng.normal(scale=0.3, size=len(model.network.direct.weights))
    return model


def train(model, samples, monkeypatch=None, **settings):
    """Train for two epochs; return the loss and active labels of each pass, and the mean losses of epochs.

    With monkeypatch, rounds are of one pass, so that each can be seen; without it, nothing is noted of them.
    """
    losses, actives, scratches = [], [], []
    if monkeypatch is not None:
        monkeypatch.setattr(parallel, "_ROUND_WORK", 1.0)

        def make_scratch(*args):
            scratches.append(trainer_makes(*args))
            return scratches[-1]

        trainer_makes = _trainer.make_scratch
        monkeypatch.setattr(_trainer, "make_scratch", make_scratch)
    trainer = Trainer(model, samples, TrainingSettings(**STRAIGHT | settings))

    def note(n_passes, loss, n_active):
        assert n_passes == 1
        losses.append(loss)
        actives.append(scratches[0].active.labels[:n_active].tolist())

    means = [trainer.run_epoch(rates, monkeypatch and note) for rates in RATES]
    if monkeypatch is not None:
        monkeypatch.undo()
    return losses, actives, means


def run_reference(model, samples, X, Y, shuffle=True, choose_of=None, least=0.0):
    """Train copies of the Model's arrays; return the losses of passes and the arrays: coefs and so on.

    choose_of takes the keys of the passes and returns what names active labels. Residuals below least are
    rounded.
    """
    coefs, intercepts = ([a.astype(float) for a in part] for part in (model.coefs(), model.intercepts()))
    direct = model.direct_coef().toarray().astype(float)
    n, (settings, network) = len(samples.passes), (model.settings, model.network)
    keys = []
    for epoch in range(len(RATES)):
        order = np.random.default_rng((SEED, epoch)).permutation(n) if shuffle else np.arange(n)
        keys += [(epoch, number, samples.passes[number]) for number in order.tolist()]

    def change_of(s):
        epoch, number, _ = keys[s]
        state = reference.Stream(SEED, epoch, number).state
        return lambda residuals: reference.round_small(residuals, least, state)

    losses = reference.run_passes(
        X,
        Y,
        [i for _, _, i in keys],
        coefs,
        intercepts,
        direct,
        activation=settings.activation,
        loss=settings.loss,
        solver=settings.solver,
        rates=list(chain.from_iterable(np.linspace(*rates, n, endpoint=False) for rates in RATES)),
        starts=[HIDDEN_ACCUMULATOR] * len(network.hidden) + [OUTPUT_ACCUMULATOR],
        gain=0.0 if network.direct is None else float(network.direct.gain),
        weights=samples.weights / np.bincount(samples.passes),
        label_weights=1.0 if samples.label_weights is None else samples.label_weights.astype(float),
        choose=choose_of and choose_of(keys),
        change_of=change_of,
    )
    return list(losses), (coefs, intercepts, direct)


def assert_weights(model, expected):
    tolerance = dict.fromkeys(("rtol", "atol"), TOLERANCE[model.settings.solver])
    coefs, intercepts, direct = expected
    for got, wanted in zip([*model.coefs(), *model.intercepts()], [*coefs, *intercepts], strict=True):
        assert_allclose(got, wanted, **tolerance)
    assert_allclose(model.direct_coef().toarray(), direct, **tolerance)


# One network with every solver and limit; others with half of these: each combination is compiled anew.
BOTH = [("adagrad", 0), ("adagrad", 5), ("adagrad", 1000), ("adam", 0), ("adam", 5), ("adam", 1000)]
ONE, OTHER = [("adagrad", 0), ("adam", 5), ("adam", 1000)], [("adam", 0), ("adagrad", 5), ("adagrad", 1000)]
CASES = [
    ("identity", (8,), "sigmoid", BOTH),
    ("relu", (8,), "sigmoid", ONE),
    ("relu", (8, 6), "sigmoid", OTHER),
    ("tanh", (7,), "softmax", OTHER),
    ("logistic", (5, 4, 6), "softmax", ONE),
    ("identity", (8,), "sigmoid+softmax", OTHER),
    ("identity", (), "sigmoid", [("adagrad", 0), ("adam", 0)]),
]


@pytest.mark.kernels
@pytest.mark.parametrize(
    ("activation", "sizes", "loss", "solver", "direct_limit"),
    [(*network, *way) for *network, ways in CASES for way in ways],
)
def test_training_on_every_label_agrees_with_the_reference(activation, sizes, loss, solver, direct_limit):
    samples, X, Y = make_data(12)
    settings = {"hidden_layer_sizes": sizes, "activation": activation, "loss": loss, "solver": solver}
    model = make_start(samples, 12, direct_limit=direct_limit, **settings)
    assert (model.network.direct is not None) == (direct_limit > 0)
    losses, expected = run_reference(model, samples, X, Y, shuffle=False)
    _, _, means = train(model, samples, n_active=None, shuffle=False)
    assert_allclose([loss for loss, _ in means], np.mean(np.split(np.array(losses), 2), axis=1), rtol=1e-5)
    assert [size for _, size in means] == [12, 12]
    assert_weights(model, expected)


def compare_with_slide(data, n_active, shares, monkeypatch, **settings):
    """Assert that training is that of the reference, with the same active labels in each pass."""
    samples, X, Y = data
    model, same = (make_start(samples, **settings) for _ in range(2))
    slides = []

    def choose_of(keys):
        lists = [[np.flatnonzero(row).tolist() for row in dense] for dense in (X, Y)]
        counts = {source: round(n_active * shares.get(source, 0)) for source in SHARES}
        lsh = model.settings.lsh.get_params()
        slides.append(Slide(lists, keys, SEED, N_LABELS, n_active, counts, model.hasher, lsh))
        return slides[0]

    losses, expected = run_reference(model, samples, X, Y, choose_of=choose_of)
    losses = np.array(losses) * len(samples.passes) / samples.weights.sum()
    got_losses, actives, means = train(model, samples, monkeypatch, n_active=n_active, negatives=shares)
    assert [sorted(labels) for labels in actives] == [sorted(labels) for labels in slides[0].history]
    assert (slides[0].n_builds >= 3) == ("lsh" in shares)
    assert_allclose(got_losses, losses, rtol=TOLERANCE[model.settings.solver])
    assert_weights(model, expected)
    sizes = [len(labels) for labels in actives]
    assert_allclose(means, np.mean(np.split(np.transpose([losses, sizes]), 2), axis=1), rtol=1e-5)
    # in rounds of many passes, which end where the tables are rebuilt, the same comes of it
    assert_allclose(train(same, samples, n_active=n_active, negatives=shares)[2], means)
    for one, two in zip(
        chain(model.coefs(), model.intercepts()), chain(same.coefs(), same.intercepts()), strict=True
    ):
        assert_array_equal(one, two)


# By hash family, so that kernels are compiled for few types: the network, the loss and the solver.
NETWORKS = {
    "simhash": {"hidden_layer_sizes": (12,), "loss": "sigmoid", "solver": "adagrad"},
    "dwta": {"hidden_layer_sizes": (12, 9), "loss": "softmax", "solver": "adam", "direct_limit": 0},
    "wta": {"hidden_layer_sizes": (9, 7, 10), "loss": "sigmoid+softmax", "solver": "adagrad"},
    "minhash": {"hidden_layer_sizes": (16,), "loss": "sigmoid", "solver": "adam"},
}


@pytest.mark.parametrize(
    ("family", "selection", "activation", "weighted"),
    [
        ("simhash", "vanilla", "identity", True),
        ("simhash", "top_k", "identity", False),
        ("simhash", "threshold", "identity", False),
        ("dwta", "top_k", "tanh", False),
        ("wta", "threshold", "relu", True),
        ("minhash", "vanilla", "logistic", False),
    ],
)
def test_training_on_active_labels_agrees_with_the_reference(
    family, selection, activation, weighted, monkeypatch
):
    data = make_data(weighted=weighted, label_weighted=family == "wta")
    shares = {"lsh": 0.5, "cooccurrence": 0.2, "frequency": 0.1, "uniform": 0.1}
    settings = NETWORKS[family] | {"activation": activation, "lsh": make_lsh(family, selection)}
    compare_with_slide(data, 20, shares, monkeypatch, **settings)


def make_lsh(family="simhash", selection="vanilla"):
    """Return an LSH whose tables have buckets that are too full, and are rebuilt some times."""
    tables = {"n_tables": 7, "hash_length": 3 if family == "simhash" else 1, "bucket_size": 5}
    return LSH(family, selection=selection, rehash_interval=11, rehash_growth=1.4, **tables)


@pytest.mark.parametrize(
    ("n_active", "shares", "linear"),
    [
        # fewer than some samples have true labels
        (3, {"lsh": 1 / 3, "cooccurrence": 2 / 3}, False),
        (3, {"lsh": 1 / 3, "cooccurrence": 2 / 3}, True),
        (2, {"cooccurrence": 1}, False),
        (20, {"lsh": 1}, False),
        (20, {"frequency": 0.75, "uniform": 0.25}, False),
    ],
)
def test_each_source_agrees_with_the_reference(n_active, shares, linear, monkeypatch):
    settings = NETWORKS["simhash"] | ({"hidden_layer_sizes": (), "direct_limit": 0} if linear else {})
    data = make_data()
    assert (data[2].sum(axis=1) > n_active).any() == (n_active < 20)
    compare_with_slide(data, n_active, shares, monkeypatch, lsh=make_lsh(), **settings)


@pytest.mark.parametrize("loss", ["sigmoid", "sigmoid+softmax"])
def test_small_residuals_are_rounded_as_in_the_reference(loss, monkeypatch):
    samples, X, Y = make_data(12)
    model = make_start(samples, 12, loss=loss, solver="adagrad", direct_limit=5)
    model.network.output.biases[:] -= 4
    (_, exact), (_, expected) = (run_reference(model, samples, X, Y, least=least) for least in (0.0, 0.05))
    monkeypatch.setattr(LOSSES[loss], "least_residual", 0.05)
    train(model, samples, n_active=None)
    assert_weights(model, expected)
    assert abs(expected[0][-1] - exact[0][-1]).max() > 0.003
