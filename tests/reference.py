"""The method in plain NumPy, slow and obvious, to compare the kernels with."""

import math

import numpy as np
from scipy.linalg import hadamard
from scipy.special import softmax

# ---------------------------------------------------------------------------------------------------------
# Hashing: the codes of one vector under the random choices of a Hasher
# ---------------------------------------------------------------------------------------------------------


def hash_vector(vector, family, hasher):
    """Return the codes of a vector, a list of n_tables integers; family is the name of the hash family."""
    vector = np.asarray(vector, dtype=float)
    if family == "simhash":
        digits, base = [int(projection > 0) for projection in simhash_projections(vector, hasher)], 2
    else:
        digits, base = (
            {"wta": wta_digits, "dwta": dwta_digits, "minhash": minhash_digits}[family](vector, hasher),
            8,
        )
    codes = []
    for t in range(hasher.n_tables):
        code = 0
        for digit in digits[t :: hasher.n_tables][: hasher.hash_length]:
            code = base * code + digit
        codes.append(code)
    return codes


def simhash_projections(vector, hasher):
    """Return the coordinates of H D2 H D1 x, D the diagonals of signs, one rotation after the other."""
    n = hasher.signs.shape[2]
    padded = np.zeros(n)
    padded[: len(vector)] = vector
    rotation = hadamard(n)  # unscaled: whole numbers stay whole numbers, and only signs matter
    rotated = [
        rotation @ np.diag(s[1]) @ rotation @ np.diag(s[0]) @ padded for s in hasher.signs.astype(float)
    ]
    return np.concatenate(rotated)


def wta_digits(vector, hasher):
    """Return the place of the largest of the coordinates of each bin."""
    return [int(np.argmax(vector[bin_])) for bin_ in hasher.positions]


def dwta_digits(vector, hasher):
    """Return the place of the largest nonzero coordinate of each bin; a bin of zeros borrows."""
    digits = []
    for bin_ in hasher.positions:
        places = [s for s, j in enumerate(bin_) if vector[j] != 0]
        digits.append(max(places, key=lambda s, bin_=bin_: vector[bin_[s]]) if places else None)
    return borrow(digits, hasher.salt)


def minhash_digits(vector, hasher):
    """Return 3 random bits of the first coordinate of each bin that is in the top set; empty bins borrow."""
    members = top_set(vector, hasher.n_top)
    digits = []
    for i, bin_ in enumerate(hasher.positions):
        found = [j for j in bin_ if j in members]
        digits.append(scatter_pair(hasher.salt, i, int(found[0])) % 8 if found else None)
    return borrow(digits, hasher.salt)


def top_set(vector, n_top):
    """Return the set of the positive coordinates that are at least as large as the n_top-th largest."""
    smallest = np.sort(vector)[-n_top]
    return {j for j, value in enumerate(vector) if value >= smallest and value > 0}


def borrow(digits, salt):
    """Replace each missing digit (None) by the first that random probes find, or by 0 if all are missing."""
    filled = []
    for i, digit in enumerate(digits):
        attempt = 0
        while digit is None and any(d is not None for d in digits):
            attempt += 1
            digit = digits[(scatter_pair(salt, i, attempt) >> 32) * len(digits) >> 32]
        filled.append(digit or 0)
    return filled


def scatter_pair(salt, i, j):
    """Return 64 random bits of the pair (i, j)."""
    return mix((salt + (i << 32) + j) % 2**64)


# ---------------------------------------------------------------------------------------------------------
# Random numbers that depend on a counter alone
# ---------------------------------------------------------------------------------------------------------

GOLDEN = 0x9E3779B97F4A7C15


def mix(z):
    """Return the finaliser of SplitMix64 (Steele et al., 2014) of an integer below 2**64."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


class Stream:
    """The random numbers of one pass over a sample, which its seed, epoch and number determine."""

    def __init__(self, seed, epoch, number):
        self.state = mix(mix(mix(seed + GOLDEN) ^ epoch) ^ number)

    def below(self, n):
        """Draw an integer from 0 to n - 1."""
        self.state = (self.state + GOLDEN) % 2**64
        return (mix(self.state) >> 32) * n >> 32

    def choice(self, items):
        """Draw one of the items."""
        return items[self.below(len(items))]

    def permutation(self, n):
        """Draw a list of the integers from 0 to n - 1 in random order (Fisher-Yates, from the end)."""
        order = list(range(n))
        for last in range(n - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


# ---------------------------------------------------------------------------------------------------------
# The network, one sample at a time, in float64
# ---------------------------------------------------------------------------------------------------------


ACTIVATIONS = {
    "identity": (lambda a: a, lambda h: np.ones_like(h)),
    "relu": (lambda a: np.maximum(a, 0), lambda h: (h > 0).astype(float)),
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "logistic": (lambda a: 1 / (1 + np.exp(-a)), lambda h: h * (1 - h)),
}


def forward(x, coefs, intercepts, activation):
    """Return the outputs of all layers, the input first and the logits of every label last."""
    outputs = [x]
    for weights, biases in zip(coefs[:-1], intercepts[:-1], strict=True):
        outputs.append(ACTIVATIONS[activation][0](outputs[-1] @ weights + biases))
    outputs.append(outputs[-1] @ coefs[-1] + intercepts[-1])
    return outputs


def loss_and_residuals(logits, target, loss, label_weights=1.0):
    """Return the loss of one sample and its derivatives by the logits; target is a 0/1 vector.

    label_weights (n_labels,) multiply the losses of true labels.
    """
    if loss == "sigmoid+softmax":
        parts = [loss_and_residuals(logits, target, part, label_weights) for part in loss.split("+")]
        return tuple(np.mean(part, axis=0) for part in zip(*parts, strict=True))
    if loss == "sigmoid":
        weights = np.where(target, label_weights, 1.0)
        values = np.log1p(np.exp(logits)) - target * logits
        return np.sum(weights * values), weights * (1 / (1 + np.exp(-logits)) - target)
    if not target.any():
        return 0.0, np.zeros_like(logits)
    target = label_weights * target / target.sum()
    log_p = logits - np.log(np.sum(np.exp(logits)))
    return -np.sum(target * log_p), target.sum() * np.exp(log_p) - target


def round_small(residuals, least, key):
    """Return residuals of labels 0, 1, 2 and so on, those below least rounded to 0 or least at random."""
    rounded = np.array(residuals)
    for label, residual in enumerate(residuals):
        share = (mix((key + label) % 2**64) >> 40) / 2**24
        if abs(residual) < least:
            rounded[label] = np.sign(residual) * least if share * least < abs(residual) else 0.0
    return rounded


def gradients(
    x,
    target,
    coefs,
    intercepts,
    activation,
    loss,
    direct=0.0,
    label_weights=1.0,
    active=slice(None),
    change=None,
):
    """Return the loss of one sample over its active labels and its derivatives by each coef and intercept.

    direct is added to the logits, and active are the numbers of labels, all if it is left out. change, if
    any, turns the residuals into others, with which the derivatives go on.
    """
    outputs = forward(x, coefs, intercepts, activation)
    logits, delta = outputs[-1] + direct, np.zeros(len(target))
    weights = np.broadcast_to(label_weights, len(target))[active]
    value, delta[active] = loss_and_residuals(logits[active], target[active], loss, weights)
    if change is not None:
        delta = change(delta)
    coef_grads, intercept_grads = [], []
    for layer in range(len(coefs) - 1, -1, -1):
        coef_grads.insert(0, np.outer(outputs[layer], delta))
        intercept_grads.insert(0, delta)
        if layer > 0:
            delta = (coefs[layer] @ delta) * ACTIVATIONS[activation][1](outputs[layer])
    return value, coef_grads, intercept_grads


class RowAdagrad:
    """Adagrad with one accumulator a row: s += mean(g**2), w -= rate * g / sqrt(s)."""

    def __init__(self, shape, rate, start):
        self.rate, self.sums = rate, np.full(shape[0], start)

    def step(self, weights, gradient):
        for row, g in enumerate(gradient):
            if np.any(g):
                self.sums[row] += np.mean(g**2)
                weights[row] -= self.rate * g / np.sqrt(self.sums[row])


class LazyAdam:
    """Adam whose moments and number of steps belong to a row, and rest while its gradient is zero."""

    def __init__(self, shape, rate, start):
        del start
        self.rate, self.t = rate, np.zeros(shape[0])
        self.m, self.v = np.zeros(shape), np.zeros(shape)

    def step(self, weights, gradient):
        for row, g in enumerate(gradient):
            if np.any(g):
                self.t[row] += 1
                self.m[row] = 0.9 * self.m[row] + 0.1 * g
                self.v[row] = 0.999 * self.v[row] + 0.001 * g**2
                m_hat = self.m[row] / (1 - 0.9 ** self.t[row])
                v_hat = self.v[row] / (1 - 0.999 ** self.t[row])
                weights[row] -= self.rate * m_hat / (np.sqrt(v_hat) + 1e-8)


SOLVERS = {"adagrad": RowAdagrad, "adam": LazyAdam}


def train(*args, **settings):
    """Train as run_passes does, and return the mean loss."""
    return np.mean(list(run_passes(*args, **settings)))


def run_passes(
    X,
    Y,
    order,
    coefs,
    intercepts,
    direct,
    *,
    activation,
    loss,
    solver,
    rates,
    starts,
    gain,
    weights=None,
    label_weights=1.0,
    choose=None,
    change_of=None,
):
    """Train a sample at a time, in place, and yield the loss of each; X and Y dense, starts the accumulators.

    A row belongs to a feature, to a hidden unit that feeds others, or, in the output layer, to a label.
    direct (n_features, n_labels) are the direct weights, 0 where there is none; rates has a learning rate for
    each sample of the order; weights (n_samples,) multiply the samples' losses, label_weights (n_labels,)
    those of true labels. choose(s, h, coefs[-1]) returns the active labels of order[s] with the hidden vector
    h; if it is left out, all labels are active. change_of(s) is what gradients takes as change.
    """
    paired = direct != 0
    last = len(coefs) - 1
    views = [
        (c.T if layer == last else c, np.atleast_2d(b))
        for layer, (c, b) in enumerate(zip(coefs, intercepts, strict=True))
    ]
    views[last] = (views[last][0], intercepts[last][:, np.newaxis])
    solvers = [
        tuple(SOLVERS[solver](view.shape, None, start) for view in pair)
        for pair, start in zip(views, starts, strict=True)
    ]
    for s, (i, rate) in enumerate(zip(order, rates, strict=True)):
        h = forward(X[i], coefs, intercepts, activation)[-2]
        value, coef_grads, intercept_grads = gradients(
            X[i],
            Y[i],
            coefs,
            intercepts,
            activation,
            loss,
            direct=X[i] @ direct,
            label_weights=label_weights,
            active=slice(None) if choose is None else choose(s, h, coefs[-1]),
            change=None if change_of is None else change_of(s),
        )
        weight = 1 if weights is None else weights[i]
        for layer in range(last + 1):
            g, b = weight * coef_grads[layer], weight * intercept_grads[layer]
            solvers[layer][0].rate = solvers[layer][1].rate = rate
            solvers[layer][0].step(views[layer][0], g.T if layer == last else g)
            solvers[layer][1].step(views[layer][1], b[:, np.newaxis] if layer == last else b[np.newaxis])
        # the label's accumulator in the output layer serves its direct weights as well
        sums = solvers[last][0].sums if solver == "adagrad" else np.ones(Y.shape[1])
        direct -= paired * gain * rate * np.outer(X[i], weight * intercept_grads[last] / np.sqrt(sums))
        yield weight * value


def centroid_weights(H, Y):
    """Return first weights, a row a label: 1.5 c |c|^-0.85 m^-0.15, c the sum of the label's rows of H.

    H are the inputs of the output layer; beside direct weights, each row goes on with their scaled inputs.
    """
    c = Y.T @ H
    norms = np.linalg.norm(c, axis=1)
    present = norms > 0
    weights = np.zeros_like(c)
    weights[present] = (
        1.5 * c[present] * (norms[present] ** -0.85 * np.median(norms[present]) ** -0.15)[:, None]
    )
    return weights


# ---------------------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------------------


def match_known(W, b, known_W, known_b, H):
    """Return rows W of new labels, (n_new, n_units), by which no score of H is high, nor spreads far."""
    mean = H.mean(axis=0)
    usual = np.median([w @ mean + bias for w, bias in zip(known_W, known_b, strict=True)])
    spread = np.median([(H @ w).std() for w in known_W])
    matched = []
    for w, bias in zip(W, b, strict=True):
        w = w * min(1, spread / (H @ w).std())
        off = w @ mean + bias - usual
        matched.append(w - off * mean / (mean @ mean) if off > 0 else w)
    return np.array(matched)


def median_length(rows):
    """Return the median of the lengths of rows, those of 0 left out."""
    lengths = np.linalg.norm(rows, axis=1)
    return np.median(lengths[lengths > 0])


def build_tables(codes):
    """Return, for each table, a dict from code to the list of its labels; codes (n_labels, n_tables)."""
    tables = []
    for column in np.asarray(codes).T:
        table = {}
        for label, code in enumerate(column):
            table.setdefault(code, []).append(label)
        tables.append(table)
    return tables


def count_collisions(codes, tables):
    """Return a dict from label to the number of tables whose bucket of the given code holds it."""
    counts = {}
    for code, table in zip(codes, tables, strict=True):
        for label in table.get(code, []):
            counts[label] = counts.get(label, 0) + 1
    return counts


# ---------------------------------------------------------------------------------------------------------
# Calibration: the probabilities of classes
# ---------------------------------------------------------------------------------------------------------


def class_probabilities(c, scores):
    """Compute what a ClassCalibration c makes of scores (n_samples, n_classes), one by one."""
    p = softmax(c.factor * scores, axis=1) / (1 + np.exp(-c.share))
    for row, z in zip(p, scores, strict=True):
        n = c.n_ranked
        order = np.argsort(-z, kind="stable")
        ranks = np.array([1 + (z > one + 2e-6 * (1 + abs(one))).sum() for one in z])
        part = np.zeros(len(z))
        for y in order[:n]:
            if n == len(z) or ranks[y] < ranks[order[n - 1]]:
                part[y] = np.exp(c.slope * (z[y] - z.max())) * ranks[y] ** -c.fall
        if part.sum():
            row += part / part.sum() / (1 + np.exp(c.share))
        else:
            row *= 1 + np.exp(-c.share)
    return p


# ---------------------------------------------------------------------------------------------------------
# Ranking
# ---------------------------------------------------------------------------------------------------------


def top_k(scores, k):
    """Return the labels and scores of the k best of each row, ties by the lower label, by a full sort."""
    labels = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return labels, np.take_along_axis(scores, labels, axis=1)


# ---------------------------------------------------------------------------------------------------------
# Ranking metrics
# ---------------------------------------------------------------------------------------------------------


def ranking_metric(name, truth, top, k, weights, p):
    """Compute a metric from a list of sets of true labels and a list of lists of labels."""
    total, best_total, found = 0.0, 0.0, set()
    for true, labels, weight in zip(truth, top, weights, strict=True):
        hits = [label in true for label in labels[:k]]
        found |= {label for label in labels[:k] if label in true}
        if name == "precision_at_k":
            total += weight * sum(hits) / k
        elif name == "recall_at_k":
            total += weight * sum(hits) / len(true) if true else 0.0
        elif name == "ndcg_at_k" and true:
            ideal = sum(1 / math.log2(r + 2) for r in range(min(k, len(true))))
            total += weight * sum(hit / math.log2(r + 2) for r, hit in enumerate(hits)) / ideal
        elif name == "ps_precision_at_k":
            total += weight * sum(1 / p[label] for label in labels[:k] if label in true)
            best_total += weight * sum(sorted((1 / p[label] for label in true), reverse=True)[:k])
    if name == "coverage_at_k":
        return len(found) / len(set().union(*truth))
    return total / (best_total if name == "ps_precision_at_k" else sum(weights))
