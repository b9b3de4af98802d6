"""Active logits -> loss and residuals, the derivatives of the loss by the logits.

A loss is a NamedTuple whose class chooses the kernel, and tells what else there is to know of it.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from numba.core import types
from numba.extending import overload
from scipy.special import expit, log_expit, log_softmax, softmax

from sklearn_slide._core.compilation import INNER_OPTIONS, by_type, check_complete, float_of_bits, inner
from sklearn_slide._core.random_numbers import mix

_FACTORS = 1000  # of at most 2, whose product is finite

SIGMOID_BIAS = -8.0  # the first bias of labels: nearly all labels of a sample are false


def logistic_probabilities(scores):
    """Compute 1 / (1 + exp(-z)) in float64, kept below 1, which rounding reaches for z > 36."""
    return np.minimum(expit(scores.astype(np.float64)), np.nextafter(1.0, 0.0))


def softmax_probabilities(scores):
    """Compute exp(z) over the sum of exp(z) in each row, in float64."""
    return softmax(scores.astype(np.float64), axis=1)


# By the name of the output activation, as MLPClassifier's out_activation_ has it.
OUTPUT_ACTIVATIONS = {"logistic": logistic_probabilities, "softmax": softmax_probabilities}


# The logarithms of the same, of float64 scores.
LOG_ACTIVATIONS = {"logistic": log_expit, "softmax": partial(log_softmax, axis=1)}


class Sigmoid(NamedTuple):
    """Binary cross-entropy of each label by itself."""

    label_weights: np.ndarray | None  # float32 (n_labels,), what true labels count for; None for 1

    first_bias = SIGMOID_BIAS
    out_activation = "logistic"
    least_residual = 0.05

    @staticmethod
    def of_guessing(n_true, n_active, weight):
        """Return the loss of probabilities of 1/2, with all true labels missed by the first bias."""
        return np.log(2) * (n_active + (weight - 1) * n_true) + 8 * weight * n_true


class Softmax(NamedTuple):
    """Cross-entropy over the active labels."""

    label_weights: np.ndarray | None

    first_bias = 0.0
    out_activation = "softmax"
    least_residual = 0.0

    @staticmethod
    def of_guessing(n_true, n_active, weight):
        """Return the loss of equal probabilities, and 5 for scores of random weights."""
        del n_true
        return weight * (np.log(max(n_active, 1)) + 5)


class SigmoidSoftmax(NamedTuple):
    """The mean of both losses."""

    label_weights: np.ndarray | None

    first_bias = SIGMOID_BIAS
    out_activation = "logistic"
    least_residual = 0.05

    @staticmethod
    def of_guessing(n_true, n_active, weight):
        """Return the mean of what both losses have."""
        losses = [loss.of_guessing(n_true, n_active, weight) for loss in (Sigmoid, Softmax)]
        return sum(losses) / 2


# In each, of_guessing(n_true, n_active, weight) is a mean loss that only diverging weights exceed, for
# samples of so many true and active labels; the loss of a true label counts weight times, on average.
# Residuals below least_residual are rounded at random. Those of softmax alone are not: a true label has
# one over the number of true ones.
LOSSES = {"sigmoid": Sigmoid, "softmax": Softmax, "sigmoid+softmax": SigmoidSoftmax}


class Nonzero(NamedTuple):
    """The active labels of a sample whose residuals are not 0."""

    slots: np.ndarray  # int32 (capacity,), where they stand in the active set
    labels: np.ndarray  # int32 (capacity,)
    residuals: np.ndarray  # float32 (capacity,)


def make_nonzero(capacity):
    """Allocate a Nonzero for up to capacity labels."""
    slots, labels = np.zeros((2, capacity), dtype=np.int32)
    return Nonzero(slots, labels, np.zeros(capacity, dtype=np.float32))


@by_type
def compute_residuals(loss, logits, labels, n_active, n_true, residuals):
    """Fill residuals[:n_active], float32, and return the loss; the first n_true slots are the true labels.

    logits float32 and labels int32 (n_active or more,).
    """


@compute_residuals.register(Sigmoid)
def sigmoid_residuals(loss, logits, labels, n_active, n_true, residuals):
    """Compute what the sigmoid loss asks for."""
    weights, one = loss.label_weights, np.float32(1.0)
    clear(residuals, n_active)
    return add_sigmoid_residuals(logits, labels, n_active, n_true, one, weights, residuals)


@compute_residuals.register(Softmax)
def softmax_residuals(loss, logits, labels, n_active, n_true, residuals):
    """Compute what the softmax loss asks for."""
    weights, one = loss.label_weights, np.float32(1.0)
    clear(residuals, n_active)
    return add_softmax_residuals(logits, labels, n_active, n_true, one, weights, residuals)


@compute_residuals.register(SigmoidSoftmax)
def sigmoid_softmax_residuals(loss, logits, labels, n_active, n_true, residuals):
    """Compute the means of both."""
    weights, half = loss.label_weights, np.float32(0.5)
    clear(residuals, n_active)
    total = add_softmax_residuals(logits, labels, n_active, n_true, half, weights, residuals)
    total += add_sigmoid_residuals(logits, labels, n_active, n_true, half, weights, residuals)
    return half * total


def check_losses(losses):
    """Raise TypeError unless all that there is to know of each loss, by its name, is there."""
    check_complete(
        losses,
        compute_residuals,
        ("label_weights", "first_bias", "out_activation", "least_residual", "of_guessing"),
    )
    for name, loss in losses.items():
        if loss.out_activation not in OUTPUT_ACTIVATIONS.keys() & LOG_ACTIVATIONS.keys():
            raise TypeError(
                f"{name!r} is half added: {loss.out_activation!r}, the out_activation of {loss.__name__}, is "
                "not in OUTPUT_ACTIVATIONS and LOG_ACTIVATIONS."
            )


check_losses(LOSSES)


@inner
def clear(values, n):
    """Set values[:n], float32, to 0."""
    for a in range(n):
        values[a] = np.float32(0.0)


@inner
def round_small(residuals, labels, n, least, key):
    """Round residuals[:n], float32, that are below least, to 0 or least, at random, so that their means stay.

    A row is updated where its label's residual is not 0: seldom, and by more, instead of often, by next to
    nothing. labels int32, least float32; key uint64 tells the random numbers of this sample from others'.
    """
    for a in range(n):
        size = abs(residuals[a])
        if size < least:
            share = np.float32(mix(key + np.uint64(labels[a])) >> np.uint64(40)) * np.float32(2.0**-24)
            rounded = least if share * least < size else np.float32(0.0)
            residuals[a] = np.copysign(rounded, residuals[a])


@inner
def list_nonzero(residuals, labels, n, nonzero):
    """List those of residuals[:n], float32, that are not 0, with slots and labels; return their number."""
    n_nonzero = 0
    for a in range(n):
        # without a branch: which ones are 0 cannot be guessed
        nonzero.slots[n_nonzero], nonzero.labels[n_nonzero] = a, labels[a]
        nonzero.residuals[n_nonzero] = residuals[a]
        n_nonzero += np.int64(residuals[a] != 0.0)
    return n_nonzero


def exp_of_negative(x):
    """Compute exp(x) for x <= 0."""
    return np.exp(x)


@overload(exp_of_negative, strict=False, jit_options=INNER_OPTIONS)
def _choose_exp(x):
    return _exp_of_single if x == types.float32 else lambda x: np.exp(x)


def _exp_of_single(x):
    """Compute exp(x), float32, in a form without a call, which loops over vectors can take.

    exp(x) = 2**k exp(r), |r| <= log(2) / 2, with a polynomial for exp(r): the relative error is below 1e-5.
    What is below exp(-87), nearly the least normal number, becomes that.
    """
    x = np.float32(-87.0) if x < np.float32(-87.0) else x  # not a maximum, which could lose not-a-number
    k = np.int32(x * np.float32(1 / np.log(2)) - np.float32(0.5))
    r = x - np.float32(k) * np.float32(np.log(2))
    p = np.float32(1 / 720) * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(1 / 2)
    p = p * r + np.float32(1)
    p = p * r + np.float32(1)
    return p * float_of_bits((k + np.int32(127)) << np.int32(23))


@inner
def add_sigmoid_residuals(logits, labels, n_active, n_true, share, label_weights, residuals):
    """Binary cross-entropy of each label: loss = sum of softplus(z) - target z, times w for a true label.

    Add share times the derivatives, sigmoid(z) - target, times w for a true label, to the residuals.
    """
    zero, one, loss = np.float32(0.0), np.float32(1.0), 0.0
    for first in range(0, n_active, _FACTORS):
        # slices, for Numba does not see that places from first on are not negative, and then takes no vectors
        some_logits = logits[first : min(first + _FACTORS, n_active)]
        some_residuals, product = residuals[first : first + len(some_logits)], 1.0
        for a in range(len(some_logits)):
            z = some_logits[a]
            e = exp_of_negative(-abs(z))
            # both forms avoid the exponential of a large positive number
            some_residuals[a] += share * ((one if z >= 0 else e) / (one + e))
            # softplus(z) = max(z, 0) + log(1 + e): one logarithm of a product takes less time than many
            loss += zero if z < 0 else z
            product *= 1.0 + e
        loss += np.log(product)
    for a in range(n_true):
        z = logits[a]
        loss -= z
        residuals[a] -= share
        if label_weights is not None:
            w, e = label_weights[labels[a]], exp_of_negative(-abs(z))
            loss += (w - 1.0) * ((zero if z > 0 else -z) + np.log1p(e))
            residuals[a] -= share * (w - one) * ((e if z >= 0 else one) / (one + e))
    return loss


@inner
def add_softmax_residuals(logits, labels, n_active, n_true, share, label_weights, residuals):
    """Cross-entropy over the active labels: loss = -sum of target log softmax(z).

    A true label's target is w / n_true. Add share times the derivatives, T softmax(z) - target with T the
    sum of the targets, to the residuals.
    """
    if n_true == 0:  # no target: nothing to learn from this sample
        return 0.0
    top = logits[0]
    for a in range(1, n_active):
        top = max(top, logits[a])
    total = np.float32(0.0)
    for a in range(n_active):
        total += np.exp(logits[a] - top)
    target = np.float32(1.0) / np.float32(n_true)
    loss = 0.0
    if label_weights is None:
        for a in range(n_active):
            p = np.exp(logits[a] - top) / total
            if a < n_true:
                p -= target
                loss -= target * (logits[a] - top - np.log(total))
            residuals[a] += share * p
        return loss
    target_sum = np.float32(0.0)
    for a in range(n_true):
        weighted_target = target * label_weights[labels[a]]
        target_sum += weighted_target
        residuals[a] -= share * weighted_target
        loss -= weighted_target * (logits[a] - top - np.log(total))
    for a in range(n_active):
        residuals[a] += share * target_sum * np.exp(logits[a] - top) / total
    return loss
