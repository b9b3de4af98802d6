"""What later samples bring to a Model: a scale, direct weights of features, first weights of labels."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from sklearn_slide._core.direct import find_places
from sklearn_slide._core.layers import Layer
from sklearn_slide._core.losses import LOSSES
from sklearn_slide._core.parallel import split_work
from sklearn_slide._core.rows import Pattern
from sklearn_slide._first_weights import (
    DIRECT_NORM,
    HIDDEN_ACCUMULATOR,
    OUTPUT_ACCUMULATOR,
    crowded_features,
    find_pairs,
    initialise_output,
    start_layer,
    sum_hidden_vectors,
)
from sklearn_slide._samples import as_rows, make_samples, scale_rows


def settle_scale(model, samples):
    """Let the scale of a Model follow the lengths of later Samples; return these as it now takes them.

    From scale s to t, the first layer and the direct weights are multiplied by s / t: scores stay what they
    are. Rows of features without samples become what a first call draws, and steps fit the new lengths.
    """
    lengths, scale = model.training.lengths, model.input_scale
    lengths.add(samples, scale)
    chosen = lengths.judge(scale)
    if chosen is None:
        return samples
    model.input_scale, mean_square = chosen
    factor = model.input_scale / scale
    network, state, first_sum = model.network, model.training.solver.input, HIDDEN_ACCUMULATOR
    factors = np.full(model.n_features, 1 / factor, dtype=np.float32)
    factors[~model.seen] = np.sqrt(lengths.mean_square / mean_square)
    if network.input is None:  # the output layer is the first one, with a row for each label
        state, first_sum = model.training.solver.output, OUTPUT_ACCUMULATOR
        factors = np.full(network.n_labels, 1 / factor, dtype=np.float32)
    values = (network.input or network.output).weights
    for start, stop in split_work(0, len(values), 4 * values.shape[1]):
        values[start:stop] *= factors[start:stop, np.newaxis]
    state.weights.rescale(factor, first_sum)
    if network.direct is not None:
        network.direct.weights[:] *= np.float32(1 / factor)
        gain = np.float32(DIRECT_NORM**2 / mean_square)
        model.network = network._replace(direct=network.direct._replace(gain=gain))
    lengths.mean_square = mean_square
    return samples._replace(x=scale_rows(samples.x, factor))


def grow(model, places, n_labels):
    """Return a Model with n_labels labels, of which the old ones stand at places, int32.

    Old labels keep their weights, biases, direct weights and solver state. New ones have random weights, as
    labels without samples. Hash functions are drawn anew.
    """
    network, settings, training = model.network, model.settings, model.training
    rng = np.random.default_rng((model.seed, network.n_labels))
    output = Layer(
        np.zeros((n_labels, network.n_units), dtype=np.float32), np.zeros((n_labels, 1), dtype=np.float32)
    )
    initialise_output(
        network._replace(output=output, direct=None), None, LOSSES[settings.loss].first_bias, rng
    )
    old, state = training.solver, start_layer(output, settings.solver, OUTPUT_ACCUMULATOR)
    for old_part, part in [
        (network.output, output),
        (old.output.weights, state.weights),
        (old.output.biases, state.biases),
    ]:
        for old_rows, rows in zip(old_part, part, strict=True):
            rows[places] = old_rows
    direct = network.direct
    if direct is not None:
        direct = direct._replace(labels=places[direct.labels])
        if (np.diff(places) < 0).any():
            order = np.lexsort((direct.labels, features_of(direct)))
            direct = direct._replace(labels=direct.labels[order], weights=direct.weights[order])
    seen_labels = np.zeros(n_labels, dtype=bool)
    seen_labels[places] = model.seen_labels
    return replace(
        model,
        network=network._replace(output=output, direct=direct),
        seen_labels=seen_labels,
        training=replace(
            training,
            solver=old._replace(output=state),
            index=None,
            schedule=None,
            crowded=training.crowded.copy(),
        ),
        hasher=None,
    )


def learn_of(model, samples, n_jobs):
    """Give a Model what Samples are the first to tell of, before it is trained with them.

    Labels that were never true before start from them, as all labels do in a first call. Features get direct
    weights for labels that they meet, until these are more than the limit.
    """
    network, settings = model.network, model.settings
    pairs = None
    if network.direct is not None:
        pairs = find_new_pairs(model, samples)
    if settings.init == "centroid":
        true = np.bincount(samples.y.indices, minlength=network.n_labels) > 0
        new = np.flatnonzero(true & ~model.seen_labels).astype(np.int32)
        if len(new):
            pairs = start_labels(model, samples, new, pairs, n_jobs)
    if pairs is not None and len(pairs.labels):
        model.network = network._replace(direct=insert_pairs(network.direct, pairs))


def find_new_pairs(model, samples):
    """Return a Direct of the pairs of Samples that a Model has not, with a weight of 0.

    A feature whose labels become more than the limit is crowded from then on, and has none.
    """
    direct, crowded, limit = model.network.direct, model.training.crowded, model.settings.direct_limit
    found = find_pairs(samples, model.n_features, model.network.n_labels, limit, direct.gain)
    crowded |= crowded_features(samples, found)
    features = features_of(found)
    places = np.empty(len(features), dtype=np.int64)
    find_places(direct, features, found.labels, places)
    new = (places < 0) & ~crowded[features]
    counts = np.bincount(features[new], minlength=len(crowded))
    crowded |= np.diff(direct.indptr) + counts > limit
    new &= ~crowded[features]
    return take_pairs(found, new)


def start_labels(model, samples, new, pairs, n_jobs):
    """Start the labels new, int32, of a Model from Samples, and return the new pairs with first weights."""
    network, settings = model.network, model.settings
    y = sp.csr_array(
        (np.ones(len(samples.y.indices), dtype=np.int8), samples.y.indices, samples.y.indptr),
        shape=(samples.x.n_rows, network.n_labels),
    )[:, new]
    rows = np.flatnonzero(np.diff(y.indptr))
    x = sp.csr_array(samples.x[::-1], shape=(samples.x.n_rows, model.n_features))[rows]
    y = y[rows]
    theirs = make_samples(
        as_rows(x), Pattern(y.indptr.astype(np.int64), y.indices.astype(np.int32)), samples.weights[rows]
    )
    direct = None
    if pairs is not None:
        place = np.full(network.n_labels, -1, dtype=np.int32)
        place[new] = np.arange(len(new), dtype=np.int32)
        of_new = place[pairs.labels] >= 0
        direct = take_pairs(pairs, of_new)
        direct = direct._replace(labels=place[direct.labels])
    output = Layer(
        np.zeros((len(new), network.n_units), dtype=np.float32), np.zeros((len(new), 1), dtype=np.float32)
    )
    part = network._replace(output=output, direct=direct)
    rng = np.random.default_rng((model.seed, model.n_passes))
    initialise_output(part, sum_hidden_vectors(theirs, part, n_jobs), LOSSES[settings.loss].first_bias, rng)
    state, fresh = model.training.solver.output, start_layer(output, settings.solver, OUTPUT_ACCUMULATOR)
    for whole, rows_of_new in [
        (network.output, output),
        (state.weights, fresh.weights),
        (state.biases, fresh.biases),
    ]:
        for all_rows, its in zip(whole, rows_of_new, strict=True):
            all_rows[new] = its
    if pairs is not None:
        pairs.weights[:] = 0
        pairs.weights[of_new] = direct.weights
    return pairs


def features_of(direct):
    """Return the feature of each pair, int32."""
    return np.repeat(np.arange(len(direct.indptr) - 1, dtype=np.int32), np.diff(direct.indptr))


def take_pairs(direct, kept):
    """Return the Direct of those pairs alone for which kept, bool (n_pairs,), is true."""
    indptr = np.concatenate([[0], np.cumsum(kept)])[direct.indptr]
    return direct._replace(indptr=indptr, labels=direct.labels[kept], weights=direct.weights[kept])


def insert_pairs(direct, pairs):
    """Return the Direct with the pairs of another one inserted, none of which it has."""
    places = np.empty(len(pairs.labels), dtype=np.int64)
    find_places(direct, features_of(pairs), pairs.labels, places)
    places = -1 - places
    return direct._replace(
        indptr=direct.indptr + pairs.indptr,
        labels=np.insert(direct.labels, places, pairs.labels),
        weights=np.insert(direct.weights, places, pairs.weights),
    )
