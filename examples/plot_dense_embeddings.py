"""
Dense embeddings beside words
=============================

``X`` need not be sparse. Embeddings, short dense vectors that an encoder makes of texts or pictures, go in as
they are. Here the encoder is a ``TruncatedSVD`` of TF-IDF, which any machine can run; yours may be a language
model. When do embeddings pay, and when are the words themselves better? Run it with

    python examples/plot_dense_embeddings.py [picture.png]
"""

import sys
import tempfile
from pathlib import Path
from time import perf_counter

import matplotlib
import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import precision_at_k

matplotlib.use("Agg")
from matplotlib import pyplot as plt

picture = sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "dense_embeddings.png"

# %%
# Three kinds of X
# ----------------
# 15,000 entries of WordNet, and the 1,500 labels that are most frequent. The embedding is learned from all
# texts of the training part, with and without a chosen label: an encoder needs no tags, so it can learn from
# more texts than the classifier. Rows are scaled to length 1, as TF-IDF does.
train, test = (load_wordnet(part, vectorize=True) for part in ("train", "test"))
counts = np.bincount(train.target.indices, minlength=train.target.shape[1])
chosen = np.argsort(-counts, kind="stable")[:1500]
svd = TruncatedSVD(100, n_iter=2, random_state=0)
start = perf_counter()
svd.fit(train.data)
print(f"an embedding of {svd.n_components} numbers, learned in {perf_counter() - start:.0f} s")


def entries(part, n=None):
    """Return the TF-IDF, the embedding and the labels of n entries that have a chosen label."""
    Y = part.target[:, chosen].tocsr()
    rows = np.flatnonzero(np.diff(Y.indptr))[:n]
    words = part.data[rows]
    return words, normalize(svd.transform(words)).astype(np.float32), Y[rows]


words, dense, Y = entries(train, 15_000)
words_test, dense_test, Y_test = entries(test)
kinds = {
    "words (TF-IDF)": (words, words_test),
    "embedding (SVD)": (dense, dense_test),
    "both side by side": tuple(
        sp.hstack(pair, format="csr", dtype=np.float32) for pair in ((words, dense), (words_test, dense_test))
    ),
}
for name, (X, _) in kinds.items():
    numbers = X.nnz if sp.issparse(X) else X.size
    print(f"{name}: {X.shape[1]:,} columns, {numbers / X.shape[0]:.0f} numbers a text")

# %%
# How many tagged texts are there?
# --------------------------------
# The same classifier on each kind of X, with 1,000 tagged texts and more. A dense row of 100 numbers costs
# more than a sparse one of a dozen words: the time of the largest fit is printed too.
sizes = [1000, 4000, 15_000]
scores = {name: [] for name in kinds}
for name, (X, X_test) in kinds.items():
    for size in sizes:
        start = perf_counter()
        model = SlideClassifier(random_state=0, n_jobs=-1).fit(X[:size], Y[:size])
        seconds = perf_counter() - start
        labels, _ = model.predict_top_k(X_test, k=5)
        scores[name].append(precision_at_k(Y_test, labels, k=1))
    shown = ", ".join(f"{score:.3f}" for score in scores[name])
    print(f"{name}: P@1 {shown}; {seconds:.1f} s for the largest")

# %%
# With a hidden layer of relu units the model can bend. On dense rows, whose numbers are all in use, that may
# help.
bent = SlideClassifier(activation="relu", random_state=0, n_jobs=-1).fit(dense, Y)
labels, _ = bent.predict_top_k(dense_test, k=5)
print(f"embedding, relu units: P@1 {precision_at_k(Y_test, labels, k=1):.3f}")

# %%
# The picture
# -----------
# Words win, and by more with more texts. The embedding has thrown away the rare words, and these name the
# rare labels; more tagged texts cannot bring them back. Side by side, the embedding takes half of the length
# of a row, and adds nothing: an SVD learned from the same texts knows nothing that the words do not say. An
# encoder that was trained on far more text does: try yours in the same three ways.
fig, ax = plt.subplots(figsize=(8.5, 4.8), layout="constrained")
looks = zip(("#1f5fa8", "#d55e00", "#009e73"), "os^", strict=True)
for (name, values), (colour, marker) in zip(scores.items(), looks, strict=True):
    ax.plot(sizes, values, marker=marker, color=colour, label=name)
ax.set(xscale="log", xlabel="tagged texts in training", ylabel="P@1 on test texts", ylim=(0, None))
ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
ax.minorticks_off()
ax.set_title("Words or embeddings?")
ax.grid(axis="y", color="0.92")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, loc="lower right")
fig.savefig(picture, dpi=130)
print(f"saved {picture}")
