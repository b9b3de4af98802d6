"""Learning rates and scales of the samples far from the usual: it trains, or says what to lower."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import make_xmc_classification
from sklearn_slide.metrics import precision_at_k

SCALES = [1e-6, 1e6]
NETWORKS = [
    {},
    {"solver": "adam", "learning_rate_init": 0.001},
    {"hidden_layer_sizes": (16, 12), "activation": "relu"},
    {"activation": "tanh"},
    {"loss": "softmax"},
    {"hidden_layer_sizes": ()},
]


@pytest.fixture(scope="module")
def task():
    return make_xmc_classification(400, 200, 1500, random_state=0)


def make(**params):
    return SlideClassifier(**{"hidden_layer_sizes": (16,), "random_state": 0} | params)


def all_finite(model):
    network, solver = model._model.network, model._model.training.solver
    arrays = [network.direct.weights] if network.direct else []
    for layer, state in zip((*network.hidden, network.output), layers_of(solver), strict=True):
        arrays += [*layer, *state.weights, *state.biases]
    return all(np.isfinite(array).all() for array in arrays)


def layers_of(solver):
    hidden = [] if solver.input is None else [solver.input, *(solver.deeper or ())]
    return [*hidden, solver.output]


@pytest.mark.parametrize("scale", [*SCALES, "one row in a hundred"])
@pytest.mark.parametrize("rate", [1e-4, 1e-2, 1.0, 10.0])
@pytest.mark.parametrize("params", NETWORKS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_trains_or_names_the_parameter(task, params, rate, scale, method):
    X, Y = task
    factors = np.full(400, scale) if isinstance(scale, float) else np.where(np.arange(400) % 100, 1.0, 1e6)
    X = sp.csr_matrix(sp.diags(factors) @ X)
    model = make(**params | {"learning_rate_init": rate})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(1 if method == "fit" else 3):
            getattr(model, method)(X, Y)
    assert all_finite(model)
    scores = model.decision_function(X)
    assert np.isfinite(scores).all()
    assert all(w.category is ConvergenceWarning for w in caught)
    if model.loss_ > 400 * np.log(2) + 8 * Y.nnz / 400:
        assert "Lower it" in str(caught[-1].message)
        assert f"learning_rate_init={rate}" in str(caught[-1].message)
    elif rate < 1 and isinstance(scale, float):
        labels, _ = model.predict_top_k(X, 1)
        assert precision_at_k(Y, labels, k=1) > 0.9


@pytest.mark.parametrize("params", NETWORKS)
@pytest.mark.parametrize("exponent", [-20, 20, 90])
def test_the_scale_of_the_samples_changes_nothing(task, params, exponent):
    X, Y = task
    scaled = X.copy()
    scaled.data = np.ldexp(X.data, exponent)
    model, other = make(**params).fit(X, Y), make(**params).fit(scaled, Y)
    assert_array_equal(other.decision_function(scaled), model.decision_function(X))
    for one, two in zip(model.coefs_[1:], other.coefs_[1:], strict=True):
        assert_array_equal(one, two)
    assert_array_equal(np.ldexp(other.coefs_[0], exponent), model.coefs_[0])
    assert_array_equal(np.ldexp(other.direct_coef_.data, exponent), model.direct_coef_.data)


def test_usual_samples_are_not_copied(task):
    X, Y = task
    assert make().fit(X, Y)._model.input_scale == 1


def test_values_too_large_to_compute_with(task):
    X, Y = task
    large = X.copy()
    large.data[0] = 1e20
    for method in ("fit", "partial_fit"):
        model = make()
        with pytest.raises(ValueError, match=r"X holds a value 1.0e\+20 times as large.*normalize"):
            getattr(model, method)(large, Y)
        assert not hasattr(model, "classes_")
    model = make().fit(X, Y)
    for call in (model.predict, model.predict_top_k, lambda X: model.partial_fit(X, Y)):
        with pytest.raises(ValueError, match=r"X holds a value 1.0e\+20 times as large"):
            call(large)


def test_a_warning_of_divergence(task):
    model = make(learning_rate_init=10.0, solver="adam")
    for method in ("fit", "partial_fit"):
        match = r"diverge.*learning_rate_init=10.0. Lower it"
        with pytest.warns(ConvergenceWarning, match=match) as caught:
            getattr(model, method)(*task)
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make().fit(*task)
        make(learning_rate_init=1e-4, init="random", max_iter=1).fit(*task)
        make(learning_rate_init=1e-4, init="random", max_iter=1, loss="softmax").fit(*task)


@pytest.mark.parametrize("rate", [1e3, 1e8, 1e16])
@pytest.mark.parametrize("solver", ["adagrad", "adam"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_absurd_rates_leave_no_nan(task, rate, solver):
    X, Y = task
    for n_samples in (1, 2, 400):
        model = make(learning_rate_init=rate, solver=solver, max_iter=1).fit(X[:n_samples], Y[:n_samples])
        assert all_finite(model)
        assert np.isfinite(model.decision_function(X)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_row_in_a_chunk_changes_nothing(task, value):
    X, Y = task
    model, expected = make().fit(X[:200], Y[:200]), make().fit(X[:200], Y[:200])
    bad = X[200:].copy()
    bad.data[len(bad.data) // 2] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        model.partial_fit(bad, Y[200:])
    assert model.t_ == expected.t_
    assert_array_equal(model.decision_function(X), expected.decision_function(X))
    for model_, rows in ((model, slice(200, 400)), (expected, slice(200, 400))):
        model_.partial_fit(X[rows], Y[rows])
    assert_array_equal(model.decision_function(X), expected.decision_function(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_that_diverged_are_not_trained_further(task):
    X, Y = task
    model = make(warm_start=True).fit(X, Y).set_params(learning_rate_init=1e30)
    with pytest.raises(ValueError, match="diverge"):
        model.partial_fit(X, Y)
    model.set_params(learning_rate_init=0.1)
    for method in (model.partial_fit, model.fit):
        with pytest.raises(ValueError, match=r"weights diverged in the last.*Fit anew"):
            method(X, Y)
    assert np.isfinite(model.set_params(warm_start=False).fit(X, Y).decision_function(X)).all()


@pytest.mark.parametrize("weight", [1e-35, 1e-40, 1e-45])
def test_weights_of_samples_next_to_nothing(task, weight):
    X, Y = task
    for weights in (np.full(400, weight), np.where(np.arange(400) < 200, weight, 1)):
        assert np.isfinite(make().fit(X, Y, weights).decision_function(X)).all()
