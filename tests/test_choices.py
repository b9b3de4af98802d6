"""Scores of chosen labels, labels left out of rankings, and sparse rankings, against dense arrays."""

from copy import deepcopy

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from helpers import make
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.datasets import load_iris

from sklearn_slide import _ranker
from sklearn_slide._core import exact
from sklearn_slide._core.retrieval import MIN_LABELS

N_LABELS = 300


@pytest.fixture(scope="module")
def task():
    X = sp.random(200, 150, density=0.06, format="csr", dtype=np.float32, random_state=1)
    Y = sp.random(200, N_LABELS, density=0.01, format="csr", random_state=2)
    Y.data[:] = 1
    return X, Y


@pytest.fixture(scope="module", params=["sigmoid", "softmax", "int8", "linear"])
def model(request, task):
    params = {"softmax": {"loss": "softmax"}, "linear": {"hidden_layer_sizes": ()}}.get(request.param, {})
    fitted = make(n_active=None, **params).fit(*task)
    return fitted.compact("int8") if request.param == "int8" else fitted


def full_ranking(scores, left_out):
    """Return all labels of each row, best first, -1 for those left out, bool as scores, and their scores."""
    scores = np.where(left_out, -np.inf, scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    best = np.take_along_axis(scores, order, axis=1)
    return np.where(best == -np.inf, -1, order), best


def assert_ranked(found, scores, left_out, k):
    labels, best = found
    _, expected = full_ranking(scores, left_out)
    assert_allclose(best, expected[:, :k], rtol=1e-5, atol=1e-5)
    assert_array_equal(labels == -1, best == -np.inf)
    for i, row in enumerate(labels):
        row = row[row >= 0]
        assert len(set(row.tolist())) == len(row)
        assert not left_out[i, row].any()
        assert_allclose(scores[i, row], best[i, : len(row)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_rows", [1, 2, 200])
@pytest.mark.parametrize("n_left", [N_LABELS - 1, 40, 3, 0])
def test_a_mask_leaves_labels_out_of_all_rows(model, task, n_rows, n_left):
    X, scores = task[0][:n_rows], model.decision_function(task[0][:n_rows])
    mask = np.ones(N_LABELS, dtype=bool)
    mask[np.random.default_rng(0).choice(N_LABELS, n_left, replace=False)] = False
    found = model.predict_top_k(X, 5, exclude=mask)
    assert_ranked(found, scores, mask | (scores == -np.inf), 5)
    assert_array_equal(model.predict_top_k(X, 5, exclude=mask.tolist())[0], found[0])


@pytest.mark.parametrize("few", [0, 256])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("n_rows", [1, 200])
def test_some_labels_of_each_row_are_left_out(model, task, few, density, n_rows, monkeypatch):
    monkeypatch.setattr(_ranker, "_FEW", few)
    monkeypatch.setattr(exact, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(exact, "_BLOCK_LABELS", 64)
    X, scores = task[0][:n_rows], model.decision_function(task[0][:n_rows])
    left_out = np.random.default_rng(3).random(scores.shape) < density
    left_out[:, :3] |= scores[:, :3] == scores.max(axis=1, keepdims=True)
    form = sp.coo_array(left_out)
    found = model.predict_top_k(X, 6, exclude=form)
    assert_ranked(found, scores, left_out | (scores == -np.inf), 6)
    for other in (form.tocsc(), left_out, left_out.astype(float)):
        for a, b in zip(model.predict_top_k(X, 6, exclude=other), found, strict=True):
            assert_array_equal(a, b)


def test_labels_that_are_left_out_are_not_scored_again(task):
    """Of labels whose sums are all equal, those found may not be all that are among the best."""
    X, Y = task
    model = make(n_active=None, direct_limit=0).fit(X, Y)
    output = model._model.network.output
    output.weights[:], output.biases[:] = 0.0, -8.0
    mask = np.zeros(Y.shape, dtype=bool)
    mask[:, ::2] = True
    labels, _ = model.predict_top_k(X, 5, exclude=sp.csr_array(mask))
    assert_array_equal(labels, np.tile([1, 3, 5, 7, 9], (200, 1)))


def test_zeros_and_duplicates_of_a_mask_count_as_they_are(model, task):
    X, n = task[0], 200
    rows = np.repeat(np.arange(n), 3)
    columns = np.tile([4, 2, 2], n)
    twice = sp.coo_array((np.ones(3 * n), (rows, columns)), shape=(n, N_LABELS))
    with_zeros = sp.csr_array(twice)
    with_zeros.data[with_zeros.indices == 4] = 0
    only = np.zeros((n, N_LABELS), dtype=bool)
    only[:, 2] = True
    assert_array_equal(
        model.predict_top_k(X, 9, exclude=with_zeros)[0], model.predict_top_k(X, 9, exclude=only)[0]
    )
    only[:, 4] = True
    assert_array_equal(
        model.predict_top_k(X, 9, exclude=twice)[0], model.predict_top_k(X, 9, exclude=only)[0]
    )


def test_retrieval_leaves_labels_out(monkeypatch):
    X = sp.random(120, 100, density=0.06, format="csr", dtype=np.float32, random_state=1)
    Y = sp.random(120, MIN_LABELS + 500, density=0.002, format="csr", random_state=2)
    model = make(retrieval="lsh", n_active=100).fit(X, Y != 0)
    owned = sp.csr_array(Y != 0)
    labels, scores = model.predict_top_k(X, 4, exclude=owned)
    assert not owned.toarray()[np.arange(120)[:, np.newaxis], labels].any()
    wide, all_scores = model.predict_top_k(X, 4 + np.diff(owned.indptr).max())
    for i in range(120):
        kept = ~np.isin(wide[i], owned[[i]].indices)
        assert_array_equal(labels[i], wide[i][kept][:4])
        assert_array_equal(scores[i], all_scores[i][kept][:4])


@pytest.mark.parametrize("n_rows", [1, 200])
def test_scores_of_chosen_labels_are_those_of_all(model, task, n_rows):
    X = task[0][:n_rows]
    rng = np.random.default_rng(1)
    for method in (model.decision_function, model.predict_proba, model.predict_log_proba):
        dense = method(X)
        for_all = rng.integers(N_LABELS, size=9)
        found = method(X, labels=for_all)
        assert found.dtype == dense.dtype
        assert_allclose(found, dense[:, for_all], rtol=1e-5, atol=1e-5)
        own = rng.integers(N_LABELS, size=(n_rows, 4))
        assert_allclose(method(X, own), np.take_along_axis(dense, own, 1), rtol=1e-5, atol=1e-5)
        pattern = sp.random(n_rows, N_LABELS, density=0.03, format="csc", random_state=4)
        sparse = method(X, labels=pattern)
        where = pattern.toarray() != 0
        assert sparse.nnz == where.sum()
        rows, columns = np.nonzero(where)
        assert_allclose(sparse.toarray()[rows, columns], dense[rows, columns], rtol=1e-5, atol=1e-5)
        assert method(X, []).shape == (n_rows, 0)


def test_sparse_results_are_as_scikit_learn_is_set(model, task):
    X = task[0]
    for result in (
        model.predict_top_k(X, 3, sparse_output=True),
        model.decision_function(X, sp.eye(200, N_LABELS, format="csr")),
    ):
        assert isinstance(result, sp.csr_matrix)
        assert result.has_sorted_indices
    if "sparse_interface" in sklearn.get_config():
        with sklearn.config_context(sparse_interface="sparray"):
            assert isinstance(model.predict_top_k(X, 3, sparse_output=True), sp.csr_array)


@pytest.mark.parametrize("n_rows", [1, 200])
@pytest.mark.parametrize("blocks", [(512, 8192), (7, 33)])
def test_probabilities_of_the_best_are_those_of_predict_proba(model, task, n_rows, blocks, monkeypatch):
    monkeypatch.setattr(exact, "_BLOCK_ROWS", blocks[0])
    monkeypatch.setattr(exact, "_BLOCK_LABELS", blocks[1])
    X = task[0][:n_rows]
    p = model.predict_proba(X)
    labels, found = model.predict_top_k(X, 6, scores="probability")
    assert found.dtype == np.float64
    assert_array_equal(labels, model.predict_top_k(X, 6)[0])
    assert_allclose(found, np.take_along_axis(p, labels, 1), rtol=1e-5, atol=1e-12)
    # labels that are left out do not make the others likelier
    mask = np.zeros(N_LABELS, dtype=bool)
    mask[labels[:, 0]] = True
    for exclude in (mask, sp.csr_array(np.tile(mask, (n_rows, 1)))):
        others, left = model.predict_top_k(X, 6, scores="probability", exclude=exclude)
        assert_allclose(
            left, np.where(others < 0, 0, np.take_along_axis(p, others, 1)), rtol=1e-5, atol=1e-12
        )
        assert not mask[others[others >= 0]].any()


def test_sparse_rankings_hold_what_the_arrays_hold(model, task):
    X = task[0]
    labels, p = model.predict_top_k(X, 8, scores="probability")
    expected = np.zeros((200, N_LABELS))
    np.put_along_axis(expected, labels, p, axis=1)
    found = model.predict_top_k(X, 8, scores="probability", sparse_output=True)
    assert_array_equal(found.toarray(), expected)
    least = np.median(p)
    expected[expected < least] = 0
    found = model.predict_top_k(X, 8, scores="probability", min_probability=least, sparse_output=True)
    assert_array_equal(found.toarray(), expected)
    assert found.nnz == (p >= least).sum()
    likely, kept = model.predict_top_k(X, 8, scores="probability", min_probability=least)
    assert_array_equal(likely, np.where(p < least, -1, labels))
    assert_array_equal(kept, np.where(p < least, 0, p))


def test_labels_that_compact_dropped_are_not_in_sparse_rankings(task):
    X, Y = task
    rare = sp.csr_array((Y.data, 3 * Y.indices, Y.indptr), shape=(200, 3 * N_LABELS))
    model = make(n_active=None).fit(X, rare).compact()
    n_seen = len(np.unique(rare.indices))
    found = model.predict_top_k(X, 10**6, sparse_output=True)
    assert found.shape == rare.shape
    assert_array_equal(np.diff(found.indptr), np.full(200, n_seen))
    assert (model.decision_function(X[:3], [1, 2, 4]) == -np.inf).all()
    labels, scores = model.predict_top_k(X[:2], 10**6, exclude=np.zeros(3 * N_LABELS, dtype=bool))
    assert labels.shape == (2, 3 * N_LABELS)
    assert_array_equal((labels >= 0).sum(axis=1), [n_seen, n_seen])
    assert_array_equal(scores[labels < 0], -np.inf)


def test_sums_of_exponentials_bear_large_scores(task):
    X, Y = task
    model = deepcopy(make(n_active=None, loss="softmax").fit(X, Y))
    model._model.network.output.weights[:] *= 300
    scores = model.decision_function(X).astype(float)
    assert np.ptp(scores) > 400
    ranker = model._ranker
    for factor in (1.0, 0.3, 4.0):
        sums = ranker.log_sums(model._model.rows(X), factor, lambda n: None)
        assert_allclose(sums, logsumexp(factor * scores, axis=1), rtol=1e-5)
    labels, p = model.predict_top_k(X, 3, scores="probability")
    assert_allclose(p, np.take_along_axis(softmax(scores, axis=1), labels, 1), rtol=1e-3, atol=1e-6)
    expected = log_softmax(scores, axis=1)[:, labels[0]]
    assert_allclose(model.predict_log_proba(X, labels[0]), expected, rtol=1e-3, atol=1e-4)


def test_class_labels_and_names():
    X, y = load_iris(return_X_y=True)
    names = np.array(["x", "y", "z"])[y]
    model = make(max_iter=3).fit(X, names)
    p = model.predict_proba(X)
    assert_allclose(model.predict_proba(X, ["z", "x"]), p[:, [2, 0]], rtol=1e-5)
    labels, _ = model.predict_top_k(X, 3, exclude=[False, True, True])
    assert_array_equal(labels, np.tile(["x", "", ""], (150, 1)))
    assert_array_equal(make().fit(X, y).predict_top_k(X, exclude=[True] * 3)[0], np.full((150, 3), -1))
    as_objects = make().fit(X, names.astype(object)).predict_top_k(X[:1], exclude=[True, True, False])[0]
    assert as_objects.tolist() == [["z", None, None]]
    two = make().fit(X[:100], y[:100])
    scores = two.decision_function(X[:100], [0, 1])
    assert_allclose(two.decision_function(X[:100]), scores[:, 1] - scores[:, 0], rtol=1e-5, atol=1e-6)
    truths = make().fit(X[:100], y[:100] == 1)
    with pytest.raises(ValueError, match=r"dtype bool have no value for none.* Give sparse_output=True"):
        truths.predict_top_k(X, exclude=[True, False])
    assert truths.predict_top_k(X, exclude=[True, False], sparse_output=True).nnz == 150


def test_names_of_columns(task):
    X, Y = task
    names = np.array([f"label {i}" for i in range(N_LABELS)])[::-1]
    model = make(n_active=None).partial_fit(X, Y, classes=names)
    dense = model.decision_function(X)
    assert_allclose(model.decision_function(X, ["label 7", "label 0"]), dense[:, [-8, -1]], rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"exclude": np.zeros(299, dtype=bool)}, r"\(n_outputs_,\) = \(300,\).*Got shape \(299,\)"),
        ({"exclude": np.zeros(300, dtype=int)}, "dtype int64. numpy.isin"),
        ({"exclude": [3, 7]}, "numpy.isin"),
        ({"exclude": np.zeros((199, 300))}, r"\(200, 300\), which may be sparse. Got shape \(199, 300\)"),
        ({"exclude": sp.csr_array((300, 200))}, r"Got shape \(300, 200\)"),
        ({"scores": "proba"}, "scores must be 'logit' or 'probability'. Got 'proba'"),
        ({"min_probability": 0.5}, "Give scores='probability'"),
        ({"min_probability": 1.5, "scores": "probability"}, "from 0 to 1. Got 1.5"),
        ({"min_probability": "a"}, "from 0 to 1. Got 'a'"),
    ],
)
def test_bad_arguments_of_rankings(task, params, match):
    model = make().fit(*task)
    with pytest.raises(ValueError, match=match):
        model.predict_top_k(task[0], **params)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([300], "labels must be among classes_.*Got 300. Leave"),
        ([[0]] * 199, r"\(200, m\).*Got shape \(199, 1\)"),
        ([-1], "Got -1"),
        (["a"], "Got 'a'"),
        (3, r"labels must be 1-D.*Got shape \(\)"),
        ([[1, 2], [3]], "MultiLabelBinarizer"),
        (sp.csr_array((200, 299)), r"\(200, 300\). Got \(200, 299\)"),
    ],
)
def test_bad_choices_of_labels(task, labels, match):
    model = make().fit(*task)
    for method in (model.decision_function, model.predict_proba, model.predict_log_proba):
        with pytest.raises(ValueError, match=match):
            method(task[0], labels)
