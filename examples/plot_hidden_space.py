"""
The hidden space: labels that are alike
=======================================

The classifier gives each label a vector, its row of output weights. Labels that are true for like texts get
like vectors, though nobody has told the classifier what a label means: it has never seen the names. So the
vectors tell which labels lie close together, and make a map of all of them. Run it with

    python examples/plot_hidden_space.py [picture.png]
"""

import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet

matplotlib.use("Agg")
from matplotlib import pyplot as plt

picture = sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "hidden_space.png"

# %%
# Fit
# ---
# Entries of WordNet with one of its 1,500 most frequent labels. The mark of the broad subject, which ends
# each text of the bundled data, is cut off, so that the classifier cannot learn it by heart.
task = load_wordnet("train")
counts = np.bincount(task.target.indices, minlength=task.target.shape[1])
chosen = np.argsort(-counts, kind="stable")[:1500]
names = task.target_names[chosen]
Y = task.target[:, chosen].tocsr()
rows = np.flatnonzero(np.diff(Y.indptr))
texts = [task.data[i].split(" lex_")[0] for i in rows]
X = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english", dtype=np.float32).fit_transform(texts)
model = SlideClassifier(random_state=0).fit(X, Y[rows])  # one thread: the same map each time
print(f"{len(rows):,} texts, {Y.shape[1]:,} labels, a vector of {model.coefs_[-1].shape[0]} numbers for each")

# %%
# Nearest labels of a label
# -------------------------
# All vectors have a direction in common, for most labels are wrong for every text: the mean is taken away
# first. Then the cosine of the angle between two vectors tells how alike two labels are.
vectors = model.coefs_[-1].T
vectors = normalize(vectors - vectors.mean(axis=0))
place = {name: i for i, name in enumerate(names)}
for name in ("poet.n.01", "river.n.01", "physics.n.01", "shoe.n.01", "cheese.n.01", "kill.v.01"):
    cosines = vectors @ vectors[place[name]]
    nearest = np.argsort(-cosines)[1:5]
    print(f"{name}:", ", ".join(f"{names[i]} {cosines[i]:.2f}" for i in nearest))

# %%
# What are they near in?
# ----------------------
# A label has a broad subject in WordNet, such as *animal* or *place*. The classifier was not told. How often
# have a label and its nearest label the same one?
everything = load_wordnet("all")
subject_of = {
    name: int(text.split(" lex_")[1][:2])
    for name, text in zip(everything.sample_names, everything.data, strict=True)
}
subjects = np.array([subject_of.get(name, -1) for name in names])
cosines = vectors @ vectors.T
np.fill_diagonal(cosines, -1)
known = subjects >= 0
agree = np.mean(subjects[cosines.argmax(axis=1)][known] == subjects[known])
by_chance = np.sum((np.bincount(subjects[known]) / known.sum()) ** 2)
print(f"the nearest label has the same subject: {agree:.0%}; two labels by chance: {by_chance:.0%}")

# %%
# A map
# -----
# ``TSNE`` lays the labels out in two dimensions so that near ones stay near. Distances between far groups
# mean nothing. The colours are the broad subjects, added afterwards: animals, plants, people, places and
# things that people make come to lie by themselves. People fall into groups: artists and thinkers, workers,
# the law, religion. Not all neighbours make sense. A label with few texts, such as *cheese* above, has some
# that came by chance.
xy = TSNE(metric="cosine", init="pca", perplexity=25, random_state=0).fit_transform(vectors)
shown = {
    5: ("animals", "#d55e00"),
    20: ("plants", "#009e73"),
    18: ("people", "#1f5fa8"),
    15: ("places", "#e69f00"),
    6: ("things made", "#cc79a7"),
}
fig, ax = plt.subplots(figsize=(11, 8.5), layout="constrained")
others = ~np.isin(subjects, list(shown))
ax.scatter(*xy[others].T, s=9, color="#cfcfcf", linewidth=0, label="others")
for (subject, (title, colour)), marker in zip(shown.items(), "os^Dv", strict=True):
    ax.scatter(*xy[subjects == subject].T, s=20, color=colour, marker=marker, linewidth=0, label=title)
taken = []
for i in range(len(names)):  # the most frequent first, where there is room
    if all(abs(xy[i, 0] - x) > 11 or abs(xy[i, 1] - y) > 3.2 for x, y in taken):
        taken.append(xy[i])
        ax.annotate(names[i].split(".")[0], xy[i], xytext=(3, 3), textcoords="offset points", fontsize=8)
ax.set_title("1,500 labels of WordNet by their output weights")
ax.axis("off")
ax.legend(loc="lower right", frameon=False, markerscale=1.6)
fig.savefig(picture, dpi=130)
print(f"saved {picture}")
