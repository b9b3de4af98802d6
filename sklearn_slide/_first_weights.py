"""Samples -> a first Model."""

import numpy as np

from sklearn_slide._core.centroids import sum_hidden_vectors
from sklearn_slide._core.direct import Direct, take_pairs
from sklearn_slide._core.layers import ACTIVATIONS, Layer, LayerState, Network, NetworkState
from sklearn_slide._core.losses import LOSSES
from sklearn_slide._core.optimizers import SOLVERS
from sklearn_slide._core.pairs import common_features, find_new_pairs
from sklearn_slide._core.parallel import split_work
from sklearn_slide._lengths import Lengths, mean_square_norm
from sklearn_slide._model import Model, TrainingState

# Chosen on held-out training rows of the benchmark data: see the user guide.
HIDDEN_NORM = 2.0
# With direct weights, whose inputs are then the samples scaled to DIRECT_NORM.
HIDDEN_NORM_BESIDE_DIRECT = 1.0
DIRECT_NORM = 3.0
CENTROID_SCALE = 1.5
# A feature keeps the strongest of its direct weights: so many, or a third of direct_limit if that is more.
_LEAST_KEPT = 300
HIDDEN_ACCUMULATOR = 0.1
OUTPUT_ACCUMULATOR = 0.5

# The norm of samples that weigh next to nothing: its inverse is near the largest float32.
_NO_NORM = 1e-30


def first_model(samples, settings, n_features, labels, scale, seed, n_jobs):
    """Make the Model of Labels that training begins with, from the Samples and the ModelSettings."""
    rng, n_labels = np.random.default_rng(seed), len(labels)
    direct, crowded = None, None
    if settings.direct_limit:
        gain = norm_scale(samples, DIRECT_NORM) ** 2
        crowded = common_features(np.bincount(samples.x.indices, minlength=n_features), samples.x.n_rows)
        direct = find_pairs(samples, crowded, n_labels, settings.direct_limit, gain, n_jobs)
        direct = keep_strongest(direct, n_labels, settings.direct_limit)
    network = make_network(n_features, n_labels, settings, samples, direct, rng)
    centroids = None
    if settings.init == "centroid":
        centroids = sum_hidden_vectors(samples, network, n_jobs)
    initialise_output(network, centroids, LOSSES[settings.loss].first_bias, rng)
    started = np.zeros(n_labels, dtype=bool)
    training = TrainingState(
        start_solver(network, settings.solver), Lengths.of(samples), crowded, started=started
    )
    return untrained_model(network, training, settings, labels, scale, n_features, seed)


def untrained_model(network, training, settings, labels, scale, n_features, seed):
    """Put a Network and a TrainingState together to a Model that has seen no sample."""
    return Model(
        network=network,
        training=training,
        settings=settings,
        labels=labels,
        input_scale=scale.factor,
        column_scale=scale.columns,
        n_features=n_features,
        places=None,
        seen=np.zeros(n_features, dtype=bool),
        seen_labels=np.zeros(len(labels), dtype=bool),
        kept_labels=None,
        seed=int(seed),
    )


def make_network(n_features, n_labels, settings, samples, direct, rng):
    """Allocate a Network with random hidden layers and an output layer of zeros.

    The hidden weights are Gaussian, scaled so that the hidden vectors of the Samples have a root mean square
    norm of about HIDDEN_NORM, or HIDDEN_NORM_BESIDE_DIRECT. direct is a Direct or None, rng a numpy
    Generator.
    """
    beside_direct = direct is not None and len(direct.labels)
    norm = norm_scale(samples, HIDDEN_NORM_BESIDE_DIRECT if beside_direct else HIDDEN_NORM)
    gain = np.sqrt(2.0) if settings.activation == "relu" else 1.0  # relu takes half of the squared norm away
    hidden, n_in = [], n_features
    for n_units in settings.hidden_layer_sizes:
        weights = np.empty((n_in, n_units), dtype=np.float32)
        for start, stop in split_work(0, n_in, 4 * n_units):
            rng.standard_normal(out=weights[start:stop], dtype=np.float32)
            weights[start:stop] *= np.float32(gain * norm / np.sqrt(n_units))
        hidden.append(Layer(weights, np.zeros((1, n_units), dtype=np.float32)))
        n_in, norm = n_units, 1.0
    output = Layer(np.zeros((n_labels, n_in), dtype=np.float32), np.zeros((n_labels, 1), dtype=np.float32))
    none = Network(None, None, output, direct, ACTIVATIONS[settings.activation])
    return none.replace_layers(hidden, output)


def start_solver(network, solver):
    """Return the NetworkState before the first update by the solver, one of SOLVERS' keys."""
    hidden = [start_layer(layer, solver, HIDDEN_ACCUMULATOR) for layer in network.hidden]
    output = start_layer(network.output, solver, OUTPUT_ACCUMULATOR)
    return NetworkState(hidden[0] if hidden else None, tuple(hidden[1:]) or None, output)


def start_layer(layer, solver, first_sum):
    """Return the LayerState before the first update."""
    start = SOLVERS[solver].start
    return LayerState(start(layer.weights.shape, first_sum), start(layer.biases.shape, first_sum))


def norm_scale(samples, norm):
    """Return the factor that gives x of the Samples, by their weights, a root mean square norm of norm."""
    mean_square = mean_square_norm(samples)
    return norm / np.sqrt(mean_square) if mean_square > 0 else norm


def initialise_output(network, centroids, first_bias, rng):
    """Set the first weights and biases of the output layer, and the first direct weights.

    centroids are the sums of the hidden vectors of each label's samples, float32 (n_labels, n_units), or
    None for random weights and direct weights of 0. The direct weights are, on entry, the same sums of
    single features. Labels without samples get random weights as well.
    """
    values, direct = network.output.weights, network.direct
    parts = split_work(0, len(values), 4 * values.shape[1])
    if centroids is not None:
        squares = np.empty(len(values))
        for start, stop in parts:
            part = centroids[start:stop]
            np.einsum("yu,yu->y", part, part, out=squares[start:stop], dtype=np.float64)
        if direct is not None:
            # a sum over the scaled input of the direct weights is sqrt(gain) times that over the feature
            squares += direct.gain * sum_squares(direct, len(squares))
        scale = centroid_scale(np.sqrt(squares))
        for start, stop in parts:
            np.multiply(centroids[start:stop], scale[start:stop, np.newaxis], out=values[start:stop])
        if direct is not None:
            direct.weights[:] *= direct.gain * scale[direct.labels]
    elif direct is not None:
        direct.weights[:] = 0.0
    for start, stop in parts:
        empty = start + np.flatnonzero(~values[start:stop].any(axis=1))
        drawn = rng.standard_normal((len(empty), values.shape[1]), dtype=np.float32)
        drawn /= np.sqrt(np.float32(values.shape[1]))
        values[empty] = drawn
    network.output.biases[:] = first_bias


def sum_squares(direct, n_labels, dtype=np.float32):
    """Sum the squares of each label's direct weights, in the order of the pairs: float64 (n_labels,).

    Each square is rounded to dtype before.
    """
    squares = np.zeros(n_labels)
    for start, stop in split_work(0, len(direct.labels), 64):  # without a copy of all the pairs
        of_part = np.square(direct.weights[start:stop], dtype=dtype)
        np.add.at(squares, direct.labels[start:stop], of_part.astype(np.float64, copy=False))
    return squares


def centroid_scale(norms):
    """Compute 1.5 |c|^-0.85 m^-0.15, which turns sums of inputs c into weights; m is the median of |c|.

    norms float64 (n_labels,) are the |c|. The norms of the weights are drawn together, but not made
    equal: frequent labels keep the larger ones. The scale of a norm of 0, or nearly, is 0.
    """
    present = norms > _NO_NORM
    scale = np.zeros(len(norms), dtype=np.float32)
    if present.any():
        scale[present] = CENTROID_SCALE * norms[present] ** -0.85 * np.median(norms[present]) ** -0.15
    return scale


def count_products(samples):
    """Count the pairs of a feature and a label of one sample, over all samples: a bound of the pairs."""
    return int(np.dot(np.diff(samples.x.indptr), np.diff(samples.y.indptr)))


def find_pairs(samples, crowded, n_labels, limit, gain, n_jobs):
    """Pair each feature with the labels that it was seen with, unless it is crowded, bool (n_features,).

    One with more labels than the limit becomes crowded. Return a Direct whose weights are the weighted sums
    of the feature over the samples of the label, X' Y.
    """
    nothing = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
    known = Direct(np.zeros(len(crowded) + 1, dtype=np.int64), *nothing, np.float32(gain))
    return find_new_pairs(samples, known, limit, crowded, n_labels, n_jobs)


def keep_strongest(direct, n_labels, limit):
    """Keep those pairs of each feature of a Direct whose sums are the largest for their labels.

    They are a third of the limit, or _LEAST_KEPT if that is more, and all if labels are within the limit.
    Sums count as first weights, but for what the hidden layer adds to the length of a label's sums.
    """
    counts, n_kept = np.diff(direct.indptr), max(_LEAST_KEPT, limit // 3)
    if n_labels <= limit or counts.max(initial=0) <= n_kept:
        return direct
    scale = centroid_scale(np.sqrt(sum_squares(direct, n_labels)))
    kept = np.ones(len(direct.labels), dtype=bool)
    for j in np.flatnonzero(counts > n_kept):
        own = slice(*direct.indptr[j : j + 2])
        sizes = np.abs(direct.weights[own]) * scale[direct.labels[own]]
        # stable, for equal ones are many in 0/1 data, and processors sort these in ways of their own
        kept[own][np.argsort(-sizes, kind="stable")[n_kept:]] = False
    return take_pairs(direct, kept)
