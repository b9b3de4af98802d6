"""
Quick start: texts in, names of labels out
==========================================

You have texts, and for each a list of tags. Here the texts are the words and glosses of WordNet, and the
tags are the synsets that each points to: 109,129 different ones. We fit a pipeline, ask for the five best
tags of texts that it has not seen, and draw them with their probabilities. Run it with

    python examples/plot_quick_start.py [picture.png]
"""

import sys
import tempfile
import textwrap
from pathlib import Path

import matplotlib
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import precision_at_k

matplotlib.use("Agg")
from matplotlib import pyplot as plt

picture = sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "quick_start.png"

# %%
# Texts and tags
# --------------
# Two lists of the same length. Yours may come from a file or a database.


def texts_and_tags(part):
    """Return the texts of WordNet, and the names of the synsets that each points to."""
    task = load_wordnet(part)
    return task.data, [task.target_names[row.indices].tolist() for row in task.target]


texts, tags = texts_and_tags("train")
new_texts, new_tags = (part[:2000] for part in texts_and_tags("test"))
print(texts[0])
print(tags[0])

# %%
# Numbers and back
# ----------------
# ``MultiLabelBinarizer`` gives each tag a column of a sparse matrix of zeros and ones, and keeps the names in
# ``classes_``. Tags that only the new texts have get a column too, which never is true in training.
binarizer = MultiLabelBinarizer(sparse_output=True).fit(tags + new_tags)
Y, Y_new = binarizer.transform(tags), binarizer.transform(new_tags)
print(f"{Y.shape[0]:,} texts, {Y.shape[1]:,} tags, {Y.sum(axis=1).mean():.1f} tags a text")

# %%
# Fit
# ---
# TF-IDF makes features of the words; the classifier learns to rank the tags. ``verbose=1`` tells what it
# does: the first fit on a machine also compiles its kernels.
vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2)
classifier = SlideClassifier(loss="sigmoid+softmax", n_jobs=-1, random_state=0, verbose=1)
model = make_pipeline(vectorizer, classifier).fit(texts, Y)

# %%
# Look
# ----
# The method to ask is ``predict_top_k``: the best columns of each row, the best first. Their names are those
# of the binarizer.
X_new = vectorizer.transform(new_texts)
columns, chances = classifier.predict_top_k(X_new, k=5, scores="probability")
names = binarizer.classes_[columns]
print(f"the first tag is right for {precision_at_k(Y_new, columns, k=1):.0%} of the new texts")

# %%
# Six texts, taken at equal distances. Dark bars are tags that the text has in WordNet. A light bar is a tag
# that it has not, which may still be a fair answer.
fig = plt.figure(figsize=(11, 5.4), layout="constrained")
for part, i in zip(fig.subfigures(2, 3).flat, range(100, len(names), 330), strict=True):
    text = new_texts[i].split(" lex_")[0]  # without the two marks of WordNet at the end
    shown = textwrap.fill(text, 40, max_lines=2, placeholder=" ...")
    part.suptitle(shown, x=0.02, ha="left", fontsize=10, fontweight="bold")
    ax = part.subplots()
    colors = ["#1f5fa8" if name in new_tags[i] else "#c3d2e5" for name in names[i]]
    bars = ax.barh(names[i], chances[i], color=colors, height=0.7)
    ax.bar_label(bars, [f"{chance:.0%}" for chance in chances[i]], padding=3, fontsize=9, color="0.3")
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.15), xticks=[])
    ax.tick_params(left=False)
    ax.spines[:].set_visible(False)
fig.savefig(picture, dpi=130)
print(f"saved {picture}")
