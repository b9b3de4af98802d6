"""What later samples bring to a Model: a scale, direct weights of features, first weights of labels."""

import warnings
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._core.centroids import sum_hidden_vectors
from sklearn_slide._core.direct import take_pairs
from sklearn_slide._core.layers import Batch, Layer, hidden_vectors
from sklearn_slide._core.losses import LOSSES
from sklearn_slide._core.pairs import common_features, find_new_pairs, merge_pairs
from sklearn_slide._core.parallel import split_work
from sklearn_slide._core.rows import Pattern
from sklearn_slide._first_weights import (
    DIRECT_NORM,
    OUTPUT_ACCUMULATOR,
    initialise_output,
    start_layer,
    sum_squares,
)
from sklearn_slide._samples import InputScale, as_rows, labels_with_entries, make_samples, scale_rows

# A change of scale by this factor or more, after so many samples, is worth a warning. Fewer are a few.
_FAR_OFF, _MANY = 4, 100
# So many known labels, and so many samples, tell how labels score samples; fewer than so many tell little.
_MANY_KNOWN, _MANY_SAMPLES, _ENOUGH = 4096, 1024, 100
# The size of what is nothing but rounding.
_LITTLE = np.float32(1e-30)


def settle_scale(model, samples):
    """Let the scale of a Model follow the lengths of later Samples; return these as it now takes them.

    From scale s to t, the first layer and the direct weights are multiplied by s / t: scores stay what they
    are. But where samples are longer than a few before, weights as large would outshine all others: these
    few then count as if they had been as long. Rows of features without samples become what a first call
    draws, and steps fit the new lengths.
    """
    lengths, scale = model.training.lengths, model.input_scale
    lengths.add(samples, scale)
    n_before, chosen = lengths.n_before, lengths.judge(scale)
    if chosen is None:
        return samples
    model.input_scale, mean_square = chosen
    factor, network = model.input_scale / scale, model.network
    kept = 1 / factor if n_before >= _MANY else min(1.0, 1 / factor)
    if network.input is None:  # the output layer is the first one, with a row for each label
        factors = np.full(network.n_labels, kept, dtype=np.float32)
    else:
        factors = np.full(model.n_features, kept, dtype=np.float32)
        factors[~model.seen] = np.sqrt(lengths.mean_square / mean_square)
    values = (network.input or network.output).weights
    for start, stop in split_work(0, len(values), 4 * values.shape[1]):
        values[start:stop] *= factors[start:stop, np.newaxis]
    if network.direct is not None:
        network.direct.weights[:] *= np.float32(kept)
        gain = np.float32(DIRECT_NORM**2 / mean_square)
        model.network = network._replace(direct=network.direct._replace(gain=gain))
    if model.ridge is not None:
        model.ridge = _for_longer(model.ridge, np.float32(factor))
    lengths.mean_square = mean_square
    if n_before >= _MANY and max(factor, 1 / factor) >= _FAR_OFF:
        warnings.warn(
            f"Samples are now about {1 / factor:g} times as long as the {n_before:.0f} before, and steps are "
            "fitted to them; what was learned keeps its size, and may mend slowly. Scale the rows of X, for "
            "instance by sklearn.preprocessing.normalize, or begin anew with usual samples.",
            UserWarning,
            stacklevel=6,  # the caller of partial_fit, past two decorators
        )
    return samples._replace(x=scale_rows(samples.x, InputScale(factor)))


def _for_longer(ridge, factor):
    """Return the Network, of one hidden layer, whose scores of samples factor times as long are the same."""
    first = ridge.input._replace(weights=ridge.input.weights / factor)
    direct = ridge.direct._replace(weights=ridge.direct.weights / factor)
    return ridge._replace(input=first, direct=direct)


def grow(model, labels, places):
    """Return a Model of more Labels, among which the old ones stand at places, int32.

    Old labels keep their weights, biases, direct weights and solver state. New ones have random weights, as
    labels without samples. Hash functions are drawn anew.
    """
    network, settings, training, n_labels = model.network, model.settings, model.training, len(labels)
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
    direct = None if network.direct is None else _place_labels(network.direct, places)
    seen_labels, started = np.zeros((2, n_labels), dtype=bool)
    seen_labels[places], started[places] = model.seen_labels, training.started
    return replace(
        model,
        network=network._replace(output=output, direct=direct),
        ridge=None if model.ridge is None else _grow_ridge(model.ridge, places, n_labels),
        labels=labels,
        seen_labels=seen_labels,
        training=replace(
            training,
            solver=old._replace(output=state),
            index=None,
            schedule=None,
            started=started,
            crowded=None if training.crowded is None else training.crowded.copy(),
        ),
        hasher=None,
    )


def _place_labels(direct, places):
    """Return the Direct of labels that now stand at places, int32."""
    direct = direct._replace(labels=places[direct.labels])
    if (np.diff(places) < 0).any():
        order = np.lexsort((direct.labels, features_of(direct)))
        direct = direct._replace(labels=direct.labels[order], weights=direct.weights[order])
    return direct


def _grow_ridge(ridge, places, n_labels):
    """Return the Network of n_labels labels, among which the old ones stand at places; it scores others 0."""
    output = Layer(*(np.zeros((n_labels, part.shape[1]), dtype=np.float32) for part in ridge.output))
    for rows, old in zip(output, ridge.output, strict=True):
        rows[places] = old
    return ridge._replace(output=output, direct=_place_labels(ridge.direct, places))


def learn_of(model, samples, n_jobs):
    """Give a Model what Samples are the first to tell of, before it is trained with them.

    Labels that were never true before, but for samples without entries, start from them, as all labels do in
    a first call. Features get direct weights for labels that they meet, until these are more than the limit,
    or most of many samples have the feature.
    """
    network, new, pairs, sums = model.network, np.zeros(0, dtype=np.int32), None, None
    if model.settings.init == "centroid":
        true = labels_with_entries(samples, network.n_labels)
        new = np.flatnonzero(true & ~model.training.started).astype(np.int32)
    if network.direct is not None:
        crowded = model.training.crowded
        counts = np.bincount(samples.x.indices, minlength=model.n_features)
        crowded |= common_features(counts, samples.x.n_rows)
        limit = model.settings.direct_limit
        pairs = find_new_pairs(samples, network.direct, limit, crowded, network.n_labels, n_jobs)
        places = np.full(network.n_labels, -1, dtype=np.int32)
        places[new] = np.arange(len(new), dtype=np.int32)
        of_new = places[pairs.labels] >= 0
        sums = take_pairs(pairs, of_new)
        sums = sums._replace(labels=places[sums.labels])
        pairs.weights[:] = 0.0
    if len(new):
        start_labels(model, samples, new, sums, n_jobs)
    if pairs is not None and len(pairs.labels):
        pairs.weights[of_new] = sums.weights
        model.network = network._replace(direct=merge(network.direct, pairs))


def start_labels(model, samples, new, direct, n_jobs):
    """Start the labels new, int32, of a Model from the Samples that have them, as a first call does.

    direct is a Direct of their pairs, labels as positions in new, or None; its sums become first weights.
    """
    network, state = model.network, model.training.solver.output
    output = Layer(*(np.zeros((len(new), part.shape[1]), dtype=np.float32) for part in network.output))
    small, rng = (
        network._replace(output=output, direct=direct),
        np.random.default_rng((model.seed, model.n_passes)),
    )
    sums = sum_hidden_vectors(take_labels(samples, new, network.n_labels), small, n_jobs)
    initialise_output(small, sums, LOSSES[model.settings.loss].first_bias, rng)
    match_known(output, direct, model, samples, n_jobs)
    first = start_layer(output, model.settings.solver, OUTPUT_ACCUMULATOR)
    for whole, part in [
        (network.output, output),
        (state.weights, first.weights),
        (state.biases, first.biases),
    ]:
        for rows, its in zip(whole, part, strict=True):
            rows[new] = its


class Moments(NamedTuple):
    """What is kept of the hidden vectors of the samples seen last."""

    n_samples: int
    mean: np.ndarray  # float32 (n_units,)
    covariance: np.ndarray  # float32 (n_units, n_units)

    @classmethod
    def of(cls, network, samples, n_jobs):
        """Return those of the first Samples by a Network."""
        n_samples = min(samples.x.n_rows, _MANY_SAMPLES)
        h = hidden_vectors(Batch(samples.x, network), 0, n_samples, n_jobs)
        mean = h.mean(axis=0)
        return cls(n_samples, mean, (h - mean).T @ (h - mean) / np.float32(n_samples))

    def after(self, before):
        """Return those of these samples and of as many of those before, None for no one, as still count."""
        n_before = min(before.n_samples, _MANY_SAMPLES - self.n_samples) if before else 0
        if n_before == 0:
            return self
        n_samples = self.n_samples + n_before
        share, off = np.float32(n_before / n_samples), before.mean - self.mean
        covariance = self.covariance + share * (before.covariance - self.covariance)
        covariance += share * (1 - share) * np.multiply.outer(off, off)
        return Moments(n_samples, self.mean + share * off, covariance)


def remember_samples(model, blocks, n_jobs):
    """Keep the Moments of Samples, in blocks, that a Model was trained with, for labels that come later.

    Of many blocks the first ones are enough.
    """
    network, training, n_samples = model.network, model.training, 0
    if network.input is None or model.settings.init != "centroid":
        return
    for samples in blocks:
        training.moments = Moments.of(network, samples, n_jobs).after(training.moments)
        n_samples += samples.x.n_rows
        if n_samples >= _MANY_SAMPLES:
            return


def match_known(output, direct, model, samples, n_jobs):
    """Let new labels, rows of an output Layer and a Direct or None, score samples as most known labels do.

    Training moves all samples to one side of the hidden space, and labels that a Model knows away from it.
    A sum of hidden vectors h has that side in it, and would score any sample high. With m and C the mean and
    the covariance of h, of the Samples and those before, and t and s the medians of the known labels' scores
    of m and of sqrt(w' C w)::

        w *= min(1, s / sqrt(w' C w)),  w -= max(w . m + b - t, 0) m / |m|^2

    Training lengthens direct weights: the median length of new labels' is no less than that of known ones'.
    Few samples do not tell.
    """
    network, known = model.network, np.flatnonzero(model.training.started)
    if network.input is None or not len(known):
        return
    n_samples, mean, covariance = Moments.of(network, samples, n_jobs).after(model.training.moments)
    if n_samples < _ENOUGH:
        return
    known = known[:: max(1, len(known) // _MANY_KNOWN)]
    rows, biases = network.output.weights[known], network.output.biases[known, 0]

    def spreads(rows):
        return np.sqrt(np.maximum(np.einsum("yu,yu->y", rows @ covariance, rows), 0))

    own = spreads(output.weights)
    output.weights[:] *= np.minimum(1, np.median(spreads(rows)) / np.maximum(own, _LITTLE))[:, np.newaxis]
    above = np.maximum(output.weights @ mean + output.biases[:, 0] - np.median(rows @ mean + biases), 0)
    output.weights[:] -= np.multiply.outer(above / max(mean @ mean, _LITTLE), mean)
    if direct is not None:
        lengths, usual = direct_lengths(direct, len(own)), direct_lengths(network.direct, network.n_labels)
        if len(lengths) and len(usual):
            direct.weights[:] *= np.float32(max(1, np.median(usual) / np.median(lengths)))


def direct_lengths(direct, n_labels):
    """Return the lengths of the direct weights of each of n_labels labels that has some, float64."""
    squares = sum_squares(direct, n_labels, np.float64)
    return np.sqrt(squares[squares > 0])


def take_labels(samples, labels, n_labels):
    """Return the Samples that have one of these labels, int32 ascending, which become 0, 1, and so on."""
    n_samples = samples.x.n_rows
    y = sp.csr_array(
        (np.ones_like(samples.y.indices), samples.y.indices, samples.y.indptr), (n_samples, n_labels)
    )
    y = y[:, labels]
    rows = np.flatnonzero(np.diff(y.indptr))
    x = sp.csr_array(samples.x[::-1], (n_samples, samples.x.indices.max(initial=0) + 1))[rows]
    y = y[rows]
    pattern = Pattern(y.indptr.astype(np.int64), y.indices.astype(np.int32))
    return make_samples(as_rows(x), pattern, samples.weights[rows])


def features_of(direct):
    """Return the feature of each pair, int32."""
    return np.repeat(np.arange(len(direct.indptr) - 1, dtype=np.int32), np.diff(direct.indptr))


def merge(direct, pairs):
    """Return the Direct with the pairs of another one, none of which it has."""
    n_pairs = len(direct.labels) + len(pairs.labels)
    labels, weights = np.empty(n_pairs, dtype=np.int32), np.empty(n_pairs, dtype=np.float32)
    merge_pairs(direct, pairs, labels, weights)
    return direct._replace(indptr=direct.indptr + pairs.indptr, labels=labels, weights=weights)
