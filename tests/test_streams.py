"""Streams that begin small, or with samples of another length: later calls mend what the first decided."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import assert_same, make, make_model, to_samples
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import row_norms

from sklearn_slide import LSH, SlideClassifier, _fitting
from sklearn_slide._core.layers import Batch
from sklearn_slide._core.pairs import find_new_pairs
from sklearn_slide._growth import learn_of, settle_scale
from sklearn_slide._lengths import Lengths
from sklearn_slide._shards import fit_shard
from sklearn_slide._trainer import Trainer
from sklearn_slide.datasets import make_xmc_classification
from sklearn_slide.metrics import precision_at_k

STANDSTILL = {"learning_rate_init": 1e-30}
NETWORKS = [
    {},
    {"solver": "adam", "learning_rate_init": 0.01},
    {"loss": "softmax"},
    {"direct_limit": 0},
    {"hidden_layer_sizes": ()},
    {"hidden_layer_sizes": (16, 12), "activation": "relu"},
    {"init": "random"},
]


def pairs_of(model):
    """Return which features have a direct weight for which labels, bool (n_features, n_labels)."""
    direct = model.network.direct
    ones = np.ones(len(direct.labels), dtype=bool)
    shape = (len(direct.indptr) - 1, model.network.n_labels)
    return sp.csr_array((ones, direct.labels, direct.indptr), shape=shape).toarray()


def met(X, Y):
    """Return which features were seen with which labels, bool (n_features, n_labels)."""
    return (X.T.astype(bool).astype(int) @ Y.astype(int)).toarray() > 0


@pytest.mark.filterwarnings("ignore:The mean loss")
@pytest.mark.parametrize("params", NETWORKS)
@pytest.mark.parametrize("factor", [1 / 64, 8.0])
def test_a_change_of_scale_leaves_scores_as_they_are(data, params, factor):
    X, Y = data
    model = make(**params).fit(X, Y)
    before, scale = model.decision_function(X), model._model.input_scale
    coefs = [coef.copy() for coef in model.coefs_]
    model.set_params(**STANDSTILL)
    model.partial_fit(factor * X[:60], Y[:60])
    assert model._model.input_scale == scale  # until they weigh as much as the samples of fit
    with pytest.warns(UserWarning, match="times as long as the 120 before"):
        model.partial_fit(factor * X[:60], Y[:60])
    assert model._model.input_scale == scale / factor
    assert_allclose(model.decision_function(X), before, rtol=1e-5, atol=1e-5)
    seen = model._model.seen
    if params.get("hidden_layer_sizes") != ():
        # the units of X are the same
        assert_allclose(model.coefs_[0][seen], coefs[0][seen], rtol=1e-6, atol=1e-20)


def test_rows_of_features_without_samples_follow_as_a_first_call_draws_them(data):
    X, Y = data
    X = sp.hstack([X, sp.csr_matrix((X.shape[0], 500), dtype=np.float32)], format="csr")
    long, usual = (make(hidden_layer_sizes=(64,), **STANDSTILL).partial_fit(c * X, Y) for c in (20.0, 1.0))
    long.partial_fit(X, Y)
    own, its = (model._model.network for model in (long, usual))
    assert long._model.input_scale == usual._model.input_scale
    assert_allclose(own.input.weights[-500:], its.input.weights[-500:], rtol=1e-5)
    assert_allclose(own.direct.gain, its.direct.gain, rtol=1e-5)


def test_the_scale_is_kept_for_alike_samples_and_until_as_many_were_seen():
    rng = np.random.default_rng(0)
    X = sp.csr_matrix(rng.normal(size=(64, 9)).astype(np.float32) / 3)
    samples = to_samples(X, sp.csr_matrix(np.ones((64, 1), dtype=bool)))
    lengths = Lengths.of(samples)
    for _ in range(3):
        lengths.add(samples, 1.0)
        assert lengths.judge(1.0) is None
    few = to_samples(X[:10] * np.float32(16), sp.csr_matrix(np.ones((10, 1), dtype=bool)))
    judged = []
    while not judged or judged[-1] is None:
        lengths.add(few, 1.0)
        judged.append(lengths.judge(1.0))
    # 4 * 64 samples were judged alike: 26 * 10 are the first as many
    assert len(judged) == 26
    scale, mean_square = judged[-1]
    assert scale == 1 / 16
    assert_allclose(mean_square, np.mean(X[:10].power(2).sum(axis=1)), rtol=1e-5)


def test_samples_without_entries_say_nothing_of_the_scale(data):
    X, Y = data
    model = make().partial_fit(0 * X, Y).partial_fit(X / 32, Y)
    assert model._model.input_scale == 32
    gain = model._model.network.direct.gain
    model.partial_fit(0 * X, Y).partial_fit(sp.csr_matrix(X.shape, dtype=np.float32), Y)
    assert model._model.input_scale == 32
    assert model._model.network.direct.gain == gain


@pytest.mark.parametrize("size", [1, 7, 40])
def test_features_gain_direct_weights_for_labels_they_meet(data, size):
    X, Y = data
    model = make()
    for start in range(0, X.shape[0], size):
        model.partial_fit(X[start : start + size], Y[start : start + size])
        stop = start + size
        assert_array_equal(pairs_of(model._model), met(X[:stop], Y[:stop]))
    direct = model._model.network.direct
    assert sp.csr_array((direct.weights, direct.labels, direct.indptr)).has_sorted_indices
    assert (direct.labels.dtype, direct.indptr.dtype) == (np.int32, np.int64)
    whole = make().partial_fit(X, Y)
    assert_array_equal(pairs_of(whole._model), pairs_of(model._model))


def test_features_of_most_samples_gain_no_direct_weights():
    X = sp.csr_array(np.stack([np.ones(1000), np.arange(1000) % 2], axis=1))
    Y = sp.csr_array(np.eye(4, dtype=int)[np.arange(1000) % 4])
    model = make().partial_fit(X[:2], Y[:2])  # a few samples
    first = pairs_of(model._model)
    model.partial_fit(X, Y)
    assert_array_equal(model._model.training.crowded, [True, False])
    assert_array_equal(pairs_of(model._model)[0], first[0])
    assert_array_equal(pairs_of(model._model)[1], [False, True, False, True])
    assert first.sum() == 3


@pytest.mark.parametrize("limit", [22, 23])  # features end with 23 or 24 labels
def test_direct_weights_end_at_the_limit(data, limit):
    X, Y = data
    model = make(direct_limit=limit).partial_fit(X[:30], Y[:30])
    first = pairs_of(model._model)
    many = met(X, Y).sum(axis=1) > limit
    assert (many & first.any(axis=1)).any()
    for _ in range(2):
        model.partial_fit(X, Y)
        pairs = pairs_of(model._model)
        assert_array_equal(pairs[many], first[many])  # what they have stays
        assert_array_equal(pairs[~many], met(X, Y)[~many])
        assert_array_equal(model._model.training.crowded, many)
    crowded = make(direct_limit=limit).partial_fit(X, Y)
    crowded.partial_fit(X[:1], Y[:1])
    assert not pairs_of(crowded._model)[many].any()


def test_sums_of_new_pairs_are_dense_products(data):
    X, Y = data
    samples = to_samples(X, Y, weights=np.random.default_rng(0).random(120).astype(np.float32))
    model = make_model(to_samples(X[:5], Y[:5]), 40, 25)
    crowded = np.zeros(40, dtype=bool)
    pairs = find_new_pairs(samples, model.network.direct, 1000, crowded, 25, 2)
    assert not crowded.any()
    expected = (X.T.toarray() * samples.weights) @ Y.toarray()
    expected[met(X[:5], Y[:5])] = 0
    got = sp.csr_array((pairs.weights, pairs.labels, pairs.indptr), shape=(40, 25)).toarray()
    assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_new_pairs_of_old_labels_begin_at_zero(data):
    X, Y = data
    model = make_model(to_samples(X[:5], Y[:5]), 40, 25)
    model.training.started[:] = True
    before = model.direct_coef().toarray()
    learn_of(model, to_samples(X, Y), 1)
    assert_array_equal(pairs_of(model), met(X, Y))
    assert_array_equal(model.direct_coef().toarray(), before)


@pytest.mark.parametrize("limit", [0, 1000])
def test_labels_start_from_their_first_samples_as_in_a_first_call(data, limit):
    X, Y = data
    Y = Y.tolil()
    Y[:60, 12:] = 0
    Y[60:, :12] = 0
    Y = Y.tocsr()
    model = make_model(to_samples(X[:60], Y[:60]), 40, 25, direct_limit=limit)
    model.training.started[:12] = True
    model.training.solver.output.weights.sums[:] = 7
    later = to_samples(X[60:], Y[60:])
    new = np.flatnonzero(np.asarray(Y[60:].sum(axis=0)).ravel())
    old = model.network.output.weights[:12].copy()
    learn_of(model, later, 1)
    fresh = make_model(later, 40, 25, direct_limit=limit)
    fresh.network.input.weights[:] = model.network.input.weights
    assert_array_equal(model.network.output.weights[:12], old)
    assert_allclose(model.training.solver.output.weights.sums[new], 0.5)
    assert_allclose(model.training.solver.output.weights.sums[:12], 7)
    if limit:
        gains = model.network.direct.gain, fresh.network.direct.gain
        assert_allclose(*gains, rtol=0.1)
        got, expected = model.direct_coef().toarray(), fresh.direct_coef().toarray()
        assert_allclose(got[:, new] * expected[:, new] >= 0, True)
        ratio = np.linalg.norm(got[:, new]) / np.linalg.norm(expected[:, new])
        assert 0.8 < ratio < 1.25
        new_of_old = pairs_of(model)[:, :12]
        assert_array_equal(new_of_old, met(X[:60], Y[:60])[:, :12])
    H = later_hidden(model, later)
    sums = Y[60:].T.toarray()[new] @ H
    W = model.network.output.weights[new]
    cosines = np.sum(W * sums, axis=1) / np.linalg.norm(W, axis=1) / np.linalg.norm(sums, axis=1)
    assert_allclose(cosines, 1, rtol=1e-5)


def later_hidden(model, samples):
    """Return the hidden vectors of Samples in float64, dense."""
    X = sp.csr_array(samples.x[::-1], shape=(samples.x.n_rows, 40)).toarray().astype(float)
    return X @ model.network.input.weights + model.network.input.biases[0]


@pytest.fixture(scope="module")
def task():
    """Return a ranking task: 1000 samples to learn from, and 200 to judge by."""
    X, Y = make_xmc_classification(1200, 600, 80, random_state=0)
    X = normalize(X).astype(np.float32)
    return X[:1000], Y[:1000], X[1000:], Y[1000:]


def stream(task, first, size, factor=1.0, **params):
    """Return P@1 after three passes by partial_fit over a first chunk, longer by factor once, and others."""
    X, Y, X_test, Y_test = task
    model = make(hidden_layer_sizes=(32,), n_active=None, n_jobs=1).set_params(**params)
    bounds = [0, *range(first, 1000, size), 1000]
    for n_pass in range(3):
        for start, stop in pairwise(bounds):
            longer = factor if start == n_pass == 0 else 1.0
            model.partial_fit(longer * X[start:stop], Y[start:stop])
    return precision_at_k(Y_test, model.predict_top_k(X_test, 1)[0], k=1)


@pytest.mark.parametrize("params", NETWORKS[:5])
def test_small_first_calls_learn_as_much_as_a_large_one(task, params):
    whole = stream(task, 1000, 1000, **params)
    assert whole > 0.5
    chunks = [(1, 333, 1), (10, 100, 1), (1, 333, 100), (10, 300, 100), (1, 333, 1 / 30), (10, 300, 1 / 100)]
    for first, size, factor in chunks:
        assert stream(task, first, size, factor, **params) > whole - 0.05
    with pytest.warns(UserWarning, match=r"0\.125 times as long as the 100 before.*normalize"):
        assert stream(task, 100, 300, 10, **params) > whole - 0.15


@pytest.mark.parametrize("params", NETWORKS)
def test_nothing_new_changes_nothing_before_training(data, params):
    X, Y = data
    samples = to_samples(X, Y)
    model = make(**params).partial_fit(X, Y)._model
    samples = samples._replace(x=model.rows(X))
    arrays = [model.network.direct, *model.network.hidden, model.network.output]
    before = pickle.dumps((arrays, model.input_scale))
    for _ in range(3):
        assert settle_scale(model, samples) is samples
        learn_of(model, samples, 1)
    assert pickle.dumps((arrays, model.input_scale)) == before
    assert model.network.direct is arrays[0]


@pytest.mark.parametrize("learning_rate", ["linear", "constant"])
def test_rates_rise_after_a_fit_by_the_share_of_later_samples(data, learning_rate, monkeypatch):
    X, Y = data
    rates = []
    monkeypatch.setattr(
        Trainer, "run_epoch", lambda self, ends, report=None: (rates.append(list(ends)), (0.5, 5.0))[1]
    )
    model = make(learning_rate=learning_rate, learning_rate_init=0.2, max_iter=2)
    for n_before in (0, 30):  # a stream that begins without a fit
        model.partial_fit(X[n_before:], Y[n_before:])
    assert rates == [[0.2, 0.2]] * 2
    model.fit(X[:90], Y[:90])
    rates.clear()
    weights = np.r_[0.0, 2.0, np.ones(8)]  # ten passes
    for kept in (slice(0, 10), slice(10, 40), slice(40, 120)):
        model.partial_fit(X[kept], Y[kept], sample_weight=weights if kept.start == 0 else None)
    if learning_rate == "constant":
        assert rates == [[0.2, 0.2]] * 3
    else:
        shares = [10 / 100, 40 / 130, 120 / 210]
        assert_allclose(rates, 0.2 * np.array([[0.1, shares[0]], shares[:2], shares[1:]]))


@pytest.mark.parametrize("task", ["blocks", "warm start"])
def test_later_rates_follow_every_way_to_fit(data, task):
    X, Y = data
    model = make(warm_start=True).fit(X[:50], Y[:50])
    if task == "blocks":
        blocks = [(X[:70], Y[:70]), (X[70:], Y[70:])]
        model = fit_shard(model.get_params(), np.arange(Y.shape[1]), blocks).classifier
    else:
        model.partial_fit(X[:9], Y[:9])
        assert (model._model.training.n_settled, model._model.training.n_later) == (50, 9)
        model.fit(X, Y)
    assert (model._model.training.n_settled, model._model.training.n_later) == (120, 0)


@pytest.mark.parametrize("params", [*NETWORKS, {"n_estimators": 2}])
def test_a_stored_stream_goes_on_to_the_bit(data, params):
    X, Y = data
    model = make(n_jobs=1, **params)
    model = model.fit(10 * X[:8], Y[:8]) if "n_estimators" in params else model.partial_fit(10 * X[:8], Y[:8])
    copy = pickle.loads(pickle.dumps(model))
    for start, stop in pairwise([8, 20, 21, 120]):
        model.partial_fit(X[start:stop], Y[start:stop])
        copy = pickle.loads(pickle.dumps(copy.partial_fit(X[start:stop], Y[start:stop])))
    assert_same(model, copy)
    assert_array_equal(model.decision_function(X), copy.decision_function(X))


def test_samples_that_a_warm_start_sets_aside_are_scaled_as_the_others(data, monkeypatch):
    monkeypatch.setattr(_fitting, "AUTO_STOPPING", 20)
    learn, lengths = SlideClassifier._learn_held_out, []

    def note(self, held_out, rates):
        lengths.extend(row_norms(sp.csr_array(held_out.x[::-1], shape=(held_out.x.n_rows, 40))))
        learn(self, held_out, rates)

    monkeypatch.setattr(SlideClassifier, "_learn_held_out", note)
    X, Y = data  # of length 1
    model = make(warm_start=True, scoring=lambda model, X, Y: model.n_iter_).fit(X[:50], Y[:50])
    model.fit(16 * X[50:], Y[50:])
    assert model._model.input_scale == 1 / 16
    assert len(lengths) == 5 + 7
    assert_allclose(lengths, 1, rtol=1e-5)


def test_a_warm_start_takes_notice_of_new_samples(data):
    X, Y = data
    model = make(warm_start=True).fit(10 * X[:8], Y[:8]).fit(X, Y)
    assert_array_equal(pairs_of(model._model), met(X, Y))
    assert model._model.input_scale == make().fit(X, Y)._model.input_scale


def test_a_call_that_fails_leaves_a_model_that_predicts_as_it_did(data, monkeypatch):
    X, Y = data
    model = make().partial_fit(16 * X[:8], Y[:8])
    expected, one = model.decision_function(X), model.predict_top_k(X[:1], 25)
    monkeypatch.setattr("sklearn_slide._fitting.Trainer", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X[8:100], Y[8:100])
    known = model._model.seen_labels
    assert_allclose(model.decision_function(X)[:, known], expected[:, known], rtol=1e-5, atol=1e-6)
    again = model.predict_top_k(X[:1], 25)
    order = [np.argsort(labels[0]) for labels, _ in (one, again)]
    for (_, scores), (_, now), places in [(one, again, order)]:
        assert_allclose(now[0, places[1]][known], scores[0, places[0]][known], rtol=1e-5, atol=1e-6)
    monkeypatch.undo()
    model.partial_fit(X, Y)
    assert_array_equal(pairs_of(model._model), met(X, Y))


def interrupt(*args):
    raise KeyboardInterrupt


def test_class_labels_of_a_stream(data):
    rng = np.random.default_rng(0)
    y = rng.integers(6, size=600)
    X = normalize(np.eye(6)[y] + 0.3 * rng.random((600, 6)))
    model = SlideClassifier((16,), random_state=0, n_jobs=1)
    for start, stop in pairwise([0, 1, 3, 300, 600]):
        model.partial_fit(50 * X[start:stop] if start < 3 else X[start:stop], y[start:stop], classes=range(6))
    assert model.score(X, y) > 0.95
    assert clone(model).partial_fit(X, y, classes=range(6)).score(X, y) > 0.95
    assert Batch(model._model.rows(X.astype(np.float32)), model._model.network).x.n_rows == 600


@pytest.mark.parametrize("stored", [False, True])
def test_labels_start_from_their_first_samples_that_are_not_all_0(data, stored):
    X, Y = data
    empty = 0 * X if stored else sp.csr_matrix(X.shape, dtype=np.float32)
    late = make(**STANDSTILL).partial_fit(empty, Y)
    assert not late._model.training.started.any()
    usual = make(**STANDSTILL).partial_fit(X, Y)
    for _ in range(2):
        late.partial_fit(X, Y)
    assert_array_equal(late._model.training.started, Y.sum(axis=0).A1 > 0)
    # hidden weights are of other scales, but the labels' weights point where those of a first call do
    own, its = (model._model.network.output.weights for model in (late, usual))
    cosines = np.sum(own * its, axis=1) / np.linalg.norm(own, axis=1) / np.linalg.norm(its, axis=1)
    assert cosines[late._model.training.started].min() > 0.99


def test_tables_that_an_interrupt_left_empty_are_built(data):
    X, Y = data
    model = make(lsh=LSH(rehash_interval=10**6), n_active=10, negatives={"lsh": 1}).partial_fit(X, Y)
    index = model._model.training.index
    assert (index.tables.offsets[:, -1] == 25).all()
    index.tables.offsets[1:] = 0
    model.partial_fit(X, Y)
    assert (model._model.training.index.tables.offsets[:, -1] == 25).all()
