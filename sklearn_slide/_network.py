"""The network's arrays, their first values, and the forward and backward kernels.

The input layer keeps a row of weights for each feature, a hidden layer one for each unit that feeds
it, the output layer one for each label: what a sparse sample touches is always whole rows.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_slide._direct import Direct
from sklearn_slide._losses import SOFTMAX
from sklearn_slide._numba import njit
from sklearn_slide._optimizers import Weights, make_weights, mean_square, update_rows
from sklearn_slide._parallel import run_over_range, split_work

IDENTITY, RELU, TANH, LOGISTIC = 0, 1, 2, 3
ACTIVATIONS = {"identity": IDENTITY, "relu": RELU, "tanh": TANH, "logistic": LOGISTIC}

# Chosen on held-out training rows of the benchmark data: see the user guide.
HIDDEN_NORM = 2.0
# With direct weights, whose inputs are then the samples scaled to DIRECT_NORM.
HIDDEN_NORM_BESIDE_DIRECT = 1.0
DIRECT_NORM = 3.0
CENTROID_SCALE = 1.5
HIDDEN_ACCUMULATOR = 0.1
OUTPUT_ACCUMULATOR = 0.5
SIGMOID_BIAS = -8.0


class Layer(NamedTuple):
    """Weights and biases of one layer; in the output layer both have a row for each label."""

    weights: Weights  # (n_in, n_units); output layer (n_labels, n_units of the last hidden layer)
    biases: Weights  # (1, n_units); output layer (n_labels, 1)


class Network(NamedTuple):
    """All layers. A linear model has n_hidden = 0 and, for a uniform type, one hidden layer without units."""

    n_hidden: int
    hidden: tuple  # of Layer
    output: Layer
    direct: Direct  # its part is added to the scores of the output layer


def make_layer(weights, biases, solver, initial_accumulator):
    """Wrap float32 weights and biases, with the fresh state of a solver."""
    return Layer(
        make_weights(weights, solver, initial_accumulator), make_weights(biases, solver, initial_accumulator)
    )


@njit
def forward(x, i, network, activation, hidden):
    """Compute the hidden vectors of sample i.

    x Rows, network Network, activation int, hidden float32 (n_hidden or 1, width): row l is the
    output of hidden layer l; a linear model finds the sample itself, dense, in row 0.
    """
    if network.n_hidden == 0:
        hidden[0, :] = 0.0
        for p in range(x.indptr[i], x.indptr[i + 1]):
            hidden[0, x.indices[p]] += x.data[p]
        return
    forward_input(x, i, network.hidden[0], hidden[0])
    activate(hidden[0], network.hidden[0].biases.values.shape[1], activation)
    for layer in range(1, network.n_hidden):
        forward_hidden(hidden[layer - 1], network.hidden[layer], hidden[layer])
        activate(hidden[layer], network.hidden[layer].biases.values.shape[1], activation)


@njit
def forward_input(x, i, layer, h):
    """Compute h = b + sum of x_ij W_j over the features j of sample i; h float32 (n_units,)."""
    weights, scales, n_units = layer.weights.values, layer.weights.scales, layer.weights.values.shape[1]
    for u in range(n_units):
        h[u] = layer.biases.values[0, u]
    for p in range(x.indptr[i], x.indptr[i + 1]):
        j, value = x.indices[p], x.data[p]
        if scales.shape[0]:
            value *= scales[j]
        for u in range(n_units):
            h[u] += value * np.float32(weights[j, u])


@njit
def forward_hidden(inputs, layer, h):
    """Compute h = b + inputs W; inputs float32 (n_in,), h float32 (n_units,)."""
    weights, scales, n_units = layer.weights.values, layer.weights.scales, layer.weights.values.shape[1]
    for u in range(n_units):
        h[u] = layer.biases.values[0, u]
    for v in range(weights.shape[0]):
        value = inputs[v]
        if scales.shape[0]:
            value *= scales[v]
        if value != 0.0:
            for u in range(n_units):
                h[u] += value * np.float32(weights[v, u])


@njit
def activate(h, n_units, activation):
    """Apply the activation in place to h[:n_units], float32."""
    if activation == RELU:
        for u in range(n_units):
            h[u] = max(h[u], np.float32(0.0))
    elif activation == TANH:
        for u in range(n_units):
            h[u] = np.tanh(h[u])
    elif activation == LOGISTIC:
        for u in range(n_units):
            h[u] = np.float32(1.0) / (np.float32(1.0) + np.exp(-h[u]))


@njit
def activation_gradient(h, n_units, activation, gradient):
    """Multiply gradient, float32 (n_units,), by the activation's derivative, given its output h."""
    if activation == RELU:
        for u in range(n_units):
            if h[u] <= 0.0:
                gradient[u] = 0.0
    elif activation == TANH:
        for u in range(n_units):
            gradient[u] *= np.float32(1.0) - h[u] * h[u]
    elif activation == LOGISTIC:
        for u in range(n_units):
            gradient[u] *= h[u] * (np.float32(1.0) - h[u])


@njit
def score_labels(h, active, n_active, output, logits):
    """Compute z = w_y . h + b_y of the labels active[:n_active]; h float32 (n_units,), logits float32."""
    weights, biases = output.weights.values, output.biases.values
    n_units = weights.shape[1]
    n_eights = n_active - n_active % 8
    zero = np.float32(0.0)
    for a in range(0, n_eights, 8):
        # eight rows at a time: memory delivers them side by side, which takes a third less time
        y0, y1, y2, y3 = active[a], active[a + 1], active[a + 2], active[a + 3]
        y4, y5, y6, y7 = active[a + 4], active[a + 5], active[a + 6], active[a + 7]
        z0, z1, z2, z3, z4, z5, z6, z7 = zero, zero, zero, zero, zero, zero, zero, zero
        for u in range(n_units):
            z0 += weights[y0, u] * h[u]
            z1 += weights[y1, u] * h[u]
            z2 += weights[y2, u] * h[u]
            z3 += weights[y3, u] * h[u]
            z4 += weights[y4, u] * h[u]
            z5 += weights[y5, u] * h[u]
            z6 += weights[y6, u] * h[u]
            z7 += weights[y7, u] * h[u]
        logits[a], logits[a + 1] = z0 + biases[y0, 0], z1 + biases[y1, 0]
        logits[a + 2], logits[a + 3] = z2 + biases[y2, 0], z3 + biases[y3, 0]
        logits[a + 4], logits[a + 5] = z4 + biases[y4, 0], z5 + biases[y5, 0]
        logits[a + 6], logits[a + 7] = z6 + biases[y6, 0], z7 + biases[y7, 0]
    for a in range(n_eights, n_active):
        y, z = active[a], zero
        for u in range(n_units):
            z += weights[y, u] * h[u]
        logits[a] = z + biases[y, 0]


@njit
def backward_output(h, active, n_active, residuals, output, solver, one, gradient):
    """Update the rows of the active labels and fill gradient, float32 (n_units,), with d loss / d h.

    Label y with residual r: d loss / d h += r w_y, then w_y steps against r h and b_y against r.
    one is float32 (1,) and holds 1, the direction of a bias.
    """
    weights, n_units = output.weights.values, output.weights.values.shape[1]
    gradient[:n_units] = 0.0
    for a in range(n_active):
        y, r = active[a], residuals[a]
        if r != 0.0:
            for u in range(n_units):
                gradient[u] += r * weights[y, u]
    update_rows(output.weights, active, residuals, n_active, h, mean_square(h, n_units), solver)
    update_rows(output.biases, active, residuals, n_active, one, one[0], solver)


@njit
def backward_hidden(x, i, network, activation, solver, one, units, hidden, gradients):
    """Update the hidden layers; row n_hidden - 1 of gradients holds d loss / d hidden on entry.

    x Rows, i the sample, one float32 (1,), units int32 (width,) the numbers of the units, hidden and
    gradients float32 (n_hidden, width).
    """
    for layer in range(network.n_hidden - 1, -1, -1):
        weights, biases = network.hidden[layer].weights, network.hidden[layer].biases
        n_in, n_units = weights.values.shape
        gradient = gradients[layer]
        activation_gradient(hidden[layer], n_units, activation, gradient)
        square = mean_square(gradient, n_units)
        update_rows(biases, units, one, 1, gradient, square, solver)
        if layer > 0:
            for v in range(n_in):
                total = np.float32(0.0)
                for u in range(n_units):
                    total += weights.values[v, u] * gradient[u]
                gradients[layer - 1, v] = total
            update_rows(weights, units, hidden[layer - 1], n_in, gradient, square, solver)
        else:
            start, stop = x.indptr[i], x.indptr[i + 1]
            features, values = x.indices[start:stop], x.data[start:stop]
            update_rows(weights, features, values, stop - start, gradient, square, solver)


def network_bytes(n_features, n_labels, hidden_layer_sizes, solver, n_pairs=0):
    """Compute the memory that a network takes, in bytes, with the state of its solver.

    n_pairs is a bound of the number of direct weights.
    """
    sizes = [n_features, *hidden_layer_sizes, n_labels]
    n_weights = sum(n_in * n_out for n_in, n_out in pairwise(sizes))
    return 4 * n_weights * (3 if solver == "adam" else 1) + 8 * n_pairs


def norm_scale(samples, norm):
    """Return the factor that gives x of the Samples, by their weights, a root mean square norm of norm."""
    x, weights = samples.x, samples.weights
    squares = np.dot(np.repeat(weights, np.diff(x.indptr)) * x.data, x.data)
    mean_square_norm = squares / np.sum(weights, dtype=np.float64)
    return norm / np.sqrt(mean_square_norm) if mean_square_norm > 0 else norm


def make_network(n_features, n_labels, hidden_layer_sizes, activation, solver, samples, direct, rng):
    """Allocate a network with random hidden layers and an output layer of zeros.

    The hidden weights are Gaussian, scaled so that the hidden vectors of the Samples have a root
    mean square norm of about HIDDEN_NORM, or HIDDEN_NORM_BESIDE_DIRECT. direct is a Direct, rng a
    numpy Generator.
    """
    norm = norm_scale(samples, HIDDEN_NORM_BESIDE_DIRECT if len(direct.labels) else HIDDEN_NORM)
    gain = np.sqrt(2.0) if activation == "relu" else 1.0  # relu takes half of the squared norm away
    hidden, n_in = [], n_features
    # one layer without units stands for none: the type of a network tells no depth of 0
    for n_units in hidden_layer_sizes or [0]:
        weights = np.empty((n_in, n_units), dtype=np.float32)
        for start, stop in split_work(0, n_in, 4 * n_units):
            rng.standard_normal(out=weights[start:stop], dtype=np.float32)
            weights[start:stop] *= np.float32(gain * norm / np.sqrt(max(n_units, 1)))
        biases = np.zeros((1, n_units), dtype=np.float32)
        hidden.append(make_layer(weights, biases, solver, HIDDEN_ACCUMULATOR))
        n_in, norm = n_units, 1.0
    n_units = hidden_layer_sizes[-1] if hidden_layer_sizes else n_features
    weights = np.zeros((n_labels, n_units), dtype=np.float32)
    biases = np.zeros((n_labels, 1), dtype=np.float32)
    output = make_layer(weights, biases, solver, OUTPUT_ACCUMULATOR)
    return Network(len(hidden_layer_sizes), tuple(hidden), output, direct)


def initialise_output(network, centroids, loss, rng):
    """Set the first weights and biases of the output layer, and the first direct weights.

    centroids are the sums of the hidden vectors of each label's samples, float32 (n_labels, n_units), or
    None for random weights and direct weights of 0. The direct weights are, on entry, the same sums of
    single features. Labels without samples get random weights as well.
    """
    values, direct = network.output.weights.values, network.direct
    parts = split_work(0, len(values), 4 * values.shape[1])
    if centroids is None:
        direct.weights[:] = 0.0
    else:
        squares = np.empty(len(values))
        for start, stop in parts:
            part = centroids[start:stop]
            np.einsum("yu,yu->y", part, part, out=squares[start:stop], dtype=np.float64)
        # a sum over the scaled input of the direct weights is sqrt(gain) times that over the feature
        squares += direct.gain * np.bincount(direct.labels, direct.weights**2, minlength=len(squares))
        scale = centroid_scale(np.sqrt(squares))
        for start, stop in parts:
            np.multiply(centroids[start:stop], scale[start:stop, np.newaxis], out=values[start:stop])
        direct.weights[:] *= direct.gain * scale[direct.labels]
    for start, stop in parts:
        empty = start + np.flatnonzero(~values[start:stop].any(axis=1))
        drawn = rng.standard_normal((len(empty), values.shape[1]), dtype=np.float32)
        drawn /= np.sqrt(np.float32(values.shape[1]))
        values[empty] = drawn
    if loss != SOFTMAX:
        network.output.biases.values[:] = SIGMOID_BIAS


def centroid_scale(norms):
    """Compute 1.5 |c|^-0.85 m^-0.15, which turns sums of inputs c into weights; m is the median of |c|.

    norms float64 (n_labels,) are the |c|. The norms of the weights are drawn together, but not made
    equal: frequent labels keep the larger ones. The scale of a norm of 0 is 0.
    """
    present = norms > 0
    scale = np.zeros(len(norms), dtype=np.float32)
    if present.any():
        scale[present] = CENTROID_SCALE * norms[present] ** -0.85 * np.median(norms[present]) ** -0.15
    return scale


def join_networks(networks):
    """Make one network with one hidden layer whose scores are the means of those of the networks.

    The networks have one hidden layer each, and the same direct pairs. Their hidden units stand side by side.
    """
    n = np.float32(len(networks))
    hidden = _join_layers([network.hidden[0] for network in networks])
    output = _join_layers([network.output for network in networks], joined_biases=False)
    output.weights.values[:] /= n
    output.biases.values[:] /= n
    direct = networks[0].direct
    mean = sum(network.direct.weights for network in networks) / n
    return Network(1, (hidden,), output, direct._replace(weights=mean))


def _join_layers(layers, joined_biases=True):
    """Set the weights of the layers side by side, and their biases likewise or summed.

    What the solver remembers of a row as a whole is averaged.
    """

    def join(parts, combine):
        return Weights(
            combine([part.values for part in parts]),
            np.mean([part.steps for part in parts], axis=0, dtype=np.float32),
            combine([part.first_moment for part in parts]),
            combine([part.second_moment for part in parts]),
        )

    weights, biases = zip(*layers, strict=True)
    return Layer(join(weights, np.hstack), join(biases, np.hstack if joined_biases else sum))


def float_rows(weights, start, stop):
    """Return the rows start to stop of Weights, float32: a view, or made of int8 values and their scales."""
    if not len(weights.scales):
        return weights.values[start:stop]
    rows = np.empty((stop - start, weights.values.shape[1]), dtype=np.float32)
    scale_values(weights, start, rows)
    return rows


@njit
def scale_values(weights, start, rows):
    """Fill rows, float32 (n_rows, n_columns), with the rows of int8 Weights from start on, scaled."""
    values, scales = weights.values, weights.scales
    for r in range(rows.shape[0]):
        for u in range(rows.shape[1]):
            rows[r, u] = scales[start + r] * np.float32(values[start + r, u])


@njit
def hidden_rows(x, start, stop, network, activation, hidden, out):
    """Fill out, float32 (stop - start, n_units), with the last hidden vectors of samples start to stop."""
    for i in range(start, stop):
        forward(x, i, network, activation, hidden)
        for u in range(out.shape[1]):
            out[i - start, u] = hidden[-1, u]


def hidden_width(network):
    """Return the number of units of the widest layer but the output, the width of scratch for forward."""
    return max(layer.weights.values.shape[1] for layer in (*network.hidden, network.output))


def hidden_vectors(x, start, stop, network, activation, n_jobs):
    """Compute the last hidden vectors of the samples start to stop, float32 (stop - start, n_units)."""
    out = np.empty((stop - start, network.output.weights.values.shape[1]), dtype=np.float32)

    def part(first, last):
        hidden = np.empty((len(network.hidden), hidden_width(network)), dtype=np.float32)
        hidden_rows(x, first, last, network, activation, hidden, out[first - start : last - start])

    entries = (x.indptr[stop] - x.indptr[start]) / max(stop - start, 1)
    work = entries * network.hidden[0].weights.values.shape[1]
    work += sum(layer.weights.values.size for layer in network.hidden[1:])
    run_over_range(part, start, stop, n_jobs, work)
    return out


def sum_hidden_vectors(samples, network, activation, n_jobs):
    """Sum the hidden vectors of each label's samples by weight, Y' H: float32 (n_labels, n_units)."""
    x, y = samples.x, samples.y
    n_samples, n_labels = len(x.indptr) - 1, len(network.output.weights.values)
    h = hidden_vectors(x, 0, n_samples, network, activation, n_jobs)
    entries = np.repeat(samples.weights, np.diff(y.indptr))
    by_label = sp.csr_array((entries, y.indices, y.indptr), shape=(n_samples, n_labels)).T.tocsr()
    # eight times the work, for the parts of the sums take memory beside the whole
    parts = split_work(0, n_labels, 8 * h.shape[1] * (1 + len(y.indices) / n_labels))
    if len(parts) == 1:
        return by_label @ h
    sums = np.empty((n_labels, h.shape[1]), dtype=np.float32)
    for start, stop in parts:
        sums[start:stop] = by_label[start:stop] @ h
    return sums
