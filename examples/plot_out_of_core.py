"""
Learning from a file larger than the memory
===========================================

A stream of texts is learned chunk by chunk: HashingVectorizer needs no vocabulary, so that no text must be
seen beforehand, and ``partial_fit`` makes one pass over each chunk. The memory in use is that of the model
and of one chunk, however long the file is.

The texts are those of the bundled WordNet task, written to a file of one text a line first. Run it with

    python examples/plot_out_of_core.py [picture.png]
"""

import sys
import tempfile
import tracemalloc
from itertools import islice
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import MultiLabelBinarizer

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import precision_at_k

matplotlib.use("Agg")
from matplotlib import pyplot as plt

picture = sys.argv[1] if len(sys.argv) > 1 else "out_of_core.png"

# %%
# The file
# --------
# A line holds the labels, a tab and the text.


def write_wordnet(path, subset):
    """Write the texts of WordNet and their labels to a file."""
    task = load_wordnet(subset)
    with open(path, "w", encoding="utf-8") as file:
        for text, row in zip(task.data, task.target, strict=True):
            file.write(f"{' '.join(task.target_names[row.indices])}\t{text}\n")


folder = tempfile.TemporaryDirectory()
train_path, test_path = Path(folder.name) / "train.txt", Path(folder.name) / "test.txt"
write_wordnet(train_path, "train")
write_wordnet(test_path, "test")

# %%
# The stream
# ----------
# The first pass over the file finds the names of the labels, which become the columns of ``Y``. Labels that
# turn up later would do as well: ``partial_fit`` adds outputs when ``Y`` gets wider.
with open(train_path, encoding="utf-8") as file:
    names = sorted({name for line in file for name in line.split("\t")[0].split()})
binarizer = MultiLabelBinarizer(classes=names, sparse_output=True).fit([])
vectorizer = HashingVectorizer(n_features=2**16, dtype=np.float32)


def chunks(path, size):
    """Yield X and Y of so many lines at a time, both sparse."""
    with open(path, encoding="utf-8") as file:
        while lines := list(islice(file, size)):
            labels, texts = zip(*(line.split("\t") for line in lines), strict=True)
            yield vectorizer.transform(texts), binarizer.transform([row.split() for row in labels])


# %%
# The training
# ------------
# A fit of a few texts compiles the kernels, where that was not done before. Then memory is traced: the peak
# of a chunk counts all that Python and NumPy have allocated since, the model included. The first call to
# ``partial_fit`` draws the first weights from the labels that it sees, so the more samples it gets, the
# better.
X_test, Y_test = next(chunks(test_path, 2000))
SlideClassifier((8,), max_iter=1).fit(X_test[:100], Y_test[:100]).predict_top_k(X_test[:100], k=1)

tracemalloc.start()
model = SlideClassifier(random_state=0, n_jobs=-1)
n_seen, curve = 0, []
for X, Y in chunks(train_path, 10_000):
    model.partial_fit(X, Y)
    n_seen += X.shape[0]
    in_use, peak = (n_bytes / 2**20 for n_bytes in tracemalloc.get_traced_memory())
    tracemalloc.reset_peak()
    labels, _ = model.predict_top_k(X_test, k=1)
    precision = 100 * precision_at_k(Y_test, labels, k=1)
    curve.append((n_seen, precision, in_use, peak))
    print(f"{n_seen:7d} texts: P@1 {precision:4.1f} %, {in_use:.0f} MiB in use, at most {peak:.0f} MiB")
tracemalloc.stop()
folder.cleanup()

# %%
# Precision and memory against texts
# ----------------------------------
# The precision rises with the texts, the memory does not; the first chunk takes the most, for the first
# weights. One pass from what the first chunk knows of the labels is not as good as several epochs over all
# texts at once: where these fit in the memory, prefer ``fit``, as ``plot_wordnet.py`` does, which comes to
# about 40 %.
curve = np.array(curve)
fig, (above, below) = plt.subplots(2, sharex=True, figsize=(7, 5.2), layout="constrained")
above.plot(curve[:, 0], curve[:, 1], marker="o")
above.set(ylabel="P@1 on held-out texts (%)", title=f"One pass over a file, {len(names):,} labels")
below.plot(curve[:, 0], curve[:, 3], marker="o", label="most during a chunk")
below.plot(curve[:, 0], curve[:, 2], marker="o", label="after a chunk")
below.set(xlabel="texts read", ylabel="memory, model included (MiB)")
below.legend(loc="lower right", frameon=False)
below.xaxis.set_major_formatter("{x:,.0f}")
for ax in (above, below):
    ax.set_ylim(0, None)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
fig.savefig(picture, dpi=150)
print(f"saved {picture}")
