"""A network that learns about more labels than it has -> a wider one that keeps what was learned."""

import numpy as np

from sklearn_slide._direct import add_new_labels, find_pairs, no_pairs
from sklearn_slide._network import OUTPUT_ACCUMULATOR, initialise_output, make_layer, sum_hidden_vectors


def grow_output(network, samples, places, n_labels, limit, init, activation, solver, loss, n_jobs, rng):
    """Return the Network with n_labels labels, of which the old ones stand at places, int32 ascending.

    Old labels keep their weights, biases, direct weights and solver state. New ones start from the Samples,
    y as wide as n_labels, as all labels do in a first fit with at most limit labels for a direct feature.
    """
    n_features, n_units = len(network.direct.indptr) - 1, network.output.weights.values.shape[1]
    output = make_layer(
        np.zeros((n_labels, n_units), dtype=np.float32),
        np.zeros((n_labels, 1), dtype=np.float32),
        solver,
        OUTPUT_ACCUMULATOR,
    )
    direct = no_pairs(n_features)
    if limit:
        direct = find_pairs(samples, n_features, n_labels, limit, network.direct.gain)
    fresh = network._replace(output=output, direct=direct)
    centroids = sum_hidden_vectors(samples, fresh, activation, n_jobs) if init == "centroid" else None
    initialise_output(fresh, centroids, loss, rng)
    for old, new in zip(network.output, output, strict=True):
        for old_array, new_array in zip(old, new, strict=True):
            if len(new_array):  # adagrad has no moments
                new_array[places] = old_array
    return fresh._replace(direct=add_new_labels(network.direct, places, direct, n_labels))
