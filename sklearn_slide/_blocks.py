"""Training rows that come a block at a time: what is checked of a block, and an epoch over all of them.

A block is a tuple (X, y) or (X, y, sample_weight), and blocks are any sequence of them. One that reads its
blocks from files when it is asked for them has one in memory at a time.
"""

import hashlib
from copy import deepcopy
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_array

from sklearn_slide._core.active_set import make_sampler
from sklearn_slide._core.centroids import sum_hidden_vectors
from sklearn_slide._core.compilation import as_writable
from sklearn_slide._core.direct import Direct
from sklearn_slide._core.layers import ACTIVATIONS, Layer, Network
from sklearn_slide._core.losses import LOSSES
from sklearn_slide._core.pairs import common_features
from sklearn_slide._core.rows import Pattern, Rows
from sklearn_slide._early_stopping import hold_out
from sklearn_slide._first_weights import (
    DIRECT_NORM,
    find_pairs,
    initialise_output,
    keep_strongest,
    make_network,
    norm_scale,
    start_solver,
    untrained_model,
)
from sklearn_slide._input_forms import check_samples, check_targets
from sklearn_slide._labels import encode_indicator
from sklearn_slide._lengths import Lengths, mean_square_norm
from sklearn_slide._model import TrainingState
from sklearn_slide._samples import InputScale, as_rows, choose_scale, is_clean, make_samples, mostly_filled
from sklearn_slide._trainer import Trainer, log_drawn
from sklearn_slide._weights import keep_weighted

# As many samples as choose_scale looks at.
_SCALE_SAMPLES = 10_000


class BlockSummary(NamedTuple):
    """What is to be known of a block before training."""

    n_rows: int
    n_entries: int  # of X that are not 0
    counts: np.ndarray  # int64 (n_labels,), the rows that have a label
    digest: str  # of its contents


def check_block(number, block, n_features, n_labels):
    """Return the BlockSummary of a block; raise ValueError that names its number if it is not allowed."""
    X, y, sample_weight = _parts(block)
    try:
        _check_shapes(X, y, n_features, n_labels)
        check_samples(X)
        check_targets(y)
        X = check_array(X, accept_sparse="csr", dtype=np.float32, ensure_min_samples=0, input_name="X")
        pattern = encode_indicator(y)
        if sample_weight is not None and np.any(sample_weight):
            keep_weighted(X, y, sample_weight)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Block {number} of X and y: {error}") from error
    counts, X = np.bincount(pattern.indices, minlength=n_labels), sp.csr_array(X)
    return BlockSummary(X.shape[0], X.nnz, counts, _digest(X, pattern, sample_weight))


def _check_shapes(X, y, n_features, n_labels):
    """Raise ValueError if a block is too narrow or too wide, or X and y have different lengths."""
    for name, part, width, unit in (("X", X, n_features, "feature"), ("y", y, n_labels, "label")):
        if len(part.shape) != 2 or part.shape[1] != width:
            raise ValueError(
                f"{name} must have shape (n_rows, {width}), a column for each {unit}. Got {part.shape}. Give "
                "all blocks the same columns."
            )
    if X.shape[0] != y.shape[0]:
        raise ValueError(f"X has {X.shape[0]} rows and y has {y.shape[0]}. Cut both at the same rows.")


def _digest(X, pattern, sample_weight):
    """Return a digest of a block, 32 letters."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (X.indptr, X.indices, X.data, *pattern, sample_weight):
        if array is not None:
            digest.update(np.ascontiguousarray(array))
            digest.update(b"|")
    return digest.hexdigest()


def _parts(block):
    """Return X, y and the weights, or None, of a block."""
    X, y, *weights = block
    return X, y, weights[0] if weights else None


def stack_blocks(blocks):
    """Return one block with the rows of all, which takes their memory once more, unless there is one."""
    if len(blocks) == 1:
        return blocks[0]
    X, y, weights = zip(*map(_parts, blocks), strict=True)
    stacked = [sp.vstack(part, format="csr") if sp.issparse(part[0]) else np.vstack(part) for part in (X, y)]
    return (*stacked, None if weights[0] is None else np.concatenate(weights))


def take_columns(y, columns):
    """Return the columns, int64 ascending, of an indicator as CSR; all of them are y itself."""
    return y if len(columns) == y.shape[1] else sp.csr_array(y)[:, columns]


def _take(data, rows):
    """Return the rows, int64, of X and y as CSR, and of the weights or None."""
    X, y, weights = data
    return sp.csr_array(X)[rows], sp.csr_array(y)[rows], None if weights is None else weights[rows]


class SampleBlocks:
    """The Samples of some labels in blocks, each made when it is asked for.

    Parameters
    ----------
    classifier : SlideClassifier
        Its parameters say what samples and labels weigh.
    labels : Labels
        What the columns are.
    columns : ndarray of shape (n_labels,), int64
        The labels, ascending.
    blocks : sequence of tuple
        (X, y) or (X, y, sample_weight), checked.
    scale : InputScale, default=None
        What X is multiplied by; None chooses as `fit` does.
    left_out : dict, default={}
        For numbers of blocks the rows, int64 ascending, that are no samples; rows without a weight do not
        count.
    """

    def __init__(self, classifier, labels, columns, blocks, scale=None, left_out=MappingProxyType({})):
        self._classifier, self._labels, self._columns, self._blocks = classifier, labels, columns, blocks
        self._left_out = left_out
        self.scale = self._choose_scale() if scale is None else scale
        self.filled, self.ends = [], []  # numbers of the blocks that have samples; how many up to their ends
        self.counts = np.zeros(len(labels), dtype=np.int64)  # the samples that have each label
        self.n_passes, self.mean_square, self.n_before = 0, 0.0, 0.0
        weight, squares, n_rows, n_entries = 0.0, 0.0, 0, 0
        for number in range(len(blocks)):
            samples = self[number]
            if samples is None:
                continue
            n_rows, n_entries = n_rows + samples.x.n_rows, n_entries + len(samples.x.indices)
            self.filled.append(number)
            self.ends.append(n_rows)
            self.counts += np.bincount(samples.y.indices, minlength=len(labels))
            self.n_passes += len(samples.passes)
            of_block = np.sum(samples.weights, dtype=np.float64)
            weight, squares = weight + of_block, squares + of_block * mean_square_norm(samples)
            self.n_before += Lengths.of(samples).n_before
        if not self.filled:
            raise ValueError("X has no rows, or all weights in sample_weight are zero. Give at least one.")
        self.mean_square = squares / weight
        self.dense = mostly_filled(n_entries, n_rows, classifier.n_features_in_)

    @property
    def n_rows(self):
        """Number of samples."""
        return self.ends[-1]

    def hold_out(self, fraction, seed):
        """Split the samples as hold_out does: return the SampleBlocks of the others, and held-out data."""
        numbers = np.arange(self.n_rows)
        rows = hold_out(numbers, numbers, None, fraction, seed)[1][0]
        ordered, parts, left_out = np.sort(rows), [], {}
        of_blocks = np.split(ordered, np.searchsorted(ordered, self.ends[:-1]))
        for number, start, own in zip(self.filled, [0, *self.ends[:-1]], of_blocks, strict=True):
            if len(own):
                left_out[number] = own - start
                parts.append(_take(self._clean(number), own - start))
        X, y, weights = zip(*parts, strict=True)
        places = np.searchsorted(ordered, rows)
        data = sp.vstack(X, format="csr"), sp.vstack(y, format="csr"), None
        if any(part is not None for part in weights):
            ones = (np.ones(part.shape[0], dtype=np.float32) for part in X)
            weights = [one if part is None else part for one, part in zip(ones, weights, strict=True)]
            data = *data[:2], np.concatenate(weights)
        split = SampleBlocks(
            self._classifier, self._labels, self._columns, self._blocks, self.scale, left_out
        )
        return split, _take(data, places)

    def __getitem__(self, number):
        """Return the Samples of a block, or None if there are none, or none with a weight."""
        data = self._clean(number)
        return None if data is None else self._classifier._encode(data, self._labels, self.scale)

    def __iter__(self):
        return (self[number] for number in self.filled)

    def _clean(self, number):
        """Return X, the columns of y, and the weights of a block as validation returns them, or None."""
        X, y, weights = _parts(self._blocks[number])
        if not X.shape[0] or (weights is not None and not np.any(weights)):
            return None
        if not is_clean(X, X.shape[1]):
            X = sp.csr_array(X, dtype=np.float32)
        y = take_columns(y, self._columns)
        data = (X, y, None) if weights is None else keep_weighted(X, y, weights)
        if number in self._left_out:
            data = _take(data, np.delete(np.arange(data[0].shape[0]), self._left_out[number]))
        return data if data[0].shape[0] else None

    def _choose_scale(self):
        """Return the scale for the median length of samples of all blocks."""
        some = []
        for number in range(len(self._blocks)):
            data = self._clean(number)
            if data is not None:
                X = sp.csr_array(data[0])
                filled = np.flatnonzero(np.diff(X.indptr))
                some.append(X[filled[:: len(filled) * len(self._blocks) // _SCALE_SAMPLES + 1]])
        if not some:
            return InputScale()
        some = sp.vstack(some, format="csr")
        return choose_scale(as_rows(some), some.shape[1])


def first_model_of_blocks(classifier, labels, stream, seed, pilot=None):
    """Make the Model of Labels that training on SampleBlocks begins with; sums are added up block by block.

    The hidden layers are those of the pilot, another Model, and stay as they are: the model has no solver
    state for them. Its scale will follow later samples as the pilot's does. Without a pilot, hidden layers
    are drawn.
    """
    settings, n_jobs = classifier._settings(labels), classifier.n_jobs
    n_features, n_labels = classifier.n_features_in_, len(labels)
    rng = np.random.default_rng(seed)
    # one sample whose length is the root mean square of all
    length = np.array([np.sqrt(stream.mean_square)], dtype=np.float32)
    one = Rows(np.array([0, 1]), np.zeros(1, dtype=np.int32), length)
    typical = make_samples(one, Pattern(np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int32)))
    direct, crowded = None, None
    hidden = pilot and as_writable(pilot.network.hidden)
    if settings.direct_limit:
        gain = norm_scale(typical, DIRECT_NORM) ** 2
        shape = n_features, n_labels
        direct, crowded = _pairs_of_blocks(stream, shape, settings.direct_limit, gain, n_jobs)
    if not hidden:
        network = make_network(n_features, n_labels, settings, typical, direct, rng)
    else:
        n_units = hidden[-1].shape[1]
        output = Layer(*(np.zeros((n_labels, width), dtype=np.float32) for width in (n_units, 1)))
        no_hidden = Network(None, None, output, direct, ACTIVATIONS[settings.activation])
        network = no_hidden.replace_layers(hidden, output)
    centroids = None
    if settings.init == "centroid":
        centroids = sum(sum_hidden_vectors(samples, network, n_jobs) for samples in stream)
    initialise_output(network, centroids, LOSSES[settings.loss].first_bias, rng)
    solver = start_solver(network, settings.solver)
    lengths, started = Lengths(stream.mean_square or 1.0, stream.n_before), np.zeros(n_labels, dtype=bool)
    if hidden:
        solver, lengths = solver._replace(input=None, deeper=None), deepcopy(pilot.training.lengths)
    training = TrainingState(solver, lengths, crowded, started=started)
    return untrained_model(network, training, settings, labels, stream.scale, n_features, seed)


def _pairs_of_blocks(stream, shape, limit, gain, n_jobs):
    """Return the Direct of the Samples of all blocks, as find_pairs does, and which features are crowded."""
    total, crowded = sp.csr_array(shape, dtype=np.float32), np.zeros(shape[0], dtype=bool)
    counts, n_samples = np.zeros(shape[0], dtype=np.int64), 0
    for samples in stream:
        counts += np.bincount(samples.x.indices, minlength=shape[0])
        n_samples += samples.x.n_rows
        pairs = find_pairs(samples, crowded, shape[1], limit, gain, n_jobs)
        total = total + sp.csr_array((pairs.weights, pairs.labels, pairs.indptr), shape=shape)
        crowded |= np.diff(total.indptr) > limit
        total = _without(total, crowded)
    crowded |= common_features(counts, n_samples)
    total = _without(total, crowded)
    indptr, labels = total.indptr.astype(np.int64), total.indices.astype(np.int32, copy=False)
    direct = Direct(indptr, labels, total.data, np.float32(gain))
    return keep_strongest(direct, shape[1], limit), crowded


def _without(total, crowded):
    """Return a CSR array with the rows of crowded features emptied."""
    kept = np.repeat(~crowded, np.diff(total.indptr))
    indptr = np.concatenate([[0], np.cumsum(kept)])[total.indptr]
    return sp.csr_array((total.data[kept], total.indices[kept], indptr), shape=total.shape)


class BlockTrainer:
    """Trains a Model as a Trainer does, on SampleBlocks: an epoch takes one block after the other.

    Samples are shuffled within their blocks, and the blocks among themselves.
    """

    def __init__(self, model, stream, settings):
        self.model, self.stream, self.n_passes = model, stream, stream.n_passes
        self._sampler = make_sampler(
            model.network.n_labels, settings.n_active, settings.negatives, stream.dense
        )
        self.settings = settings._replace(n_active=self._sampler.n_active)  # the same for all blocks
        self.samples = None  # those that were trained on last

    def log_drawn(self):
        """Return the log_drawn of the samples of all blocks, or None if they are not dense."""
        return log_drawn(self._sampler, self.stream.counts) if self.stream.dense else None

    def look(self):
        """Let the model know what features and labels it has seen, as training does."""
        for samples in self.stream:
            Trainer(self.model, samples, self.settings)

    def prepare(self):
        """Compile what an epoch runs, or load it, and build the tables if that is due."""
        Trainer(self.model, self.stream[self.stream.filled[0]], self.settings).prepare()

    def run_epoch(self, rates, report=None):
        """Make the passes of an epoch over all blocks: see Trainer.run_epoch."""
        epoch, n_blocks = self.model.n_epochs, len(self.stream.filled)
        order = np.asarray(self.stream.filled)
        if self.settings.shuffle:
            order = np.random.default_rng((self.model.seed, epoch, 1)).permutation(order)
        done, total_loss, total_active = 0, 0.0, 0.0
        for place, number in enumerate(order):
            self.samples = self.stream[number]
            n = len(self.samples.passes)
            # each block has random numbers of its own
            self.model.n_epochs = epoch * n_blocks + place
            ends = np.interp([done, done + n], [0, self.n_passes], rates)
            try:
                loss, n_active = Trainer(self.model, self.samples, self.settings).run_epoch(ends, report)
            except FloatingPointError as error:
                raise FloatingPointError(f"The loss is not finite in epoch {epoch + 1}") from error
            done, total_loss, total_active = done + n, total_loss + n * loss, total_active + n * n_active
        self.model.n_epochs = epoch + 1
        return total_loss / self.n_passes, total_active / self.n_passes
