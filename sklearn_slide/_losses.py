"""Active logits -> loss and residuals, the derivatives of the loss by the logits."""

import numpy as np
from scipy.special import expit, softmax

from sklearn_slide._numba import njit

SIGMOID, SOFTMAX, SIGMOID_AND_SOFTMAX = 0, 1, 2
LOSSES = {"sigmoid": SIGMOID, "softmax": SOFTMAX, "sigmoid+softmax": SIGMOID_AND_SOFTMAX}

# A label whose probability is nearer to its target than this is left as it is: its row is not updated.
NEGLIGIBLE = np.float32(1e-3)


def logistic_probabilities(scores):
    """Compute 1 / (1 + exp(-z)) in float64, kept below 1, which rounding reaches for z > 36."""
    return np.minimum(expit(scores.astype(np.float64)), np.nextafter(1.0, 0.0))


def softmax_probabilities(scores):
    """Compute exp(z) over the sum of exp(z) in each row, in float64."""
    return softmax(scores.astype(np.float64), axis=1)


# By the name of the output activation, as MLPClassifier's out_activation_ has it.
OUTPUT_ACTIVATIONS = {"logistic": logistic_probabilities, "softmax": softmax_probabilities}


def worse_than_guessing(loss, n_true, n_active, weight=1.0):
    """Return a mean loss that only diverging weights exceed, for samples of so many true and active labels.

    Sigmoid: a probability of 1/2 for every active label, and all true labels missed by the first bias of
    -8. Softmax: equal probabilities, and 5 for scores of random weights. Both together: the mean. The loss of
    a true label counts weight times, on average.
    """
    sigmoid = np.log(2) * (n_active + (weight - 1) * n_true) + 8 * weight * n_true
    softmax = weight * (np.log(max(n_active, 1)) + 5)
    return {SIGMOID: sigmoid, SOFTMAX: softmax}.get(loss, (sigmoid + softmax) / 2)


@njit
def compute_residuals(logits, labels, n_active, n_true, loss, label_weights, residuals):
    """Fill residuals[:n_active], float32, and return the loss; the first n_true slots are the true labels.

    logits float32 and labels int32 (n_active or more,), label_weights float32 (n_labels,), or (0,) for 1:
    what the loss of a true label counts for. SIGMOID_AND_SOFTMAX is the mean of the two. With a sigmoid,
    residuals of at most NEGLIGIBLE become 0.
    """
    share = np.float32(0.5) if loss == SIGMOID_AND_SOFTMAX else np.float32(1.0)
    residuals[:n_active] = np.float32(0.0)
    total = 0.0
    if loss != SIGMOID:
        total += add_softmax_residuals(logits, labels, n_active, n_true, share, label_weights, residuals)
    if loss != SOFTMAX:
        total += add_sigmoid_residuals(logits, labels, n_active, n_true, share, label_weights, residuals)
        for a in range(n_active):
            if abs(residuals[a]) <= NEGLIGIBLE:
                residuals[a] = np.float32(0.0)
    return share * total


@njit
def add_sigmoid_residuals(logits, labels, n_active, n_true, share, label_weights, residuals):
    """Binary cross-entropy of each label: loss = sum of softplus(z) - target z, times w for a true label.

    Add share times the derivatives, sigmoid(z) - target, times w for a true label, to the residuals.
    """
    weighted = label_weights.shape[0] > 0
    loss, product = 0.0, 1.0
    for a in range(n_active):
        z = logits[a]
        e = np.exp(-abs(z))
        # both forms avoid the exponential of a large positive number
        p = np.float32(1.0) / (np.float32(1.0) + e) if z >= 0 else e / (np.float32(1.0) + e)
        # softplus(z) = max(z, 0) + log(1 + e): a logarithm of products takes less time than many logarithms
        loss += max(z, np.float32(0.0))
        product *= 1.0 + e
        if product > 1e200:
            loss += np.log(product)
            product = 1.0
        if a < n_true:
            loss -= z
            p -= np.float32(1.0)
            if weighted:
                w = label_weights[labels[a]]
                loss += (w - 1.0) * (max(-z, np.float32(0.0)) + np.log1p(e))
                p *= w
        residuals[a] += share * p
    return loss + np.log(product)


@njit
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
    if label_weights.shape[0] == 0:
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
