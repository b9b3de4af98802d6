"""Time predictions of this classifier and its peers: single rows, a batch, and what retrieval loses.

``python examples/benchmark_inference.py FOLDER`` trains each peer on the data sets of FOLDER, as
benchmark_time_to_accuracy.py does, in the same environments, ranks test rows, and writes
docs/benchmarks/inference.rst with its picture.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import benchmarking

benchmarking.limit_threads(2)

import numpy as np  # noqa: E402
from peers.catalogue import OURS, PEERS  # noqa: E402
from peers.driver import HERE, MODULES, chosen_settings, make_environment  # noqa: E402

from sklearn_slide.metrics import precision_at_k  # noqa: E402

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
# peers by the function of peers/serve.py that runs them
KINDS = {
    OURS: "slide",
    "PyTorch, BCE": "torch",
    "PECOS XR-Linear": "pecos",
    "omikuji, Parabel": "omikuji",
    "napkinXC, PLT": "napkinxc",
}
DTYPES = ("float32", "float16", "int8")
GENERATED = "generated, 670,091 labels"
# features and labels of Amazon-670K, whose samples have about 75 and 5 of them
GENERATED_SHAPE = {
    "n_samples": 305_000,
    "n_features": 135_909,
    "n_labels": 670_091,
    "n_features_per_sample": 75,
    "n_labels_per_sample": 5,
    "noise": 0.2,
}
N_GENERATED_TEST = 5000
DATA = ("debian-deps-min2", "wordnet-related", GENERATED)

PAGE = """
Inference
=========

How long does it take to rank the labels of one row, and of many? Each model is trained on the training rows
with the settings of :doc:`time_to_accuracy`, one tree of PECOS and of Parabel, and ranks the first 1,000
test rows one by one, after 50 rows to warm up, and then the first 5,000 in one call. Rows are CSR of
float32, cut out before the clock starts. Two threads, but one for a single row in ``SlideClassifier`` and
PECOS, and in omikuji, whose Python interface takes one row a call. The dense network has random weights: it
takes as long as a trained one.

``SlideClassifier``'s lines are of one model. "Unchecked" is ``predict_top_k(X, check_input=False)``. "lsh" is
``retrieval="lsh"``, in which the labels that are scored are 5 % at most; the benchmark sets the constant
``_SHARE`` in ``_core/retrieval.py`` for the other lines. The bare matrix product is NumPy's
``h @ W.T`` on blocks of 512 rows and 8,192 labels, with two threads; it takes turns with the ranking of the
batch, five times, and the ratio is that of the medians.

.. image:: ../images/benchmark_inference_retrieval.png
   :alt: P@1 and P@5 that retrieval loses against the share of labels scored

The dashed lines are what retrieval was meant to lose at most, with 5 to 10 % of the labels scored.

The second table of a data set is of ``compact``, which rounds the weights: the size of the pickle, and the
arrays in memory after one single row was ranked, for which a copy of some 240 bytes a label is made.
``"float16"`` takes two bytes for a weight when stored, and four in memory. X is checked.

The generated data are of ``make_xmc_classification``, with as many labels as Amazon-670K has: they show what
retrieval loses and takes with more labels, but they are not real, and only ``SlideClassifier`` ran on them,
after one epoch.

{sections}
{machine}

Made by ``python examples/benchmark_inference.py FOLDER``.
"""


def generate(folder):
    """Write generated data to a folder as the other data sets are."""
    import scipy.sparse as sp

    from sklearn_slide.datasets import make_xmc_classification

    folder.mkdir(parents=True, exist_ok=True)
    X, Y = make_xmc_classification(**GENERATED_SHAPE, random_state=0)
    for part, rows in (("train", slice(N_GENERATED_TEST, None)), ("test", slice(N_GENERATED_TEST))):
        sp.save_npz(folder / f"X_{part}.npz", X[rows], compressed=False)
        sp.save_npz(folder / f"Y_{part}.npz", Y[rows], compressed=False)


def serve(options, peer, name):
    """Train and time a peer in its environment; return its answers, or a note on what went wrong."""
    python, note = make_environment(peer.environment, options.cache)
    if python is None:
        return [], note
    generated = name == GENERATED
    settings = {"max_iter": 1} if generated else chosen_settings(peer, name)
    settings.pop("trees", None)
    settings = {"kind": KINDS[peer.name], "model": settings, "shares": SHARES, "dtypes": DTYPES}
    with tempfile.TemporaryDirectory(dir=options.cache) as work:
        folder = options.cache if generated else options.folder.resolve()
        job = {"folder": str(folder), "name": name, "held_out": options.held_out}
        job.update(settings=settings, limit=1e6, work=work)
        environment = dict(os.environ, NUMBA_CACHE_DIR=str(options.cache / "numba"), PYTHONPATH=MODULES)
        command = [python, str(HERE / "serve.py"), json.dumps(job)]
        run = subprocess.run(command, capture_output=True, text=True, env=environment)
        answers = [json.loads(line) for line in run.stdout.splitlines()]
        for answer in answers:
            if "labels" in answer:
                answer["labels"] = np.load(answer["labels"])
            print(name, answer["name"], np.median(answer.get("single", [0])), answer["batch"], flush=True)
    return answers, None if run.returncode == 0 else run.stderr.strip().splitlines()[-1]


def cells(answer, Y):
    labels = answer["labels"]
    single = np.percentile(np.array(answer["single"]) * 1e3, (50, 90, 99))
    values = [f"{value:.2f}" for value in single]
    values += [f"{len(labels) / answer['batch']:,.0f}", f"{1e3 * answer['batch_cpu'] / len(labels):.2f}"]
    # a network of random weights ranks at random
    dense = answer["name"].startswith("PyTorch")
    return values + ["" if dense else f"{100 * precision_at_k(Y, labels, k=k):.1f}" for k in (1, 3, 5)]


def section(name, shape, answers, notes, Y):
    header = ["", "p50, ms", "p90, ms", "p99, ms", "rows a second", "CPU ms a row", "P@1", "P@3", "P@5"]
    timed = [answer for answer in answers if "labels" in answer and "compact" not in answer]
    text = f"{name}\n{'-' * len(name)}\n\n{shape[1]:,} labels; milliseconds of single rows.\n\n"
    text += benchmarking.rst_table(header, [[answer["name"], *cells(answer, Y)] for answer in timed])
    by_name = {answer["name"]: answer for answer in answers}
    if "matrix product" in by_name:
        times = by_name["matrix product"]
        ratio = times["batch"] / times["product"]
        text += f"\nExact ranking of the batch takes {ratio:.2f} times the bare matrix product.\n"
    rows = [
        [answer["name"], *(f"{answer[size] / 1e6:,.1f}" for size in ("stored", "memory")), *cells(answer, Y)]
        for answer in answers
        if "compact" in answer
    ]
    if rows:
        text += "\n" + benchmarking.rst_table(["", "stored, MB", "memory, MB", *header[1:]], rows)
    return text + "".join(f"\n{peer} failed: {note}\n" for peer, note in notes.items() if note)


def draw(losses, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for panel, k, aim in zip(panels, (1, 5), (1.0, 1.5), strict=True):
        for name, of_share in losses.items():
            panel.plot(
                [100 * share for share in of_share], [one[k] for one in of_share.values()], "o-", label=name
            )
        panel.axhline(aim, color="grey", linestyle="--", linewidth=1)
        panel.set(xscale="log", xlabel="% of the labels scored", ylabel=f"P@{k} lost, points")
        panel.set_xticks([100 * share for share in SHARES], [f"{100 * share:g}" for share in SHARES])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].legend()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def lost(answers, Y):
    """Return the points of P@k that retrieval loses against exact ranking, {share: {k: points}}."""
    by_name = {answer["name"]: answer for answer in answers}

    def precision(name, k):
        return 100 * precision_at_k(Y, by_name[name]["labels"], k=k)

    names = {share: f"lsh, {100 * share:g} % scored, unchecked" for share in SHARES}
    return {
        share: {k: precision("exact", k) - precision(name, k) for k in (1, 5)}
        for share, name in names.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds a folder for each data set")
    parser.add_argument("--data", nargs="+", choices=(*benchmarking.DATA_SETS, GENERATED), default=DATA)
    parser.add_argument("--without", nargs="*", default=[], metavar="PEER:DATA", help="pairs to leave out")
    parser.add_argument("--held-out", action="store_true", help="rank held-out training rows; write no page")
    cache = Path.home() / ".cache" / "sklearn_slide_benchmark"
    parser.add_argument("--cache", type=Path, default=cache, help="for environments; default: %(default)s")
    options = parser.parse_args()
    options.cache = options.cache.resolve()
    options.cache.mkdir(parents=True, exist_ok=True)
    sections, losses = [], {}
    for name in options.data:
        if name == GENERATED:
            generate(options.cache / name)
        folder = options.cache if name == GENERATED else options.folder
        *_, Y_test = benchmarking.load(folder, name, options.held_out)
        answers, notes = [], {}
        for peer in (peer for peer in PEERS if peer.name in KINDS):
            if f"{peer.name}:{name}" in options.without or (name == GENERATED and peer.name != OURS):
                continue
            found, notes[peer.name] = serve(options, peer, name)
            answers += found
        Y = Y_test[: max(len(answer.get("labels", ())) for answer in answers)]
        losses[name] = lost(answers, Y)
        sections.append(section(name, Y_test.shape, answers, notes, Y))
        print(sections[-1], losses[name], flush=True)
    if not options.held_out:
        draw(losses, benchmarking.image_path("inference", "retrieval"))
        page = PAGE.format(sections="\n".join(sections), machine=benchmarking.machine())
        benchmarking.write_page("inference", page)


if __name__ == "__main__":
    main()
