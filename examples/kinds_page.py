"""The page of benchmark_kinds.py: the summary and the tables, made of the results of the runs."""

from textwrap import fill

import benchmarking
import numpy as np
from kinds import KINDS

OURS = "SlideClassifier"
# the peers: the function of peers/once.py that trains it, and its environment
PEERS = {
    OURS: ("slide", "here"),
    "its first weights": ("first_weights", "here"),
    "PECOS": ("pecos", "pecos"),
    "omikuji, Parabel": ("omikuji", "omikuji"),
    "nearest neighbours": ("neighbours", "here"),
    "linear": ("linear", "here"),
}
MEASURES = ("P@1", "P@3", "P@5", "PSP@1", "PSP@5")
TREES = ("PECOS, 1 tree", "omikuji, Parabel, 3 trees")
CLOSE = 0.5

PAGE = """
Data of different kinds
=======================

Everything with its defaults, on {n_sets} data sets of different kinds: no parameter was set by hand, and none
was chosen by what stands here.

{summary}

How to read it
--------------

- ``SlideClassifier()`` was fitted with ``n_jobs=2`` and ``random_state=0``; where there is a ±, with 1 and 2
  as well. Then the figures are means, seconds and sizes medians, and after ± stands the standard error of the
  mean over the fits, which leaves out that the test rows are a sample too. The note tells which weights were
  kept and whether ridge regression stands beside them. "Its first weights" are what training begins with.
- PECOS has the defaults of its command line: 16 splits, leaves of 100 labels, threshold 0.1, a beam of 10;
  trees of an ensemble differ by their seeds. Parabel is what omikuji trains by default, three trees.
- Nearest neighbours are the ten rows with the largest cosine, their labels weighted by it. "Linear" is
  ``LogisticRegression()``, one-vs-rest where a row has several labels, of up to 1,000 labels. Of more it is
  the cosine between a row and the sum of the training rows of a label.
- P@k and PSP@k in percent; propensities are those of A = 0.55 and B = 1.5, from the training labels. A row
  with one label has a P@5 of 20 at most.
- CPU s is the time of training, of all threads; µs a row is the CPU time of ranking the best five labels,
  the test rows as one batch, but one row a call for Parabel. Memory is the peak of the process, its data and
  interpreter included, and the size of a model what it takes on disk, or its arrays. Kernels were compiled
  before. Other work went on beside the runs: compare CPU seconds, and not their last tenth.
- F1 is the micro-F1 of ``predict``, in percent: the default threshold of this classifier, 0.5 one-vs-rest.
  For one PECOS tree it is the best threshold for a tenth of the training rows, at most 1,000, by a tree
  trained on the others; the {scored} best labels of a row can be predicted.
- ECE is the expected calibration error of the probabilities of the best label, and of the best five, ten
  bins, in percent. About 0.4 * sqrt(10 / n) remains of perfect probabilities with n test pairs.
- A training over {limits} seconds was stopped.

The sets
--------

Rows of X have length 1, but for those of scikit-learn's small sets.

{sets}

Rankings
--------

{table}

The machine: {machine}. The peers: {peers}.

Made by ``python examples/benchmark_kinds.py FOLDER``; the limit of seconds is an option.
"""


def rows_of(of_set):
    """Return {row of the table: point or None, note} of a data set, in the order of PEERS.

    Of fits with several seeds the point has means, errors of P@1 and medians of the costs.
    """
    rows = {}
    for peer, (kind, _) in PEERS.items():
        runs = [run for key, run in of_set["runs"].items() if key.split()[0] == kind]
        points = {point["point"]: point for run in runs for point in run["points"]}
        note = next((run["note"] for run in runs if run["note"]), "" if runs else "not run")
        if kind == "slide":
            rows[peer] = averaged([run["points"][0] for run in runs if run["points"]]), note
        elif kind == "pecos":
            one = points.get("1 trees")
            if one and "threshold" in points:
                one = {**one, "F1": points["threshold"]["F1"]}
            elif one and note:
                note = f"{note}, at {'three trees' if '3 trees' not in points else 'the threshold'}"
            rows[f"{peer}, 1 tree"] = one, "" if one and "F1" in one else note
            rows[f"{peer}, 3 trees"] = points.get("3 trees"), "" if "3 trees" in points else note or "not run"
        else:
            point = next(iter(points.values()), None)
            name = f"{peer}, 3 trees" if kind == "omikuji" else peer
            rows[name] = point, note or (point["point"] if kind == "linear" else "")
    return rows


def averaged(points):
    """Return the point of several fits: means of measures, medians of costs; what each chose is told."""
    if not points:
        return None
    costs = ("cpu_seconds", "predict_cpu", "memory", "model_bytes")
    point = {key: float(np.mean([p[key] for p in points])) for key in points[0] if key[-2:-1] in ("@", "F")}
    point.update({key: float(np.median([p[key] for p in points])) for key in costs})
    if len(points) > 1:
        point["error"] = float(np.std([p["P@1"] for p in points], ddof=1) / np.sqrt(len(points)))
    chosen = [p["point"] for p in points]
    point["point"] = "; ".join(dict.fromkeys(chosen))
    return point


def cells(point):
    """Return the cells of a row of the table, of the columns after the peer and before the note."""
    if point is None:
        return [""] * 12
    texts = [f"{point[measure]:.1f}" for measure in MEASURES]
    if "error" in point:
        texts[0] += f" ± {point['error']:.1f}"
    seconds = point["cpu_seconds"]
    texts.append(
        f"{seconds:.0f}" if seconds >= 20 else f"{seconds:.1f}" if seconds >= 2 else f"{seconds:.2f}"
    )
    texts += [f"{1e6 * point['predict_cpu']:.0f}", f"{point['memory'] / 2**20:.0f}"]
    texts.append(f"{point['model_bytes'] / 2**20:.1f}")
    return texts + [f"{point[key]:.1f}" if key in point else "" for key in ("F1", "ECE@1", "ECE@5")]


def table(results):
    """Return the table of all sets and peers."""
    header = ["data", "peer", *MEASURES, "CPU s", "µs a row", "memory, MiB", "model, MiB", "F1"]
    header += ["ECE@1", "ECE@5", "note"]
    lines = []
    for name in KINDS:
        rows = rows_of(results["data"].get(name, {"runs": {}}))
        if name not in results["data"]:
            rows = {"": (None, "not run")}
        for i, (peer, (point, note)) in enumerate(rows.items()):
            note = note or (point["point"] if peer == OURS and point else "")
            lines.append(["" if i else name, peer, *cells(point), note])
    return benchmarking.rst_table(header, lines)


def sets(results):
    """Return the table of the data sets."""
    header = ["data", "rows", "test rows", "features", "labels", "labels a row", "what"]
    lines = []
    for name, kind in KINDS.items():
        what = " ".join(kind.make.__doc__.split("\n")[0].split())
        of_set = results["data"].get(name)
        if of_set is None:
            lines.append([name, *[""] * 5, what])
            continue
        n_rows, n_features, n_labels, n_test = of_set["shape"]
        sizes = [f"{size:,}" for size in (n_rows, n_test, n_features, n_labels)]
        lines.append([name, *sizes, f"{of_set['labels_a_row']:.1f}", what])
    return benchmarking.rst_table(header, lines)


def compared(name, rows):
    """Return our P@1 less that of the better tree, and a row of a table; None where one is missing."""
    ours, trees = rows[OURS][0], {tree: rows[tree][0] for tree in TREES if rows[tree][0]}
    if ours is None or not trees:
        return None
    tree = max(trees, key=lambda tree: trees[tree]["P@1"])
    ahead, theirs = ours["P@1"] - trees[tree]["P@1"], trees[tree]
    alone = "" if len(trees) == len(TREES) else ", the only one that ended"
    cells = [f"{ours['P@1']:.1f}", f"{theirs['P@1']:.1f}", f"{ahead:+.1f}"]
    cells += [f"{each['cpu_seconds']:.3g}" for each in (ours, theirs)]
    return ahead, [name, *cells, tree + alone]


def summary(results):
    """Return the sentences above the table."""
    found = {name: compared(name, rows_of(results["data"].get(name, {"runs": {}}))) for name in KINDS}
    gaps = {name: one[0] for name, one in found.items() if one}
    ahead = [name for name, gap in gaps.items() if gap > CLOSE]
    behind = [name for name, gap in gaps.items() if gap < -CLOSE]
    text = (
        "P@1 of ``SlideClassifier`` against the better of one PECOS tree and three of Parabel: on "
        f"{len(ahead)} of {len(gaps)} sets it is more than {CLOSE} points ahead, on "
        f"{len(gaps) - len(ahead) - len(behind)} within {CLOSE} points, and on {len(behind)} more than "
        f"{CLOSE} points behind{': ' if behind else ''}{'; '.join(behind)}. Small sets have few test rows: "
        "look at the table of the sets first."
    )
    fresh = "; ".join(name for name, kind in KINDS.items() if kind.fresh)
    seen = (
        f"Nobody had looked at this when the defaults were chosen: {fresh}. Looked at were held-out training "
        "rows of the other sets of FOLDER, as they are and embedded, and of one pointer; rows of halves and "
        "lexicographer file, some of those tested on here among them; the generator; and scikit-learn's "
        "small sets, when the scaling of raw columns was made. The test rows had been looked at once before, "
        "which showed that embeddings with thousands of labels and two calibrations needed mending."
    )
    missing = [name for name in KINDS if not found[name]]
    left = f"Not compared, as runs are missing: {'; '.join(missing)}." if missing else ""
    header = ["data", "P@1", "of the tree", "ahead", "CPU s", "of the tree", "the better tree"]
    lines = benchmarking.rst_table(header, [one[1] for one in found.values() if one])
    parts = [filled(text), lines.strip("\n"), filled(seen), filled(left)]
    return "\n\n".join(part for part in parts if part)


def filled(text):
    """Return the text in lines of at most 108 characters."""
    return fill(text, 108, break_on_hyphens=False)


def page(results):
    """Return the text of the page."""
    limits = sorted({run["limit"] for of_set in results["data"].values() for run in of_set["runs"].values()})
    return PAGE.format(
        n_sets=len(KINDS),
        summary=summary(results),
        sets=sets(results),
        table=table(results),
        scored=100,
        limits=" to ".join(f"{limit:.0f}" for limit in dict.fromkeys(limits[:1] + limits[-1:])),
        machine=results["machine"],
        peers=", ".join(results["peers"]),
    )
