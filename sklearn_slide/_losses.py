"""Active logits -> loss and residuals, the derivatives of the loss by the logits."""

import numpy as np
from scipy.special import expit, softmax

from sklearn_slide._numba import njit

SIGMOID, SOFTMAX = 0, 1
LOSSES = {"sigmoid": SIGMOID, "softmax": SOFTMAX}

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


@njit
def compute_residuals(logits, n_active, n_true, loss, residuals):
    """Fill residuals[:n_active], float32, and return the loss; the first n_true slots are the true labels."""
    if loss == SIGMOID:
        return sigmoid_residuals(logits, n_active, n_true, residuals)
    return softmax_residuals(logits, n_active, n_true, residuals)


@njit
def sigmoid_residuals(logits, n_active, n_true, residuals):
    """Binary cross-entropy of each label: r = sigmoid(z) - target, loss = sum of softplus(z) - target z.

    Residuals of at most NEGLIGIBLE become 0.
    """
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
        residuals[a] = p if abs(p) > NEGLIGIBLE else np.float32(0.0)
    return loss + np.log(product)


@njit
def softmax_residuals(logits, n_active, n_true, residuals):
    """Cross-entropy over the active labels: r = softmax(z) - target, each true label's target 1 / n_true."""
    if n_true == 0:  # no target: nothing to learn from this sample
        residuals[:n_active] = np.float32(0.0)
        return 0.0
    top = logits[0]
    for a in range(1, n_active):
        top = max(top, logits[a])
    total = np.float32(0.0)
    for a in range(n_active):
        residuals[a] = np.exp(logits[a] - top)
        total += residuals[a]
    target = np.float32(1.0) / np.float32(n_true)
    loss = 0.0
    for a in range(n_active):
        residuals[a] /= total
        if a < n_true:
            residuals[a] -= target
            loss -= target * (logits[a] - top - np.log(total))
    return loss
