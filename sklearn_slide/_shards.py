"""A classifier whose labels are dealt to shards: each is trained and ranked by itself, on any machine.

The first shard, the pilot, has the most frequent labels and trains the hidden layers, and rows that it holds
out tell how long to train; the others take the layers as they are, and train as long. A shard is then a
function of the rows, its labels, the pilot and the seed, so that one that was lost can be made again.
Nothing here knows of an engine that runs the functions: Dask (`sklearn_slide.dask`), Spark, Ray, or a loop
over files.
"""

import math
import time
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from sklearn_slide._blocks import take_columns
from sklearn_slide._classifier import SlideClassifier
from sklearn_slide._core.active_set import MAX_EXACT, N_SAMPLED, N_SAMPLED_DENSE
from sklearn_slide._growth import features_of
from sklearn_slide._memory import held_bytes
from sklearn_slide._model import _take_labels
from sklearn_slide._shard_fits import Choices, fit_blocks, keep_choices

# Changes with what fit_shard makes of the same arguments: stored shards of another number are not taken.
METHOD = 3


@dataclass(eq=False)
class Shard:
    """A SlideClassifier of some of the labels."""

    classifier: SlideClassifier  # its label i is columns[i]
    columns: np.ndarray  # int64 (n_labels,), ascending
    seconds: float = 0.0  # that its training took
    choices: Choices | None = None  # of a pilot that held rows out

    def __sizeof__(self):
        return object.__sizeof__(self) + held_bytes(vars(self))


def deal_labels(counts, n_shards):
    """Deal labels to shards by their frequency: a list of int64 arrays, each ascending.

    The first shard gets the most frequent labels, most of what there is to learn for the hidden layers; the
    others are dealt round robin. counts are the rows that have each label, int64 (n_labels,).
    """
    n_labels = len(counts)
    _check_number(n_labels, n_shards)
    order = np.argsort(-np.asarray(counts), kind="stable")
    n_first = -(-n_labels // n_shards)
    rest = [order[n_first + shard :: n_shards - 1] for shard in range(n_shards - 1)]
    return [np.sort(labels) for labels in (order[:n_first], *rest)]


def _check_number(n_labels, n_shards):
    """Raise ValueError if there are fewer labels than shards."""
    if n_labels < n_shards:
        raise ValueError(
            f"n_shards must be at most the number of labels of y, {n_labels}. Got {n_shards}. Give fewer."
        )


def check_shard_parameters(parameters, n_shards):
    """Raise ValueError if one of the parameters of SlideClassifier does not go with so many shards."""
    if n_shards == 1:
        return
    for name, allowed in {"n_estimators": 1, "class_weight": None}.items():
        if parameters[name] != allowed:
            raise ValueError(
                f"{name} must be {allowed!r} with n_shards={n_shards}: shards are trained one by one. Got "
                f"{parameters[name]!r}. Give {name}={allowed!r}, or n_shards=1."
            )
    if parameters["loss"] == "softmax":
        raise ValueError(
            f"loss must be 'auto', 'sigmoid' or 'sigmoid+softmax' with n_shards={n_shards}: a softmax of the "
            "labels of a shard has no scores to compare. Got 'softmax'. Give another one, or n_shards=1."
        )
    if isinstance(parameters["threshold"], str) and parameters["threshold"] != "auto":
        raise ValueError(
            f"threshold must be a number, or 'auto' for 0.5, with n_shards={n_shards}: shards are not "
            f"calibrated. Got {parameters['threshold']!r}. Give one of these, or n_shards=1."
        )
    if isinstance(parameters["label_weight"], str):
        raise ValueError(
            f"label_weight='propensity' needs all labels at once. Got n_shards={n_shards}. Give an array, "
            "for instance 1 / label_propensities(y) of sklearn_slide.metrics, divided by its mean over the "
            "true labels, or n_shards=1."
        )


def shard_parameters(parameters, counts, columns, dense=False):
    """Return the parameters of SlideClassifier that each shard gets, a list of dicts.

    counts are as for deal_labels, columns what it returns; dense says whether most entries of X are not 0.
    n_active and direct_limit are divided, in proportion to the mean of a shard's share of the labels and of
    its share of the entries of y: negatives are drawn by frequency and evenly. Only the pilot sets samples
    aside. Raise ValueError if a parameter does not go with shards.
    """
    n_shards, n_labels = len(columns), len(counts)
    check_shard_parameters(parameters, n_shards)
    if n_shards == 1:
        return [dict(parameters)]
    n_active = parameters["n_active"]
    if n_active == "auto":
        n_active = None if n_labels <= MAX_EXACT else N_SAMPLED_DENSE if dense else N_SAMPLED
    whole = {"n_active": n_active, "direct_limit": parameters["direct_limit"]}
    n_entries = max(np.sum(counts), 1)
    found = []
    for own in columns:
        share = (len(own) / n_labels + np.sum(counts[own]) / n_entries) / 2
        divided = {name: value and math.ceil(value * share) for name, value in whole.items()}
        stopping = False if found else parameters["early_stopping"]
        found.append(parameters | divided | {"early_stopping": stopping, "verbose": False})
    if dense and n_active is not None and found[0]["n_active"] >= len(columns[0]):
        # the pilot scores all its labels, and so do all: draws would lift the scores of others' labels alone
        found = [own | {"n_active": None} for own in found]
    return found


def fit_shard(parameters, columns, blocks, pilot=None, *, one_pass=False, n_jobs=None, after_epoch=None):
    """Train a Shard of the labels columns on blocks of rows.

    The same arguments give the same bits, with one thread. One block and no pilot is
    ``SlideClassifier(**parameters).fit(X, y[:, columns])``; if columns are a part of the labels, without a
    calibration, and a ridge regression beside the network has the sums of all rows.

    Parameters
    ----------
    parameters : dict
        Of SlideClassifier, those that shard_parameters returns for this shard.
    columns : ndarray of shape (n_labels,), int64
        The labels, ascending.
    blocks : sequence of tuple
        (X, y) or (X, y, sample_weight), X CSR of float32 and y an indicator of all labels; each is asked for
        several times, and dropped after that.
    pilot : Shard, default=None
        The one whose hidden layers this one takes as they are, and as whose held-out rows told it trains:
        so many epochs, and with such a ridge regression. None trains its own layers.
    one_pass : bool, default=False
        Whether to train as a first `partial_fit` does.
    n_jobs : int, default=None
        The threads; None is what the parameters say.
    after_epoch : callable, default=None
        Called after each epoch; what it raises ends the training.

    Returns
    -------
    shard : Shard
        It ranks with one thread.
    """
    started = time.perf_counter()
    if parameters["label_weight"] is not None and not isinstance(parameters["label_weight"], str):
        parameters = parameters | {"label_weight": np.asarray(parameters["label_weight"])[columns]}
    classifier, choices = SlideClassifier(**parameters), None
    with _threads_and_watch(classifier, n_jobs, after_epoch) as chosen:
        if pilot is not None:
            fit_blocks(classifier, columns, blocks, pilot.classifier._model, pilot.choices, one_pass)
        elif len(blocks) > 1:
            fit_blocks(classifier, columns, blocks, one_pass=one_pass)
        else:
            X, y, *weights = blocks[0]
            method = classifier.partial_fit if one_pass else classifier.fit
            method(X, take_columns(y, columns), sample_weight=weights[0] if weights else None)
        if len(columns) < blocks[0][1].shape[1]:
            choices = keep_choices(classifier, chosen)
    return Shard(classifier, columns, time.perf_counter() - started, choices)


def update_shard(shard, blocks, pilot=None, *, n_jobs=None, after_epoch=None):
    """Return a Shard that was trained further by `partial_fit`, block after block.

    The arguments are as for fit_shard; pilot is the updated one, whose hidden layers take the place of those
    that the shard had.
    """
    started = time.perf_counter()
    classifier = deepcopy(shard.classifier)
    with _threads_and_watch(classifier, n_jobs, after_epoch):
        if pilot is not None:
            _take_hidden(classifier._model, pilot.classifier._model)
        for X, y, *weights in blocks:
            if X.shape[0] and (not weights or weights[0] is None or np.any(weights[0])):
                y = take_columns(y, shard.columns)
                classifier.partial_fit(X, y, sample_weight=weights[0] if weights else None)
        if pilot is not None:
            _take_hidden(classifier._model, pilot.classifier._model)
    return Shard(classifier, shard.columns, time.perf_counter() - started)


def _take_hidden(model, pilot):
    """Give a Model copies of the hidden layers of another one, fitted to its own scale of X."""
    if pilot.network.hidden:
        hidden = deepcopy(pilot.network.hidden)
        hidden[0].weights[:] *= np.float32(pilot.input_scale / model.input_scale)
        model.network = model.network.replace_layers(hidden, model.network.output)


@contextmanager
def _threads_and_watch(classifier, n_jobs, after_epoch):
    """Let a classifier train with so many threads, and call after_epoch after each epoch.

    Yield a dict, empty at first, of what validation samples choose.
    """
    before, chosen = classifier.n_jobs, {}
    classifier._note_choice = chosen.update
    if before is None:
        classifier.n_jobs = n_jobs
    if after_epoch is not None:
        note = classifier._note_epoch

        def note_and_call(loss, active_size):
            note(loss, active_size)
            after_epoch()

        classifier._note_epoch = note_and_call
    try:
        yield chosen
    finally:
        classifier.n_jobs = before
        for name in ("_note_epoch", "_note_choice"):
            vars(classifier).pop(name, None)


def top_k_shard(shard, X, k):
    """Return the k best labels of a Shard for each row of X, int64, and their scores: (n_rows, at most k)."""
    k = min(k, len(shard.columns))
    if not X.shape[0]:
        return np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32)
    labels, scores = shard.classifier.predict_top_k(X, k)
    return shard.columns[labels], scores


def merge_top_k(parts, k):
    """Return the k best of the labels and scores that top_k_shard gave for each shard and the same rows."""
    labels, scores = (np.hstack(arrays) for arrays in zip(*parts, strict=True))
    best = np.lexsort((labels, -scores), axis=1)[:, :k]
    return np.take_along_axis(labels, best, 1), np.take_along_axis(scores, best, 1)


def predict_shard(shard, X, n_labels):
    """Return what `predict` says of the labels of a Shard, a CSR array (n_rows, n_labels) of all labels."""
    if not X.shape[0]:
        return sp.csr_array((0, n_labels), dtype=shard.classifier._model.labels.dtype)
    found = sp.csr_array(shard.classifier.predict(X))
    indices = shard.columns[found.indices]
    return sp.csr_array((found.data, indices, found.indptr), shape=(X.shape[0], n_labels))


def probabilities_shard(shard, X, labels):
    """Return the probabilities of labels, int64: float64 (n_rows, len(labels)), 0 for other shards' ones."""
    probabilities = np.zeros((X.shape[0], len(labels)))
    own = np.flatnonzero(np.isin(labels, shard.columns))
    if not len(own) or not X.shape[0]:
        return probabilities
    positions = np.searchsorted(shard.columns, labels[own])
    probabilities[:, own] = shard.classifier.predict_proba(X, labels=positions)
    return probabilities


def join_shards(shards, parameters):
    """Join shards that share their hidden layers into one SlideClassifier with these parameters.

    It ranks as the shards do together, up to rounding, and `partial_fit` goes on from it; the shards stay as
    they are.
    """
    first = deepcopy(shards[0].classifier)
    joined = SlideClassifier(**parameters)
    vars(joined).update({name: part for name, part in vars(first).items() if name not in parameters})
    if len(shards) == 1:
        joined._take(first._model)
        return joined
    columns = [shard.columns for shard in shards]
    models = [first._model, *(shard.classifier._model for shard in shards[1:])]
    n_labels = sum(map(len, columns))
    labels = replace(first._model.labels, classes=np.arange(n_labels), columns=None)
    training = models[0].training
    joined._take(
        replace(
            models[0],
            network=_join_networks([model.network for model in models], columns),
            ridge=None
            if models[0].ridge is None
            else _join_networks([model.ridge for model in models], columns),
            training=replace(
                training,
                solver=training.solver._replace(
                    output=_join_rows([model.training.solver.output for model in models], columns)
                ),
                crowded=None
                if training.crowded is None
                else np.any([model.training.crowded for model in models], axis=0),
                started=_join_rows([model.training.started for model in models], columns),
                index=None,
                schedule=None,
            ),
            settings=joined._settings(labels),
            labels=labels,
            seen_labels=_join_rows([model.seen_labels for model in models], columns),
            hasher=None,
            calibration=None,  # it knows of the ranks among all labels
        )
    )
    return joined


def _join_networks(networks, columns):
    """Return the Network of all labels whose hidden layers are those of the first of the networks."""
    output = _join_rows([network.output for network in networks], columns)
    return networks[0]._replace(output=output, direct=_join_direct(networks, columns))


def _join_rows(parts, columns):
    """Put the rows of arrays, or tuples of arrays, one for each label of a shard, where its columns say."""
    if isinstance(parts[0], tuple):
        return type(parts[0])(*(_join_rows(arrays, columns) for arrays in zip(*parts, strict=True)))
    rows = np.empty((sum(map(len, columns)), *parts[0].shape[1:]), dtype=parts[0].dtype)
    for part, of_shard in zip(parts, columns, strict=True):
        rows[of_shard] = part
    return rows


def _take_rows(part, columns):
    """Return the rows columns of an array, or of each array in a tuple."""
    if isinstance(part, tuple):
        return type(part)(*(_take_rows(array, columns) for array in part))
    return part[columns]


def _join_direct(networks, columns):
    """Return the Direct of all labels, or None if there are no direct weights."""
    parts = [network.direct for network in networks]
    if parts[0] is None:
        return None
    features = np.concatenate([features_of(direct) for direct in parts])
    labels = [of_shard[direct.labels] for of_shard, direct in zip(columns, parts, strict=True)]
    labels, weights = np.concatenate(labels), np.concatenate([direct.weights for direct in parts])
    order = np.lexsort((labels, features))
    indptr = sum(direct.indptr for direct in parts)
    return parts[0]._replace(indptr=indptr, labels=labels[order].astype(np.int32), weights=weights[order])


def split_classifier(classifier, n_shards):
    """Split a SlideClassifier that was fitted to an indicator into shards; labels are dealt round robin."""
    model, parameters = classifier._model, classifier.get_params(deep=False)
    names = model.labels.classes
    if not (model.labels.multilabel and np.array_equal(names, np.arange(len(names)))):
        raise ValueError(
            "The classifier must be fitted to a multi-label indicator whose columns have no names. Got "
            "one of class labels or names. Fit one to such an indicator, or rank with this one as it is."
        )
    model.require_trainable()
    _check_number(len(names), n_shards)
    even = np.ones(len(names), dtype=np.int64)  # how frequent they were is not known any more
    columns = [np.arange(shard, len(names), n_shards) for shard in range(n_shards)]
    classifier = deepcopy(classifier)
    if n_shards == 1:
        return [Shard(classifier, columns[0])]
    given = shard_parameters(parameters, even, columns)
    return [
        Shard(_part(classifier, *each, frozen=number > 0), each[1])
        for number, each in enumerate(zip(given, columns, strict=True))
    ]


def _part(classifier, parameters, columns, frozen):
    """Return the SlideClassifier of some labels, int64, of another one, its hidden layers frozen or not."""
    model = classifier._model
    part, training = SlideClassifier(**parameters), model.training
    vars(part).update({name: held for name, held in vars(classifier).items() if name not in parameters})
    labels = replace(model.labels, classes=np.arange(len(columns)), columns=None)
    solver = training.solver._replace(output=_take_rows(training.solver.output, columns))
    if frozen:
        solver = solver._replace(input=None, deeper=None)
    part._take(
        replace(
            model,
            network=_take_labels(model.network, columns.astype(np.int32)),
            ridge=None if model.ridge is None else _take_labels(model.ridge, columns.astype(np.int32)),
            training=replace(
                training,
                solver=solver,
                started=training.started[columns],
                lengths=deepcopy(training.lengths),
                index=None,
                schedule=None,
            ),
            settings=part._settings(labels),
            labels=labels,
            seen_labels=model.seen_labels[columns],
            hasher=None,
            calibration=None,  # it knows of the ranks among all labels
        )
    )
    return part
