"""Labels that come later: what is kept, where the new ones start, and that they are learned."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from helpers import make, make_labels, to_samples
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris

from sklearn_slide import SlideClassifier, _growth, _memory
from sklearn_slide._core.direct import Direct
from sklearn_slide._core.losses import SIGMOID_BIAS
from sklearn_slide._first_weights import OUTPUT_ACCUMULATOR
from sklearn_slide._growth import Moments, grow, merge, take_labels
from sklearn_slide.datasets import make_xmc_classification

N_OLD, N_NEW = 15, 25  # of the 25 labels of the fixture `data`
STANDSTILL = {"learning_rate_init": 1e-30}

NETWORKS = [
    {},
    {"solver": "adam"},
    {"direct_limit": 0},
    {"loss": "softmax"},
    {"hidden_layer_sizes": (8, 6), "activation": "relu"},
    {"hidden_layer_sizes": ()},
    {"init": "random"},
    {"n_estimators": 2},
]


def rows_of_labels(model):
    """Return the arrays of a Model with a row for each label, the state of the solver among them."""
    output, state = model.network.output, model.training.solver.output
    parts = [*output, *state.weights, *state.biases]
    return parts if model.network.direct is None else [*parts, model.direct_coef().T.tocsr()]


@pytest.mark.parametrize("params", NETWORKS)
@pytest.mark.parametrize("ascending", [True, False])
def test_growing_keeps_what_was_learned_to_the_bit(data, params, ascending):
    X, Y = data
    model = make(**params).fit(X, Y[:, :N_OLD])._model
    places = np.delete(np.arange(N_NEW), [0, *range(3, 10), 20, 24])
    if not ascending:
        places = np.random.default_rng(0).permutation(places)
    larger = grow(model, make_labels(N_NEW), places.astype(np.int32))
    old, new = rows_of_labels(model), rows_of_labels(larger)
    assert len(old) == len(new) > 3
    for before, after in zip(old, new, strict=True):
        assert (before.shape[0], after.shape[0]) == (N_OLD, N_NEW)
        if sp.issparse(before):
            assert_array_equal(after[places].toarray(), before.toarray())
            assert after[places].nnz == before.nnz
        else:
            assert_array_equal(after[places], before)
    for before, after in zip(model.coefs()[:-1], larger.coefs()[:-1], strict=True):
        assert_array_equal(after, before)
    assert larger.training.solver.input is model.training.solver.input
    assert (larger.n_passes, larger.n_epochs, larger.seed) == (model.n_passes, model.n_epochs, model.seed)
    assert larger.training.index is None  # tables hold every label: they are built anew
    direct = larger.network.direct
    if direct is not None:
        assert sp.csr_array((direct.weights, direct.labels, direct.indptr)).has_sorted_indices
        assert not np.shares_memory(larger.training.crowded, model.training.crowded)  # training changes it


@pytest.mark.parametrize("limit", [0, 1000])
@pytest.mark.parametrize("enough", [60, 61])
def test_new_labels_start_from_the_centroids_of_the_chunk(data, limit, enough, monkeypatch):
    monkeypatch.setattr(_growth, "_ENOUGH", enough)
    X, Y = data
    model = make(direct_limit=limit).fit(X, Y[:, :N_OLD])
    model._model.training.moments = None  # of the samples of fit
    before = model.direct_coef_.toarray().T
    gain = model._model.network.direct.gain if limit else 0.0
    known = model.coefs_[1].T.copy(), model.intercepts_[1].copy()
    model.set_params(**STANDSTILL).partial_fit(X[60:], Y[60:])
    H = X[60:].toarray() @ model.coefs_[0] + model.intercepts_[0]
    inputs = np.hstack([H, np.sqrt(gain) * X[60:].toarray()])
    assert (Y[:, :N_OLD].sum(axis=0) > 0).all()  # the other labels start now
    expected = reference.centroid_weights(inputs, Y[60:, N_OLD:].toarray())
    present = expected.any(axis=1)
    assert present.sum() > 5
    rows, of_features = expected[present, :12], np.sqrt(gain) * expected[:, 12:]
    if enough == 60:  # the chunk has as many: it tells how known labels score
        rows = reference.match_known(rows, np.full(len(rows), SIGMOID_BIAS), *known, H)
        assert (rows != expected[present, :12]).any(axis=1).sum() > 2
        if limit:
            of_features *= max(1, reference.median_length(before) / reference.median_length(of_features))
    assert_allclose(model.coefs_[1].T[N_OLD:][present], rows, rtol=1e-3, atol=1e-5)
    direct = model.direct_coef_.toarray().T[N_OLD:]
    assert_allclose(direct, of_features, rtol=1e-3, atol=1e-5)
    assert direct.any() == (limit > 0)
    assert_array_equal(model.intercepts_[1][N_OLD:], SIGMOID_BIAS)
    assert (model._model.training.solver.output.weights.sums[N_OLD:] >= OUTPUT_ACCUMULATOR).all()


def test_moments_are_those_of_all_rows_that_count(data, monkeypatch):
    X, Y = data
    model = make().fit(X, Y)._model

    def moments(start, stop):
        return Moments.of(model.network, to_samples(X[start:stop], Y[start:stop]), 1)

    monkeypatch.setattr(_growth, "_MANY_SAMPLES", 100)
    for parts, counted in [((0, 30, 70), slice(0, 70)), ((0, 70, 110), None)]:
        first, middle, last = parts
        found = moments(middle, last).after(moments(first, middle))
        h = X.toarray() @ model.network.input.weights + model.network.input.biases
        share = (
            1.0 if counted else 60 / 70
        )  # of 70 samples before, as many count as make 100 with the later 40
        weights = np.r_[np.full(middle - first, share), np.ones(last - middle)]
        assert found.n_samples == round(weights.sum())
        assert_allclose(found.mean, np.average(h[first:last], axis=0, weights=weights), rtol=1e-3, atol=1e-6)
        expected = np.cov(h[first:last].T, aweights=weights, ddof=0)
        assert_allclose(found.covariance, expected, rtol=1e-3, atol=1e-5)
    assert moments(0, 30).after(None).n_samples == 30


def test_a_handful_of_samples_brings_labels_that_do_not_outshine_the_others():
    X, Y = make_xmc_classification(n_samples=1200, n_labels=600, random_state=0)
    model = SlideClassifier((64,), random_state=0, n_jobs=1).fit(X[:1000], Y[:1000, :500])
    before = model.predict_top_k(X[1000:], k=5)[0]
    has_new = np.flatnonzero(Y[:1000, 500:].sum(axis=1))[:40]
    model.set_params(learning_rate_init=1e-30).partial_fit(X[has_new], Y[has_new])
    after = model.predict_top_k(X[1000:], k=5)[0]
    assert (after >= 500).any()
    assert (after >= 500).mean() < 0.1
    assert (after == before).mean() > 0.8


def test_new_labels_start_with_one_hidden_unit(data):
    X, Y = data
    model = make(hidden_layer_sizes=(1,)).fit(X, Y[:, :N_OLD])
    assert np.isfinite(model.partial_fit(X, Y).decision_function(X)).all()


def test_samples_of_some_labels_keep_their_rows_and_weights(data):
    X, Y = data
    weights = np.random.default_rng(0).uniform(0.1, 3, size=120).astype(np.float32)
    labels = np.array([2, 7, 24], dtype=np.int32)
    some = take_labels(to_samples(X, Y, weights), labels, 25)
    targets = Y.toarray()[:, labels]
    rows = np.flatnonzero(targets.any(axis=1))
    assert 0 < len(rows) < 120
    assert_array_equal(some.weights, weights[rows])
    assert_array_equal(sp.csr_array(some.x[::-1], shape=(len(rows), 40)).toarray(), X.toarray()[rows])
    ones = np.ones(len(some.y.indices))
    assert_array_equal(sp.csr_array((ones, *some.y[::-1]), shape=(len(rows), 3)).toarray(), targets[rows])


def test_merging_interleaves_the_lists_of_features():
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(9, 7)).astype(np.float32) * (rng.random((9, 7)) < 0.6)
    of_one = rng.random((9, 7)) < 0.5
    of_one[3], of_one[4] = True, False
    parts = [sp.csr_array(np.where(mask, dense, 0)) for mask in (of_one, ~of_one)]
    parts[0].data[0] = 0  # a pair with a weight of 0 stays a pair
    merged = merge(*(Direct(a.indptr.astype(np.int64), a.indices, a.data, np.float32(2)) for a in parts))
    got = sp.csr_array((merged.weights, merged.labels, merged.indptr), shape=(9, 7))
    assert_array_equal(got.toarray(), parts[0].toarray() + parts[1].toarray())
    assert got.nnz == parts[0].nnz + parts[1].nnz == np.count_nonzero(dense)
    assert got.has_sorted_indices
    dtypes = merged.labels.dtype, merged.weights.dtype, merged.indptr.dtype
    assert dtypes == (np.int32, np.float32, np.int64)


@pytest.mark.parametrize("params", [*NETWORKS[:5], {"n_active": None}, {"n_jobs": 2}])
def test_new_labels_are_learned_and_old_ones_are_remembered(params):
    rng = np.random.default_rng(0)
    label = rng.integers(60, size=3000)
    X = sp.csr_array((np.ones(3000), (np.arange(3000), label)), shape=(3000, 60), dtype=np.float32)
    Y = sp.csr_array((np.ones(3000), (np.arange(3000), label)), shape=(3000, 60))
    rate = {"learning_rate_init": 0.005 if params.get("solver") == "adam" else 0.1}
    model = make(hidden_layer_sizes=(64,), n_active=30).set_params(**rate | params)
    first = label < 40
    model.fit(X[first], Y[first][:, :40])
    top = model.predict_top_k(X[first], 1)[0][:, 0]
    before = np.mean(top == label[first])
    assert before > 0.8
    for _ in range(8):
        model.partial_fit(X[~first], Y[~first])
    assert model.n_outputs_ == 60
    assert_array_equal(model.classes_, np.arange(60))
    assert np.mean(model.predict_top_k(X[~first], 1)[0][:, 0] == label[~first]) > 0.9
    assert np.mean(model.predict_top_k(X[first], 1)[0][:, 0] == label[first]) > before - 0.2


def test_growth_across_the_sizes_at_which_tables_begin():
    rng = np.random.default_rng(0)
    X = sp.random(400, 300, density=0.05, format="csr", dtype=np.float32, random_state=rng)
    Y = sp.random(400, 3000, density=0.002, format="csr", random_state=rng).astype(bool)
    model = SlideClassifier((16,), max_iter=1, random_state=0, retrieval="lsh").fit(X, Y[:, :20])
    assert model.active_size_curve_ == [20]
    short = model._model.hasher.hash_length
    model.predict_top_k(X, 5)
    model.partial_fit(X, Y)
    assert model.active_size_curve_[-1] < 500
    assert model._model.hasher.hash_length > short
    assert model._model.training.index.tables.ids.shape[1] == 3000
    labels, _ = model.predict_top_k(X, 5)
    assert labels.max() > 20
    assert model.predict(X).shape == Y.shape


@pytest.mark.parametrize("names", [["b", "d", "a"], ["b", "d", "z"], [2, 5, 3]])
def test_new_classes_when_asked_for(names):
    X, y = load_iris(return_X_y=True)
    names = np.array(names)
    y, new = names[y], names[2]
    first = y != new
    model = SlideClassifier((16,), random_state=0, max_iter=20).fit(X[first], y[first])
    old = {name: model.coefs_[-1][:, position] for position, name in enumerate(model.classes_)}
    with pytest.raises(ValueError, match="which is not among the classes"):
        model.partial_fit(X, y)
    model.set_params(**STANDSTILL).partial_fit(X, y, classes=names)
    assert_array_equal(model.classes_, np.sort(names))
    for position, name in enumerate(model.classes_):
        if name != new:
            assert_array_equal(model.coefs_[-1][:, position], old[name])
    model.set_params(learning_rate_init=0.1)
    for _ in range(30):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.85


def test_classes_that_lack_known_ones_are_refused():
    X, y = load_iris(return_X_y=True)
    model = SlideClassifier((8,)).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"not the same.*nor all of them and more"):
        model.partial_fit(X, y, classes=[0, 1, 3])
    assert_array_equal(model.classes_, [0, 1, 2])


def test_growth_that_would_not_fit_in_memory(data, monkeypatch):
    X, Y = data
    model = make().fit(X, Y[:, :N_OLD])
    monkeypatch.setattr(_memory, "physical_memory", lambda: 1000)
    with pytest.raises(MemoryError, match=r"25 labels.*Add fewer labels"):
        model.partial_fit(X, Y)
    assert model.n_outputs_ == N_OLD
    assert model.predict_top_k(X, N_OLD)[0].shape == (120, N_OLD)
