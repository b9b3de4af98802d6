"""
What the hash tables retrieve
=============================

With ``retrieval="lsh"`` a prediction scores only some labels: those that hash tables name for the sample.
Which of the best labels are among them? We score a growing share of the labels, those met in most tables
first, for each family of hash functions, and for few and for many tables. Run it with

    python examples/plot_what_tables_retrieve.py [picture.png]
"""

import sys
import tempfile
from pathlib import Path
from time import perf_counter

import matplotlib
import numpy as np

from sklearn_slide import LSH, SlideClassifier
from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import precision_at_k

matplotlib.use("Agg")
from matplotlib import pyplot as plt

picture = sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "what_tables_retrieve.png"

# %%
# A fitted classifier
# -------------------
# 25,000 entries of WordNet, 8,000 labels. The best five labels by their scores are what the tables should
# find.
train, test = (load_wordnet(part, vectorize=True) for part in ("train", "test"))
counts = np.bincount(train.target.indices, minlength=train.target.shape[1])
chosen = np.argsort(-counts, kind="stable")[:8000]


def entries(part, n):
    """Return the features and labels of n entries that have a chosen label, CSR."""
    Y = part.target[:, chosen].tocsr()
    rows = np.flatnonzero(np.diff(Y.indptr))[:n]
    return part.data[rows], Y[rows]


(X, Y), (X_test, Y_test) = entries(train, 25_000), entries(test, 2000)
model = SlideClassifier((128,), random_state=0, n_jobs=-1).fit(X, Y)
best, _ = model.predict_top_k(X_test, k=5)

# %%
# Tables of each family
# ---------------------
# A table sorts the labels into buckets by a code of their weights, and the hidden vector of a sample has a
# code as well. :meth:`~sklearn_slide.LSH.codes` tells both, as in a classifier with the same
# ``random_state``. To search with such tables, give ``lsh=LSH(family, n_tables=...)`` to the classifier.
W_in, W_out = model.coefs_
hidden = X_test[:500] @ W_in + model.intercepts_[0]
of_labels = W_out.T


def count_tables(lsh):
    """Return in how many tables each label shares a bucket with each sample, (n_samples, n_labels)."""
    of_samples, stored = (
        lsh.codes(vectors, len(of_labels), random_state=0) for vectors in (hidden, of_labels)
    )
    met = np.zeros((len(of_samples), len(stored)), dtype=np.int16)
    for one, other in zip(of_samples.T, stored.T, strict=True):
        met += one[:, np.newaxis] == other
    return met


def recall_by_share(met):
    """Return for each share the part of the best five labels that is among so many labels met most."""
    order = np.argsort(-(met + np.random.RandomState(0).rand(met.shape[1])), axis=1)  # ties by chance
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1]), axis=1)
    of_best = np.take_along_axis(place, best[: len(met)], axis=1)
    return [np.mean(of_best < share * met.shape[1]) for share in shares]


shares = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
by_family = {
    family: recall_by_share(count_tables(LSH(family))) for family in ("simhash", "dwta", "wta", "minhash")
}
by_number = {n: recall_by_share(count_tables(LSH(n_tables=n))) for n in (10, 50, 200)}
for name, found in (*by_family.items(), *((f"simhash, {n} tables", found) for n, found in by_number.items())):
    print(f"{name}: {found[3]:.2f} of the best five in 5% of the labels, {found[4]:.2f} in 10%")

# %%
# With the weights of rare features
# ---------------------------------
# The tables know of the hidden vector alone. The other part of a score, the weights that lead from rare
# features straight to labels, they cannot see. So ``retrieval="lsh"`` takes half of its labels from there,
# and the others from the tables; it scores 5 % in all. What does that lose, and what does it save?
for retrieval in ("exact", "lsh"):
    model.set_params(retrieval=retrieval, n_jobs=None)
    model.predict_top_k(X_test[:10], k=5)  # the first call makes the tables
    start = perf_counter()
    labels, _ = model.predict_top_k(X_test, k=5)
    seconds = perf_counter() - start
    same = np.mean([np.isin(row, other).mean() for row, other in zip(labels, best, strict=True)])
    print(
        f"{retrieval}: P@1 {precision_at_k(Y_test, labels, k=1):.3f}, "
        f"P@5 {precision_at_k(Y_test, labels):.3f}, "
        f"{same:.1%} of the best five, {1e3 * seconds / len(labels):.2f} ms a sample"
    )

# %%
# Nothing is lost that P@1 and P@5 would show. And nothing is saved yet: with 8,000 labels the matrix products
# of the exact ranking are faster than the tables. Tables pay for single rows among a hundred thousand labels
# or more: see :doc:`/benchmarks/inference`.

# %%
# The picture
# -----------
# The default, simhash, finds about as much as the two forms of winner-take-all, and min-hash finds less. Four
# times as many tables find more, for four times the memory. The tables alone do not find everything, for the
# scores have a part that they cannot see.
fig, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.6), layout="constrained", sharey=True)
colours = ("#1f5fa8", "#d55e00", "#009e73", "#e69f00")
for (name, found), colour, marker in zip(by_family.items(), colours, "os^D", strict=True):
    left.plot(shares, found, marker=marker, color=colour, label=name)
for (n, found), colour, marker in zip(
    by_number.items(), ("#8fb0d6", "#1f5fa8", "#0b2a52"), "vo^", strict=True
):
    right.plot(shares, found, marker=marker, color=colour, label=f"{n} tables")
left.set(title="Four families, 50 tables each", ylabel="recall of the best five labels", ylim=(0, 1.02))
right.set(title="Simhash, by the number of tables")
for ax in (left, right):
    ax.plot(shares, shares, color="0.5", linestyle=":", label="any labels")
    ax.set(xscale="log", xlabel="share of the labels that is scored")
    ax.set_xticks(shares, [f"{share:.1%}".replace(".0%", "%") for share in shares])
    ax.minorticks_off()
    ax.grid(axis="y", color="0.92")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="upper left")
fig.savefig(picture, dpi=130)
print(f"saved {picture}")
