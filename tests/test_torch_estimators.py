"""The way from an estimator to a layer for PyTorch, and back."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import make_multilabel_classification

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sklearn-slide[torch]'")

from torch import nn  # noqa: E402
from torch_helpers import N_IN, make_layer  # noqa: E402

from sklearn_slide import SlideClassifier, _ridge  # noqa: E402
from sklearn_slide.torch import SlideLinear  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def fitted(**params):
    """Return a small classifier without direct weights, and its data."""
    X, Y = make_multilabel_classification(200, n_features=30, n_classes=60, random_state=0)
    params = {"hidden_layer_sizes": (N_IN,), "direct_limit": 0, "n_active": 20, "random_state": 0} | params
    return SlideClassifier(**params).fit(X, Y), X.astype(np.float32), Y


def hidden_of(model, X):
    """Compute the last hidden vectors."""
    h = torch.from_numpy(X)
    for weights, biases in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        h = h @ torch.from_numpy(weights) + torch.from_numpy(biases)
    return h


@pytest.mark.parametrize("sizes", [(N_IN,), ()])
def test_from_estimator_scores_alike(sizes):
    model, X, _ = fitted(hidden_layer_sizes=sizes)
    layer = SlideLinear.from_estimator(model)
    scores = layer(hidden_of(model, X)).detach().numpy()
    np.testing.assert_allclose(scores, model.decision_function(X), atol=1e-4, rtol=1e-5)
    assert layer.n_active == 20


def test_from_estimator_goes_on_from_its_solver():
    model, _, _ = fitted()
    layer = SlideLinear.from_estimator(model, lr=0.05, n_active=10, sparse=False)
    assert (layer.n_active, layer.sparse, layer.learning_rate) == (10, False, 0.05)
    sums = model._model.training.solver.output.weights.sums
    np.testing.assert_array_equal(layer.weight_sums, sums)
    assert not np.shares_memory(layer.weight.detach().numpy(), model._model.network.output.weights)


@pytest.mark.parametrize("sizes", [(N_IN,), ()])
def test_to_estimator_scores_as_the_layer(sizes):
    model, X, Y = fitted(hidden_layer_sizes=sizes)
    X = X * np.float32(0.01)  # the scale of the classifier is another than 1
    model = model.fit(X, Y)
    layer = SlideLinear.from_estimator(model, lr=0.1)
    before = model.decision_function(X)
    with torch.no_grad():
        layer.weight.normal_(std=0.01)
    hidden = [(torch.randn(30, N_IN), torch.randn(N_IN))] if sizes else None
    other = layer.to_estimator(model, hidden)
    h = torch.from_numpy(X) @ hidden[0][0] + hidden[0][1] if sizes else torch.from_numpy(X)
    expected = layer(h).detach().numpy()
    np.testing.assert_allclose(other.decision_function(X), expected, rtol=1e-4, atol=1e-2)
    np.testing.assert_array_equal(model.decision_function(X), before)
    other.partial_fit(X, Y)


def put_ridge_beside(model, X, Y):
    """Put a ridge regression beside a classifier's network, as a fit with early stopping may do."""
    X, Y = (sp.csr_matrix(part, dtype=np.float32) for part in (X, Y))
    samples = model._encode((X, Y, None), model._model.labels, model._model.scale)
    ridge = _ridge.fit_ridge([samples], X.shape[1], Y.shape[1], 5, 0, 1)
    model._model.ridge = ridge.network(model._model.network.activation, share=4.0)
    model._take(model._model)


def test_layer_has_the_axes_of_a_ridge_regression_too(monkeypatch):
    model, X, Y = fitted()
    monkeypatch.setattr(_ridge, "_MOST_PAIRS", 0)  # no direct weights, as of many rows of dense X
    put_ridge_beside(model, X, Y)
    layer, before = SlideLinear.from_estimator(model, lr=0.1), model.decision_function(X)
    assert layer.in_features == N_IN + 5
    scores = layer(hidden_of(model, X)).detach().numpy()
    np.testing.assert_allclose(scores, before, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(layer.to_estimator(model).decision_function(X), before, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        layer.weight.normal_(std=0.01)
        layer.bias.normal_(std=0.01)
    hidden = [(torch.randn(30, N_IN + 5), torch.randn(N_IN + 5))]
    other = layer.to_estimator(model, hidden)
    expected = layer(torch.from_numpy(X) @ hidden[0][0] + hidden[0][1]).detach().numpy()
    np.testing.assert_allclose(other.decision_function(X), expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(model.decision_function(X), before)
    other.partial_fit(X, Y)


def test_direct_weights_of_a_ridge_regression_are_refused():
    model, X, Y = fitted()
    put_ridge_beside(model, X * (np.arange(X.size).reshape(X.shape) % 3 == 0), Y)
    with pytest.raises(ValueError, match=r"ridge regression .* early_stopping=False"):
        SlideLinear.from_estimator(model)


def test_estimators_that_a_layer_cannot_be():
    model, *_ = fitted(direct_limit=1000)
    with pytest.raises(ValueError, match="direct_limit=0"):
        SlideLinear.from_estimator(model)
    with pytest.raises(TypeError, match="SlideClassifier"):
        SlideLinear.from_estimator(nn.Linear(2, 2))
    model = fitted()[0]
    with pytest.raises(ValueError, match="60 and 12"):
        make_layer().to_estimator(model)
    with pytest.raises(ValueError, match="1 tuples"):
        SlideLinear.from_estimator(model).to_estimator(model, [])
    with pytest.raises(ValueError, match=r"\(30, 12\) in place 0"):
        SlideLinear.from_estimator(model).to_estimator(model, [(np.ones((2, 2)), np.ones(2))])
