"""What a pilot of shards finds out on held-out rows, and how the other shards follow it."""

from copy import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import assert_same
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import SlideClassifier, _fitting, _ridge, _shard_fits
from sklearn_slide._blocks import SampleBlocks, first_model_of_blocks
from sklearn_slide._early_stopping import hold_out
from sklearn_slide._shards import (
    deal_labels,
    fit_shard,
    join_shards,
    merge_top_k,
    probabilities_shard,
    shard_parameters,
    split_classifier,
    top_k_shard,
    update_shard,
)

N_FEATURES, N_LABELS, N_ROWS, N_SHARDS = 150, 150, 700, 3


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    """Let early_stopping="auto" set samples aside from 200 on."""
    monkeypatch.setattr(_fitting, "AUTO_STOPPING", 200)


@pytest.fixture(scope="module")
def task():
    """Return sets of which half is given: what ridge regression does well, and few passes do not."""
    rng = np.random.default_rng(0)
    groups = [rng.choice(N_LABELS, size=12, replace=False) for _ in range(60)]
    X, Y = np.zeros((2, N_ROWS, N_LABELS), dtype=np.float32)
    for i in range(N_ROWS):
        members = rng.permutation(np.union1d(*(groups[g] for g in rng.integers(0, 60, size=2))))
        X[i, members[::2]], Y[i, members[1::2]] = 1, 1
    return sp.csr_array(X), sp.csr_array(Y)


class Told:
    """A scorer that gives these scores, one after the other, and the last one from then on."""

    def __init__(self, *scores):
        self.scores = list(scores)

    def __call__(self, *args):
        return self.scores.pop(0) if len(self.scores) > 1 else self.scores[0]


def parameters(**others):
    small = {"hidden_layer_sizes": (30,), "n_active": 60, "random_state": 0, "max_iter": 2}
    return SlideClassifier(**small | {"validation_fraction": 0.3} | others).get_params(deep=False)


def in_blocks(X, Y, n_blocks=3):
    return [(X[part], Y[part]) for part in np.array_split(np.arange(X.shape[0]), n_blocks)]


def deal(Y, n_shards=N_SHARDS, **others):
    counts = np.asarray(Y.sum(axis=0)).ravel()
    columns = deal_labels(counts, n_shards)
    return list(zip(shard_parameters(parameters(**others), counts, columns), columns, strict=True))


def fit_shards(blocks, Y, **others):
    """Train all shards, the pilot first."""
    pilot, *rest = deal(Y, **others)
    pilot = fit_shard(*pilot, blocks)
    return [pilot, *(fit_shard(*own, blocks, pilot) for own in rest)]


@pytest.fixture(scope="module")
def shards(task):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fitting, "AUTO_STOPPING", 200)
        return fit_shards(in_blocks(*task), task[1])


def stream_of(X, Y, blocks):
    """Return SampleBlocks of all labels."""
    classifier = SlideClassifier(**parameters()).fit(X, Y)
    columns = np.arange(Y.shape[1])
    return partial(SampleBlocks, classifier, classifier._model.labels, columns, blocks)


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_held_out_are_those_of_fit(task, weighted):
    X, Y = task
    weights = np.arange(N_ROWS) % 3 if weighted else None
    blocks = in_blocks(X, Y)
    if weighted:
        starts = np.cumsum([0, *(block[0].shape[0] for block in blocks)])
        blocks = [(*block, weights[a:b]) for block, a, b in zip(blocks, starts, starts[1:], strict=False)]
    kept = np.flatnonzero(weights) if weighted else np.arange(N_ROWS)
    whole = X[kept], Y[kept], weights[kept] if weighted else None
    rest, expected = hold_out(*whole, 0.3, 7)
    everything = stream_of(X, Y, blocks)()
    assert everything.n_rows == len(kept)
    stream, found = everything.hold_out(0.3, 7)
    for part, its in zip(found[:2], expected[:2], strict=True):
        assert_array_equal(part.toarray(), its.toarray())
    assert (found[2] is None) == (not weighted)
    if weighted:
        assert_array_equal(found[2], expected[2])
    # the others, in the order of the blocks
    order = np.sort(hold_out(kept, kept, None, 0.3, 7)[0][0])
    trained = sp.vstack([sp.csr_array(part.x[::-1], shape=(part.x.n_rows, N_FEATURES)) for part in stream])
    assert_array_equal(trained.toarray(), X[order].toarray() * np.float32(stream.scale.factor))
    assert stream.n_rows == len(rest[0].indptr) - 1
    assert_array_equal(stream.counts, np.asarray(Y[order].sum(axis=0)).ravel())
    assert stream.n_passes == (weights[order].sum() if weighted else len(order))


@pytest.mark.parametrize("weighted", [0, 1])
def test_held_out_rows_of_blocks_without_weights_weigh_one(task, weighted):
    X, Y = task
    weights, blocks = np.ones(N_ROWS), in_blocks(X, Y, 2)
    half = blocks[0][0].shape[0]
    of_block = (slice(half), slice(half, None))[weighted]
    weights[of_block] = 5
    blocks[weighted] = (*blocks[weighted], weights[of_block])
    found = stream_of(X, Y, blocks)().hold_out(0.3, 7)[1]
    assert_array_equal(found[2], hold_out(X, Y, weights, 0.3, 7)[1][2])


def test_a_block_of_held_out_rows_alone_is_passed_over(task):
    X, Y = (part[:10] for part in task)
    blocks = [(X[i : i + 1], Y[i : i + 1]) for i in range(10)]
    stream, (x, _, _) = stream_of(*task, blocks)().hold_out(3, 0)
    assert len(stream.filled) == stream.n_rows == 7
    assert x.shape[0] == 3


def test_a_pilot_of_all_labels_chooses_what_a_fit_does(task):
    X, Y = task
    plain = SlideClassifier(**parameters()).fit(X, Y)
    shard = fit_shard(parameters(), np.arange(N_LABELS), in_blocks(X, Y)).classifier
    # of the same first weights and the same held-out rows; later ones are trained in another order
    assert_allclose(shard.validation_scores_[0], plain.validation_scores_[0], rtol=1e-6)
    assert len(shard.validation_scores_) == len(plain.validation_scores_)
    assert np.argmax(shard.validation_scores_) == np.argmax(plain.validation_scores_) == 0
    assert shard.n_ridge_axes_ == plain.n_ridge_axes_ > 0
    assert_allclose(shard.best_validation_score_, plain.best_validation_score_, atol=0.02)
    assert (shard.threshold_ > 0) == (plain._model.calibration is not None)
    assert (shard.n_iter_, shard.t_) == (plain.n_iter_, plain.t_)
    one_block = fit_shard(parameters(), np.arange(N_LABELS), [(X, Y)]).classifier
    assert_same(one_block, plain)


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_ridge_regression_of_shards_is_that_of_all_labels(task, n_blocks):
    X, Y = task
    shards = fit_shards(in_blocks(X, Y, n_blocks), Y)
    chosen = shards[0].choices
    assert chosen.ridge.n_axes > 0
    assert chosen.ridge.direct is None
    assert len(chosen.ridge.sums) == 0
    assert all(shard.choices is None for shard in shards[1:])
    joined = join_shards(shards, parameters())
    assert joined.n_ridge_axes_ == chosen.ridge.n_axes
    # w_y = V diag(1 / (s^2 + penalty)) V'c_y + (c_y - V V'c_y) / (penalty + tail), over a power of its length
    x = X.toarray().astype(float) * joined._model.input_scale
    ridge, sums = chosen.ridge, x.T @ Y.toarray()
    within = ridge.axes @ ((ridge.axes.T @ sums) / (ridge.squares + ridge.penalty)[:, np.newaxis])
    weights = within + (sums - ridge.axes @ (ridge.axes.T @ sums)) / (ridge.penalty + ridge.tail)
    lengths = np.linalg.norm(weights, axis=0)
    expected = chosen.share * x @ weights * np.where(lengths > 0, lengths, 1) ** -ridge.power
    alone = without_ridge(replace(shards[0], classifier=joined))
    found = joined.decision_function(X) - alone.decision_function(X)
    assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_ridge_regression_must_be_worth_its_axes_on_all_workers(task, shards, monkeypatch):
    monkeypatch.setattr(_shard_fits, "_WORTH", 1.0)
    alone = fit_shards(in_blocks(*task), task[1])
    for one, two in zip(alone, shards, strict=True):
        assert one.classifier.n_ridge_axes_ == 0 < two.classifier.n_ridge_axes_
        assert_same(without_ridge(one), without_ridge(two))
    best = [each[0].classifier.best_validation_score_ for each in (alone, shards)]
    assert best[0] == max(alone[0].classifier.validation_scores_) < best[1]


def without_ridge(shard):
    """Return a classifier of the network of a shard, without what stands beside it."""
    alone = copy(shard.classifier)
    alone._take(replace(alone._model, ridge=None))
    return alone


def test_axes_and_sums_of_blocks_are_those_of_one(task, monkeypatch):
    X, Y = task
    make = stream_of(X, Y, in_blocks(X, Y))
    one, several = stream_of(X, Y, [(X, Y)])(), make()
    fitted = [_ridge.fit_ridge(stream, N_FEATURES, N_LABELS, 40, 0, 1) for stream in (one, several)]
    assert_array_equal(fitted[0].axes, fitted[1].axes)
    assert_array_equal(fitted[0].squares, fitted[1].squares)
    assert_allclose(fitted[0].sums, fitted[1].sums, rtol=1e-4, atol=1e-4)
    pairs = [
        sp.csr_array((each.direct.weights, each.direct.labels, each.direct.indptr), (N_FEATURES, N_LABELS))
        for each in fitted
    ]
    assert_allclose(pairs[0].toarray(), pairs[1].toarray(), rtol=1e-5)
    assert _ridge.ridge_bytes(one, N_FEATURES, N_LABELS, 9) == _ridge.ridge_bytes(several, 150, 150, 9)
    monkeypatch.setattr(_ridge, "_MOST_PAIRS", 20_000)
    few = [_ridge.fit_ridge(stream, N_FEATURES, N_LABELS, 5, 0, 1).crowded for stream in (one, several)]
    assert_array_equal(*few)
    assert 0 < few[0].sum() < N_FEATURES
    monkeypatch.setattr(_ridge, "_MOST_ROWS", 500)
    some = [_ridge.principal_axes(stream, N_FEATURES, 5, 0, 1) for stream in (one, several)]
    for part, its in zip(*some, strict=True):
        assert_array_equal(part, its)
    assert not np.array_equal(some[0][0], fitted[0].squares[:5])


@pytest.mark.parametrize("n_blocks", [1, 3])
@pytest.mark.parametrize("stopping", ["auto", True])
def test_others_run_as_many_epochs_as_were_best(task, n_blocks, stopping, monkeypatch):
    monkeypatch.setattr(_fitting, "choose_ridge", lambda *args: None)
    blocks = in_blocks(*task, n_blocks)
    told = {"early_stopping": stopping, "learning_rate": "constant", "max_iter": 5, "n_iter_no_change": 9}
    pilot, other = deal(task[1], scoring=Told(0.1, 0.2, 0.5, 0.3), **told)[:2]
    pilot = fit_shard(*pilot, blocks)
    assert pilot.choices.n_epochs == 2
    assert len(pilot.classifier.validation_scores_) == 6
    shard = fit_shard(*other, blocks, pilot)
    assert shard.classifier.n_iter_ == len(shard.classifier.loss_curve_) == 2
    # at a constant rate they are those of a fit of two epochs
    two = fit_shard(other[0] | {"max_iter": 2}, other[1], blocks, replace(pilot, choices=None))
    assert_same(shard.classifier, two.classifier)
    # no patience of their own ends them, and the rate falls as the pilot's does
    short = other[0] | {"tol": 1e9, "n_iter_no_change": 1, "learning_rate": "linear"}
    assert fit_shard(short, other[1], blocks, pilot).classifier.n_iter_ == 2


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_first_weights_are_kept_where_training_makes_them_worse(task, n_blocks, monkeypatch):
    monkeypatch.setattr(_fitting, "choose_ridge", lambda *args: None)
    X, Y = task
    blocks, ended = in_blocks(X, Y, n_blocks), []
    shards = fit_shards(blocks, Y, scoring=Told(0.9, 0.1))
    for shard, own in zip(shards, deal(Y), strict=True):
        pilot = shards[0].classifier._model if ended else None
        labels, columns = shard.classifier._model.labels, shard.columns
        stream = SampleBlocks(shard.classifier, labels, columns, blocks)
        first = first_model_of_blocks(shard.classifier, labels, stream, shard.classifier._model.seed, pilot)
        for weights, expected in zip(
            shard.classifier._model.network.output, first.network.output, strict=True
        ):
            assert_allclose(weights, expected, rtol=1e-4, atol=1e-5)
        assert_array_equal(shard.classifier.coefs_[0], shards[0].classifier.coefs_[0])
        assert_array_equal(shard.classifier._model.seen_labels, np.asarray(Y.sum(axis=0)).ravel()[own[1]] > 0)
        assert shard.classifier._model.seen.all()
        ended.append(shard.classifier.loss_curve_)
    assert [len(curve) for curve in ended] == [2, 0, 0]
    updated = update(shards, blocks)
    assert [shard.classifier.t_ for shard in updated[1:]] == [N_ROWS] * 2
    joined = join_shards(updated, parameters())
    assert_array_equal(joined.predict_top_k(X, 5)[0], rank(updated, X, 5))


def update(shards, blocks):
    """Train all shards further, the pilot first."""
    pilot = update_shard(shards[0], blocks)
    return [pilot, *(update_shard(shard, blocks, pilot) for shard in shards[1:])]


def rank(shards, X, k):
    return merge_top_k([top_k_shard(shard, X, k) for shard in shards], k)[0]


def test_shards_with_ridge_regression_rank_better_and_go_on(task, shards):
    X, Y = task
    without = fit_shards(in_blocks(X, Y), Y, early_stopping=False)
    assert all(shard.classifier._model.ridge is not None for shard in shards)
    assert all(shard.choices is None and shard.classifier.n_ridge_axes_ == 0 for shard in without)
    hits = [Y.toarray()[np.arange(N_ROWS), rank(each, X, 1)[:, 0]].mean() for each in (without, shards)]
    assert hits[1] > hits[0] + 0.05
    joined = join_shards(shards, parameters())
    assert_array_equal(joined.predict_top_k(X, 9)[0], rank(shards, X, 9))
    again = split_classifier(joined, 2)
    assert_array_equal(rank(again, X, 9), rank(shards, X, 9))
    before = joined.n_ridge_axes_
    assert joined.partial_fit(X, Y).n_ridge_axes_ == before
    # samples four times as long change the scale of all shards alike
    blocks = in_blocks(4 * X, Y)
    with pytest.warns(UserWarning, match="Samples are now about 4 times as long"):
        updated = update(shards, blocks)
    scales = {shard.classifier._model.input_scale for shard in updated}
    assert len(scales) == 1
    assert scales != {joined._model.input_scale}
    expected = join_shards(updated, parameters()).decision_function(X)
    for shard in updated:
        assert_allclose(
            shard.classifier.decision_function(X), expected[:, shard.columns], rtol=1e-3, atol=1e-2
        )


def test_shards_are_functions_of_their_arguments(task, shards):
    blocks = in_blocks(*task)
    again = fit_shards(blocks, task[1])
    for one, two in zip(shards, again, strict=True):
        assert_same(one.classifier, two.classifier)
    assert_array_equal(shards[0].choices.ridge.axes, again[0].choices.ridge.axes)
    scores = {
        tuple(fit_shard(given | {"random_state": seed}, own, blocks).classifier.validation_scores_)
        for given, own in deal(task[1])[:1]
        for seed in (0, 0, 1)
    }
    assert len(scores) == 2


def test_few_rows_are_all_trained_on(task):
    X, Y = (part[:199] for part in task)
    blocks = in_blocks(X, Y)
    for one, two in zip(fit_shards(blocks, Y), fit_shards(blocks, Y, early_stopping=False), strict=True):
        assert one.choices is two.choices is None
        assert_same(one.classifier, two.classifier)


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_no_shard_is_calibrated(task, n_blocks):
    shards = fit_shards(in_blocks(*task, n_blocks), task[1], early_stopping=True)
    assert shards[0].choices.ridge is None
    assert len(shards[0].classifier.validation_scores_) == 3
    model = join_shards(shards, parameters())
    assert all(part._model.calibration is None for part in (model, *(shard.classifier for shard in shards)))
    labels = np.arange(N_LABELS)
    found = sum(probabilities_shard(shard, task[0], labels) for shard in shards)
    assert_allclose(found, model.predict_proba(task[0]), rtol=1e-4)


def test_what_draws_did_to_dense_samples_is_taken_back(task, monkeypatch):
    monkeypatch.setattr("sklearn_slide._epochs.TAKEN_BACK", (0.5,))
    monkeypatch.setattr(_fitting, "choose_ridge", lambda *args: None)
    X, Y = task
    X = np.random.default_rng(0).standard_normal((N_ROWS, 20)).astype(np.float32)
    blocks = in_blocks(X, Y)
    pilot, other = deal(Y, n_active=40, max_iter=1)[:2]
    pilot = fit_shard(*pilot, blocks)
    assert (pilot.choices.n_epochs, pilot.choices.taken_back) == (1, 0.5)
    half = fit_shard(*other, blocks, pilot).classifier
    none = replace(pilot, choices=replace(pilot.choices, taken_back=0.0))
    plain = fit_shard(*other, blocks, none).classifier
    n, counts = other[0]["n_active"], 1 + np.asarray(Y[:, other[1]].sum(axis=0)).ravel()
    n_uniform, n_frequent = int(0.1 * n), 2 * int(0.3 * n)
    assert 0 < n_uniform < n < len(counts)
    missed = (1 - counts / counts.sum()) ** n_frequent * (1 - 1 / len(counts)) ** n_uniform
    assert_allclose(
        half.intercepts_[-1], plain.intercepts_[-1] + 0.5 * np.log(1 - missed), rtol=1e-4, atol=1e-5
    )
    assert_array_equal(half.coefs_[-1], plain.coefs_[-1])


def test_the_number_of_active_labels_is_that_of_all_blocks():
    # the first block is sparse, but most entries of all blocks are not 0
    rng = np.random.default_rng(0)
    X = sp.csr_array(rng.standard_normal((60, 10)), dtype=np.float32)
    X.data[: 10 * 15 : 2] = 0
    X.eliminate_zeros()
    Y = sp.csr_array(rng.random((60, 2000)) < 0.01)
    blocks = in_blocks(X, Y, 4)
    assert 2 * blocks[0][0].nnz <= 150
    given, all_labels = parameters(n_active="auto", max_iter=1), np.arange(2000)
    for part, n_active in ((blocks, 1600), (blocks[:1] * 2, 400)):
        shard, expected = (
            fit_shard(given | {"n_active": n}, all_labels, part).classifier for n in ("auto", n_active)
        )
        assert_same(shard, expected)
        assert shard.active_size_curve_ == expected.active_size_curve_
    assert not np.array_equal(shard.active_size_curve_, [2000])
