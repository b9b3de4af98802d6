"""
Beside scikit-learn's own estimators
====================================

With some hundred labels, scikit-learn has good estimators of its own. Here they do the same task as
``SlideClassifier``, with two threads each where they can use them: time to fit, time to rank new texts, and
how good the ranking is. Run it with

    python examples/plot_beside_scikit_learn.py [picture.png]
"""

import sys
import tempfile
import warnings
from pathlib import Path
from time import perf_counter

import matplotlib
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import precision_at_k

matplotlib.use("Agg")
from matplotlib import pyplot as plt

picture = sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "beside_scikit_learn.png"

# %%
# The task
# --------
# 4,000 entries of WordNet with their labels, the 200 that are most frequent, and words that two entries have.
# The targets of the bundled data are of uint8, in which scikit-learn's estimators mix up the labels if these
# are more than 256: ``astype`` makes them safe.
train, test = (load_wordnet(part, vectorize=True) for part in ("train", "test"))
counts = np.bincount(train.target.indices, minlength=train.target.shape[1])
by_frequency = np.argsort(-counts, kind="stable")


def make_task(n_labels, n_texts=4000):
    """Return X, Y, X_test, Y_test of the texts with one of the most frequent labels."""
    parts = []
    for part, n in ((train, n_texts), (test, 2000)):
        Y = part.target[:, by_frequency[:n_labels]].tocsr().astype(np.int64)
        rows = np.flatnonzero(np.diff(Y.indptr))[:n]
        parts += [part.data[rows], Y[rows]]
    words = np.flatnonzero(np.bincount(parts[0].indices, minlength=parts[0].shape[1]) > 1)
    return parts[0][:, words], parts[1], parts[2][:, words], parts[3]


X, Y, X_test, Y_test = make_task(200)
print(f"{X.shape[0]:,} texts, {X.shape[1]:,} features, {Y.shape[1]} labels; {X_test.shape[0]:,} test texts")


# %%
# The estimators
# --------------
# One-vs-rest fits a binary classifier for each label by itself. ``MLPClassifier`` is a dense network, which
# steps all its weights for each batch. Nearest neighbours learn nothing, and look through all texts for each
# answer. Settings are plausible ones, not the best of a search.
def one_vs_rest_sgd():
    """Return binary linear classifiers, one for each label, trained by stochastic gradient descent."""
    return OneVsRestClassifier(SGDClassifier(loss="log_loss", alpha=1e-5, random_state=0), n_jobs=2)


estimators = {
    "SlideClassifier": SlideClassifier(random_state=0, n_jobs=2),
    "one-vs-rest, logistic regression": OneVsRestClassifier(
        LogisticRegression(solver="liblinear", C=10, tol=0.01), n_jobs=2
    ),
    "one-vs-rest, SGD": one_vs_rest_sgd(),
    "MLPClassifier": MLPClassifier(
        (64,), batch_size=50, learning_rate_init=0.01, max_iter=10, random_state=0
    ),
    "nearest neighbours": KNeighborsClassifier(15, metric="cosine", weights="distance", n_jobs=2),
}


def rank(estimator, X):
    """Return the best labels of each text, or the probabilities of all."""
    if isinstance(estimator, SlideClassifier):
        return estimator.predict_top_k(X, k=5)[0]
    p = estimator.predict_proba(X)
    return np.column_stack([each[:, -1] for each in p]) if isinstance(p, list) else p


# %%
# Fit and rank
# ------------
# The first fit of ``SlideClassifier`` on a machine compiles its kernels, so a small one comes first. It has
# enough texts for some to be held out, as in the fits that are timed.
SlideClassifier((8,), random_state=0, n_jobs=2).fit(X[:2500], Y[:2500]).predict_top_k(X_test)
results = {}
for name, estimator in estimators.items():
    target = Y.toarray() if isinstance(estimator, MLPClassifier | KNeighborsClassifier) else Y
    start = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X, target)
    fitted = perf_counter()
    ranking = rank(estimator, X_test)
    done = perf_counter()
    precisions = [precision_at_k(Y_test, ranking, k=k) for k in (1, 5)]
    results[name] = (done - start, precisions[0])
    print(
        f"{name}: fit {fitted - start:.1f} s, rank {done - fitted:.1f} s, "
        f"P@1 {precisions[0]:.3f}, P@5 {precisions[1]:.3f}"
    )

# %%
# More labels
# -----------
# One-vs-rest goes over all texts for each label. So we fit it, and ``SlideClassifier``, to more and more
# labels.
numbers = [50, 200, 800]
seconds, precisions = {}, {}
for n_labels in numbers:
    X, Y, X_test, Y_test = make_task(n_labels)
    for name, estimator in (
        ("SlideClassifier", SlideClassifier(random_state=0, n_jobs=2)),
        ("one-vs-rest, SGD", one_vs_rest_sgd()),
    ):
        start = perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # labels that no training text has
            estimator.fit(X, Y)
        seconds.setdefault(name, []).append(perf_counter() - start)
        precisions.setdefault(name, []).append(precision_at_k(Y_test, rank(estimator, X_test), k=1))
        print(f"{n_labels} labels, {name}: fit {seconds[name][-1]:.1f} s, P@1 {precisions[name][-1]:.3f}")

# %%
# The picture
# -----------
# With 50 and with 200 labels, one-vs-rest by SGD ranks best and is faster: it is the one to take. With 800,
# most of which have few texts, ``SlideClassifier`` is faster and ranks a little better. The time of
# one-vs-rest grows with the labels, and so does its memory. Beyond 1,000 labels ``SlideClassifier`` scores
# only some hundred of them for a text, and its time hardly grows at all (:doc:`/benchmarks/growth`).
# With few texts, its ``fit`` also tries ridge regression, which may take most of the time.
# The dense network and the neighbours come close in precision.
fig, axes = plt.subplots(1, 3, figsize=(13.5, 4), layout="constrained", width_ratios=(1, 1, 1.1))
left, middle, right = axes
names = list(results)
colours = ["#d55e00" if name == "SlideClassifier" else "#8fb0d6" for name in names]
durations, firsts = zip(*results.values(), strict=True)
bars = left.barh(names, firsts, color=colours)
left.bar_label(bars, [f"{first:.2f}" for first in firsts], padding=3)
left.set(title="200 labels: P@1", xlim=(0, 0.9))
bars = middle.barh(names, durations, color=colours)
middle.bar_label(bars, [f"{duration:.1f}" for duration in durations], padding=3)
middle.set(title="Seconds to fit and to rank", yticks=[], xlim=(0, 1.2 * max(durations)))
for ax in (left, middle):
    ax.invert_yaxis()
    ax.set_xticks([])
    ax.tick_params(left=False)
    ax.spines[:].set_visible(False)
for (name, values), colour, marker in zip(seconds.items(), ("#d55e00", "#1f5fa8"), "oD", strict=True):
    right.plot(numbers, values, marker=marker, color=colour, label=name)
right.set(xscale="log", yscale="log", xlabel="labels", title="More labels: seconds to fit")
right.set_xticks(numbers, [str(number) for number in numbers])
right.yaxis.set_major_formatter("{x:g}")
right.minorticks_off()
right.grid(color="0.92")
right.legend(frameon=False)
right.spines[["top", "right"]].set_visible(False)
fig.savefig(picture, dpi=130)
print(f"saved {picture}")
