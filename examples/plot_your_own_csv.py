"""
Your own CSV of texts and tags
==============================

A file with a column of texts and a column of tags is all that is needed. This page writes such a file, so
that you can compare it with yours, reads it back, fits a model, writes the names of tags for new texts, and
then does what matters most: it looks at the errors. Run it with

    python examples/plot_your_own_csv.py [picture.png]
"""

import csv
import sys
import tempfile
import textwrap
from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MultiLabelBinarizer

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import precision_at_k, recall_at_k

matplotlib.use("Agg")
from matplotlib import pyplot as plt

folder = Path(tempfile.mkdtemp())
picture = sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "your_own_csv.png"

# %%
# A file to begin with
# --------------------
# Each row has a text and its tags with a bar between them. Here the texts are entries of WordNet, and the
# tags are the 1,500 synsets that most entries point to. Skip this step if you have a file.
task = load_wordnet("train")
counts = np.bincount(task.target.indices, minlength=len(task.target_names))
common = np.sort(np.argsort(-counts, kind="stable")[:1500])
file = folder / "texts.csv"
with file.open("w", newline="", encoding="utf-8") as opened:
    writer = csv.writer(opened)
    writer.writerow(["text", "tags"])
    for text, row in zip(task.data, task.target[:, common], strict=True):
        writer.writerow([text.split(" lex_")[0], "|".join(task.target_names[common[row.indices]])])

# %%
# Read it
# -------
# Look at the first rows of your file, and ask how many texts have no tag. A text without tags is a sample
# that says *none of these*. That is right if somebody looked at it, and wrong if nobody did. Here nobody did,
# so they are left out.
with file.open(newline="", encoding="utf-8") as opened:
    rows = list(csv.DictReader(opened))
for row in rows[:3]:
    print(textwrap.shorten(row["text"], 75), "|", row["tags"])
tagged = [row for row in rows if row["tags"]]
print(f"{len(rows):,} rows, {len(rows) - len(tagged):,} of them without a tag")
texts = [row["text"] for row in tagged]
tags = [row["tags"].split("|") for row in tagged]

# %%
# Texts and tags to numbers
# -------------------------
# A fifth is kept for the test. The vectorizer makes the columns of X from the words of the training texts.
# The binarizer makes the columns of Y; it is fitted on all tags, so that a tag that only the test has gets a
# column too, and is counted as missed.
texts, new_texts, tags, new_tags = train_test_split(texts, tags, test_size=0.2, random_state=0)
vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2)
X, X_new = vectorizer.fit_transform(texts), vectorizer.transform(new_texts)
binarizer = MultiLabelBinarizer(sparse_output=True).fit(tags + new_tags)
Y, Y_new = binarizer.transform(tags), binarizer.transform(new_tags)
print(
    f"X: {X.shape[0]:,} texts, {X.shape[1]:,} words; Y: {Y.shape[1]:,} tags, {Y.sum() / len(tags):.2f} a text"
)

# %%
# Fit, and names for new texts
# ----------------------------
# ``predict_top_k`` gives the best tags, always the same number. ``predict`` gives those that are likely
# enough: none, one or several.
model = SlideClassifier(n_jobs=-1, random_state=0).fit(X, Y)
columns, chances = model.predict_top_k(X_new, k=20, scores="probability")
decided = binarizer.inverse_transform(model.predict(X_new))
for i in range(4):
    print(textwrap.shorten(new_texts[i], 100))
    print("    true:", ", ".join(new_tags[i]))
    best = zip(binarizer.classes_[columns[i, :3]], chances[i], strict=False)
    print("    best:", ", ".join(f"{name} {chance:.0%}" for name, chance in best))
    print("    decided:", ", ".join(decided[i]) or "none")

# %%
# How good is it?
# ---------------
# The share of first tags that are true, and the share of true tags among the best five.
print(f"P@1 {precision_at_k(Y_new, columns, k=1):.3f}")
print(f"recall at 5 {recall_at_k(Y_new, columns, k=5):.3f}")

# %%
# Look at the errors
# ------------------
# Numbers do not say what went wrong. Three questions do. *How far down* is a true tag that is not the first?
# *Which tags* are mixed up? And *how sure* was the model when it was wrong? Confident errors often are errors
# of the tags: read those texts first.
hits = np.array([np.isin(found, y.indices) for found, y in zip(columns, Y_new, strict=True)])
first = np.where(hits.any(axis=1), hits.argmax(axis=1), 20)
places = [(0, 1), (1, 3), (3, 5), (5, 10), (10, 20), (20, 21)]
shares = [np.mean((first >= start) & (first < stop)) for start, stop in places]
wrong = np.flatnonzero(first > 0)
mixed = Counter(
    (tag, binarizer.classes_[columns[i, 0]]) for i in wrong for tag in new_tags[i] if len(new_tags[i]) == 1
)
surest = wrong[np.argsort(-chances[wrong, 0])[:6]]
for i in surest:
    print(textwrap.shorten(new_texts[i], 100))
    print(
        f"    said: {binarizer.classes_[columns[i, 0]]} {chances[i, 0]:.0%}, true: {', '.join(new_tags[i])}"
    )

# %%
# Most texts have a true tag in the first three places. The tags that are mixed up lie close together: two
# kinds of genus, a flower and a herb, a tree and a tree with flowers. Many of the confident errors printed
# above are answers that a person would accept. So a first step with such a file is to ask whether both tags
# are needed, and whether people use them in the same way; a second, whether the text says what tells them
# apart.
fig, (left, right) = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained", width_ratios=(1, 1.3))
names = ["1", "2-3", "4-5", "6-10", "11-20", "later"]
bars = left.bar(names, shares, color=["#1f5fa8"] + ["#8fb0d6"] * 4 + ["#d55e00"])
left.bar_label(bars, [f"{share:.0%}" for share in shares], padding=2)
left.set(title="Where the first true tag stands", xlabel="place in the ranking", yticks=[])
pairs = mixed.most_common(12)
bars = right.barh([f"{true}  →  {said}" for (true, said), _ in pairs], [n for _, n in pairs], color="#d55e00")
right.bar_label(bars, padding=3)
right.invert_yaxis()
right.set(title="What is mixed up: true tag  →  first answer", xlabel="texts of the test", xticks=[])
for ax in (left, right):
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(left=False)
fig.savefig(picture, dpi=130)
print(f"saved {picture}")
