"""The epochs of one network: what is noted after each, and when they end."""

import warnings
from copy import deepcopy
from itertools import pairwise

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sklearn_slide._core.losses import LOSSES
from sklearn_slide._progress import Progress
from sklearn_slide._samples import mean_label_weight


class Diverged(ValueError):
    """A loss is not finite."""


class Patience:
    """Tells when a value no longer falls, by tol or more, for n_iter_no_change epochs in a row."""

    def __init__(self, tol, n_iter_no_change):
        self._tol, self._n_allowed = tol, n_iter_no_change
        self._best, self._n_unimproved = np.inf, 0

    def is_best(self, value):
        """Tell whether a value is lower than all before."""
        return value < self._best

    def is_spent(self, value):
        """Take the value of an epoch, and tell whether it is the last one that is waited for."""
        self._n_unimproved = self._n_unimproved + 1 if value > self._best - self._tol else 0
        self._best = min(self._best, value)
        return self._n_unimproved >= self._n_allowed


def run_epochs(estimator, trainer, rates, task, validation=None, attributes=None):
    """Train, an epoch for each step of the learning rates, until patience or a callback ends it.

    With a Validation, its score takes the place of the loss, and the model becomes what it was when the score
    was best. The estimator's attributes tell of each epoch, and callbacks hear of it as a part of the Task;
    attributes() gives those of an estimator as if training had stopped.
    """
    model, best = trainer.model, None
    trainer.prepare()
    patience = Patience(estimator.tol, estimator.n_iter_no_change)
    progress = Progress(estimator.verbose, trainer.n_passes, len(rates) - 1)
    for epoch_rates in pairwise(rates):
        epoch = task.begin("epoch", attributes=attributes)
        loss, active_size = _run_epoch(trainer, epoch_rates, progress, estimator.learning_rate_init)
        estimator._note_epoch(loss, active_size)
        progress.end_epoch()
        value = loss
        if validation is not None:
            value = -_validate(estimator, validation)
            if patience.is_best(value):
                estimator.best_validation_score_ = -value
                best = deepcopy((model.network, model.training.solver))
        spent = patience.is_spent(value)
        if epoch.end(attributes) or spent:
            break
    if best is not None:
        model.network, model.training.solver = best
    _warn_of_divergence(trainer, loss, active_size, estimator.learning_rate_init)


def _run_epoch(trainer, rates, progress, rate):
    """Run an epoch; a loss that is not finite is an error that names the learning rate."""
    try:
        return trainer.run_epoch(rates, progress.add)
    except FloatingPointError as error:
        raise Diverged(
            f"{error}: the weights diverge with learning_rate_init={rate!r}. Lower it, or scale X, for "
            "instance by sklearn.preprocessing.normalize."
        ) from error


def _validate(estimator, validation):
    """Score the estimator by the validation samples, note the score, and return it."""
    score = validation.score(estimator)
    estimator.validation_scores_ = [*(estimator.validation_scores_ or []), score]
    if estimator.verbose:
        print(f"Validation score: {score:f}", flush=True)
    return score


def _warn_of_divergence(trainer, loss, active_size, rate):
    """Warn if the mean loss of the last epoch is more than guessing has."""
    samples, settings = trainer.samples, trainer.model.settings
    n_true = len(samples.y.indices) / samples.x.n_rows
    if loss > LOSSES[settings.loss].of_guessing(n_true, active_size, mean_label_weight(samples)):
        warnings.warn(
            f"The mean loss is {loss:.3g}, more than guessing would have: the weights diverge with "
            f"learning_rate_init={rate!r}. Lower it, or scale the rows of X, for instance by "
            "sklearn.preprocessing.normalize.",
            ConvergenceWarning,
            stacklevel=7,  # the caller of fit, past two decorators
        )
