"""
Tuning by a random search
=========================

Which parameters are worth a search, and how is it done with a sparse ``Y``? ``RandomizedSearchCV`` of
scikit-learn takes ``SlideClassifier`` within a Pipeline, and ``top_k_scorer`` scores the best labels, where
the default score, the share of texts with *all* labels right, would be near 0. Run it with

    python examples/plot_tuning.py [picture.png]
"""

import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from scipy.stats import loguniform
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import RandomizedSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import precision_at_k, predict_top_k, top_k_scorer

matplotlib.use("Agg")
from matplotlib import pyplot as plt

picture = sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "tuning.png"

# %%
# The data
# --------
# 8,000 entries of WordNet, and the 1,500 labels that are most frequent. A search is best done on a part of
# the rows: what is best there is most often good for all, and the time is a fraction.


def entries(part, chosen, n=None):
    """Return n texts that have a chosen label, and their labels, CSR."""
    Y = part.target[:, chosen].tocsr()
    kept = np.flatnonzero(np.diff(Y.indptr))[:n]
    return [part.data[i] for i in kept], Y[kept]


task = load_wordnet("train")
counts = np.bincount(task.target.indices, minlength=len(task.target_names))
chosen = np.argsort(-counts, kind="stable")[:1500]
texts, Y = entries(task, chosen, 8000)
test_texts, Y_test = entries(load_wordnet("test"), chosen)

# %%
# What to search over
# -------------------
# Parameters of both steps, each under the name of its step. Rates and sizes are drawn on a logarithmic scale:
# from 0.03 to 0.1 is as far as from 0.1 to 0.3. One part of the rows is held out for the scores; with one
# thread for each candidate, two candidates run side by side.
search = RandomizedSearchCV(
    make_pipeline(TfidfVectorizer(sublinear_tf=True, min_df=2), SlideClassifier(random_state=0)),
    {
        "tfidfvectorizer__min_df": [1, 2, 5],
        "slideclassifier__loss": ["sigmoid", "softmax", "sigmoid+softmax"],
        "slideclassifier__hidden_layer_sizes": [(32,), (64,), (128,), (256,)],
        "slideclassifier__learning_rate_init": loguniform(0.01, 0.5),
        "slideclassifier__direct_limit": [0, 1000],
        "slideclassifier__max_iter": [2, 3, 5],
    },
    n_iter=16,
    scoring={"P@1": top_k_scorer("precision_at_k", k=1), "nDCG@5": top_k_scorer("ndcg_at_k", k=5)},
    refit="P@1",
    cv=ShuffleSplit(1, test_size=0.2, random_state=0),
    n_jobs=2,
    random_state=0,
)
search.fit(texts, Y)
print("best P@1 of the search:", round(search.best_score_, 3))
for name, value in search.best_params_.items():
    print(f"    {name.split('__')[1]} = {value}")

# %%
# Against the defaults
# --------------------
# The best score of a search is a little too good: it is the luckiest of many. So the winner and the defaults
# are compared on test samples that the search has not seen.
default = make_pipeline(TfidfVectorizer(sublinear_tf=True, min_df=2), SlideClassifier(random_state=0))
default.fit(texts, Y)
for name, model in (("the defaults", default), ("the winner", search)):
    labels, _ = predict_top_k(model, test_texts, k=5)
    print(f"test P@1 of {name}: {precision_at_k(Y_test, labels, k=1):.3f}")

# %%
# What mattered
# -------------
# One dot is one candidate; the same candidates stand in every panel. A line through the means would hide that
# they differ in all parameters at once: look for a panel in which the *best* dots lie on one side. Here that
# is ``direct_limit``, the weights of rare features: each candidate without them is worse than all with them.
# A large ``min_df``, which drops rare words, hurts as well. Good candidates have any value of the other
# parameters, so there is nothing to gain by a finer search: on the test the winner does no better than the
# defaults.
results = search.cv_results_
scores = results["mean_test_P@1"]
panels = [
    ("learning_rate_init", "slideclassifier__learning_rate_init"),
    ("loss", "slideclassifier__loss"),
    ("hidden_layer_sizes", "slideclassifier__hidden_layer_sizes"),
    ("direct_limit", "slideclassifier__direct_limit"),
    ("max_iter", "slideclassifier__max_iter"),
    ("min_df of TF-IDF", "tfidfvectorizer__min_df"),
]
best = search.best_index_
fig, axes = plt.subplots(2, 3, figsize=(12, 6.4), layout="constrained", sharey=True)
for ax, (title, name) in zip(axes.flat, panels, strict=True):
    values = list(results[f"param_{name}"])
    if name.endswith("rate_init"):
        places = np.array(values, dtype=float)
        ax.set_xscale("log")
        ax.set_xticks([0.01, 0.03, 0.1, 0.3], ["0.01", "0.03", "0.1", "0.3"])
        ax.minorticks_off()
    else:
        options = sorted(set(values), key=lambda value: (isinstance(value, str), value))
        shifts = np.linspace(-0.15, 0.15, len(values))  # so that dots do not hide each other
        places = np.array([options.index(value) for value in values]) + shifts
        names = [str(option[0]) if option and "sizes" in name else str(option) for option in options]
        ax.set_xticks(range(len(options)), names)
        ax.set_xlim(-0.5, len(options) - 0.5)
    ax.scatter(places, scores, s=42, color="#1f5fa8", alpha=0.75, linewidth=0)
    ax.scatter(places[best], scores[best], s=130, facecolor="none", edgecolor="#d55e00", linewidth=2)
    ax.set_title(title)
    ax.grid(axis="y", color="0.92")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
for ax in axes[:, 0]:
    ax.set_ylabel("P@1 on held-out rows")
fig.suptitle("Sixteen candidates; the ring is the winner")
fig.savefig(picture, dpi=130)
print(f"saved {picture}")
