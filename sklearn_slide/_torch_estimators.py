"""The output layer of a SlideClassifier <-> a layer of PyTorch."""

from copy import deepcopy

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sklearn_slide._classifier import SlideClassifier
from sklearn_slide._core.optimizers import Adagrad


def _model_of(estimator):
    """Return the Model of a fitted classifier whose output layer is all that its scores come from."""
    if not isinstance(estimator, SlideClassifier):
        raise TypeError(f"estimator must be a SlideClassifier. Got {type(estimator).__name__}.")
    check_is_fitted(estimator)
    model = estimator._model
    for network, source, way_out in (
        (model.network, "estimator", "direct_limit=0"),
        (model.ridge, "The ridge regression beside the estimator's network", "early_stopping=False"),
    ):
        if network is not None and network.direct is not None and len(network.direct.labels):
            raise ValueError(
                f"{source} has direct weights from features to labels, which a layer does not see. Fit the "
                f"estimator with {way_out}."
            )
    model.require_trainable()
    return model


def read_estimator(estimator):
    """Return weights, biases and parameters for a layer from a fitted classifier."""
    model, negatives = _model_of(estimator), estimator.negatives
    if negatives != "auto":
        negatives = dict(negatives)
        moved = negatives.pop("cooccurrence", 0.0)
        negatives["lsh"] = negatives.get("lsh", 0.0) + moved
    parameters = {
        "n_active": estimator.n_active,
        "negatives": negatives,
        "lsh": model.settings.lsh,
        "n_jobs": estimator.n_jobs,
        "random_state": model.seed % 2**32,
    }
    return model.coefs()[-1].T, model.intercepts()[-1], parameters


def copy_sums(estimator, layer):
    """Let the fused optimizer go on from what Adagrad remembers of the classifier's output layer."""
    state = estimator._model.training.solver.output
    if not isinstance(state.weights, Adagrad):
        return
    layer.weight_sums.copy_(torch.from_numpy(state.weights.sums))
    if layer.bias is not None:
        layer.bias_sums.copy_(torch.from_numpy(state.biases.sums))


def write_estimator(layer, estimator, hidden):
    """Return a copy of a fitted classifier with the weights of a layer, and of hidden layers if given."""
    _model_of(estimator)
    estimator = deepcopy(estimator)
    model = estimator._model = estimator._model.open_to_training(estimator._model.settings)
    # with a ridge regression, new arrays that hold both side by side
    network, training, arrays = model.scored, model.training, layer._as_arrays().output
    if network.output.shape != arrays.shape:
        raise ValueError(
            f"estimator must have {arrays.shape[0]} labels and a last hidden layer of {arrays.shape[1]} "
            f"units, as the layer has. It has {network.output.shape[0]} and {network.output.shape[1]}."
        )
    targets, values = (
        [*network.hidden, network.output],
        [*(network.hidden if hidden is None else hidden), arrays],
    )
    if len(values) != len(targets):
        raise ValueError(
            f"hidden must have {len(network.hidden)} tuples of weights and biases. Got {len(hidden)}."
        )
    for number, (target, (weights, biases)) in enumerate(zip(targets, values, strict=True)):
        if values[number] is target:
            continue
        weights = np.asarray(weights.detach() if isinstance(weights, torch.Tensor) else weights)
        biases = np.asarray(biases.detach() if isinstance(biases, torch.Tensor) else biases)
        if weights.shape != target.shape:
            raise ValueError(
                f"hidden must have weights of shape {target.shape} in place {number}. Got {weights.shape}."
            )
        if number == 0:  # a row for each feature, or a column in the output layer
            features = np.arange(model.n_features)
            weights = model.scaled(weights, features[:, np.newaxis] if network.hidden else features)
        target.weights[:], target.biases[:] = weights, biases.reshape(target.biases.shape)
    if model.ridge is not None:
        _part(network, model.network, model.ridge)
    if layer.fused and isinstance(training.solver.output.weights, Adagrad):
        training.solver.output.weights.sums[:] = layer.weight_sums.numpy()
        if layer.bias is not None:
            training.solver.output.biases.sums[:] = layer.bias_sums.numpy()
    training.index = training.schedule = None
    model.seen_labels[:], model.training.started[:] = True, True
    estimator._take(model)
    return estimator


def _part(both, one, other):
    """Give two Networks, each of one hidden layer, the weights of both side by side; one gets all biases."""
    n = one.n_units
    one.input.weights[:], other.input.weights[:] = both.input.weights[:, :n], both.input.weights[:, n:]
    one.input.biases[:], other.input.biases[:] = both.input.biases[:, :n], both.input.biases[:, n:]
    one.output.weights[:], other.output.weights[:] = both.output.weights[:, :n], both.output.weights[:, n:]
    one.output.biases[:], other.output.biases[:] = both.output.biases, 0


class EstimatorMixin:
    """The way from a classifier and back."""

    @classmethod
    def from_estimator(cls, estimator, *, lr=None, **options):
        """Make a layer of the output layer of a fitted classifier.

        Its input is what the last hidden layer gives, or X itself where there is none: `coefs_` and
        `intercepts_` of the classifier say how. The axes of a ridge regression are hidden units as others.

        Parameters
        ----------
        estimator : SlideClassifier
            A fitted classifier without direct weights, of which a layer knows nothing (``direct_limit=0``;
            for sparse X also ``early_stopping=False``: a ridge regression has direct weights of its own).
        lr : float, default=None
            The learning rate of the fused optimizer, which goes on from what the solver 'adagrad' remembers;
            None for no fused optimizer.
        **options : dict
            Other parameters of the layer than those of the classifier. The share of co-occurring labels
            among its negatives goes to the hash tables.

        Returns
        -------
        layer : SlideLinear
            The layer, with arrays of its own.

        See Also
        --------
        to_estimator : The way back.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> from sklearn_slide.torch import SlideLinear
        >>> X, y = load_digits(return_X_y=True)
        >>> model = SlideClassifier(hidden_layer_sizes=(32,), direct_limit=0, random_state=0).fit(X, y)
        >>> SlideLinear.from_estimator(model)
        SlideLinear(in_features=32, out_features=10, bias=True, n_active='auto', sparse=True)
        """
        weights, biases, parameters = read_estimator(estimator)
        layer = cls(weights.shape[1], len(weights), **{**parameters, **options})
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weights))
            if layer.bias is not None:
                layer.bias.copy_(torch.from_numpy(biases))
        if lr is not None:
            layer.fuse_optimizer(lr)
            copy_sums(estimator, layer)
        return layer

    def to_estimator(self, estimator, hidden=None):
        """Return a copy of a fitted classifier that has the weights of this layer in its output layer.

        Parameters
        ----------
        estimator : SlideClassifier
            A fitted classifier of the layer's shape, without direct weights; one call of `partial_fit` on a
            few samples makes one.
        hidden : list of tuple, default=None
            Weights (n_in, n_units) and biases (n_units,) of each hidden layer, arrays or tensors, in units of
            X as it is; None leaves them as they are.

        Returns
        -------
        estimator : SlideClassifier
            The copy. It ranks, is stored and trains further as any other.

        See Also
        --------
        from_estimator : The way back.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> from sklearn_slide.torch import SlideLinear
        >>> X, y = load_digits(return_X_y=True)
        >>> model = SlideClassifier(hidden_layer_sizes=(32,), direct_limit=0, random_state=0).fit(X, y)
        >>> layer = SlideLinear.from_estimator(model)
        >>> bool((layer.to_estimator(model).predict(X) == model.predict(X)).all())
        True
        """
        return write_estimator(self, estimator, hidden)
