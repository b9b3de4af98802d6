"""What was learned: the network, what its training goes on from, and how X comes into it."""

from copy import copy, deepcopy
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp

from sklearn_slide._core.direct import take_pairs
from sklearn_slide._core.layers import Layer, LayerState, Network, NetworkState, side_by_side
from sklearn_slide._core.losses import LOSSES
from sklearn_slide._core.matrices import Quantized, float_rows, quantize
from sklearn_slide._core.optimizers import Adagrad, Adam
from sklearn_slide._core.sgd import Index
from sklearn_slide._core.tables import RehashSchedule
from sklearn_slide._labels import Labels
from sklearn_slide._lengths import Lengths
from sklearn_slide._lsh import LSH, check_lsh, draw_hasher
from sklearn_slide._samples import InputScale, as_rows, place_features, scale_rows

DTYPES = ("float32", "float16", "int8")


@dataclass(frozen=True)
class ModelSettings:
    """The parameters that a model is made with, and that stay with it."""

    hidden_layer_sizes: tuple  # of int
    activation: str
    loss: str  # one of LOSSES
    solver: str  # one of SOLVERS
    direct_limit: int
    n_estimators: int
    init: str
    lsh: LSH

    @classmethod
    def of(cls, estimator, multilabel):
        """Take the settings from the parameters of an estimator, as its y asks for."""
        sizes = estimator.hidden_layer_sizes
        sizes = tuple(sizes if np.iterable(sizes) else [sizes])
        if not all(isinstance(size, Integral) and size >= 1 for size in sizes):
            raise ValueError(
                "hidden_layer_sizes must hold whole numbers of neurons, each at least 1, or be () for a "
                f"linear model. Got {estimator.hidden_layer_sizes!r}."
            )
        if not isinstance(estimator.lsh, LSH | None):
            raise ValueError(
                f"lsh must be an instance of LSH, such as LSH('dwta'), or None. Got {estimator.lsh!r}."
            )
        lsh = LSH() if estimator.lsh is None else LSH(**estimator.lsh.get_params())
        check_lsh(lsh)
        loss = estimator.loss
        if loss == "auto":
            loss = "sigmoid" if multilabel else "softmax"
        return cls(
            hidden_layer_sizes=tuple(map(int, sizes)),
            activation=estimator.activation,
            loss=loss,
            solver=estimator.solver,
            direct_limit=estimator.direct_limit if sizes else 0,
            n_estimators=estimator.n_estimators,
            init=estimator.init,
            lsh=lsh,
        )

    def differences(self, other):
        """Return the names of the settings in which another one differs."""
        own, its = vars(self) | {"lsh": self.lsh.get_params()}, vars(other) | {"lsh": other.lsh.get_params()}
        return [name for name in own if own[name] != its[name]]


@dataclass
class TrainingState:
    """What training goes on from: the solver's memory, and the hash tables once they were asked for."""

    solver: NetworkState
    lengths: Lengths
    crowded: np.ndarray | None  # bool (n_features,): too many labels for direct weights; None: there are none
    started: np.ndarray  # bool (n_labels,): whether the label was true for a sample with entries
    index: Index | None = None
    schedule: RehashSchedule | None = None  # when the tables of the index are rebuilt
    moments: Any = None  # Moments of the hidden vectors of samples, for labels that come later
    n_settled: int = 0  # passes in an epoch of the last fit, if its learning rate fell to zero
    n_later: int = 0  # passes over samples since then


@dataclass(eq=False)
class Model:
    """A network and all that goes with it. It predicts; with a TrainingState it can be trained further.

    After it is made, nothing about it is read from an estimator's parameters. Training changes its arrays in
    place, and never their shapes. Later samples may change the input scale and add direct weights; a model
    with more labels is another one.
    """

    network: Network
    training: TrainingState | None
    settings: ModelSettings
    labels: Labels
    input_scale: float  # X is multiplied by it, and each column by the power of two that column_scale says
    n_features: int  # of X
    places: np.ndarray | None  # int32 (n_features,): rows of features in the network, -1 for none; None: all
    seen: np.ndarray  # bool (n_features,): whether a training sample had the feature
    seen_labels: np.ndarray  # bool (n_labels,): whether the label was true for a training sample
    kept_labels: np.ndarray | None  # int32, the labels that have rows in the network, ascending; None: all
    seed: int
    column_scale: np.ndarray | None = None  # int32 (n_features,), exponents; None: all are 0
    hasher: Any = None  # of hidden vectors and labels, one of FAMILIES
    n_passes: int = 0  # over training samples
    n_epochs: int = 0
    stored_dtype: str = "float32"  # of the weights in a pickle
    diverged: bool = False  # training that diverged has written on the weights
    ridge: Network | None = None  # its scores are added to the network's; training leaves it as it is
    n_ridge_axes: int = 0  # of a ridge regression that has become a part of the network
    calibration: Any = None  # LabelCalibration or ClassCalibration of the scores of then; None: no one

    def __post_init__(self):
        if self.hasher is None:
            network = self.network
            self.hasher = draw_hasher(self.settings.lsh, network.n_units, network.n_labels, self.seed)

    @property
    def scored(self):
        """The Network that the scores come from: with a ridge regression, both side by side."""
        return self.network if self.ridge is None else side_by_side(self.network, self.ridge)

    def count_ridge_axes(self):
        """Return how many of the hidden units, the last ones, are axes of a ridge regression."""
        return self.n_ridge_axes if self.ridge is None else self.ridge.n_units

    @property
    def out_activation(self):
        """The name of the output activation, one of OUTPUT_ACTIVATIONS."""
        return LOSSES[self.settings.loss].out_activation if self.labels.multilabel else "softmax"

    @property
    def scale(self):
        """The InputScale."""
        return InputScale(self.input_scale, self.column_scale)

    def rows(self, X):
        """Turn validated samples X into the Rows that the network takes."""
        return place_features(scale_rows(as_rows(X), self.scale), self.places)

    def open_to_training(self, settings):
        """Return a Model whose arrays may be changed, for ModelSettings that must be those it was made with.

        It is this one, unless arrays cannot be written to, as if they are mapped from a file: a copy of
        these is then in another one.
        """
        self.require_trainable()
        self.require_sound()
        self.require_settings(settings)
        training = self.training
        parts = self.network, self.hasher, training.solver, training.index, training.crowded
        if all(array.flags.writeable for array in _arrays(parts)):
            return self
        network, hasher, solver, index, crowded = _writable(parts)
        lengths = deepcopy(training.lengths)
        training = replace(training, solver=solver, index=index, crowded=crowded, lengths=lengths)
        return replace(self, network=network, hasher=hasher, training=training)

    def to_train(self):
        """Return a Model with the same arrays, for training to change, and counters of its own."""
        training = self.training
        return replace(self, training=replace(training, schedule=copy(training.schedule)))

    def shares_arrays(self, other):
        """Tell whether training another Model changes weights of this one."""
        own_layers, others = [(*model.network.hidden, model.network.output) for model in (self, other)]
        pairs = zip(own_layers, others, strict=False)
        return any(own.weights is its.weights for own, its in pairs)

    def require_sound(self):
        """Raise ValueError if the weights are not fit for predictions, nor to be trained further."""
        if self.diverged:
            raise ValueError(
                "The weights diverged in the last partial_fit or warm start, which raised an error. Fit "
                "anew, or go on from a copy (copy.deepcopy) of before; lower learning_rate_init, or scale X."
            )

    def require_trainable(self):
        """Raise ValueError if there is nothing that training could go on from."""
        if self.training is None:
            raise ValueError(
                "compact() has dropped what training goes on from. Call it on a copy (copy.deepcopy) and "
                "train the original, or fit anew with warm_start=False."
            )

    def require_settings(self, settings):
        """Raise ValueError if the model was made with other ModelSettings."""
        names = self.settings.differences(settings)
        if names:
            name = names[0]
            raise ValueError(
                f"{name} cannot change after a first fit: the model was made with {name}="
                f"{getattr(self.settings, name)!r}, and the estimator now has {getattr(settings, name)!r}. "
                "Set it back by set_params, or fit anew with warm_start=False."
            )

    def coefs(self):
        """Return the weight matrices of the layers, in units of X as it is."""
        network = self.scored
        layers = (*network.hidden, network.output)
        coefs = [float_rows(layer.weights, 0, layer.shape[0]) for layer in layers]
        coefs[-1] = self.spread_labels(coefs[-1].T, 0)
        if len(coefs) > 1:
            coefs[0] = self._spread(coefs[0])
        return [self._unscaled(coefs[0], np.arange(self.n_features)[:, np.newaxis]), *coefs[1:]]

    def intercepts(self):
        """Return the bias vectors of the layers."""
        network = self.scored
        of_labels = self.spread_labels(network.output.biases[:, 0], -np.inf)
        return [layer.biases[0] for layer in network.hidden] + [of_labels]

    def direct_coef(self):
        """Return the direct weights, a CSR array (n_features, n_labels), in units of X as it is."""
        direct, shape = self.scored.direct, (self.n_features, len(self.seen_labels))
        if direct is None:
            return sp.csr_array(shape, dtype=np.float32)
        counts, weights = np.diff(direct.indptr), direct.weights
        if isinstance(weights, Quantized):
            weights = np.repeat(weights.scales, counts) * weights.values
        counts = self._spread(counts)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        labels = direct.labels if self.kept_labels is None else self.kept_labels[direct.labels]
        weights = self._unscaled(weights, np.repeat(np.arange(self.n_features), counts))
        return sp.csr_array((weights, labels, indptr), shape=shape)

    def spread_labels(self, values, missing):
        """Return values of the network's labels, in the last axis, as those of all labels."""
        if self.kept_labels is None:
            return values
        full = np.full((*values.shape[:-1], len(self.seen_labels)), missing, dtype=values.dtype)
        full[..., self.kept_labels] = values
        return full

    def _unscaled(self, weights, features):
        """Turn weights of features, integers of a shape that goes with them, into those of X as it is."""
        if self.column_scale is not None:
            weights = np.ldexp(weights, self.column_scale[features])
        return weights if self.input_scale == 1 else weights * np.float32(self.input_scale)

    def scaled(self, weights, features):
        """Turn weights of features of X as it is, as in _unscaled, into those of the scaled input."""
        if self.column_scale is not None:
            weights = np.ldexp(weights, -self.column_scale[features])
        return weights / np.float32(self.input_scale)

    def _spread(self, rows):
        """Return rows, one for each place, as rows of all features; those without a place are 0."""
        if self.places is None:
            return rows
        full = np.zeros((self.n_features, *rows.shape[1:]), dtype=rows.dtype)
        full[self.places >= 0] = rows
        return full

    def compact(self, dtype, n_jobs):
        """Return the model without what training needs, its weights rounded to dtype, one of DTYPES.

        Labels that were never true are dropped, and features that no training sample had, but not from a
        linear model. Biases stay float32, and direct weights of 0 are left out.
        """
        network, places, labels = self.scored, None, None
        if self.seen_labels.any() and not self.seen_labels.all():
            labels = np.flatnonzero(self.seen_labels).astype(np.int32)
            network = _take_labels(network, labels)
        kept = np.flatnonzero(self.seen).astype(np.int32)
        if network.input is not None and len(kept) < self.n_features:
            places = np.full(self.n_features, -1, dtype=np.int32)
            places[kept] = np.arange(len(kept), dtype=np.int32)
            network = _take_features(network, kept)
        hidden, output = [
            [layer._replace(weights=_round(layer.weights, dtype, n_jobs)) for layer in layers]
            for layers in (network.hidden, [network.output])
        ]
        network = network.replace_layers(hidden, output[0])
        if network.direct is not None:
            network = network._replace(direct=_drop_zeros(_round_direct(network.direct, dtype)))
        return replace(
            self,
            network=network,
            ridge=None,
            n_ridge_axes=self.count_ridge_axes(),
            training=None,
            places=places,
            kept_labels=labels,
            hasher=None,
            stored_dtype=dtype,
        )

    def __getstate__(self):
        if self.stored_dtype != "float16":
            return vars(self)
        return vars(self) | {"network": _as_type(self.network, np.float16)}

    def __setstate__(self, state):
        vars(self).update(state)
        if self.stored_dtype == "float16":
            self.network = _as_type(self.network, np.float32)


def _arrays(state):
    """Yield the arrays of a tree of tuples."""
    if isinstance(state, np.ndarray):
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from _arrays(part)


def _writable(state):
    """Return a tree of tuples with its read-only arrays copied."""
    if isinstance(state, np.ndarray):
        return np.require(state, requirements="W")
    if isinstance(state, tuple):
        parts = map(_writable, state)
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def join(models):
    """Make one Model with one hidden layer whose scores are the means of those of the models.

    They have one hidden layer each, the same labels and the same direct pairs. Their hidden units stand side
    by side; what the solver remembers of a row as a whole is averaged.
    """
    if len(models) == 1:
        return models[0]
    networks, n = [model.network for model in models], np.float32(len(models))
    states = [model.training.solver for model in models]
    hidden = Layer(*(np.hstack(parts) for parts in zip(*(net.input for net in networks), strict=True)))
    weights = np.hstack([net.output.weights for net in networks]) / n
    output = Layer(weights, sum(net.output.biases for net in networks) / n)
    direct = networks[0].direct
    if direct is not None:
        direct = direct._replace(weights=sum(net.direct.weights for net in networks) / n)
    state = NetworkState(
        LayerState(
            _join_states([state.input.weights for state in states], np.hstack),
            _join_states([state.input.biases for state in states], np.hstack),
        ),
        None,
        LayerState(
            _join_states([state.output.weights for state in states], np.hstack),
            _join_states([state.output.biases for state in states], sum),
        ),
    )
    return Model(
        network=Network(hidden, None, output, direct, networks[0].activation),
        training=replace(models[0].training, solver=state, index=None, schedule=None, moments=None),
        settings=models[0].settings,
        labels=models[0].labels,
        input_scale=models[0].input_scale,
        column_scale=models[0].column_scale,
        n_features=models[0].n_features,
        places=None,
        seen=models[0].seen,
        seen_labels=models[0].seen_labels,
        kept_labels=None,
        seed=models[0].seed,
        n_passes=sum(model.n_passes for model in models),
        n_epochs=sum(model.n_epochs for model in models),
    )


def _join_states(states, combine):
    """Average what solvers remember of a row, and combine what they remember of each weight."""
    if isinstance(states[0], Adagrad):
        return Adagrad(np.mean([state.sums for state in states], axis=0, dtype=np.float32))
    return Adam(
        np.mean([state.counts for state in states], axis=0, dtype=np.float32),
        combine([state.first_moment for state in states]),
        combine([state.second_moment for state in states]),
    )


def _take_features(network, kept):
    """Return the Network of the features kept alone, int32 ascending; these have all direct pairs."""
    first = network.input._replace(weights=network.input.weights[kept])
    direct = network.direct
    if direct is not None:
        direct = direct._replace(indptr=np.append(direct.indptr[kept], direct.indptr[-1:]))
    return network._replace(input=first, direct=direct)


def _take_labels(network, kept):
    """Return the Network of the labels kept alone, int32 ascending."""
    output, direct = Layer(*(part[kept] for part in network.output)), network.direct
    if direct is not None:
        places = np.full(network.n_labels, -1, dtype=np.int32)
        places[kept] = np.arange(len(kept), dtype=np.int32)
        direct = take_pairs(direct, places[direct.labels] >= 0)
        direct = direct._replace(labels=places[direct.labels])
    return network._replace(output=output, direct=direct)


def _round(values, dtype, n_jobs):
    """Round a float32 matrix to dtype: 'int8' makes it Quantized, the others leave float32."""
    return quantize(values, n_jobs) if dtype == "int8" else _round_values(values, dtype)


def _round_values(values, dtype):
    """Return float32 values that dtype, 'float32' or 'float16', can hold."""
    if dtype == "float16" and np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
        raise ValueError(
            f"dtype='float16' cannot hold the weight {np.abs(values).max():.3g}. Use 'float32' or 'int8'."
        )
    return values.astype(dtype).astype(np.float32)


def _round_direct(direct, dtype):
    """Return the Direct with its weights rounded; 'int8' has a scale for each feature."""
    if dtype != "int8":
        return direct._replace(weights=_round_values(direct.weights, dtype))
    counts = np.diff(direct.indptr)
    largest = np.zeros(len(counts), dtype=np.float32)
    filled = np.flatnonzero(counts)
    if len(filled):
        largest[filled] = np.maximum.reduceat(np.abs(direct.weights), direct.indptr[filled])
    scales = np.where(largest > 0, largest, 1) / np.float32(127)
    rounded = np.rint(direct.weights / np.repeat(scales, counts)).astype(np.int8)
    return direct._replace(weights=Quantized(rounded, scales))


def _drop_zeros(direct):
    """Return the Direct without the pairs whose weight is 0."""
    weights = direct.weights.values if isinstance(direct.weights, Quantized) else direct.weights
    return take_pairs(direct, weights != 0)


def _as_type(network, dtype):
    """Return the Network with its weights in dtype, biases left as they are."""
    hidden = [layer._replace(weights=layer.weights.astype(dtype)) for layer in network.hidden]
    output = network.output._replace(weights=network.output.weights.astype(dtype))
    direct = network.direct
    if direct is not None:
        direct = direct._replace(weights=direct.weights.astype(dtype))
    return network.replace_layers(hidden, output)._replace(direct=direct)
