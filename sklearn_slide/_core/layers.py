"""The network's arrays, and its forward and backward kernels.

The input layer keeps a row of weights for each feature, a hidden layer one for each unit that feeds
it, the output layer one for each label: what a sparse sample touches is always whole rows.
"""

from typing import Any, NamedTuple

import numpy as np

from sklearn_slide._core.compilation import by_type, inner, njit
from sklearn_slide._core.direct import Direct, add_pairs
from sklearn_slide._core.matrices import add_row, add_rows, matrix_shape, stored
from sklearn_slide._core.optimizers import mean_square, step_and_sum_rows, step_rows
from sklearn_slide._core.parallel import run_over_range
from sklearn_slide._core.rows import Rows


class Identity(NamedTuple):
    """The activation f(a) = a."""


class Relu(NamedTuple):
    """The activation f(a) = max(a, 0)."""


class Tanh(NamedTuple):
    """The activation f(a) = tanh(a)."""


class Logistic(NamedTuple):
    """The activation f(a) = 1 / (1 + exp(-a))."""


ACTIVATIONS = {"identity": Identity(), "relu": Relu(), "tanh": Tanh(), "logistic": Logistic()}


class Layer(NamedTuple):
    """Weights and biases of one layer; in the output layer both have a row for each label.

    The weights are a float32 array, or Quantized in a network for predictions alone.
    """

    weights: Any  # (n_in, n_units); output layer (n_labels, n_units of the last hidden layer)
    biases: np.ndarray  # float32 (1, n_units); output layer (n_labels, 1)

    @property
    def shape(self):
        """Rows and columns of the weights."""
        return matrix_shape(self.weights)


class Network(NamedTuple):
    """All layers. Where there are no hidden layers, or no direct weights, None stands in their place."""

    input: Layer | None  # None: the output layer has a weight for each feature, a linear model
    deeper: tuple | None  # of Layer, the hidden layers after the first
    output: Layer
    direct: Direct | None  # its part is added to the scores of the output layer
    activation: Any  # of the hidden layers, one of the ACTIVATIONS

    @property
    def hidden(self):
        """The hidden layers, a tuple of Layer."""
        return () if self.input is None else (self.input, *(self.deeper or ()))

    @property
    def n_labels(self):
        """Number of labels."""
        return self.output.shape[0]

    @property
    def n_units(self):
        """Length of what the output layer is multiplied by: units of the last hidden layer, or features."""
        return self.output.shape[1]

    @property
    def hidden_shape(self):
        """Shape of what forward fills: a row for each hidden layer, at least one, as wide as the widest."""
        widths = [layer.shape[1] for layer in (*self.hidden, self.output)]
        return max(len(self.hidden), 1), max(widths)

    def replace_layers(self, hidden, output):
        """Return the network with other layers; hidden is a sequence of Layer."""
        first, deeper = (hidden[0], tuple(hidden[1:]) or None) if hidden else (None, None)
        return self._replace(input=first, deeper=deeper, output=output)


def side_by_side(one, other):
    """Return the Network whose scores are the sums of those of two, each of one hidden layer."""
    hidden = Layer(*(np.hstack(parts) for parts in zip(one.input, other.input, strict=True)))
    output = Layer(
        np.hstack([one.output.weights, other.output.weights]), one.output.biases + other.output.biases
    )
    return Network(hidden, None, output, add_pairs(one.direct, other.direct, one.n_labels), one.activation)


class LayerState(NamedTuple):
    """What the solver remembers of a layer, one of SOLVERS for each matrix."""

    weights: Any
    biases: Any


class NetworkState(NamedTuple):
    """What the solver remembers of a network; of hidden layers that are frozen, all at once, None."""

    input: LayerState | None
    deeper: tuple | None  # of LayerState
    output: LayerState


class Batch(NamedTuple):
    """Samples, and the network that looks at them."""

    x: Rows
    network: Network


class Activity(NamedTuple):
    """The hidden layers' work on one sample."""

    hidden: np.ndarray  # float32 (n_hidden or 1, width), the hidden vectors, a row a layer
    gradients: np.ndarray  # float32, as hidden: the loss's derivatives by them; no rows if nobody asks
    units: np.ndarray  # int32 (width,), the numbers from 0 on
    one: np.ndarray  # float32 (1,), holds 1: the direction of a bias


def make_activity(network, frozen=False):
    """Allocate the Activity of one worker; frozen hidden layers ask for no gradients."""
    shape = network.hidden_shape
    return Activity(
        np.zeros(shape, dtype=np.float32),
        np.zeros((0 if frozen else shape[0], shape[1]), dtype=np.float32),
        np.arange(shape[1], dtype=np.int32),
        np.ones(1, dtype=np.float32),
    )


@inner
def forward(batch, i, hidden):
    """Compute the hidden vectors of sample i of a Batch.

    hidden is float32 (n_hidden or 1, width): row l becomes the output of hidden layer l, and the last row
    what the output layer takes; a linear model finds the sample itself there, dense.
    """
    network = batch.network
    forward_input(batch.x, i, network.input, network.activation, hidden[0])
    forward_deeper(network.deeper, network.activation, hidden)


@inner
def forward_input(x, i, layer, activation, h):
    """Compute h = f(b + sum of x_ij W_j) over the features j of sample i; h float32 (n_units,)."""
    if layer is None:
        h[:] = np.float32(0.0)
        for p in range(x.indptr[i], x.indptr[i + 1]):
            h[x.indices[p]] += x.data[p]
        return
    n_units = layer.biases.shape[1]
    for u in range(n_units):
        h[u] = layer.biases[0, u]
    start, stop = x.indptr[i], x.indptr[i + 1]
    add_rows(layer.weights, x.indices[start:stop], x.data[start:stop], h)
    activate(activation, h, n_units)


@inner
def forward_deeper(layers, activation, hidden):
    """Compute h_l = f(b_l + h_(l-1) W_l) of each layer after the first, row l of hidden."""
    if layers is None:
        return
    for below in range(len(layers)):
        layer, inputs, h = layers[below], hidden[below], hidden[below + 1]
        n_units = layer.biases.shape[1]
        for u in range(n_units):
            h[u] = layer.biases[0, u]
        for v in range(stored(layer.weights).shape[0]):
            if inputs[v] != 0.0:
                add_row(layer.weights, v, inputs[v], h)
        activate(activation, h, n_units)


@by_type
def activate(activation, h, n_units):
    """Apply the activation in place to h[:n_units], float32."""


@by_type
def activation_gradient(activation, h, n_units, gradient):
    """Multiply gradient, float32 (n_units,), by the activation's derivative, given its output h."""


@activate.register(Identity)
def _keep(activation, h, n_units):
    pass


@activation_gradient.register(Identity)
def _keep_gradient(activation, h, n_units, gradient):
    pass


@activate.register(Relu)
def _relu(activation, h, n_units):
    for u in range(n_units):
        h[u] = max(h[u], np.float32(0.0))


@activation_gradient.register(Relu)
def _relu_gradient(activation, h, n_units, gradient):
    for u in range(n_units):
        if h[u] <= 0.0:
            gradient[u] = 0.0


@activate.register(Tanh)
def _tanh(activation, h, n_units):
    for u in range(n_units):
        h[u] = np.tanh(h[u])


@activation_gradient.register(Tanh)
def _tanh_gradient(activation, h, n_units, gradient):
    for u in range(n_units):
        gradient[u] *= np.float32(1.0) - h[u] * h[u]


@activate.register(Logistic)
def _logistic(activation, h, n_units):
    for u in range(n_units):
        h[u] = np.float32(1.0) / (np.float32(1.0) + np.exp(-h[u]))


@activation_gradient.register(Logistic)
def _logistic_gradient(activation, h, n_units, gradient):
    for u in range(n_units):
        gradient[u] *= h[u] * (np.float32(1.0) - h[u])


@inner
def score_labels(h, active, n_active, output, logits):
    """Compute z = w_y . h + b_y of the labels active[:n_active]; h float32 (n_units,), logits float32."""
    weights, biases = output.weights, output.biases
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


@inner
def backward_output(active, n_active, residuals, output, state, rate, activity):
    """Update the rows of the active labels, and fill the last row of gradients, if any, with d loss / d h.

    Label y with residual r: d loss / d h += r w_y, then w_y steps against r h and b_y against r. active int32
    and residuals float32 (n_active or more,), state LayerState, rate float32.
    """
    h, one, weights = activity.hidden[-1], activity.one, output.weights
    if activity.gradients.shape[0]:
        gradient = activity.gradients[-1]
        step_and_sum_rows(state.weights, weights, active, residuals, n_active, h, gradient, rate)
    else:
        square = mean_square(h, weights.shape[1])
        step_rows(state.weights, weights, active, residuals, n_active, h, square, rate)
    step_rows(state.biases, output.biases, active, residuals, n_active, one, one[0], rate)


@inner
def backward_hidden(batch, i, state, rate, activity):
    """Update the hidden layers, the last one first; the last row of gradients holds d loss / d h on entry."""
    network = batch.network
    backward_deeper(network.deeper, network.activation, state.deeper, rate, activity)
    backward_input(batch.x, i, network, state.input, rate, activity)


@inner
def backward_deeper(layers, activation, states, rate, activity):
    """Update the hidden layers after the first, tuples of Layer and LayerState, and pass gradients down.

    Without states the layers are frozen.
    """
    if layers is None or states is None:
        return
    for below in range(len(layers) - 1, -1, -1):
        weights, gradient = layers[below].weights, activity.gradients[below + 1]
        inputs, units, one = activity.hidden[below], activity.units, activity.one
        n_in, n_units = weights.shape
        activation_gradient(activation, activity.hidden[below + 1], n_units, gradient)
        square = mean_square(gradient, n_units)
        step_rows(states[below].biases, layers[below].biases, units, one, 1, gradient, square, rate)
        for v in range(n_in):
            total = np.float32(0.0)
            for u in range(n_units):
                total += weights[v, u] * gradient[u]
            activity.gradients[below, v] = total
        step_rows(states[below].weights, weights, units, inputs, n_in, gradient, square, rate)


@inner
def backward_input(x, i, network, state, rate, activity):
    """Update the input layer by the features of sample i; state LayerState, or None: frozen, or not there."""
    if state is None:
        return
    layer, gradient = network.input, activity.gradients[0]
    n_units = layer.weights.shape[1]
    activation_gradient(network.activation, activity.hidden[0], n_units, gradient)
    square = mean_square(gradient, n_units)
    step_rows(state.biases, layer.biases, activity.units, activity.one, 1, gradient, square, rate)
    start, stop = x.indptr[i], x.indptr[i + 1]
    features, values = x.indices[start:stop], x.data[start:stop]
    step_rows(state.weights, layer.weights, features, values, stop - start, gradient, square, rate)


@njit
def hidden_rows(batch, start, stop, hidden, out):
    """Fill out, float32 (stop - start, n_units), with the last hidden vectors of samples start to stop.

    The network of the Batch may have None for what comes after the hidden layers.
    """
    network = batch.network
    for i in range(start, stop):
        forward_input(batch.x, i, network.input, network.activation, hidden[0])
        forward_deeper(network.deeper, network.activation, hidden)
        for u in range(out.shape[1]):
            out[i - start, u] = hidden[-1, u]


def hidden_vectors(batch, start, stop, n_jobs):
    """Compute the last hidden vectors of the samples start to stop, float32 (stop - start, n_units)."""
    x, network = batch
    out = np.empty((stop - start, network.n_units), dtype=np.float32)
    # whatever comes after the hidden layers, the kernel meets one type
    batch = Batch(x, network._replace(output=None, direct=None))

    def part(first, last):
        hidden = np.empty(network.hidden_shape, dtype=np.float32)
        hidden_rows(batch, first, last, hidden, out[first - start : last - start])

    n_entries = (x.indptr[stop] - x.indptr[start]) / max(stop - start, 1)
    run_over_range(part, start, stop, n_jobs, work=forward_work(network, n_entries))
    return out


def forward_work(network, n_entries):
    """Count the weights that the hidden layers read for a sample of so many entries."""
    if network.input is None:
        return n_entries
    return n_entries * network.input.shape[1] + sum(np.prod(layer.shape) for layer in network.deeper or ())
