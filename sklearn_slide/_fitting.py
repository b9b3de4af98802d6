"""The steps of a fit: what is checked, set aside, trained and taken."""

import warnings
from copy import copy, deepcopy
from dataclasses import replace

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import column_or_1d, validate_data

from sklearn_slide._core.active_set import check_shares, make_sampler
from sklearn_slide._core.compilation import tell_of_compilation
from sklearn_slide._early_stopping import Validation, hold_out
from sklearn_slide._epochs import Diverged, run_epoch, run_epochs
from sklearn_slide._first_weights import first_model
from sklearn_slide._growth import grow, learn_of, remember_samples, settle_scale
from sklearn_slide._input_forms import check_samples, check_targets, numbers_wanted
from sklearn_slide._labels import Labels, column_names, is_multilabel
from sklearn_slide._memory import fit_bytes, growth_bytes, require_memory
from sklearn_slide._model import ModelSettings, join
from sklearn_slide._ridge_choice import can_have_ridge, choose_ridge
from sklearn_slide._samples import as_rows, choose_scale, is_dense, make_samples, scale_rows
from sklearn_slide._trainer import Trainer, TrainingSettings
from sklearn_slide._weights import check_weight_parameters, keep_weighted, weigh_classes, weigh_labels

# early_stopping="auto" stops from so many samples on: a tenth of them tells 2 points of precision from noise.
AUTO_STOPPING = 2000
# It sets so many aside at most: more would tell little more.
MOST_HELD_OUT = 1000
# What training gained, as a share of the score of the first weights, that is little.
_LITTLE = 0.1
# Of fewer samples ridge regression takes seconds, and is always tried.
_FEW_SAMPLES = 10_000
# The least share of the learning rate after a fit, for labels that are new.
_LEAST_SHARE = 0.1
# So many times as many axes as hidden units are tried where ridge regression matters most.
_WIDER = 4


class FittingMixin:
    """The steps of a fit, for a classifier that keeps its Model as `_model`."""

    def estimate_memory(self, X, y):
        """Estimate the memory that `fit` needs for X and y, without fitting.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_samples, n_features)
            The input data.
        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape (n_samples, n_labels)
            The target values, as in `fit`.

        Returns
        -------
        n_bytes : int
            The bytes for weights, the state of the solver, and first weights or hash tables, whichever are
            more. The data come on top, and copies of those that are not CSR of float32; ridge regression,
            where `early_stopping` tries it, does too, and is left out where it takes a tenth of the memory.

        Raises
        ------
        ValueError
            If X, y or a parameter is not allowed in `fit`.

        See Also
        --------
        compact : Make a fitted classifier smaller.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_slide import SlideClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> SlideClassifier().estimate_memory(X, y) < 10**7
        True
        """
        model = clone(self)
        model._validate_params()
        data, labels = model._check_data(X, y, None)
        samples = model._encode(data, labels, model._scale(data[0], going_on=False))
        return model._fit_bytes(samples, labels, bool(model._count_held_out(data[0].shape[0])))

    def _check_data(self, X, y, sample_weight, known=None, classes=None, partial=False):
        """Validate X, y and weights; return the three, and the Labels that they tell of.

        Samples of weight 0 are left out, but their classes are not. Going on from a model, they must go with
        the Labels known to it; known is None in a first call.
        """
        if partial and known is not None:
            self._validate_params()  # scikit-learn does so in a first call alone
        tell_of_compilation(self.verbose)
        check_samples(X)
        check_targets(y)
        columns, form = column_names(y), {"accept_sparse": "csr", "dtype": np.float32, "order": "C"}
        with numbers_wanted():
            X, y = validate_data(self, X, y, **form, multi_output=True, reset=known is None)
        if not is_multilabel(y):
            y = column_or_1d(y, warn=True)
        if known is None:
            labels = Labels.find(y, classes, partial, columns)
        else:
            labels = known.extend(y, classes, partial, columns)
        if sample_weight is not None:
            X, y, sample_weight = keep_weighted(X, y, sample_weight)
        return (X, y, sample_weight), labels

    def _settings(self, labels):
        """Return the ModelSettings that the parameters ask for; raise ValueError if they cannot be."""
        check_shares(self.negatives)
        settings = ModelSettings.of(self, labels.multilabel)
        if self.n_estimators > 1 and len(settings.hidden_layer_sizes) != 1:
            raise ValueError(
                f"n_estimators={self.n_estimators} needs hidden_layer_sizes of one layer. Got "
                f"{self.hidden_layer_sizes!r}. Give one layer, or n_estimators=1."
            )
        return settings

    def _encode(self, data, labels, scale, partial=False):
        """Turn validated data into Samples, X scaled, with the weights of classes or labels."""
        X, y, sample_weight = data
        check_weight_parameters(self.class_weight, self.label_weight, labels.multilabel, partial)
        if self.class_weight is not None:
            X, y, sample_weight = weigh_classes(X, y, sample_weight, self.class_weight, labels.classes)
        pattern = labels.encode(y)
        label_weights = weigh_labels(self.label_weight, pattern, sample_weight, len(labels))
        return make_samples(scale_rows(as_rows(X), scale), pattern, sample_weight, label_weights)

    def _encode_held_out(self, data, samples):
        """Turn data that were set aside into Samples, whose labels weigh what those of other Samples do.

        They are scaled as the model is by now: that of a warm start may have followed the other samples.
        """
        held_out = self._encode(data, self._model.labels, self._model.scale)
        return held_out._replace(label_weights=samples.label_weights)

    def _set_aside(self, data, labels, X_val, y_val, seed):
        """Split validated data: those to train with, those that are set aside, and the Validation with them.

        Nothing is set aside if X_val and y_val are given, and without early stopping, where there is no
        Validation either: None stands in their place.
        """
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together. Got only one of them.")
        if X_val is not None:
            if not self.early_stopping:
                raise ValueError(
                    "X_val and y_val are not used with early_stopping=False. Set it to True or 'auto'."
                )
            return data, None, Validation(self.scoring, *self._check_data(X_val, y_val, None, labels)[0])
        n_held_out = self._count_held_out(data[0].shape[0])
        if not n_held_out:
            return data, None, None
        data, held_out = hold_out(*data, n_held_out, seed)
        return data, held_out, Validation(self.scoring, *held_out)

    def _count_held_out(self, n_samples):
        """Return how many of so many samples are set aside, or the fraction of them."""
        if self.early_stopping != "auto":
            return self.validation_fraction if self.early_stopping else 0
        if n_samples < AUTO_STOPPING:
            return 0
        return min(MOST_HELD_OUT, int(np.ceil(self.validation_fraction * n_samples)))

    def _draw_seeds(self, n):
        """Draw a seed for each of n networks; the first one also says which samples are set aside."""
        return check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=int(n))

    def _scale(self, X, going_on):
        """Return the InputScale: as in the model, or as the validated X of a first call asks for."""
        return self._model.scale if going_on else choose_scale(as_rows(X), X.shape[1])

    def _first_model(self, samples, labels, scale, seed, keeps_best=False):
        """Make the Model of Labels that training begins with; keeps_best as in fit_bytes."""
        settings = self._settings(labels)
        if len(settings.hidden_layer_sizes) > 1 and settings.activation == "identity":
            warnings.warn(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} with activation='identity' is linear, "
                "of the rank of the narrowest layer: the other layers only take time. Give one layer, or "
                "another activation, such as 'relu'.",
                UserWarning,
                stacklevel=5,  # the caller of fit, past two decorators
            )
        require_memory(
            self._fit_bytes(samples, labels, keeps_best),
            f"n_estimators={self.n_estimators}: a network of {self.n_features_in_} features, "
            f"hidden_layer_sizes={self.hidden_layer_sizes!r} and {len(labels)} labels",
            "Give smaller hidden_layer_sizes, at least one hidden layer, or n_estimators=1.",
        )
        return first_model(samples, settings, self.n_features_in_, labels, scale, seed, self.n_jobs)

    def _fit_bytes(self, samples, labels, keeps_best=False):
        """Bound the memory that a fit to the samples takes beside the data, in bytes; see fit_bytes."""
        settings, n_hashed = self._settings(labels), self._sampler(samples, labels).n_hashed
        sizes = self.n_features_in_, len(labels), self.n_estimators
        return fit_bytes(samples, settings, *sizes, n_hashed, keeps_best)

    def _sampler(self, samples, labels):
        """Return the Sampler of active labels of Samples; the Labels are all of them."""
        dense = is_dense(samples.x, self.n_features_in_)
        return make_sampler(len(labels), self.n_active, self.negatives, dense)

    def _go_on(self, samples, labels):
        """Return the Model to train with later Samples, and these as it takes them.

        Of the Labels, those that the model does not know get rows, and all rows their places.
        """
        model = self._model.open_to_training(self._settings(labels))
        sizes = [layer.shape[1] for layer in model.network.hidden]
        places = labels.places_of(model.labels)
        require_memory(
            growth_bytes(model, samples, len(labels), self._sampler(samples, labels).n_hashed),
            f"A network of {model.n_features} features, {sizes} hidden units and {len(labels)} labels",
            "Add fewer labels, or give fewer samples at a time.",
        )
        samples = settle_scale(model, samples)
        if places is not None:
            model = grow(model, labels, places)
        learn_of(model, samples, self.n_jobs)
        return model.to_train(), samples

    def _train(self, model, samples, rates, task, validation=None, earlier=()):
        """Train the Model, an epoch for each step of the rates; return after how many it was as it is now.

        earlier are the Models that it will be joined with.
        """
        before = vars(self).get("_model")
        self._take(model)
        trainer = Trainer(model, samples, TrainingSettings.of(self))

        def attributes():
            return self._as_if_stopped([*earlier, model])

        try:
            n_epochs = run_epochs(self, trainer, rates, task, validation, attributes)
        except Diverged:
            if before is not None and before.shares_arrays(model):
                before.diverged = True
            raise
        model.training.n_later += trainer.n_passes
        remember_samples(model, [samples], self.n_jobs)
        self._take(model)
        return n_epochs

    def _choose_ridge(self, blocks, held_out):
        """Put a ridge regression of Samples, in blocks, beside the network if it ranks those held out better.

        It is tried where samples are few or training gained little on the first weights, and with more axes
        where that was nothing.
        """
        model, scores, ridge = self._model, self.validation_scores_, None
        gained = max(scores) - scores[0]
        tried = gained <= _LITTLE * abs(scores[0]) or sum(part.x.n_rows for part in blocks) < _FEW_SAMPLES
        if tried and can_have_ridge(model.network):
            n_axes = model.network.n_units * (1 if gained > 0 else _WIDER)
            chosen = choose_ridge(model, blocks, held_out, n_axes, self.n_jobs)
            if chosen is not None:
                sums, share, gain = chosen
                ridge = sums.network(model.network.activation, share)
                self._note_choice(ridge=sums, share=share, gain=gain, held_out=held_out)
            self._take(replace(model, ridge=ridge))
            if self.verbose:
                chosen = "does not help" if ridge is None else f"stands beside it, {ridge.n_units} axes"
                print(f"Ridge regression {chosen}.", flush=True)

    def _note_choice(self, **chosen):
        """Hear what validation samples chose: shards of labels tell it to each other."""

    def _note_validation(self, validation, several=False):
        """Calibrate by a Validation, and score what ranks now, unless an epoch of one network did."""
        if several or self._model.ridge is not None:
            self.best_validation_score_ = validation.score(self)
        self._calibrate(*validation.data)

    def _start_of_all(self, models, samples):
        """Take the first weights of all Samples, for Models that became no better by training with a part."""
        model, started = self._model, []
        for one in models:
            first = self._first_model(samples, model.labels, model.scale, one.seed, keeps_best=True)
            Trainer(first, samples, TrainingSettings.of(self))  # it lets the model know what it has seen
            first.n_passes, first.n_epochs = one.n_passes, one.n_epochs
            started.append(first)
        self._take(replace(join(started), ridge=model.ridge, calibration=model.calibration))

    def _learn_held_out(self, held_out, rates):
        """Pass over Samples that were set aside, at rates of the last epoch over the others.

        Labels and pairs that only they have start from them.
        """
        model = self._model
        learn_of(model, held_out, self.n_jobs)
        trainer = Trainer(model, held_out, TrainingSettings.of(self))
        run_epoch(trainer, rates, None, self)
        self._take(model)

    def _rates(self, n_epochs, falling):
        """Return the learning rates at the ends of epochs: falling to 0, or constant."""
        last = 0 if falling else self.learning_rate_init
        return np.linspace(self.learning_rate_init, last, n_epochs + 1)

    def _settle(self, n_passes):
        """Note that a fit with so many passes in an epoch has ended, for the rates of later ones."""
        training = self._model.training
        training.n_settled, training.n_later = n_passes if self.learning_rate == "linear" else 0, 0

    def _rates_of_pass(self, model, samples):
        """Return the learning rates at the ends of one pass over later Samples.

        Where the rate of a fit had fallen to zero, it is the share of samples that came since that it has
        risen to, for a pass at the whole rate over a few overwrites what several over many have taught.
        """
        training, rates = model.training, self._rates(1, falling=False)
        if not training.n_settled:
            return rates
        later = training.n_later + np.array([0, len(samples.passes)])
        return rates * np.maximum(_LEAST_SHARE, later / (training.n_settled + later))

    def _start_history(self):
        """Forget the epochs of an earlier fit."""
        self.loss_curve_, self.active_size_curve_ = [], []
        self.validation_scores_, self.best_validation_score_ = None, None

    def _note_epoch(self, loss, active_size):
        """Note what an epoch came to."""
        self.loss_curve_ = [*self.loss_curve_, loss]
        self.active_size_curve_ = [*self.active_size_curve_, active_size]

    def _as_if_stopped(self, models):
        """Return the attributes of a classifier of these models that further training leaves as it is."""
        stopped = copy(self)
        stopped._take(join(models) if len(models) > 1 else deepcopy(models[0]))
        return vars(stopped)
