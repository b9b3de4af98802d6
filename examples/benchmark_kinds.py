"""Train this classifier and its peers on data sets of different kinds, everything with its defaults.

``python examples/benchmark_kinds.py FOLDER`` reads the sets of FOLDER, as benchmark_time_to_accuracy.py does,
makes the others of kinds.py, installs each peer into an environment of its own, trains them one after the
other with two threads each, and writes docs/benchmarks/kinds.rst. What each run found is kept in
kinds.json in the cache; ``--from-results`` goes on from there, and tries again
what failed or what a lower limit stopped.
"""

import argparse
import json
import os
from argparse import Namespace
from pathlib import Path

import benchmarking

benchmarking.limit_threads(2)

import numpy as np  # noqa: E402
import scipy.sparse as sp  # noqa: E402
from kinds import KINDS, folder_name, prepare  # noqa: E402
from kinds_page import PEERS, page  # noqa: E402
from peers.catalogue import ENVIRONMENTS, Peer  # noqa: E402
from peers.driver import Runner, make_environment, versions  # noqa: E402

from sklearn_slide.metrics import expected_calibration_error, f1_at_threshold  # noqa: E402

LONG = 60  # CPU seconds of a fit


class OnceRunner(Runner):
    """A Runner of scripts that also tell of predicted labels and of probabilities."""

    def _measure(self, answer):
        """Add what is measured of predicted labels and of probabilities, in percent."""
        labels, more = np.load(answer["labels"]), answer.pop("at")
        answer["predict_cpu"] = more["predict_cpu"]
        if "predicted" in more:
            answer["F1"] = 100 * f1_at_threshold(self.Y_test, sp.load_npz(more["predicted"]))
        if "probabilities" in more:
            probabilities = np.minimum(np.load(more["probabilities"]), 1)  # rounding may pass 1
            for k in (1, 5):
                stored = as_sparse(labels[:, :k], probabilities[:, :k], self.Y_test.shape)
                answer[f"ECE@{k}"] = 100 * expected_calibration_error(self.Y_test, stored)
        return super()._measure(answer)


def as_sparse(labels, values, shape):
    """Return CSR of the values of the best labels of each row, (n_samples, k)."""
    labels = labels[:, : values.shape[1]]
    rows = np.repeat(np.arange(len(labels)), labels.shape[1])
    return sp.csr_array((values.ravel(), (rows, labels.ravel())), shape=shape)


def run_all(options, results):
    """Run what is not in the results yet; write results and page after each data set."""
    for name in options.data:
        print(name, flush=True)
        folder = prepare(name, options.folder, options.cache, options.rows)
        settings = Namespace(folder=folder, cache=options.cache, limit=options.limit, memory=options.memory)
        runner = OnceRunner(settings, folder_name(name), held_out=False, unit_rows=False)
        of_set = results["data"].setdefault(name, {"runs": {}})
        of_set["shape"] = (*runner.shape, runner.Y_test.shape[0])
        of_set["labels_a_row"] = runner.Y_test.nnz / runner.Y_test.shape[0]
        for peer, (kind, environment) in PEERS.items():
            if options.peers and not any(text.lower() in peer.lower() for text in options.peers):
                continue
            note_versions(environment, options.cache, results)
            for seed in range(options.seeds if kind == "slide" else 1):
                key = f"{kind} {seed}"
                if is_done(of_set["runs"].get(key), options) or (seed and is_long(of_set, options)):
                    continue
                job = {"kind": kind, "classes": KINDS[name].classes, "seed": seed, "trees": options.trees}
                print(f"  {peer}, seed {seed}", flush=True)
                points, note = runner.run(Peer(peer, "once.py", environment), job)
                run = {"points": points, "note": note, "limit": options.limit}
                of_set["runs"][key] = {**run, "trees": options.trees} if kind == "pecos" else run
                options.results.write_text(json.dumps(results, indent=1))
        write(results, options)


def is_done(run, options):
    """Tell whether a run need not be made again: it did not fail, and neither limit nor trees were lower."""
    note = "failed" if run is None else run["note"] or ""
    if note.startswith("failed") or (note.startswith("stopped") and options.limit > run["limit"]):
        return False
    return run.get("trees", 3) >= options.trees


def is_long(of_set, options):
    """Tell whether the first fit took so long that there are enough of them."""
    points = of_set["runs"]["slide 0"]["points"]
    n_done = sum(key.startswith("slide") for key in of_set["runs"])
    return not points or (points[0]["cpu_seconds"] > LONG and n_done >= options.seeds_of_long)


def note_versions(environment, cache, results):
    """Add the version of the peer of an environment to the results."""
    if ENVIRONMENTS[environment] is not None:
        python, _ = make_environment(environment, cache)
        found = versions(environment, python) if python else ""
        if found and found not in results["peers"]:
            results["peers"].append(found)


def write(results, options):
    """Write the page, or print it where only some rows were trained with."""
    text = page(results)
    print(text) if options.rows else benchmarking.write_page("kinds", text)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds a folder for each data set that is read")
    parser.add_argument("--data", nargs="+", metavar="NAME", choices=KINDS, help="default: all of kinds.py")
    parser.add_argument(
        "--peers", nargs="+", metavar="TEXT", help="only peers with such a TEXT in their name"
    )
    parser.add_argument("--seeds", type=int, default=3, help="fits of this classifier; default: %(default)s")
    parser.add_argument(
        "--seeds-of-long",
        type=int,
        default=3,
        help=f"fits where the first takes more than {LONG} CPU seconds; default: %(default)s",
    )
    parser.add_argument(
        "--trees", type=int, choices=(1, 3), default=3, help="of PECOS; with 1, no threshold is sought"
    )
    parser.add_argument(
        "--limit", type=float, default=600, help="seconds of a training; default: %(default)s"
    )
    memory = 0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parser.add_argument("--memory", type=float, default=memory, help="GiB; default: three quarters of all")
    cache = Path.home() / ".cache" / "sklearn_slide_benchmark"
    parser.add_argument("--cache", type=Path, default=cache, help="for environments; default: %(default)s")
    parser.add_argument("--rows", type=int, help="train with so many rows, and only print the page")
    parser.add_argument("--from-results", action="store_true", help="go on from kinds.json in the cache")
    parser.add_argument("--no-run", action="store_true", help="only write the page of the results")
    options = parser.parse_args()
    options.cache = options.cache.resolve()
    options.cache.mkdir(parents=True, exist_ok=True)
    options.data = options.data or list(KINDS)
    options.results = options.cache / ("kinds.json" if options.rows is None else f"kinds-{options.rows}.json")
    results = {"machine": benchmarking.machine(), "peers": [], "data": {}}
    if options.no_run or (options.from_results and options.results.exists()):
        results = json.loads(options.results.read_text())
    if options.no_run:
        write(results, options)
    else:
        run_all(options, results)


if __name__ == "__main__":
    main()
