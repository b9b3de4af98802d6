"""
A stream with new labels
========================

Texts arrive day by day, and now and then with a tag that nobody has used before. ``partial_fit`` takes what
has come, with labels old and new, and keeps what it has learned. Here ten batches arrive; in the fourth and
the seventh new labels begin. We look at old and new labels apart after each batch. Run it with

    python examples/plot_stream.py [picture.png]
"""

import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet

matplotlib.use("Agg")
from matplotlib import pyplot as plt

picture = sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "stream.png"

# %%
# The stream
# ----------
# Entries of WordNet with one of its 1,500 most frequent labels. The labels are dealt to three groups by
# chance: three fifths are there from the start, a fifth begins in batch 4, a fifth in batch 7. Before its
# time, an entry of a label does not come.
task, test = load_wordnet("train"), load_wordnet("test")
counts = np.bincount(task.target.indices, minlength=len(task.target_names))
chosen = np.argsort(-counts, kind="stable")[:1500]
chosen = chosen[np.random.RandomState(0).permutation(len(chosen))]
groups = {
    "from the start": slice(0, 900),
    "from batch 4": slice(900, 1200),
    "from batch 7": slice(1200, 1500),
}
begins = {"from the start": 1, "from batch 4": 4, "from batch 7": 7}


def entries(part):
    """Return the texts with a chosen label, their labels, and the batch in which all of these are known."""
    Y = part.target[:, chosen].tocsr()
    start = np.ones(Y.shape[0], dtype=int)
    for name, columns in groups.items():
        start = np.maximum(start, np.where(np.diff(Y[:, columns].indptr) > 0, begins[name], 1))
    kept = np.flatnonzero(np.diff(Y.indptr))
    return [part.data[i] for i in kept], Y[kept], start[kept]


texts, Y, start = entries(task)
test_texts, Y_test, _ = entries(test)

# %%
# A stream cannot be read twice, so the words cannot be counted first. ``HashingVectorizer`` needs no
# counting: it turns words into numbers of columns by a hash function.
vectorizer = HashingVectorizer(n_features=2**17, alternate_sign=False, dtype=np.float32)
X, X_test = vectorizer.transform(texts), vectorizer.transform(test_texts)
n_batches = 10
arrival = np.random.RandomState(1).randint(start, n_batches + 1)  # from the start of its labels on
print("samples in each batch:", np.bincount(arrival)[1:])


# %%
# One batch after the other
# -------------------------
# A batch with more columns than before brings new labels. They start from the samples of that batch. After
# each batch the model ranks the labels that it knows, and we ask how often its first answer is right, for the
# test samples of each group.
def right_first(model, columns, n_known):
    """Return the share of test samples with a label of the columns whose best label is right."""
    rows = np.flatnonzero(np.diff(Y_test[:, columns].indptr))
    best, _ = model.predict_top_k(X_test[rows], k=1)
    return np.mean(np.asarray(Y_test[rows, :n_known][np.arange(len(rows)), best[:, 0]]).ravel())


model = SlideClassifier(random_state=0, n_jobs=-1)
scores = {name: [] for name in groups}
for batch in range(1, n_batches + 1):
    n_known = max(columns.stop for name, columns in groups.items() if begins[name] <= batch)
    now = np.flatnonzero(arrival == batch)
    model.partial_fit(X[now], Y[now, :n_known])
    for name, columns in groups.items():
        known = begins[name] <= batch
        scores[name].append(right_first(model, columns, n_known) if known else np.nan)
    found = ", ".join(f"{name} {s[-1]:.2f}" for name, s in scores.items() if not np.isnan(s[-1]))
    print(f"batch {batch}, {n_known} labels: {found}")

# %%
# All at once
# -----------
# The same samples in one call of ``fit``, which goes over them three times: what the stream loses by seeing
# each sample once.
at_once = SlideClassifier(random_state=0, n_jobs=-1).fit(X, Y)
reference = {name: right_first(at_once, columns, Y.shape[1]) for name, columns in groups.items()}
for name, share in reference.items():
    print(f"all at once, labels {name}: {share:.2f}")

# %%
# The picture
# -----------
# New labels are answered from the batch in which they begin, and get better with each that follows. The old
# labels pause when many new ones come, and go on to rise after that. In the end the stream is a few points
# behind one call of ``fit`` on the old labels; on the newest ones, whose samples all came in the last
# batches, it is not.
fig, ax = plt.subplots(figsize=(9, 4.8), layout="constrained")
for (name, values), colour, marker in zip(
    scores.items(), ("#1f5fa8", "#e69f00", "#009e73"), "os^", strict=True
):
    ax.plot(range(1, n_batches + 1), values, marker=marker, color=colour, label=f"labels {name}")
    ax.plot(
        n_batches + 0.45, reference[name], marker=marker, color=colour, markerfacecolor="white", linestyle=""
    )
    if begins[name] > 1:
        ax.axvline(begins[name], color=colour, linestyle=":", zorder=0)
ax.plot([], [], "o", color="0.4", markerfacecolor="white", label="fit to all samples at once")
ax.set(xlabel="batch", ylabel="share of test samples\nwhose first label is right", ylim=(0, None))
ax.set(title="A stream with new labels", xticks=range(1, n_batches + 1))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(loc="lower right", frameon=False)
fig.savefig(picture, dpi=130)
print(f"saved {picture}")
