"""The estimator's contract: inputs, outputs, continuation and persistence."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from helpers import assert_same, make
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, normalize

from sklearn_slide import LSH, SlideClassifier, _samples
from sklearn_slide._core import parallel
from sklearn_slide.metrics import predict_top_k, top_k_scorer

FITTED = [
    "classes_",
    "n_outputs_",
    "loss_",
    "best_loss_",
    "loss_curve_",
    "active_size_curve_",
    "coefs_",
    "direct_coef_",
    "intercepts_",
]
FITTED += ["n_features_in_", "n_iter_", "n_layers_", "out_activation_", "t_"]


# Samples and targets of every kind


SPARSE = [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.coo_array, sp.lil_matrix, sp.bsr_array, sp.dok_array]


def wide_indices(matrix):
    matrix = sp.csr_array(matrix)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    return matrix


def unsorted_with_duplicates(matrix):
    """Reverse each row and split each value into two."""
    matrix = sp.csr_array(matrix)
    data, indices, indptr = [], [], [0]
    for i in range(matrix.shape[0]):
        part = slice(matrix.indptr[i], matrix.indptr[i + 1])
        data += [np.repeat(matrix.data[part][::-1] / 2, 2)]
        indices += [np.repeat(matrix.indices[part][::-1], 2)]
        indptr.append(indptr[-1] + len(data[-1]))
    return sp.csr_array((np.concatenate(data), np.concatenate(indices), indptr), shape=matrix.shape)


@pytest.mark.parametrize("convert", [*SPARSE, wide_indices, unsorted_with_duplicates, lambda X: X.toarray()])
def test_samples_of_every_kind(data, convert):
    X, Y = data
    expected = make().fit(X, Y)
    other = convert(X)
    before = other.copy()
    model = make().fit(other, Y)
    assert_same(model, expected)
    assert_array_equal(model.predict_top_k(other)[0], expected.predict_top_k(X)[0])
    difference = other != before
    assert not (difference.nnz if sp.issparse(difference) else difference.any())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, bool])
def test_samples_of_every_dtype(data, dtype):
    X = (data[0] > 0).astype(dtype)
    assert_same(make().fit(X, data[1]), make().fit(X.astype(np.float32), data[1]))


def test_float32_csr_is_not_copied(data):
    rows = _samples.as_rows(data[0])
    assert np.shares_memory(rows.data, data[0].data)
    assert np.shares_memory(rows.indices, data[0].indices)


@pytest.mark.parametrize(
    "convert", [*SPARSE, wide_indices, lambda Y: Y.toarray(), lambda Y: Y.toarray().tolist()]
)
@pytest.mark.parametrize("dtype", [np.int64, np.float32, bool])
def test_indicators_of_every_kind(data, convert, dtype):
    X, Y = data
    target = convert(Y.astype(dtype))
    model = make().fit(X, target)
    assert_same(model, make().fit(X, Y))
    predicted = model.predict(X)
    assert predicted.dtype == (np.asarray(target).dtype if not sp.issparse(target) else dtype)
    assert sp.issparse(predicted) == sp.issparse(target)
    assert predicted.shape == Y.shape


def test_indicator_with_explicit_zeros_and_duplicates(data):
    X, Y = data
    rows, columns = Y.nonzero()
    rows, columns = np.concatenate([rows, rows, [0, 1]]), np.concatenate([columns, columns, [24, 23]])
    values = np.ones(len(rows))
    values[-2:] = 0
    order = np.argsort(rows, kind="stable")[::1]
    indptr = np.cumsum([0, *np.bincount(rows, minlength=Y.shape[0])])
    twice = sp.csr_array((values[order], columns[order], indptr), shape=Y.shape)
    assert_same(make().fit(X, twice), make().fit(X, Y))


def test_rows_without_features_or_labels_and_labels_without_rows(data):
    X, Y = (sp.lil_matrix(matrix) for matrix in data)
    X[3:6], Y[5:9], Y[:, 7] = 0, 0, 0
    for params in ({}, {"n_active": None}, {"loss": "softmax"}, {"activation": "relu"}):
        model = make(**params).fit(X, Y)
        assert all(np.isfinite(a).all() for a in model.coefs_ + model.intercepts_)
        labels, scores = model.predict_top_k(X, 25)
        assert_array_equal(np.sort(labels, axis=1), np.tile(np.arange(25), (120, 1)))
        assert np.isfinite(scores).all()


def test_nothing_but_zeros():
    model = make().fit(sp.csr_matrix((5, 4)), sp.csr_matrix((5, 30), dtype=int))
    assert model.predict(sp.csr_matrix((2, 4))).nnz == 0


@pytest.mark.parametrize("sparse_interface", ["spmatrix", "sparray"])
def test_predictions_are_sparse_as_scikit_learn_is_set(data, sparse_interface):
    import sklearn

    if "sparse_interface" not in sklearn.get_config():
        pytest.skip("this scikit-learn has no setting of the sparse interface")
    with sklearn.config_context(sparse_interface=sparse_interface):
        assert isinstance(make().fit(*data).predict(data[0]), sp.sparray) == (sparse_interface == "sparray")


# Class labels


@pytest.mark.parametrize("names", [[10, 20, 35], ["setosa", "versicolor", "virginica"], [-1.0, 0.0, 7.0]])
@pytest.mark.parametrize("params", [{}, {"loss": "sigmoid"}])
def test_classes_of_any_type(names, params):
    X, y = load_iris(return_X_y=True)
    y = np.array(names)[y]
    model = SlideClassifier((16,), max_iter=20, random_state=0, **params).fit(X, y)
    assert model.score(X, y) > 0.85
    assert_array_equal(model.classes_, names)
    labels, scores = model.predict_top_k(X, 2)
    assert_array_equal(labels[:, 0], model.predict(X))
    assert_array_equal(model.classes_[model.decision_function(X).argmax(axis=1)], labels[:, 0])
    assert (scores[:, 0] >= scores[:, 1]).all()
    assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_two_classes():
    X, y = load_iris(return_X_y=True)
    X, y = X[:100], np.where(y[:100] == 1, "yes", "no")
    model = SlideClassifier((16,), max_iter=20, random_state=0).fit(X, y)
    assert model.score(X, y) == 1
    scores = model.decision_function(X)
    assert scores.shape == (100,)
    assert_array_equal(model.classes_[(scores > 0).astype(int)], model.predict(X))
    assert_array_equal(model.classes_[(model.predict_proba(X)[:, 1] > 0.5).astype(int)], model.predict(X))


def test_softmax_of_many_classes_samples_them():
    rng = np.random.default_rng(0)
    y = rng.integers(300, size=2000)
    X = sp.csr_matrix((np.ones(2000), (np.arange(2000), y)), shape=(2000, 300))
    model = SlideClassifier((64,), n_active=40, max_iter=3, random_state=0).fit(X, y)
    assert model.active_size_curve_[0] <= 40
    assert model.out_activation_ == "softmax"
    assert model.score(X, y) > 0.9


# Outputs


def test_probabilities_and_predictions_agree(data):
    X, Y = data
    for loss in ("sigmoid", "softmax"):
        model = make(loss=loss, max_iter=20, n_active=None).fit(X, Y)
        p = model.predict_proba(X)
        assert p.shape == Y.shape
        assert ((p > 0) & (p < 1)).all()
        assert_allclose(model.predict_log_proba(X), np.log(p))
        predicted = model.predict(X).toarray()
        assert_array_equal(predicted, p > 0.5)
        assert predicted.any()
    assert_allclose(p.sum(axis=1), 1)


def test_attributes(data):
    model = make(hidden_layer_sizes=(12, 8)).fit(*data)
    assert all(hasattr(model, name) for name in FITTED)
    assert [c.shape for c in model.coefs_] == [(40, 12), (12, 8), (8, 25)]
    assert [b.shape for b in model.intercepts_] == [(12,), (8,), (25,)]
    assert (model.n_layers_, model.n_outputs_, model.n_iter_, model.t_) == (4, 25, 2, 240)
    H = data[0] @ model.coefs_[0] + model.intercepts_[0]
    H = H @ model.coefs_[1] + model.intercepts_[1]
    scores = H @ model.coefs_[2] + model.intercepts_[2] + data[0] @ model.direct_coef_
    assert_allclose(scores, model.decision_function(data[0]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_curves_and_counters_cover_all_networks(data, early_stopping):
    params = {"max_iter": 6, "tol": 0.2, "n_iter_no_change": 1, "early_stopping": early_stopping}
    model, first = make(n_estimators=3, **params).fit(*data), make(**params).fit(*data)
    n_first, n_samples = first.n_iter_, 108 if early_stopping else 120
    assert 3 <= len(model.loss_curve_) == len(model.active_size_curve_) == model.n_iter_ > n_first
    assert model.t_ == n_samples * model.n_iter_
    for name in ("loss_curve_", "active_size_curve_", "validation_scores_"):
        if name != "validation_scores_" or early_stopping:
            curve, n_starts = getattr(model, name), 3 if name == "validation_scores_" else 0
            n_of_first = n_first + n_starts // 3
            assert len(curve) == model.n_iter_ + n_starts
            assert curve[:n_of_first] == getattr(first, name)
            assert curve[n_of_first:] != curve[:n_of_first]
    assert model.loss_ == model.loss_curve_[-1]
    assert model.best_loss_ == min(model.loss_curve_)
    assert model.coefs_[0].shape == (40, 36)
    # they go on from there, and a new fit starts them anew
    n = model.n_iter_
    model.partial_fit(*data)
    assert len(model.loss_curve_) == len(model.active_size_curve_) == model.n_iter_ == n + 1
    assert model.t_ == n_samples * n + 120
    assert len(model.fit(*data).loss_curve_) == model.n_iter_ == n


def test_unfitted():
    for method in ("predict", "predict_proba", "decision_function", "predict_top_k"):
        with pytest.raises(NotFittedError):
            getattr(SlideClassifier(), method)(np.ones((2, 2)))
    assert not any(hasattr(SlideClassifier(), name) for name in FITTED)
    computed = [name for name in FITTED if isinstance(getattr(SlideClassifier, name, None), property)]
    assert len(computed) == 11
    for name in computed:
        with pytest.raises(NotFittedError, match="SlideClassifier instance is not fitted yet"):
            getattr(SlideClassifier(), name)
    for check_input in (True, False):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            SlideClassifier().predict_top_k(sp.csr_matrix((1, 2), dtype=np.float32), check_input=check_input)


def test_feature_names(data):
    X = pd.DataFrame(data[0].toarray(), columns=[f"f{j}" for j in range(40)])
    model = make().fit(X, data[1])
    assert_array_equal(model.feature_names_in_, X.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename(columns={"f0": "g0"}))


def test_verbose(data, capsys, monkeypatch):
    make(verbose=True).fit(*data)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(
        word in lines[1]
        for word in ("Epoch 2/2, 100%", "loss =", "labels scored =", "samples/s =", "remaining = 0 s")
    )
    monkeypatch.setattr("sklearn_slide._progress._SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(parallel, "_ROUND_WORK", 1.0)
    make(verbose=2).fit(*data)
    assert len(capsys.readouterr().out.splitlines()) == 240
    make().fit(*data)
    assert capsys.readouterr().out == ""


# Continuation and persistence


def test_partial_fit_goes_on(data):
    X, Y = data
    model = make().partial_fit(X, Y)
    assert (model.n_iter_, model.t_) == (1, 120)
    first = model.coefs_[-1].copy()
    model.partial_fit(X[:50], Y[:50])
    assert (model.n_iter_, model.t_) == (2, 170)
    assert (model.coefs_[-1] != first).any()


def test_fit_is_a_partial_fit_per_epoch(data):
    assert_same(make(max_iter=1, learning_rate="constant").fit(*data), make().partial_fit(*data))


def test_warm_start_goes_on_and_fit_starts_anew(data):
    model = make(warm_start=True, learning_rate="constant").fit(*data).fit(*data)
    assert model.n_iter_ == 4
    assert_same(model, make(max_iter=4, learning_rate="constant").fit(*data))
    model.set_params(warm_start=False).fit(*data)
    assert model.n_iter_ == 2
    assert_same(model, make(learning_rate="constant").fit(*data))


def test_partial_fit_of_classes():
    X, y = load_iris(return_X_y=True)
    model = SlideClassifier((16,), random_state=0).partial_fit(X[:60], y[:60], classes=[0, 1, 2])
    for _ in range(20):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.85


def dump_and_load(model, tmp_path, how):
    if how == "pickle":
        return pickle.loads(pickle.dumps(model))
    joblib.dump(model, tmp_path / "model.joblib")
    return joblib.load(tmp_path / "model.joblib", mmap_mode="r" if how == "mmap" else None)


@pytest.mark.parametrize("how", ["pickle", "joblib", "mmap"])
@pytest.mark.parametrize("retrieval", ["exact", "lsh"])
def test_persistence(data, tmp_path, how, retrieval, monkeypatch):
    monkeypatch.setattr("sklearn_slide._core.retrieval.MIN_LABELS", 0)
    X, Y = data
    model = make(retrieval=retrieval, lsh=LSH(rehash_interval=100, rehash_growth=1.0)).fit(X, Y)
    copy = dump_and_load(model, tmp_path, how)
    for got, expected in zip(copy.predict_top_k(X), model.predict_top_k(X), strict=True):
        assert_array_equal(got, expected)
    assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    assert (copy.predict(X) != model.predict(X)).nnz == 0
    for _ in range(2):  # tables are rebuilt every 100 samples
        assert_same(copy.partial_fit(X, Y), model.partial_fit(X, Y))


def test_clone(data):
    model = make(negatives={"lsh": 0.8, "uniform": 0.2}).fit(*data)
    copy = clone(model)
    assert not hasattr(copy, "classes_")
    assert_same(copy.fit(*data), model)


# Model selection


def test_grid_search_in_a_pipeline(data):
    X, Y = data
    pipeline = make_pipeline(Normalizer(), make())
    scoring = {"P@3": top_k_scorer("precision_at_k", k=3), "nDCG": top_k_scorer("ndcg_at_k", k=5)}
    search = GridSearchCV(
        pipeline,
        {"slideclassifier__n_active": [8, None]},
        scoring=scoring,
        refit="P@3",
        cv=KFold(3),
        error_score="raise",
    ).fit(X, Y)
    train, test = next(KFold(3).split(X))
    for place, n_active in enumerate([8, None]):
        model = clone(pipeline).set_params(slideclassifier__n_active=n_active).fit(X[train], Y[train])
        for name, scorer in scoring.items():
            assert search.cv_results_[f"split0_test_{name}"][place] == scorer(model, X[test], Y[test])
    assert_array_equal(
        predict_top_k(search, X, 3)[0], search.best_estimator_[-1].predict_top_k(normalize(X), 3)[0]
    )
    assert cross_val_predict(make(), X, Y, cv=3).shape == Y.shape
