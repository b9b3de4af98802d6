"""Compare the sources of negatives at equal active size: LSH, uniform, by frequency, all labels.

``python examples/benchmark_sampling.py FOLDER`` writes docs/benchmarks/sampling.rst and its picture;
``--quick`` tries it on few samples and only prints the page. See benchmark_choices.py.
"""

import tempfile
from pathlib import Path
from statistics import fmean, stdev

from benchmark_choices import (
    COMMON_HEADER,
    FEWER,
    MANY,
    N_UNITS,
    PRECISIONS,
    busy_sentence,
    common_cells,
    compile_kernels,
    judged_sentence,
    load_data,
    make_parser,
    measure,
    paragraphs,
    precision_cells,
    report,
)
from benchmarking import DOCS, machine, rst_table, write_page

from sklearn_slide import LSH
from sklearn_slide._core.hashing import auto_hash_length

SEEDS = {FEWER: 5, MANY: 1}

ALONE = {"negatives": {"lsh": 1.0}}
SIMHASH, UNIFORM, FREQUENCY, MIX, FULL = (
    "LSH, simhash",
    "uniform",
    "by frequency",
    "default mix",
    "every label",
)
SOURCES = {
    SIMHASH: ALONE,
    "LSH, dwta": {"lsh": LSH("dwta"), **ALONE},
    "LSH, wta": {"lsh": LSH("wta"), **ALONE},
    "LSH, minhash": {"lsh": LSH("minhash"), **ALONE},
    UNIFORM: {"negatives": {"uniform": 1.0}},
    FREQUENCY: {"negatives": {"frequency": 1.0}},
    MIX: {},
    FULL: {"n_active": None},
}
STARTS = {
    "the defaults": {},
    'init="random"': {"init": "random"},
    "direct_limit=0": {"direct_limit": 0},
    'direct_limit=0, init="random"': {"direct_limit": 0, "init": "random"},
}
SIZE = 200
AIM = 5.0  # points of P@1 by which LSH alone should be above uniform


def table_settings(n_labels):
    """Return what is tried of tables and schedules: {what it is: LSH}."""
    auto = max(3, auto_hash_length("simhash", n_labels))
    tried = [{}, {"n_tables": 20}, {"n_tables": 100}]
    tried += [{"hash_length": auto + more} for more in (-2, 2, 4)]
    tried += [{"hash_length": auto + 4, "n_tables": 100}, {"selection": "top_k"}, {"selection": "threshold"}]
    tried += [
        {"rehash_interval": 5000, "rehash_growth": 1.0},
        {"rehash_growth": 1.0},
        {"rehash_interval": 10**9},
    ]
    names = [", ".join(f"{key}={value!r}" for key, value in one.items()) for one in tried]
    return {name or "the defaults": LSH(**one) for name, one in zip(names, tried, strict=True)}


def plan(name, n_labels):
    """List the runs on a data set: (kind, source or settings' name, n_active, settings, seed)."""
    runs = []
    for seed in range(SEEDS[name]):
        for n_active in (50, 200, 500, 2000):
            for source, settings in SOURCES.items():
                rare = source.startswith("LSH") and source != SIMHASH
                if source == FULL:
                    affordable = name == FEWER and n_active == 50 and seed == 0
                elif n_active == 2000:
                    affordable = source in (SIMHASH, UNIFORM) + (MIX,) * (name == FEWER) and seed == 0
                else:
                    affordable = not rare or n_active == SIZE
                if affordable:
                    runs.append(("source", source, n_active, settings, seed))
    if name == MANY:
        for start, settings in list(STARTS.items())[1:]:
            for source in (SIMHASH, UNIFORM):
                runs.append((start, source, SIZE, {**SOURCES[source], **settings}, 0))
        for tried, lsh in list(table_settings(n_labels).items())[1:]:
            runs.append(("tables", tried, SIZE, {"lsh": lsh, **ALONE}, 0))
    return runs


def measure_all(data):
    """Return {data set: {(kind, source, n_active): [figures for each seed]}}; the data sets take turns."""
    plans = {name: plan(name, one.Y.shape[1]) for name, one in data.items()}
    turns = [(i / len(runs), name, run) for name, runs in plans.items() for i, run in enumerate(runs)]
    found = {name: {} for name in data}
    for _, name, (kind, source, n_active, settings, seed) in sorted(turns, key=lambda turn: turn[:2]):
        settings = {"n_active": n_active, "max_iter": 1, "random_state": seed, **settings}
        figures = measure(data[name], settings)
        report(name, kind, source, n_active, figures=figures)
        found[name].setdefault((kind, source, n_active), []).append(figures)
    return found


def mean(runs, key="P@1"):
    return fmean(one[key] for one in runs)


def explain_aim(name, found):
    """Tell by how much LSH alone is above uniform, from each start, and whether the aim is met."""
    lines, rows = [], []
    for start in STARTS:
        kind = "source" if start == "the defaults" else start
        sizes = [
            size
            for size in (50, 200, 500, 2000)
            if (kind, SIMHASH, size) in found and (kind, UNIFORM, size) in found
        ]
        lsh, uniform = ([mean(found[kind, source, size]) for size in sizes] for source in (SIMHASH, UNIFORM))
        for size, of_lsh, of_uniform in zip(sizes, lsh, uniform, strict=True):
            gain = of_lsh - of_uniform
            rows.append(
                [f"``{start}``" if kind != "source" else start, size, f"{of_lsh:.1f}", f"{of_uniform:.1f}"]
            )
            rows[-1] += [f"{gain:+.1f}", "yes" if gain >= AIM else "no"]
    met = [row for row in rows if row[-1] == "yes"]
    by_default = [row for row in rows if row[0] == "the defaults"]
    n_met = sum(row[-1] == "yes" for row in by_default)
    verdict = "met" if n_met == len(by_default) else "missed" if n_met == 0 else "met in part"
    gains = [float(row[4]) for row in by_default]
    lines.append(
        f"**The aim is {verdict} with the defaults.** It is that LSH with no other source of negatives is "
        f"{AIM:.0f} points of P@1 above uniform sampling at equal active size on {name}. The difference is "
        f"{min(gains):+.1f} to {max(gains):+.1f} points, and reaches the aim at {n_met} of {len(by_default)} "
        f"sizes; over all starts of the table, in {len(met)} of {len(rows)} cases."
    )
    header = ["start", "n_active", "LSH", "uniform", "difference", "aim met"]
    return lines, rst_table(header, rows)


def explain_sources(name, found):
    """Return sentences on the sources at equal size and at equal time."""
    lines = []
    sources = {
        source: mean(found["source", source, SIZE]) for source in SOURCES if ("source", source, SIZE) in found
    }
    ranked = sorted(sources, key=sources.get, reverse=True)
    lines.append(
        f"*{name}*: at ``n_active={SIZE}`` the order by P@1 is "
        + ", ".join(f"{source} {sources[source]:.1f}" for source in ranked)
        + "."
    )
    if SEEDS[name] > 1:
        spread = max(stdev(one["P@1"] for one in found["source", source, SIZE]) for source in ranked)
        lines[-1] += f" The standard deviation over {SEEDS[name]} seeds is {spread:.1f} at most."
    if ("source", FULL, 50) in found:
        full, best = found["source", FULL, 50], found["source", MIX, 500]
        lines[-1] += (
            f" Scoring every label gives {mean(full):.1f} in {mean(full, 'cpu'):.0f} s of CPU time, the "
            f"default mix with ``n_active=500`` {mean(best):.1f} in {mean(best, 'cpu'):.1f} s."
        )
    size = max(size for kind, source, size in found if (kind, source) == ("source", UNIFORM))
    uniform = found["source", UNIFORM, size]
    told = []
    for source in (SIMHASH, FREQUENCY, MIX):
        runs = [runs for key, runs in found.items() if key[:2] == ("source", source)]
        enough = [one for one in runs if mean(one) >= mean(uniform)]
        if enough:
            one = min(enough, key=lambda one: mean(one, "cpu"))
            told.append(
                f"{source} reaches it in {mean(one, 'cpu'):.1f} s ({mean(one):.1f}, "
                f"{mean(one, 'scored'):.0f} labels scored)"
            )
        else:
            told.append(f"{source} does not reach it at the sizes tried")
    lines.append(
        f"By time: uniform sampling of {size} labels has a P@1 of {mean(uniform):.1f} in "
        f"{mean(uniform, 'cpu'):.1f} s of CPU time. {'; '.join(told)}."
    )
    return lines


def explain_tables(found):
    """Return a sentence on the best of the tables' settings."""
    tried = {source: runs for (kind, source, _), runs in found.items() if kind == "tables"}
    base = found["source", SIMHASH, SIZE]
    best = max(tried, key=lambda name: mean(tried[name]))
    worst = min(tried, key=lambda name: mean(tried[name]))
    return [
        f"Of what was tried, ``{best}`` has the highest P@1, {mean(tried[best]):.1f} in "
        f"{mean(tried[best], 'cpu'):.1f} s of CPU time, and ``{worst}`` the lowest, "
        f"{mean(tried[worst]):.1f} in {mean(tried[worst], 'cpu'):.1f} s; the defaults have "
        f"{mean(base):.1f} in {mean(base, 'cpu'):.1f} s."
    ]


def draw(found, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    styles = {SIMHASH: "C0o-", "LSH, dwta": "C9s", "LSH, wta": "C4v", "LSH, minhash": "C6^"}
    styles |= {UNIFORM: "C1D--", FREQUENCY: "C2P--", MIX: "C3o-", FULL: "k*"}
    figure, panels = plt.subplots(
        len(found), 2, figsize=(10, 3.6 * len(found)), layout="constrained", squeeze=False
    )
    for name, (left, right) in zip(found, panels, strict=True):
        for source, style in styles.items():
            runs = [runs for key, runs in found[name].items() if key[:2] == ("source", source)]
            if not runs:
                continue
            heights = [mean(one) for one in runs]
            errors = [stdev(run["P@1"] for run in one) if len(one) > 1 else 0 for one in runs]
            for axes, key in ((left, "scored"), (right, "cpu")):
                places = [mean(one, key) for one in runs]
                axes.errorbar(
                    places, heights, errors, fmt=style, label=source, markersize=5, capsize=2, linewidth=1
                )
        left.set(title=name, xscale="log", xlabel="labels scored for a sample", ylabel="P@1 held out, %")
        right.set(title=name, xscale="log", xlabel="CPU seconds of fit")
        for axes in (left, right):
            axes.grid(alpha=0.3)
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(EngFormatter(sep="") if axes is left else "{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


PAGE = """
What LSH is worth
=================

One epoch of ``SlideClassifier(({n_units},))``, two threads, with the negatives from one source at a time, at
the same ``n_active``. All other parameters are the defaults, direct weights and a start from centroids among
them. *LSH* is ``negatives={{"lsh": 1.0}}`` with a hash family, *uniform* is ``negatives={{"uniform": 1.0}}``,
*by frequency* is ``negatives={{"frequency": 1.0}}``, and the *default mix* takes a part of its negatives from
each source. A label drawn twice counts once, so that fewer may be scored than asked for.

{judged}

.. image:: ../images/benchmark_sampling.png
   :alt: P@1 against the labels scored, and against CPU seconds, a line for each source of negatives

{text}

{tables}

{machine}

Made by ``python examples/benchmark_sampling.py FOLDER``.
"""


def source_table(found):
    rows = []
    for (kind, source, n_active), runs in sorted(found.items(), key=lambda item: item[0][2]):
        if kind == "source":
            asked = "all" if source == FULL else n_active
            rows.append(
                [source, asked, f"{mean(runs, 'scored'):.0f}", *precision_cells(runs), *common_cells(runs)]
            )
    return rst_table(["source", "n_active", "scored", *PRECISIONS, *COMMON_HEADER], rows)


def section(title, text):
    return f"{title}\n{'-' * len(title)}\n\n{text}"


def page(data, found):
    lines, sections = [], []
    if MANY in found:
        aim, table = explain_aim(MANY, found[MANY])
        lines += aim
        text = "LSH is simhash. P@1 in percent, from one seed.\n\n" + table
        sections.append(section(f"LSH alone and uniform, {MANY}", text))
    for name in found:
        lines += explain_sources(name, found[name])
        seeds = (
            f"Means of {SEEDS[name]} seeds, ± their standard deviation; single runs of"
            if SEEDS[name] > 1
            else ""
        )
        note = f"{seeds} 2000 labels and of every label.\n\n" if seeds else "One seed.\n\n"
        sections.append(section(f"All sources, {name}", note + source_table(found[name])))
    if MANY in found:
        lines += explain_tables(found[MANY])
        base = found[MANY]["source", SIMHASH, SIZE]
        rows = [["the defaults", *precision_cells(base), *common_cells(base)]]
        for (kind, tried, _), runs in found[MANY].items():
            if kind == "tables":
                rows.append([f"``{tried}``", *precision_cells(runs), *common_cells(runs)])
        note = (
            f"LSH alone, simhash, ``n_active={SIZE}``; what is changed are parameters of ``LSH``. "
            f"The automatic hash length is {auto_hash_length('simhash', data[MANY].Y.shape[1])}; a rehash "
            "interval of 1,000,000,000 samples builds the tables once, before training."
        )
        table = rst_table(["changed", *PRECISIONS, *COMMON_HEADER], rows)
        sections.append(
            section(f"Tables, hash length and rehash schedules, {MANY}", f"{paragraphs([note])}\n\n{table}")
        )
    lines += busy_sentence([one for of_set in found.values() for runs in of_set.values() for one in runs])
    return PAGE.format(
        n_units=N_UNITS,
        judged=paragraphs([judged_sentence(data)]),
        text=paragraphs(lines),
        tables="\n".join(sections).rstrip(),
        machine=machine(),
    )


def main():
    options = make_parser(__doc__).parse_args()
    data = load_data(options)
    tried = [*SOURCES.values(), *({"lsh": lsh, **ALONE} for lsh in table_settings(1000).values())]
    tried += [{**SOURCES[source], **start} for start in STARTS.values() for source in (SIMHASH, UNIFORM)]
    compile_kernels(tried)
    found = measure_all(data)
    with tempfile.TemporaryDirectory() as folder:
        draw(
            found, Path(folder) / "quick.png" if options.quick else DOCS / "images" / "benchmark_sampling.png"
        )
    text = page(data, found)
    print(text) if options.quick else write_page("sampling", text)


if __name__ == "__main__":
    main()
