"""
How it works: the way of one text
=================================

One text goes through the classifier, and each station is drawn: its words, its hidden vector, the hash
tables, the labels that are scored, the step that is learned, and the ranking. A few lines of NumPy stand for
each station. The compiled kernels do the same, faster. The page :doc:`/how_it_works` tells the story with
these pictures. Run it with

    python examples/plot_how_it_works.py [pictures.png]
"""

import sys
import tempfile
import textwrap
from copy import deepcopy
from pathlib import Path

import matplotlib
import numpy as np
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap

picture = Path(sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "how.png")


def save(fig, name):
    """Save a figure beside the others."""
    fig.savefig(picture.with_stem(f"{picture.stem}_{name}"), dpi=130)


# %%
# A classifier, and one text
# --------------------------
# 2,000 labels of WordNet, 128 hidden units, 30,000 texts. The text is one that training has not seen.
task, test = load_wordnet("train"), load_wordnet("test")
counts = np.bincount(task.target.indices, minlength=len(task.target_names))
chosen = np.argsort(-counts, kind="stable")[:2000]
names = task.target_names[chosen]


def entries(part, n=None):
    """Return n texts that have a chosen label, and their labels, CSR."""
    Y = part.target[:, chosen].tocsr()
    rows = np.flatnonzero(np.diff(Y.indptr))[:n]
    return [part.data[i].split(" lex_")[0] for i in rows], Y[rows]


texts, Y = entries(task, 30_000)
test_texts, Y_test = entries(test)
vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english", dtype=np.float32)
X, X_test = vectorizer.fit_transform(texts), vectorizer.transform(test_texts)
model = SlideClassifier((128,), n_active=100, random_state=0).fit(X, Y)
row = next(i for i, text in enumerate(test_texts) if text.startswith("ladle:"))
x, true = X_test[[row]], Y_test[[row]].indices
print(textwrap.fill(test_texts[row], 100))
print("true labels:", ", ".join(names[true]))

# %%
# Words, and a hidden vector
# --------------------------
# TF-IDF turns the words into the few numbers of ``x`` that are not 0. The hidden layer adds up a row of
# weights for each of these words: the hidden vector ``h``. The rows of all other words are not even read.
words = vectorizer.get_feature_names_out()
W_in, W_out = model.coefs_
b_in, b_out = model.intercepts_
h = x @ W_in + b_in  # (1, 128)

# %%
# The score of a label is the product of ``h`` with the label's own vector, plus a bias, plus the weights that
# lead straight from rare words to this label. That is all: it is what ``decision_function`` gives.
z = (h @ W_out + b_out + x @ model.direct_coef_.toarray()).ravel()
assert np.allclose(z, model.decision_function(x).ravel(), atol=1e-3)
order = np.argsort(-x.data)
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 3.9), layout="constrained", width_ratios=(1, 1.3))
left.barh(words[x.indices[order]], x.data[order], color="#1f5fa8")
left.invert_yaxis()
left.set(title=f"The text: {x.nnz} of {x.shape[1]:,} words", xlabel="value in x")
left.spines[["top", "right"]].set_visible(False)
most = np.abs(h).max()
image = right.imshow(h.reshape(8, 16), cmap="PuOr", vmin=-most, vmax=most)
right.set(title="Its hidden vector h: 128 numbers", xticks=[], yticks=[])
fig.colorbar(image, ax=right, shrink=0.85)
save(fig, "words")

# %%
# Hash tables
# -----------
# Which labels have a large product with ``h``? Those whose vectors point in its direction. A hash function
# that knows of directions finds them without looking at the others: draw a random plane, and write down 1 for
# the vectors on one side and 0 for the others. Four planes make a code of four bits, and vectors with a small
# angle between them often have the same code. A *table* puts each label into the bucket of its code. Fifty
# tables, each with planes of its own, miss few.
n_tables, n_bits = 50, 4
planes = np.random.RandomState(0).standard_normal((n_tables, n_bits, h.size))
powers = 2 ** np.arange(n_bits)
codes = (np.einsum("tbu,uy->ytb", planes, W_out) > 0) @ powers  # of each label in each table
code = (np.einsum("tbu,u->tb", planes, h.ravel()) > 0) @ powers  # of the hidden vector
same = codes == code
met = same.sum(axis=1)  # the tables in which a label shares the bucket of the text
angles = np.arccos(h.ravel() @ W_out / np.linalg.norm(h) / np.linalg.norm(W_out, axis=0))
print(f"a bucket holds {len(names) / 2**n_bits:.0f} labels on average")
print(f"tables in which a label is met: median {np.median(met):.0f}, true labels {met[true].tolist()}")

# %%
# On the left the idea in two dimensions: three lines cut the plane into buckets, and the dark dots share the
# bucket of the star. In the middle the first five of the fifty tables, with the bucket of our text. On the
# right every label of the classifier: the smaller the angle to ``h``, the more tables it is met in, as the
# law says.
fig, axes = plt.subplots(1, 3, figsize=(13.5, 4.3), layout="constrained")
rng = np.random.RandomState(2)
dots, star = rng.standard_normal((120, 2)), np.array([0.9, 1.1])
normals = np.array([[1.0, -0.35], [-0.55, 1.0], [0.9, 0.75]])
shared = ((dots @ normals.T > 0) == (normals @ star > 0)).all(axis=1)
axes[0].scatter(*dots[~shared].T, s=18, color="#b5b5b5")
axes[0].scatter(*dots[shared].T, s=26, color="#1f5fa8")
axes[0].scatter(*star, s=220, marker="*", color="#d55e00", zorder=3)
for normal in normals:
    axes[0].axline((0, 0), (-normal[1], normal[0]), color="0.3", linewidth=1)
axes[0].set(title="Three planes, and a bucket", xticks=[], yticks=[], xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
axes[0].set_aspect("equal")
for t in range(5):
    sizes = np.bincount(codes[:, t], minlength=2**n_bits)
    starts = np.cumsum(sizes) - sizes
    colours = ["#d55e00" if c == code[t] else ("#c3d2e5", "#9db8d8")[c % 2] for c in range(2**n_bits)]
    axes[1].barh(np.full(2**n_bits, t), sizes, left=starts, color=colours, height=0.7)
axes[1].invert_yaxis()
axes[1].set(title="Five tables; the bucket of the text", xlabel="labels, sorted by code")
axes[1].set_yticks(range(5), [f"table {t + 1}" for t in range(5)])
others = np.setdiff1d(np.arange(len(names)), true)
axes[2].scatter(np.degrees(angles[others]), met[others], s=9, color="#9db8d8", linewidth=0, label="a label")
axes[2].scatter(np.degrees(angles[true]), met[true], s=60, marker="D", color="#d55e00", label="a true label")
grid = np.linspace(0, np.pi, 100)
law = n_tables * (1 - grid / np.pi) ** n_bits
axes[2].plot(np.degrees(grid), law, color="0.2", linewidth=1, label=r"50 (1 − angle/180°)$^4$")
axes[2].set(title="Angle to h, and tables met", xlabel="angle in degrees", ylabel="tables", xlim=(0, 180))
axes[2].legend(frameon=False)
for ax in axes[1:]:
    ax.spines[["top", "right"]].set_visible(False)
save(fig, "tables")

# %%
# The active set
# --------------
# In training, only some labels of a text are scored: here 100 of 2,000. The true ones are always among them.
# The others are negatives, and come from four sources. *Tables*: buckets in random order, until there are
# enough. *Co-occurring*: draw a word of the text, a training text with this word, a label of that text.
# *Frequent*: draw a label in proportion to its frequency. *Uniform*: draw any. A label that comes twice
# counts once.
rng = np.random.RandomState(0)
source = dict.fromkeys(true.tolist(), "true")
n_of = {"tables": 30, "co-occurring": 30, "frequent": 30, "uniform": 10}
from_tables = []
for t in rng.permutation(n_tables):
    bucket = np.flatnonzero(same[:, t])
    first = rng.randint(len(bucket)) if len(bucket) > 128 else 0  # of a large bucket a part is read
    from_tables += np.roll(bucket, -first)[:128].tolist()
from_tables = [y for y in dict.fromkeys(from_tables) if y not in source][: n_of["tables"]]
texts_with = X.tocsc()
drawn = []
for j in rng.choice(x.indices, n_of["co-occurring"]):
    text = rng.choice(texts_with[:, [j]].indices)
    drawn.append(rng.choice(Y[[text]].indices))
for name, labels in (
    ("tables", from_tables),
    ("co-occurring", drawn),
    ("frequent", rng.choice(Y.indices, n_of["frequent"])),
    ("uniform", rng.randint(len(names), size=n_of["uniform"])),
):
    for y in labels:
        source.setdefault(int(y), name)
active = np.array(list(source))
print(f"{len(active)} active labels:", {name: list(source.values()).count(name) for name in ("true", *n_of)})

# %%
# Each square is a label. The first row has the 50 with the highest scores for our text, the best at the left;
# the last row has the lowest. There is most to learn from negatives that score high. Co-occurrence finds many
# of them in the first row. The tables, read as they come until there are enough, find labels that score high
# more often than chance would; those met in most tables (``selection="top_k"``) would be better still, but
# then every table must be read. Frequent labels and any labels lie all over.
place = np.empty(len(names), dtype=int)
place[np.argsort(-z)] = np.arange(len(names))
for kind in ("true", *n_of):
    print(f"{kind}: median place {np.median([place[y] + 1 for y in source if source[y] == kind]):.0f}")
most_met = np.argsort(-met, kind="stable")[:30]
print(f"those met in most tables: median place {np.median(place[most_met] + 1):.0f}")
kinds = ["none", "true", *n_of]
colours = ["#ededed", "#000000", "#d55e00", "#1f5fa8", "#e69f00", "#cc79a7"]
squares = np.zeros(len(names), dtype=int)
squares[place[active]] = [kinds.index(source[y]) for y in active.tolist()]
fig, ax = plt.subplots(figsize=(9.5, 6.4), layout="constrained")
grid = squares.reshape(-1, 50)
ax.pcolormesh(grid, cmap=ListedColormap(colours), vmin=-0.5, vmax=5.5, edgecolor="white", linewidth=1.5)
ax.invert_yaxis()
ax.set_aspect("equal")
ax.axis("off")
for kind, colour in zip(kinds[1:], colours[1:], strict=True):
    ax.plot([], [], "s", color=colour, markersize=9, label=f"{kind} ({list(source.values()).count(kind)})")
ax.set_title("The active labels among all 2,000, from the highest score to the lowest")
ax.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False, handletextpad=0.1)
save(fig, "active")

# %%
# A step
# ------
# The loss compares each score with what it should be. The *residual* is the difference: the probability of a
# negative, the probability less 1 of a true label. Most residuals are small: one below 0.05
# becomes 0.05 by chance, seldom enough to keep its mean, or else 0, and the label is left alone. The vector
# of a label goes by a step along ``h``, towards it or away, the longer the larger its residual.
target = np.isin(active, true)
residuals = expit(z[active]) - target
print(f"{np.sum(np.abs(residuals) > 0.05)} of {len(active)} residuals are above 0.05")
after = deepcopy(model).set_params(n_active=600, negatives={"lsh": 1.0})
after.partial_fit(x, Y_test[[row]])
z_after = after.decision_function(x).ravel()

# %%
# The classifier makes such a step itself in ``partial_fit``. With this one text there is no other text to
# draw labels from, so here all negatives come from the tables, 598 of them. The true labels rise, and the
# strongest negative falls behind them. The others fall a little.
shown = np.argsort(-z)[:12]
shown = np.concatenate([shown, np.setdiff1d(true, shown)])
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained", sharey=True)
places = np.arange(len(shown))
is_true = np.isin(shown, true)
tints = np.where(is_true, "#d55e00", "#1f5fa8")
left.barh(places, expit(z[shown]) - is_true, color=tints, height=0.65)
left.axvline(0, color="0.3", linewidth=0.8)
left.set_yticks(places, names[shown])
left.invert_yaxis()
left.set(title="Residuals before the step", xlabel="probability − target")
right.hlines(places, z[shown], z_after[shown], color=tints, linewidth=2)
right.scatter(z[shown], places, s=45, facecolor="white", edgecolor=tints, linewidth=2, zorder=3)
right.scatter(z_after[shown], places, s=45, color=tints, zorder=3)
right.set(title="Scores before (ring) and after (dot)", xlabel="score")
right.plot([], [], "o-", color="#d55e00", label="true label")
right.plot([], [], "o-", color="#1f5fa8", label="negative")
right.legend(frameon=False, loc="lower right")
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
save(fig, "step")

# %%
# Ranking
# -------
# A prediction scores every label, and is exact: 2,000 products are little. With a hundred thousand labels,
# ``retrieval="lsh"`` scores only those that the tables and the weights of rare words name. Here the labels
# are taken by the number of tables that name them: how many of the ten best are found, if only so many are
# scored?
best = np.argsort(-z)[:10]
by_tables = np.argsort(-met, kind="stable")
found = np.isin(by_tables, best).cumsum()
for share in (0.02, 0.05, 0.1, 0.2):
    print(f"{share:.0%} of the labels scored: {found[int(share * len(names)) - 1]} of the ten best found")
