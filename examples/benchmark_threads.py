"""Train with one thread and with more: samples per second, CPU seconds, loss and precision.

``python examples/benchmark_threads.py FOLDER [--threads 1 2 ...]`` writes docs/benchmarks/threads.rst;
``--quick`` tries it on few samples and only prints the page. See benchmark_choices.py.
"""

from statistics import median

from benchmark_choices import (
    EPOCHS,
    N_UNITS,
    compile_kernels,
    judged_sentence,
    load_data,
    make_parser,
    measure,
    paragraphs,
    report,
)
from benchmarking import machine, rst_table, write_page

N_REPEATS = 3

PAGE = """
Threads
=======

``SlideClassifier(({n_units},), max_iter=..., n_jobs=...)``, otherwise with the defaults:
{n_epochs}.
Threads update the same weights without locks. Runs take turns; figures are medians of {n_repeats} runs with
different seeds, the same seeds for each number of threads. Samples per second are those of training, wall
time, without the set-up, which is the checking of the data, the direct weights and the first weights.

{judged}

{text}

{table}
On more cores
-------------

``n_jobs=-1`` is a thread for each processor. The same comparison for other numbers of threads:

.. code-block:: bash

   python examples/benchmark_threads.py FOLDER --threads 1 2 4 8 16

Give no more threads than there are cores. Training does not depend on the threads of
BLAS or OpenMP, which the benchmark holds at two.

{machine}

Made by ``python examples/benchmark_threads.py FOLDER{options}``.
"""
HEADER = ["data set", "threads", "samples/s", "training s", "fit s", "CPU s", "loss", "P@1", "P@3", "P@5"]
HEADER += ["PSP@1", "PSP@5", "model MB", "peak MB"]


def measure_all(data, threads):
    """Return {(data set, number of threads): [figures of each repeat]}."""
    found = {(name, n_threads): [] for name in data for n_threads in threads}
    for seed in range(N_REPEATS):
        for name, n_threads in found:
            settings = {"max_iter": EPOCHS[name], "n_jobs": n_threads, "random_state": seed}
            figures = measure(data[name], settings)
            report(name, "threads", n_threads, figures=figures)
            figures["rate"] = EPOCHS[name] * data[name].X.shape[0] / figures["training"]
            found[name, n_threads].append(figures)
    return found


def explain(data, found, threads):
    """Return the sentences that the figures allow, for each number of threads against the first."""
    lines = []
    for name in data:
        base = found[name, threads[0]]
        for n_threads in threads[1:]:
            runs = found[name, n_threads]

            def changes(key, runs=runs, base=base):
                return [one[key] - other[key] for one, other in zip(runs, base, strict=True)]

            rate, cpu = ratio(runs, base, "rate"), ratio(runs, base, "cpu")
            precision = changes("P@1")
            n_judged = data[name].X_held.shape[0]
            share = median(one["P@1"] for one in base) / 100
            error = 100 * (share * (1 - share) / n_judged) ** 0.5
            change = median(precision)
            loss = 100 * (ratio(runs, base, "loss") - 1)
            size = "less" if abs(change) < error else "no less"
            lines.append(
                f"*{name}*: {n_threads} threads train {rate:.2f} times as many samples per second as "
                f"{threads[0]}, and take {cpu:.2f} times the CPU time. P@1 changes by {change:+.2f} points "
                f"(median; {min(precision):+.2f} to {max(precision):+.2f}), {size} than its standard error "
                f"of {error:.1f} on the held-out rows, the loss by {loss:+.2f} %."
            )
            cores = median(one["cpu"] / one["wall"] for one in runs)
            if cores < 0.8 * n_threads:
                lines[-1] += (
                    f" The run had {cores:.1f} of {n_threads} cores: other work went on, or the set-up, "
                    "which mostly uses one core, weighs much."
                )
    return lines


def ratio(runs, base, key):
    return median(one[key] for one in runs) / median(one[key] for one in base)


def page(data, found, threads):
    rows = []
    for (name, n_threads), runs in found.items():
        middle = {key: median(one[key] for one in runs) for key in runs[0] if key != "hits"}
        cells = [f"{middle['rate']:,.0f}", *(f"{middle[key]:.1f}" for key in ("training", "wall", "cpu"))]
        cells += [
            f"{middle['loss']:.4f}",
            *(f"{middle[key]:.1f}" for key in ("P@1", "P@3", "P@5", "PSP@1", "PSP@5")),
        ]
        cells += [f"{middle[key] / 1e6:.0f}" for key in ("model", "peak")]
        rows.append([name, n_threads, *cells])
    return PAGE.format(
        n_units=N_UNITS,
        n_epochs=", ".join(f"{name} with max_iter={EPOCHS[name]}" for name in data),
        n_repeats=N_REPEATS,
        judged=paragraphs([judged_sentence(data)]),
        text=paragraphs(explain(data, found, threads)),
        table=rst_table(HEADER, rows),
        machine=machine(),
        options="" if threads == [1, 2] else " --threads " + " ".join(map(str, threads)),
    )


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="numbers of threads")
    options = parser.parse_args()
    data = load_data(options)
    compile_kernels([{}])
    found = measure_all(data, options.threads)
    text = page(data, found, options.threads)
    print(text) if options.quick else write_page("threads", text)


if __name__ == "__main__":
    main()
