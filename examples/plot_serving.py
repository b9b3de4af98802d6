"""
Serving: store, map, several processes
======================================

A fitted classifier moves to where it answers: into a file, out of it again in several processes, and there it
waits for single rows. How large is the file, how much memory do the processes take, and how long does a row
take? Run it with

    python examples/plot_serving.py [picture.png]
"""

import sys
import tempfile
from copy import deepcopy
from pathlib import Path
from time import perf_counter

import joblib
import matplotlib
import numpy as np

from sklearn_slide import SlideClassifier
from sklearn_slide.datasets import load_wordnet
from sklearn_slide.metrics import precision_at_k

matplotlib.use("Agg")
from matplotlib import pyplot as plt

folder = Path(tempfile.mkdtemp())
picture = sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "serving.png"

# %%
# A classifier worth storing
# --------------------------
# 20,000 entries of WordNet with 15,000 labels.
train, test = (load_wordnet(part, vectorize=True) for part in ("train", "test"))
counts = np.bincount(train.target.indices, minlength=train.target.shape[1])
chosen = np.argsort(-counts, kind="stable")[:15_000]


def entries(part, n):
    """Return the features and labels of n entries that have a chosen label, CSR."""
    Y = part.target[:, chosen].tocsr()
    rows = np.flatnonzero(np.diff(Y.indptr))[:n]
    return part.data[rows], Y[rows]


(X, Y), (X_test, Y_test) = entries(train, 20_000), entries(test, 3000)
model = SlideClassifier(max_iter=2, random_state=0, n_jobs=-1).fit(X, Y)
model.n_jobs = None

# %%
# Smaller files
# -------------
# ``compact`` drops what only training needs, and rounds the weights if asked to. It changes the classifier in
# place, so take a copy if training is to go on. The precision stays.
models = {"as fitted": model}
for dtype in ("float32", "float16", "int8"):
    models[f"compact, {dtype}"] = deepcopy(model).compact(dtype)
sizes, files = {}, {}
for name, each in models.items():
    files[name] = folder / f"{name.replace(', ', '_').replace(' ', '_')}.joblib"
    joblib.dump(each, files[name])
    sizes[name] = files[name].stat().st_size / 1e6
    labels, _ = each.predict_top_k(X_test, k=5)
    print(f"{name}: {sizes[name]:.0f} MB, P@1 {precision_at_k(Y_test, labels, k=1):.3f}")

# %%
# Several processes, one file
# ---------------------------
# ``mmap_mode="r"`` maps the arrays of the file instead of reading them. The pages are read when they are
# needed, and processes that map the same file share them. What is printed is the memory that each process has
# for itself. Only load files that you trust: a pickle can run any code.


def own_memory():
    """Return the megabytes that this process has written to, or None where that cannot be known."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:  # not on Linux
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) * 1024 / 1e6


def serve(file, mmap_mode, rows):
    """Load a classifier and rank some rows, in a process of its own; return the ranking, and memory taken."""
    before = own_memory()
    served = joblib.load(file, mmap_mode=mmap_mode)
    labels, _ = served.predict_top_k(rows, k=5)
    after = own_memory()
    return labels, None if after is None else round(after - before, 1)


halves = [X_test[::2], X_test[1::2]]
expected = [models["compact, float32"].predict_top_k(half, k=5)[0] for half in halves]
for mmap_mode in (None, "r"):
    with joblib.Parallel(n_jobs=2) as parallel:
        for _ in range(2):  # in the second round, what the first call loads and allocates is there
            found = parallel(
                joblib.delayed(serve)(files["compact, float32"], mmap_mode, half) for half in halves
            )
    assert all(np.array_equal(labels, each) for (labels, _), each in zip(found, expected, strict=True))
    print(f"mmap_mode={mmap_mode!r}: own memory of each process, MB:", [taken for _, taken in found])

# %%
# How long does a row take?
# -------------------------
# A service gets rows one by one. The first call prepares something, so one row warms up.
# ``check_input=False`` leaves out the checks of X, where you know that it is CSR of float32 with sorted
# indices. ``retrieval="lsh"`` scores 5 % of the labels. With the text comes the vectorizer, which takes its
# time as well, and is not counted here.
rows = [X_test[[i]] for i in range(1000)]
for row in rows:
    row.sort_indices()
ways = {
    "as fitted": (models["as fitted"], {}),
    "compact, int8": (models["compact, int8"], {}),
    "compact, int8, unchecked": (models["compact, int8"], {"check_input": False}),
    "compact, int8, lsh": (deepcopy(models["compact, int8"]).set_params(retrieval="lsh"), {}),
}
latencies = {}
for name, (each, arguments) in ways.items():
    for row in rows[:50]:
        each.predict_top_k(row, k=5, **arguments)
    times = []
    for row in rows:
        start = perf_counter()
        each.predict_top_k(row, k=5, **arguments)
        times.append(perf_counter() - start)
    latencies[name] = 1e3 * np.array(times)
    middle, late = np.percentile(latencies[name], [50, 99])
    print(f"{name}: {middle:.2f} ms for half of the rows, {late:.2f} ms for 99 of 100")
start = perf_counter()
models["compact, int8"].predict_top_k(X_test, k=5)
print(f"a batch of {X_test.shape[0]:,} rows: {1e3 * (perf_counter() - start) / X_test.shape[0]:.2f} ms a row")

# %%
# The picture
# -----------
# The curve of a way says which share of the rows was answered within a time. Late rows most often wait for
# other programs on the machine. A batch is faster than its rows one by one: a service with many requests
# gains by putting them together. The tables of ``retrieval="lsh"`` do not pay here, for which there are too
# few labels.
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained", width_ratios=(1, 1.2))
bars = left.barh(list(sizes), list(sizes.values()), color=["#1f5fa8"] + ["#8fb0d6"] * 3)
left.bar_label(bars, [f"{size:.0f} MB" for size in sizes.values()], padding=4)
left.invert_yaxis()
left.set(title="Size of the file", xticks=[], xlim=(0, 1.2 * max(sizes.values())))
left.tick_params(left=False)
left.spines[["left", "bottom"]].set_visible(False)
looks = zip(("#1f5fa8", "#d55e00", "#009e73", "#e69f00"), ("-", "--", "-.", ":"), strict=True)
for (name, times), (colour, style) in zip(latencies.items(), looks, strict=True):
    right.plot(np.sort(times), np.linspace(0, 1, len(times)), style, color=colour, linewidth=2, label=name)
right.set(title="Single rows", xscale="log", xlabel="milliseconds", ylabel="share of rows answered")
ticks = [0.2, 0.5, 1, 2, 5, 10]
right.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
right.minorticks_off()
right.grid(color="0.92")
right.legend(frameon=False, loc="lower right")
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
fig.savefig(picture, dpi=130)
print(f"saved {picture}")
