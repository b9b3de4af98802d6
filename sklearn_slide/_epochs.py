"""The epochs of one network: what is noted after each, and when they end."""

import warnings
from copy import deepcopy
from itertools import pairwise

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sklearn_slide._core.losses import LOSSES
from sklearn_slide._progress import Progress
from sklearn_slide._samples import mean_label_weight

# How much of what the draws of negatives did to scores is taken back: this is tried on validation samples.
TAKEN_BACK = (0.0, 0.25, 0.5)


class Diverged(ValueError):
    """A loss is not finite."""


class Patience:
    """Tells when a value no longer falls, by tol or more, for n_iter_no_change epochs in a row."""

    def __init__(self, tol, n_iter_no_change):
        self._tol, self._n_allowed = tol, n_iter_no_change
        self._best, self._n_unimproved = np.inf, 0

    def is_spent(self, value):
        """Take the value of an epoch, and tell whether it is the last one that is waited for."""
        self._n_unimproved = self._n_unimproved + 1 if value > self._best - self._tol else 0
        self._best = min(self._best, value)
        return self._n_unimproved >= self._n_allowed


class Best:
    """Keeps the weights of a Model when its score was best: the first ones, or those after an epoch."""

    def __init__(self, model, score):
        self.score, self.epoch, self._model = score, 0, model
        self._copy = self._copied()

    def offer(self, score, epoch, is_last):
        """Take the score after an epoch, from 1 on; the later of equal ones, having learned more, wins."""
        if score >= self.score:
            self.score, self.epoch, self._copy = score, epoch, None  # one copy at a time
            if not is_last:
                self._copy = self._copied()

    def _copied(self):
        """Copy what training changes."""
        return deepcopy((self._model.network, self._model.training.solver))

    def restore(self):
        """Give the weights back to the Model; return the epoch after which they were so, 0 for the first."""
        if self._copy is not None:
            self._model.network, self._model.training.solver = self._copy
        return self.epoch


def run_epochs(estimator, trainer, rates, task, validation=None, attributes=None, patience=None):
    """Train, an epoch for each step of the learning rates, until patience or a callback ends it.

    Patience is that of the estimator's parameters if none is given.

    With a Validation, its score takes the place of the loss, and the model becomes what it was when the score
    was best, before the first epoch or after one. Return after how many epochs it was what it is now. The
    estimator's attributes tell of each epoch, and callbacks hear of it as a part of the Task; attributes()
    gives those of an estimator as if training had stopped.
    """
    trainer.prepare()
    log_drawn = None if validation is None else trainer.log_drawn()
    n_epochs, patience = len(rates) - 1, patience or Patience(estimator.tol, estimator.n_iter_no_change)
    if validation is not None:
        best, shares = Best(trainer.model, _validate(estimator, validation)[0]), [0.0]
        estimator.best_validation_score_ = best.score
        patience.is_spent(-best.score)
    progress = Progress(estimator.verbose, trainer.n_passes, n_epochs)
    for number, epoch_rates in enumerate(pairwise(rates), 1):
        epoch = task.begin("epoch", attributes=attributes)
        loss, active_size = run_epoch(trainer, epoch_rates, progress.add, estimator)
        estimator._note_epoch(loss, active_size)
        progress.end_epoch()
        value = loss
        if validation is not None:
            biases = trainer.model.network.output.biases
            trained = biases.copy()
            score, share = _validate(estimator, validation, biases, log_drawn)
            shares.append(share)
            best.offer(score, number, number == n_epochs)
            estimator.best_validation_score_, value = best.score, -score
        spent = patience.is_spent(value)
        if epoch.end(attributes) or spent:
            break
        if validation is not None and number < n_epochs:
            biases[:] = trained
    _warn_of_divergence(trainer, loss, active_size, estimator.learning_rate_init)
    if validation is None:
        return number
    number = best.restore()
    estimator._note_choice(n_epochs=number, taken_back=shares[number])
    return number


def run_epoch(trainer, rates, report, estimator):
    """Run an epoch, as Trainer does; a loss that is not finite is an error that names the learning rate."""
    try:
        return trainer.run_epoch(rates, report)
    except FloatingPointError as error:
        raise Diverged(
            f"{error}: the weights diverge with learning_rate_init={estimator.learning_rate_init!r}. "
            "Lower it, or scale X, for instance by sklearn.preprocessing.normalize."
        ) from error


def _validate(estimator, validation, biases=None, log_drawn=None):
    """Score the estimator by the validation samples, note the score, and return it with what it took.

    Where a label y is drawn with the probability q_y, the odds that training learns are the true ones over
    q_y. So biases, float32 (n_labels, 1), get that share of log_drawn, the log q_y, that scores best. None
    stands for no draws, and a share of 0.
    """
    if log_drawn is None:
        score, share = validation.score(estimator), 0.0
    else:
        score, share = _take_back(estimator, validation, biases, log_drawn)
    estimator.validation_scores_ = [*(estimator.validation_scores_ or []), score]
    if estimator.verbose:
        print(f"Validation score: {score:f}", flush=True)
    return score, share


def _take_back(estimator, validation, biases, log_drawn):
    """Add that share of log_drawn, of TAKEN_BACK, to the biases that scores best; return score and share."""
    trained, scores = biases[:, 0].copy(), []
    for share in TAKEN_BACK:
        biases[:, 0] = trained + np.float32(share) * log_drawn
        scores.append(validation.score(estimator))
    best = int(np.argmax(scores))
    biases[:, 0] = trained + np.float32(TAKEN_BACK[best]) * log_drawn
    return scores[best], TAKEN_BACK[best]


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
