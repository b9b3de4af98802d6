"""What a machine has of memory, and what a fit takes of it."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np

from sklearn_slide._core.centroids import rows_at_once
from sklearn_slide._first_weights import count_products
from sklearn_slide._lsh import table_bytes

# Where Linux tells a container the limit of its memory, in bytes: control groups of version 2 and 1.
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def physical_memory():
    """Return the memory of the machine, or of its container, in bytes; infinity where nothing tells."""
    try:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        available = np.inf
    for path in _CGROUP_LIMITS:
        try:
            # the file of version 2 says "max" where there is no limit, that of version 1 a huge number
            available = min(available, int(Path(path).read_text()))
        except (ValueError, OSError):
            continue
    return available


def require_memory(n_bytes, purpose, way_out):
    """Raise MemoryError before anything is allocated if n_bytes are more than the machine has."""
    available = physical_memory()
    if n_bytes > available:
        raise MemoryError(
            f"{purpose} would take {n_bytes / 2**30:.1f} GiB; this machine or container has "
            f"{available / 2**30:.1f} GiB. {way_out}"
        )


def held_bytes(state):
    """Sum the bytes of all arrays that attributes, tuples, lists and dicts hold, each memory once."""
    blocks, todo, seen = {}, [state], set()
    while todo:
        held = todo.pop()
        if id(held) in seen:
            continue
        seen.add(id(held))
        if isinstance(held, np.ndarray):
            address = held.__array_interface__["data"][0]
            blocks[address] = max(blocks.get(address, 0), held.nbytes)
        elif isinstance(held, dict):
            todo += held.values()
        elif isinstance(held, list | tuple):
            todo += held
        elif hasattr(held, "__dict__") and not isinstance(held, type) and not callable(held):
            todo.append(vars(held))
    return sum(blocks.values())


def network_bytes(n_features, n_labels, hidden_layer_sizes, solver, n_pairs=0):
    """Compute the memory that a network takes, in bytes, with the state of its solver, None for no state.

    n_pairs is a bound of the number of direct weights.
    """
    sizes = [n_features, *hidden_layer_sizes, n_labels]
    n_weights = sum(n_in * n_out for n_in, n_out in pairwise(sizes))
    return 4 * n_weights * (3 if solver == "adam" else 1) + 8 * n_pairs


def fit_bytes(samples, settings, n_features, n_labels, n_estimators, n_hashed, keeps_best=False):
    """Bound the memory that a fit to the Samples takes beside the data, in bytes.

    settings are the ModelSettings, n_hashed the labels that a sample takes from hash tables. With keeps_best,
    the best weights of a network are kept while it is trained on.
    """
    sizes = settings.hidden_layer_sizes
    n_pairs = min(count_products(samples), settings.direct_limit * n_features)
    layers = n_features, n_labels, sizes
    network = network_bytes(*layers, settings.solver, n_pairs)
    without_state = network_bytes(*layers, None, n_pairs)
    n_units = sizes[-1] if sizes else n_features
    # what labels start from: sums of hidden vectors; these vectors, or random weights, are made by parts
    sums = 4 * n_units * n_labels if settings.init == "centroid" else 0
    part = 4 * n_units * min(max(samples.x.n_rows, n_labels), rows_at_once(n_units))
    tables = table_bytes(settings.lsh, n_labels) if n_hashed else 0
    best = network if keeps_best else 0
    # first weights that training did not improve are made anew, from all samples, beside the trained ones
    anew = sums if keeps_best else 0
    last = max(without_state + sums + part, network + sums, network + best + tables + anew)
    networks = n_estimators * network
    most = networks - network + last
    return max(most, 2 * networks + tables) if n_estimators > 1 else most  # to join them is to copy


def growth_bytes(model, samples, n_labels, n_hashed):
    """Bound the memory that a Model takes while it learns of Samples, beside the data, in bytes.

    n_labels are those that it has then, n_hashed the labels that a sample takes from hash tables. What it
    replaces is held until the call has ended, for a failure brings it back.
    """
    network, settings, n_units = model.network, model.settings, model.network.n_units
    grows = n_labels > network.n_labels
    output = network_bytes(n_units, n_labels, (), settings.solver) if grows else 0
    n_old = n_new = 0
    if network.direct is not None:
        n_old = len(network.direct.labels)
        n_new = min(count_products(samples), max(0, settings.direct_limit * model.n_features - n_old))
    merged, found = (
        8 * (n_old + n_new),
        8 * 2 * n_new,
    )  # direct weights; new ones alone, and those of new labels
    if grows:
        found += 8 * n_old  # old ones with other places
    n_unseen = min(n_labels - int(model.seen_labels.sum()), len(samples.y.indices))
    n_vectors = min(samples.x.n_rows, rows_at_once(n_units))
    first_weights = 4 * n_units * (2 * n_unseen + n_vectors) if n_unseen else 0
    made = n_hashed and (grows or model.training.index is None)
    tables = table_bytes(settings.lsh, n_labels) if made else 0
    return held_bytes(vars(model)) + output + merged + max(found + first_weights, tables)
