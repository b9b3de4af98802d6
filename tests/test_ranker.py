"""What predictions keep between calls, what they tell of their progress and what they check."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from helpers import make, no_report, to_samples, train_model
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide import _progress
from sklearn_slide._core import parallel
from sklearn_slide._ranker import Ranker
from sklearn_slide._trainer import Trainer, TrainingSettings


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(9)
    return sp.random(70, 50, density=0.2, format="csr", dtype=np.float32, random_state=rng)


@pytest.fixture(scope="module")
def Y():
    return sp.random(70, 400, density=0.01, format="csr", random_state=np.random.default_rng(3)) > 0


@pytest.fixture
def model(X, Y):
    return make(hidden_layer_sizes=(16,), n_active=40, max_iter=1).fit(X, Y)


@pytest.mark.parametrize("retrieval", ["exact", "lsh"])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_verbose_predictions_tell_how_far_they_are(model, X, retrieval, n_jobs, monkeypatch, capsys):
    model.set_params(retrieval=retrieval, n_jobs=n_jobs)
    methods = [lambda: model.predict_top_k(X, 4)[1], lambda: model.predict(X).toarray()]
    methods += [lambda: model.decision_function(X)]
    expected = [method() for method in methods]
    model.set_params(verbose=1)
    assert [method() is None for method in methods] == [False] * 3
    assert capsys.readouterr().out == ""  # a short prediction prints nothing
    monkeypatch.setattr(parallel, "_ROUND_WORK", 1.0)
    monkeypatch.setattr(_progress, "_SECONDS_BETWEEN_LINES", -1.0)
    for method, wanted in zip(methods, expected, strict=True):
        # products of other blocks may round otherwise
        assert_allclose(method(), wanted, rtol=1e-5, atol=1e-5)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == (35 if n_jobs == 2 else 70)
        assert all(line.startswith("Predicted ") for line in lines)
        assert lines[-1].startswith("Predicted 70 of 70 samples, samples/s = ")
        assert lines[-1].endswith(", remaining = 0 s")


def test_clean_rows_and_others_are_checked_alike(model, X):
    expected = model.predict_top_k(X, 3)[0]
    for same in (X.astype(np.float64), X.tocsc(), X.toarray(), sp.csr_array(X)):
        assert_array_equal(model.predict_top_k(same, 3)[0], expected)
    for value in (np.nan, np.inf):
        bad = X.copy()
        bad.data[7] = value
        with pytest.raises(ValueError, match="contains NaN" if np.isnan(value) else "contains infinity"):
            model.predict_top_k(bad)
    with pytest.raises(ValueError, match="X has 49 features, but SlideClassifier is expecting 50"):
        model.predict_top_k(X[:, :49])
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        model.predict_top_k(X[:0])
    named = make(n_active=40).fit(pd.DataFrame(X.toarray()).rename(columns=str), np.eye(70, dtype=int))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        named.predict_top_k(X, 3)


def test_input_that_is_known_to_be_clean_gives_the_same(model, X):
    for rows in (X, X[:1]):
        for found, expected in zip(
            model.predict_top_k(rows, 3, check_input=False), model.predict_top_k(rows, 3), strict=True
        ):
            assert_array_equal(found, expected)


def test_what_predictions_build_follows_training_and_is_not_pickled(model, X, Y):
    size = len(pickle.dumps(model))
    for retrieval in ("exact", "lsh"):
        model.set_params(retrieval=retrieval).predict_top_k(X[:1], 3)
        assert abs(len(pickle.dumps(model)) - size) < 10
    model.set_params(retrieval="exact").partial_fit(X, Y)
    expected = np.sort(model.decision_function(X[:1]))[:, ::-1][:, :3]
    assert_allclose(model.predict_top_k(X[:1], 3)[1], expected, rtol=1e-5)
    assert_allclose(pickle.loads(pickle.dumps(model)).predict_top_k(X[:1], 3)[1], expected, rtol=1e-5)


def test_a_ranker_makes_its_copies_anew_after_training(X, Y):
    model = train_model(X, Y)
    ranker, row = Ranker(model), model.batch(X[:1])
    ask = [lambda of: of.best(row, 5, no_report), lambda of: of.best_retrieved(row, 5, no_report)]
    for best in ask:
        for _ in range(2):
            for got, wanted in zip(best(ranker), best(Ranker(model)), strict=True):
                assert_array_equal(got, wanted)
    Trainer(model, to_samples(X, Y), TrainingSettings(40, "auto", True, 1)).run_epoch((2.0, 2.0))
    for best in ask:
        for got, wanted in zip(best(ranker), best(Ranker(model)), strict=True):
            assert_array_equal(got, wanted)
