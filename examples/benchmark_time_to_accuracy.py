"""Train this classifier and its peers side by side; draw precision against seconds of training.

``python examples/benchmark_time_to_accuracy.py FOLDER`` reads FOLDER/NAME/X_train.npz, Y_train.npz,
X_test.npz and Y_test.npz, CSR matrices as scipy.sparse.save_npz writes them, of the data sets NAME; installs
each peer into an environment of its own; trains the peers one after the other, two threads each, with the
settings of peers/settings.json; and writes docs/benchmarks/time_to_accuracy.rst with its pictures. With
``--search`` it instead tries the settings of peers/catalogue.py on held-out training rows, and writes
peers/settings.json and docs/benchmarks/settings.rst.
"""

import argparse
import json
import os
import shutil
import time
from pathlib import Path

import benchmarking

benchmarking.limit_threads(2)

from peers.catalogue import ENVIRONMENTS, OURS, PEERS  # noqa: E402
from peers.driver import MEASURES, Runner, chosen_settings, make_environment, versions  # noqa: E402
from peers.search import describe, search  # noqa: E402

COLOURS = {
    "run_ours.py": "black",
    "run_torch.py": "tab:orange",
    "run_sklearn.py": "tab:red",
    "run_pecos.py": "tab:blue",
    "run_omikuji.py": "tab:green",
    "run_napkinxc.py": "tab:purple",
    "run_fasttext.py": "tab:brown",
}
GOAL_DATA, GOAL = "debian-deps-min2", 70.0

PAGE = """
Time to accuracy
================

How precise are the rankings after so many seconds of training? All peers of a table were trained on one
machine in one run, one after the other, with two threads each and ``OMP_WAIT_POLICY=PASSIVE``. Rows of X
have length 1, and the whole test set is ranked. The machine: {machine}. The peers: {peers}.

``python examples/benchmark_time_to_accuracy.py FOLDER`` made this page in {minutes:.0f} minutes.

How to read it
--------------

- The clock runs during training only: not while data are read into a peer's own form, nor while models are
  saved or rank. What a library loads or compiles at its first step is left out, by a tiny training before.
  Compiling the kernels of ``SlideClassifier`` takes {compile_seconds:.0f} seconds, once on a machine. CPU
  seconds are those of all threads.
- Networks of PyTorch and scikit-learn were measured on their way. The others, this classifier among them,
  were trained from the start for each point: with a part of the rows, more epochs, or more trees. (The
  trees of PECOS are trained one by one, and so are counted.) A dot is a model that one can have after that
  time.
- A row of a table is the end of a curve; for trees, each point. The settings were chosen on held-out
  training rows (:doc:`settings`). A peer with the note "stopped" had not come that far: the limit is
  {limit:.0f} seconds.
- Memory is the peak of the process during training, its data and interpreter included. The size of a model
  is what it takes on disk, or its arrays where it is not saved: 4 bytes a weight for the networks, 8 for
  one-vs-rest.
- PSP@k weighs hits on rare labels more; the propensities are those of A = 0.55 and B = 1.5.
- fastText reads words: the values of the features, TF-IDF weights on the two large data sets, are lost on
  it.
- MLPClassifier is given its dense y in chunks, by ``partial_fit``; ``fit`` would take the whole of Y dense.
- "uniform" draws all negatives at random, "full" scores all labels; otherwise both are this classifier.
- Each figure is of a single run.
"""


def run_all(options, peers):
    """Train the peers on the data sets; return the results, of plain types that JSON takes."""
    results = {"machine": benchmarking.machine(), "limit": options.limit, "data": {}, "peers": []}
    shutil.rmtree(options.cache / "numba", ignore_errors=True)  # so that kernels are compiled once, and timed
    start = time.perf_counter()
    for name in (name for name in ENVIRONMENTS if any(peer.environment == name for peer in peers)):
        python, _ = make_environment(name, options.cache)
        results["peers"] += [versions(name, python)] if python and name != "here" else []
    compile_seconds = 0
    for name in options.data:
        runner = Runner(options, name, held_out=False)
        curves = {}
        results["data"][name] = {"shape": runner.shape, "curves": curves}
        for peer in peers:
            settings = chosen_settings(peer, name)
            print(f"{name}, {peer.name}: {describe(settings)}", flush=True)
            points, note = runner.run(peer, settings)
            curves[peer.name] = {"points": points, "note": note}
            compile_seconds = max(compile_seconds, runner.compile_seconds)
            results["compile_seconds"] = compile_seconds
            results["minutes"] = (time.perf_counter() - start) / 60
            (options.cache / "results.json").write_text(json.dumps(results, indent=1))
    return results


def read_results(paths):
    """Return the results of runs on different data sets as if they were of one run."""
    runs = [json.loads(path.read_text()) for path in paths]
    data = {name: of_set for run in runs for name, of_set in run["data"].items()}
    return {
        **runs[0],
        "data": {name: data[name] for name in benchmarking.DATA_SETS if name in data},
        "minutes": sum(run["minutes"] for run in runs),
        "compile_seconds": max(run["compile_seconds"] for run in runs),
    }


def rounded(seconds):
    return f"{seconds:.0f}" if seconds >= 20 else f"{seconds:.1f}" if seconds >= 2 else f"{seconds:.2f}"


def table(curves):
    every_point = {peer.name for peer in PEERS if peer.every_point}
    header = ["peer", *MEASURES, "wall s", "CPU s", "memory, MiB", "model, MiB", "trained", "note"]
    rows = []
    for peer, curve in curves.items():
        note = curve["note"] or ""
        shown = curve["points"] if peer in every_point else curve["points"][-1:]
        for point in shown:
            cells = [f"{point[measure]:.1f}" for measure in MEASURES]
            cells += [rounded(point["seconds"]), rounded(point["cpu_seconds"])]
            cells += [f"{point['memory'] / 2**20:.0f}", f"{point['model_bytes'] / 2**20:.1f}"]
            rows.append([peer, *cells, point["point"], note if point is shown[-1] else ""])
        if not shown:
            rows.append([peer, *[""] * (len(header) - 2), note])
    return benchmarking.rst_table(header, rows)


def draw(name, curves):
    """Draw P@1 and P@5 against seconds; return the path of the picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    scripts = {peer.name: peer.script for peer in PEERS}
    for panel, k in zip(panels, (1, 5), strict=True):
        best, seen = 0, []
        for peer, curve in curves.items():
            points = curve["points"]
            if not points:
                continue
            seconds, values = [p["seconds"] for p in points], [p[f"P@{k}"] for p in points]
            best = max([best, *values])
            line = ("-", "-.", "--", ":")[seen.count(scripts[peer])]
            seen.append(scripts[peer])
            panel.plot(
                seconds,
                values,
                label=peer,
                color=COLOURS[scripts[peer]],
                linestyle=line,
                marker="osD^v<>PX*hpd8"[len(seen) - 1],
                markersize=5,
                linewidth=2.5 if peer == OURS else 1.2,
                zorder=3 if peer == OURS else 2,
            )
        panel.set(
            xscale="log", xlabel="seconds of training", ylabel=f"P@{k}, %", ylim=(0.35 * best, 1.03 * best)
        )
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
    figure.suptitle(name)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", fontsize=8)
    path = benchmarking.image_path("time_to_accuracy", name)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def first_to(points, goal):
    """Return the seconds of the first point of a curve with a P@1 of `goal` or more, None without one."""
    return min((point["seconds"] for point in points if point["P@1"] >= goal), default=None)


def reach(curves):
    """Tell how long this classifier and the dense networks take to the P@1 of the goal."""
    times = {peer: first_to(curve["points"], GOAL) for peer, curve in curves.items()}
    reached = {peer: seconds for peer, seconds in times.items() if seconds is not None}
    rows = [[peer, f"{seconds:.2f}"] for peer, seconds in sorted(reached.items(), key=lambda item: item[1])]
    text = f"Seconds of the first measured point with a P@1 of {GOAL:.0f} or more:\n\n"
    text += benchmarking.rst_table(["peer", "seconds"], rows)
    dense = {peer: seconds for peer, seconds in reached.items() if peer.startswith("PyTorch")}
    if OURS in reached and dense:
        peer = min(dense, key=dense.get)
        ratio = dense[peer] / reached[OURS]
        text += f"\n``SlideClassifier`` was there {ratio:.0f} times sooner than dense {peer}.\n"
    return text


def write_page(results):
    text = PAGE.format(
        machine=results["machine"],
        peers=", ".join(results["peers"]),
        minutes=results["minutes"],
        compile_seconds=results["compile_seconds"],
        limit=results["limit"],
    )
    for name, data in results["data"].items():
        n_samples, n_features, n_labels = data["shape"]
        path = draw(name, data["curves"])
        text += f"\n{name}\n{'-' * len(name)}\n\n"
        text += f"{n_samples:,} training rows, {n_features:,} features, {n_labels:,} labels.\n\n"
        text += f".. image:: ../images/{path.name}\n    :alt: P@1 and P@5 against seconds on {name}\n\n"
        text += table(data["curves"])
        if name == GOAL_DATA:
            answer = reach(data["curves"])
            print(answer)
            text += f"\n{answer}"
    benchmarking.write_page("time_to_accuracy", text)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds a folder for each data set")
    parser.add_argument("--data", nargs="+", choices=benchmarking.DATA_SETS, help="default: all in FOLDER")
    parser.add_argument(
        "--peers", nargs="+", metavar="TEXT", help="only peers with such a TEXT in their name"
    )
    parser.add_argument("--limit", type=float, default=300, help="seconds of training; default: %(default)s")
    memory = 0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parser.add_argument("--memory", type=float, default=memory, help="GiB; default: three quarters of all")
    cache = Path.home() / ".cache" / "sklearn_slide_benchmark"
    parser.add_argument("--cache", type=Path, default=cache, help="for environments; default: %(default)s")
    parser.add_argument("--search", action="store_true", help="choose the settings of the peers")
    parser.add_argument(
        "--draw", type=Path, nargs="+", metavar="RESULTS", help="write the page of earlier results.json"
    )
    options = parser.parse_args()
    options.cache = options.cache.resolve()
    options.cache.mkdir(parents=True, exist_ok=True)
    options.data = options.data or [n for n in benchmarking.DATA_SETS if (options.folder / n).is_dir()]
    peers = [p for p in PEERS if not options.peers or any(t.lower() in p.name.lower() for t in options.peers)]
    if options.search:
        search(options, peers)
    else:
        write_page(read_results(options.draw) if options.draw else run_all(options, peers))


if __name__ == "__main__":
    main()
