"""
Which synsets does a synset point to?
=====================================

WordNet groups words of one meaning into synsets, and a synset points to others: to the more general
one, to its parts, to its opposite. Here the words and the gloss of a synset are the text, and the synsets
that it points to are its labels: 109,129 of them, three for each text, most of them rare.

A Pipeline goes from raw text to ranked labels. Run it with

    python examples/plot_wordnet.py [picture.png]
"""

import sys
import time

import matplotlib
import numpy as np
from joblib import effective_n_jobs
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import (
    label_propensities,
    precision_at_k,
    predict_top_k,
    ps_precision_at_k,
)

matplotlib.use("Agg")
from matplotlib import pyplot as plt

picture = sys.argv[1] if len(sys.argv) > 1 else "wordnet.png"

# %%
# The data
# --------
train, test = load_wordnet("train"), load_wordnet("test")
n_samples, n_labels = train.target.shape
print(f"{n_samples} texts to learn from, {len(test.data)} held out, {n_labels} labels")
print(f"a text:     {train.data[0]}")
print(f"its labels: {', '.join(train.target_names[train.target[0].indices])}")

# %%
# The model
# ---------
# The first fit on a machine compiles the kernels; here that is a fit of a few texts. Then come fits of one,
# two and three epochs. Each begins anew, because the learning rate falls to zero over the epochs of a fit.
model = make_pipeline(
    TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32),
    SlideClassifier(loss="sigmoid+softmax", random_state=0, n_jobs=-1, verbose=1),
)
start = time.perf_counter()
model.fit(train.data[:100], train.target[:100])
print(f"the kernels were ready after {time.perf_counter() - start:.1f} s")

KS = (1, 3, 5)
curve = []
for n_epochs in (1, 2, 3):
    model.set_params(slideclassifier__max_iter=n_epochs)
    start = time.perf_counter()
    model.fit(train.data, train.target)
    seconds = time.perf_counter() - start
    labels, scores = predict_top_k(model, test.data, k=5)
    precisions = [100 * precision_at_k(test.target, labels, k=k) for k in KS]
    curve.append((seconds, *precisions))
    print(
        f"{n_epochs} epochs in {seconds:.1f} s: "
        + ", ".join(f"P@{k} {p:.1f} %" for k, p in zip(KS, precisions, strict=True))
    )

# %%
# How good is the ranking?
# ------------------------
# Precision at k is the share of the first k labels that are right; the propensity-scored precision counts
# rare labels for more than frequent ones.
propensities = label_propensities(train.target)
for k, precision in zip(KS, precisions, strict=True):
    psp = 100 * ps_precision_at_k(test.target, labels, propensities, k=k)
    print(f"P@{k} {precision:5.1f} %   PSP@{k} {psp:5.1f} %")

# %%
# Some held-out synsets, the five best labels of each, and the right ones marked with a star.
for i in range(5):
    right = set(test.target[i].indices)
    print(f"\n{test.data[i][:100]}")
    for label, score in zip(labels[i], scores[i], strict=True):
        print(f"  {'*' if label in right else ' '} {test.target_names[label]:30s} {score:6.2f}")

# %%
# Precision against time
# ----------------------
curve = np.array(curve)
fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for column, k in enumerate(KS, start=1):
    (line,) = ax.plot(curve[:, 0], curve[:, column], marker="o")
    ax.annotate(
        f"P@{k}  {curve[-1, column]:.1f} %",
        (curve[-1, 0], curve[-1, column]),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        color=line.get_color(),
    )
ax.set(
    xlabel=f"seconds of one fit, TF-IDF included ({effective_n_jobs(-1)} threads)",
    ylabel="precision on held-out synsets (%)",
    title=f"WordNet: {n_labels:,} labels, {n_samples:,} texts; fits of 1, 2 and 3 epochs",
    xlim=(0, curve[-1, 0] * 1.18),
    ylim=(0, None),
)
ax.grid(alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
fig.savefig(picture, dpi=150)
print(f"\nsaved {picture}")
