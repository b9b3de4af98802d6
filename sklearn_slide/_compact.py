"""A trained network -> what predictions need of it, in fewer bytes."""

import numpy as np
import scipy.sparse as sp

from sklearn_slide._optimizers import Weights
from sklearn_slide._parallel import run_over_range
from sklearn_slide._sampling import Rows
from sklearn_slide._screening import round_rows

DTYPES = ("float32", "float16", "int8")


def compact_network(network, kept, dtype, n_jobs):
    """Return the Network without the solver's state, its weights rounded to dtype, one of DTYPES.

    kept int32 are the features that it keeps, ascending; a linear model keeps all. Biases stay float32, and
    direct weights of 0 are left out.
    """
    hidden = [layer.weights.values for layer in network.hidden]
    direct = network.direct
    if network.n_hidden:
        hidden[0] = hidden[0][kept]
        direct = take_features(direct, kept)
    layers = [
        layer._replace(weights=round_weights(values, dtype, n_jobs), biases=bare(layer.biases.values))
        for layer, values in zip(
            (*network.hidden, network.output), (*hidden, network.output.weights.values), strict=True
        )
    ]
    return network._replace(
        hidden=tuple(layers[:-1]), output=layers[-1], direct=drop_zeros(round_direct(direct, dtype))
    )


def bare(values, *scales):
    """Wrap values, and scales if there are some, without the state of a solver."""
    nothing = np.zeros((0, 0), dtype=np.float32)
    return Weights(values, nothing[0:0].ravel(), nothing, nothing, *scales)


def round_weights(values, dtype, n_jobs):
    """Return the Weights of float32 values that are rounded; int8 has a scale for each row."""
    if dtype == "int8":
        rounded, scales = np.empty(values.shape, dtype=np.int8), np.empty(len(values), dtype=np.float32)

        def part(start, stop):
            round_rows(values[start:stop], rounded[start:stop], scales[start:stop])

        run_over_range(part, 0, len(values), n_jobs, work=values.shape[1])
        return bare(rounded, scales)
    return bare(round_values(values, dtype))


def round_values(values, dtype):
    """Return float32 values that dtype, 'float32' or 'float16', can hold."""
    if dtype == "float16" and np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
        raise ValueError(
            f"dtype='float16' cannot hold the weight {np.abs(values).max():.3g}. Use 'float32' or 'int8'."
        )
    return values.astype(dtype).astype(np.float32)


def round_direct(direct, dtype):
    """Return the Direct with its weights rounded; int8 has a scale for each feature."""
    if dtype != "int8":
        return direct._replace(weights=round_values(direct.weights, dtype))
    counts = np.diff(direct.indptr)
    largest = np.zeros(len(counts), dtype=np.float32)
    filled = np.flatnonzero(counts)
    if len(filled):
        largest[filled] = np.maximum.reduceat(np.abs(direct.weights), direct.indptr[filled])
    scales = np.where(largest > 0, largest, 1) / np.float32(127)
    rounded = np.rint(direct.weights / np.repeat(scales, counts)).astype(np.int8)
    return direct._replace(weights=rounded, scales=scales)


def drop_zeros(direct):
    """Return the Direct without the pairs whose weight is 0."""
    kept = direct.weights != 0
    return direct._replace(
        indptr=np.concatenate([[0], np.cumsum(kept)])[direct.indptr],
        labels=direct.labels[kept],
        weights=direct.weights[kept],
    )


def take_features(direct, kept):
    """Return the Direct of the features kept alone, which have all of its pairs; kept int32 ascending."""
    return direct._replace(indptr=np.append(direct.indptr[kept], direct.indptr[-1:]))


def feature_places(kept, n_features):
    """Return the row that each feature has in a compact network, int32 (n_features,), -1 for none.

    None if each feature has its own.
    """
    if len(kept) == n_features:
        return None
    places = np.full(n_features, -1, dtype=np.int32)
    places[kept] = np.arange(len(kept), dtype=np.int32)
    return places


def place_features(x, places):
    """Return the Rows x with the numbers of features turned into places, and without those that have none."""
    if places is None:
        return x
    found = places[x.indices]
    kept = found >= 0
    return Rows(np.concatenate([[0], np.cumsum(kept)])[x.indptr], found[kept], x.data[kept])


def spread_rows(values, places):
    """Return rows, one for each place, as rows of all features; those without a place are 0."""
    if places is None:
        return values
    full = np.zeros((len(places), *values.shape[1:]), dtype=values.dtype)
    full[places >= 0] = values
    return full


def direct_matrix(direct, places, n_outputs):
    """Return the direct weights as a CSR array of float32, with a row for each feature."""
    counts, weights = np.diff(direct.indptr), direct.weights
    if len(direct.scales):
        weights = np.repeat(direct.scales, counts) * weights
    counts = spread_rows(counts, places)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sp.csr_array((weights, direct.labels, indptr), shape=(len(counts), n_outputs))


def store_weights(network, dtype):
    """Return the Network with the values of its float weights in dtype."""

    def convert(values):
        return values if values.dtype == np.int8 else values.astype(dtype, copy=False)

    layers = [
        layer._replace(weights=layer.weights._replace(values=convert(layer.weights.values)))
        for layer in (*network.hidden, network.output)
    ]
    direct = network.direct._replace(weights=convert(network.direct.weights))
    return network._replace(hidden=tuple(layers[:-1]), output=layers[-1], direct=direct)
