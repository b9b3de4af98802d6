"""
From a ranking to decisions
===========================

A ranking says which labels come first, not which are right. Here a classifier tags synthetic texts, and three
questions are asked of it: how likely is a label, from which probability on should it be written down, and why
does it score as it does?

Run it with

    python examples/plot_decisions.py [picture.png]
"""

import sys

import matplotlib
import numpy as np
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import precision_recall_curve

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import make_xmc_classification
from sklearn_slide.metrics import (
    calibration_pairs,
    expected_calibration_error,
    f1_at_threshold,
)

matplotlib.use("Agg")
from matplotlib import pyplot as plt

picture = sys.argv[1] if len(sys.argv) > 1 else "decisions.png"

# %%
# The data
# --------
# 2,000 labels, of which a sample has about three. A part of the samples is held out of training, another one
# is for the pictures.
X, Y = make_xmc_classification(n_samples=16_000, n_features=3000, n_labels=2000, random_state=0)
train, held_out, test = slice(0, 10_000), slice(10_000, 12_000), slice(12_000, None)

# %%
# How likely is a label?
# ----------------------
# In training a sample is compared with a few labels only. So without more, its probabilities are often far
# off. ``calibrate`` learns from held-out samples how often labels of such a score are right. By default
# ``fit`` does the same, with a tenth of 2,000 samples or more; here ``early_stopping=False`` keeps it from
# that, to show the difference. The rankings stay what they are.
model = SlideClassifier((64,), early_stopping=False, random_state=0).fit(X[train], Y[train])
form = {"k": 5, "scores": "probability", "sparse_output": True}
before = model.predict_top_k(X[test], **form)
model.calibrate(X[held_out], Y[held_out])
after = model.predict_top_k(X[test], **form)
for name, p in (("before", before), ("after", after)):
    print(f"{name}: expected calibration error of the best five {expected_calibration_error(Y[test], p):.3f}")

# %%
# ``calibration_pairs`` turns the sparse probabilities into what scikit-learn's displays and metrics take.
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
for name, p, marker in (("before", before, "o"), ("after", after, "s")):
    CalibrationDisplay.from_predictions(
        *calibration_pairs(Y[test], p), n_bins=10, name=name, ax=left, marker=marker
    )
left.set(
    title="The best five labels",
    xlabel="mean probability",
    ylabel="share that is true",
    xlim=(0, 1),
    ylim=(0, 1),
)
left.legend(loc="lower right", frameon=False)
# sphinx_gallery_defer_figures

# %%
# From which probability on?
# --------------------------
# Each threshold trades precision for recall. The threshold of the best micro-F1 on the held-out samples is
# the default of a calibrated classifier; it lies below one half, at which most labels are not found.
likely = model.predict_top_k(X[test], 50, scores="probability", sparse_output=True)
true, p = calibration_pairs(Y[test], likely)
precision, recall, _ = precision_recall_curve(true, p)
recall = recall * true.sum() / Y[test].sum()  # of all labels that are true
middle.plot(recall, precision, color="0.4")
for threshold, colour, shift in ((model.threshold_, "C1", (10, -20)), (0.5, "C0", (8, 4))):
    predicted = model.predict(X[test], threshold=threshold)
    hits = predicted.multiply(Y[test]).sum()
    point = hits / Y[test].sum(), hits / predicted.sum()
    f1 = f1_at_threshold(Y[test], likely, threshold=threshold)
    middle.plot(*point, "o", color=colour)
    middle.annotate(
        f"threshold {threshold:.2f}\nmicro-F1 {f1:.2f}", point, xytext=shift, textcoords="offset points"
    )
    print(f"threshold {threshold:.2f}: precision {point[1]:.2f}, recall {point[0]:.2f}, micro-F1 {f1:.2f}")
# sphinx_gallery_defer_figures
middle.set(title="Every threshold", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))

# %%
# Why?
# ----
# With the default activation a score is a sum over the features of a sample. ``explain`` names the
# strongest, and what all others and the bias add. A label may have a score below 0 and still be likely: only
# the calibration says how likely.
labels, chances = model.predict_top_k(X[test][:1], 1, scores="probability")
why = model.explain(X[test][:1], labels, n_features=8)
names = [f"feature {j}" for j in why.features[0, 0]]
values = [*why.contributions[0, 0], why.rest[0, 0]]
places = np.arange(len(values))
right.barh(places, values, color=["C2" if value > 0 else "C3" for value in values])
right.set_yticks(places, [*names, "the rest, and the bias"])
right.invert_yaxis()
right.axvline(0, color="0.4", linewidth=0.8)
right.set(
    title=f"Label {labels[0, 0]} of a sample\nscore {why.scores[0, 0]:.2f}, probability {chances[0, 0]:.2f}",
    xlabel="part of the score",
)
for ax in (left, middle, right):
    ax.spines[["top", "right"]].set_visible(False)
fig.savefig(picture, dpi=130)
print(f"saved {picture}")
