"""Blocks of rows -> a SlideClassifier of some of the labels, which leads other ones or follows.

The pilot sets rows aside, as `fit` does, and learns from them after how many epochs its weights rank best,
and which ridge regression stands beside them. Classifiers that follow it are told.
"""

from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from sklearn_slide._blocks import BlockTrainer, SampleBlocks, first_model_of_blocks
from sklearn_slide._callbacks import Task
from sklearn_slide._early_stopping import Validation
from sklearn_slide._epochs import Patience, run_epochs
from sklearn_slide._growth import remember_samples
from sklearn_slide._labels import Labels
from sklearn_slide._memory import require_memory
from sklearn_slide._ridge import Ridge, nothing
from sklearn_slide._trainer import TrainingSettings

# The precision that ridge regression must bring the pilot: all workers then hold its axes. Where it brought
# half a point on the pilot's labels, on delicious, all shards together were a point worse in the first place.
_WORTH = 0.02


@dataclass(eq=False)
class Choices:
    """What held-out rows chose for the pilot, for those that follow it."""

    n_epochs: int  # after so many its weights ranked best; 0 for the first ones
    taken_back: float = 0.0  # the share of the log of how likely labels were drawn that their biases got
    ridge: Ridge | None = None  # beside the network, without the sums of labels; None: there is none
    share: float = 0.0  # of its scores


def keep_choices(classifier, chosen):
    """Return the Choices of a classifier that was fitted, or None if nothing was held out.

    chosen is what `_note_choice` heard. The held-out rows, by which a ridge regression was chosen, are added
    to its sums: those of labels of other shards are of all rows.
    """
    if not chosen:
        return None
    model, ridge, share, network = classifier._model, None, 0.0, None
    if chosen.get("gain", 0.0) >= _WORTH:
        ridge, share = chosen["ridge"], chosen["share"]
        ridge = ridge.plus([chosen["held_out"]], classifier.n_jobs)
        network = ridge.network(model.network.activation, share)
        ridge = replace(ridge, sums=nothing(0, ridge.n_axes), direct=None)
    elif model.ridge is not None:
        classifier.best_validation_score_ = max(classifier.validation_scores_)
    # a calibration knows of the ranks among all labels
    classifier._take(replace(model, ridge=network, calibration=None))
    return Choices(chosen["n_epochs"], chosen["taken_back"], ridge, share)


def fit_blocks(classifier, columns, blocks, pilot=None, choices=None, one_pass=False):
    """Fit a new classifier of the labels columns to blocks: what `fit` and `partial_fit` do, block by block.

    pilot is a Model whose hidden layers it takes as they are, with the Choices made for it, or None.
    """
    classifier._validate_params()
    X, y = blocks[0][:2]
    classifier.n_features_in_ = X.shape[1]
    labels = Labels(np.arange(len(columns)), multilabel=True, sparse=True, dtype=y.dtype)
    stream = SampleBlocks(classifier, labels, columns, blocks, pilot and pilot.scale)
    seed, held_out, n_held_out = classifier._draw_seeds(1)[0], None, 0
    if pilot is None and not one_pass:
        n_held_out = classifier._count_held_out(stream.n_rows)
    require_memory(
        classifier._fit_bytes(stream[stream.filled[0]], labels, bool(n_held_out)),
        f"A shard of {X.shape[1]} features, hidden_layer_sizes={classifier.hidden_layer_sizes!r} and "
        f"{len(columns)} labels",
        "Give more shards or smaller hidden_layer_sizes.",
    )
    everything = stream
    if n_held_out:
        stream, held_out = stream.hold_out(n_held_out, seed)
    model = first_model_of_blocks(classifier, labels, stream, seed, pilot)
    classifier._start_history()
    classifier._take(model)
    rates = classifier._rates(
        1 if one_pass else classifier.max_iter, classifier.learning_rate == "linear" and not one_pass
    )
    trainer = BlockTrainer(model, stream, TrainingSettings.of(classifier))
    if choices is not None:
        _follow(classifier, trainer, rates, choices)
    elif held_out is None:
        _train(classifier, trainer, rates)
    else:
        _lead(classifier, trainer, rates, held_out, everything)
    if not one_pass:
        n_passes = everything.n_passes if classifier.early_stopping == "auto" else stream.n_passes
        classifier._settle(n_passes)


def _train(classifier, trainer, rates, validation=None, patience=None):
    """Train the Model of a BlockTrainer as run_epochs does, and as no callback hears of."""
    n_epochs = run_epochs(
        classifier, trainer, rates, Task(classifier, {}, None), validation, patience=patience
    )
    remember_samples(trainer.model, trainer.stream, classifier.n_jobs)
    classifier._take(trainer.model)
    return n_epochs


def _lead(classifier, trainer, rates, held_out, everything):
    """Train with a BlockTrainer, and end as `fit` does with held-out data; everything is SampleBlocks of all.

    Which ridge regression stands beside the network is chosen, and the held-out rows are learned from, if
    rows are set aside by default.
    """
    model, validation = trainer.model, Validation(classifier.scoring, *held_out)
    n_epochs = _train(classifier, trainer, rates, validation)
    learn_all = classifier.early_stopping == "auto"
    if learn_all:
        samples = classifier._encode(held_out, model.labels, model.scale)
        classifier._choose_ridge(trainer.stream, samples)
    classifier._note_validation(validation)
    if learn_all and n_epochs == 0:
        first = first_model_of_blocks(classifier, model.labels, everything, model.seed)
        BlockTrainer(first, everything, trainer.settings).look()
        first.n_passes, first.n_epochs = model.n_passes, model.n_epochs
        model = classifier._model
        classifier._take(replace(first, ridge=model.ridge, calibration=model.calibration))
    elif learn_all and n_epochs == classifier.max_iter:
        classifier._learn_held_out(samples, rates[-2:])


def _follow(classifier, trainer, rates, choices):
    """Train with a BlockTrainer as the Choices made for the pilot say."""
    model, n_epochs = trainer.model, choices.n_epochs
    if n_epochs:
        patience = Patience(0.0, len(rates))  # it lasts
        _train(classifier, trainer, rates[: n_epochs + 1], patience=patience)
    else:
        trainer.look()
    if choices.taken_back:
        log_drawn = trainer.log_drawn()
        if log_drawn is not None:
            model.network.output.biases[:, 0] += np.float32(choices.taken_back) * log_drawn
    network = None
    if choices.ridge is not None:
        ridge = copy(choices.ridge)
        ridge.sums = nothing(len(model.labels), ridge.n_axes)
        network = ridge.plus(trainer.stream, classifier.n_jobs).network(
            model.network.activation, choices.share
        )
    classifier._take(replace(model, ridge=network))
