"""What a fitted classifier tells of its model."""

from sklearn.exceptions import NotFittedError

from sklearn_slide._calibrating import threshold_of


class AttributeMixin:
    """The fitted attributes of a classifier that has `_model`.

    Each reads `_model` once: another thread may train the classifier and put a model of more labels in place.
    """

    def __sklearn_is_fitted__(self):
        return "_model" in vars(self)

    def _require_fitted(self):
        """Return the model, or raise NotFittedError, which is an AttributeError as well."""
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' or 'partial_fit' first."
            )
        return self._model

    @property
    def classes_(self):
        """Class labels, or the numbers of columns of a multi-label y: ndarray of shape ``(n_outputs_,)``."""
        return self._require_fitted().labels.classes

    @property
    def n_outputs_(self):
        """Number of outputs, one for each label."""
        return len(self._require_fitted().labels)

    @property
    def n_layers_(self):
        """Number of layers, the input and the output among them."""
        return len(self._require_fitted().network.hidden) + 2

    @property
    def n_ridge_axes_(self):
        """Number of the hidden units, the last ones, that are axes of a ridge regression; 0 without one."""
        return self._require_fitted().count_ridge_axes()

    @property
    def out_activation_(self):
        """Name of the output activation: 'softmax' for class labels or the softmax loss, else 'logistic'."""
        return self._require_fitted().out_activation

    @property
    def threshold_(self):
        """The probability above which `predict` says a label of an indicator."""
        return threshold_of(self._require_fitted(), self.threshold)

    @property
    def n_iter_(self):
        """The number of epochs that were run, of all networks together."""
        return self._require_fitted().n_epochs

    @property
    def t_(self):
        """The number of passes over training samples, of all networks together."""
        return self._require_fitted().n_passes

    @property
    def loss_(self):
        """The mean loss of a sample over its active labels, in the last epoch."""
        self._require_fitted()
        return self.loss_curve_[-1]

    @property
    def best_loss_(self):
        """The minimum of `loss_curve_`."""
        self._require_fitted()
        return min(self.loss_curve_)

    @property
    def coefs_(self):
        """The weight matrix of each layer: list of ndarray, of length ``n_layers_ - 1``."""
        return self._require_fitted().coefs()

    @property
    def intercepts_(self):
        """The bias vector of each layer: list of ndarray, of length ``n_layers_ - 1``."""
        return self._require_fitted().intercepts()

    @property
    def direct_coef_(self):
        """The direct weights of features and labels: sparse array ``(n_features_in_, n_outputs_)``."""
        return self._require_fitted().direct_coef()
