"""Remove the choices that differ from the published SLIDE one at a time, and try the published settings.

``python examples/benchmark_ablation.py FOLDER`` writes docs/benchmarks/ablation.rst; ``--quick`` tries it on
few samples and only prints the page. See benchmark_choices.py.
"""

from contextlib import ExitStack
from unittest.mock import patch

from benchmark_choices import (
    COMMON_HEADER,
    EPOCHS,
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
from benchmarking import machine, rst_table, write_page

from sklearn_slide import LSH, _first_weights
from sklearn_slide._core.losses import Sigmoid

DEFAULTS, SEED = "the defaults", "another seed"
PUBLISHED = {
    "activation": "relu",
    "loss": "softmax",
    "solver": "adam",
    "learning_rate": "constant",
    "learning_rate_init": 1e-4,
    "direct_limit": 0,
    "init": "random",
    "negatives": {"lsh": 1.0},
    "lsh": LSH("dwta", rehash_interval=6400),
}
# what is set where there is no parameter, and what has it
CONSTANTS = {"OUTPUT_ACCUMULATOR": _first_weights, "first_bias": Sigmoid}
# name: (parameters, CONSTANTS)
CHANGES = {
    DEFAULTS: ({}, {}),
    SEED: ({"random_state": 1}, {}),
    'solver="adam", learning_rate_init=1e-3': ({"solver": "adam", "learning_rate_init": 1e-3}, {}),
    "accumulators of the output layer from 1e-6": ({}, {"OUTPUT_ACCUMULATOR": 1e-6}),
    "biases of the output layer from 0": ({}, {"first_bias": 0.0}),
    'init="random"': ({"init": "random"}, {}),
    "direct_limit=0": ({"direct_limit": 0}, {}),
    'activation="relu"': ({"activation": "relu"}, {}),
    'loss="softmax"': ({"loss": "softmax"}, {}),
    'lsh=LSH("dwta")': ({"lsh": LSH("dwta")}, {}),
    'negatives={"lsh": 1.0}': ({"negatives": {"lsh": 1.0}}, {}),
    'learning_rate="constant"': ({"learning_rate": "constant"}, {}),
    "lsh=LSH(rehash_growth=1.0)": ({"lsh": LSH(rehash_growth=1.0)}, {}),
}
PUBLISHED_RUNS = {
    "published": PUBLISHED,
    "published, learning_rate_init=1e-3": {**PUBLISHED, "learning_rate_init": 1e-3},
}
CHANGES |= {name: (one, {}) for name, one in PUBLISHED_RUNS.items()}

PAGE = """
One choice removed at a time
============================

What the defaults owe to each choice in which they differ from the published SLIDE (Chen et al., 2020,
arXiv:1903.03129): ``SlideClassifier(({n_units},), max_iter=...)``, two threads, with one parameter
changed at a time: {n_epochs}.
The first biases and the starting value of Adagrad are no parameters: for these rows the benchmark sets
``OUTPUT_ACCUMULATOR`` in ``_first_weights.py`` and ``Sigmoid.first_bias`` in ``_core/losses.py``.
Updates after each sample, and not after a batch, cannot be switched off. Learning rates were not searched
anew for a changed setting: with a better one the loss of accuracy may be smaller.

{judged}

{text}

{tables}
The published settings
----------------------

As far as the parameters can express them:

.. code-block:: python

   from sklearn_slide import LSH, SlideClassifier

   published = dict(
{code}
   )
   model = SlideClassifier(
       hidden_layer_sizes=(128,), max_iter=6, n_jobs=-1, **published
   )

In the tables they have {n_units} units, as the other rows, and twice the epochs.
``LSH("simhash")`` has the other family in the publication; the interval of 6400 samples stands for 50
batches of 128. What cannot be expressed: updates by the gradient of a batch (here Adam steps after each
sample, and its bias correction counts the steps of each row by itself), and buckets of a fixed size that
keep the newest labels or a random part (here a bucket keeps all its labels, and ``bucket_size`` of them are
read).

{machine}

Made by ``python examples/benchmark_ablation.py FOLDER``.
"""


def n_epochs(name, change):
    return EPOCHS[name] * (2 if change in PUBLISHED_RUNS else 1)


def measure_all(data):
    """Return {data set: {change: figures}}; the data sets take turns."""
    found = {name: {} for name in data}
    for change, (settings, changed) in CHANGES.items():
        for name, one in data.items():
            with ExitStack() as patches:
                for constant, value in changed.items():
                    patches.enter_context(patch.object(CONSTANTS[constant], constant, value))
                found[name][change] = measure(one, {"max_iter": n_epochs(name, change), **settings})
            report(name, change, figures=found[name][change])
    return found


def difference(figures, base):
    """Return the mean difference of P@1 in points, and its standard error over the held-out rows."""
    paired = 100 * (figures["hits"].astype(float) - base["hits"])
    return paired.mean(), paired.std(ddof=1) / len(paired) ** 0.5


def explain(found):
    """Sort the changes by what they do to P@1, against noise of two standard errors."""
    lines = []
    for name, of_set in found.items():
        sorts = {"Lower": [], "Higher": [], "Within noise": []}
        for change in CHANGES:
            if change in (DEFAULTS, SEED, *PUBLISHED_RUNS):
                continue
            points, error = difference(of_set[change], of_set[DEFAULTS])
            sort = "Within noise" if abs(points) <= 2 * error else "Lower" if points < 0 else "Higher"
            sorts[sort].append((points, f"``{change}``" if "=" in change else change))
        told = []
        for sort, changes in sorts.items():
            listed = ", ".join(f"{change} ({points:+.1f})" for points, change in sorted(changes))
            told.append(f"{sort}: {listed or 'none'}")
        seed = difference(of_set[SEED], of_set[DEFAULTS])[0]
        lines.append(
            f"*{name}*, P@1 against the defaults in points, where noise is two standard errors of the "
            f"difference on the same held-out rows. {'; '.join(told)}. Another seed: {seed:+.1f}."
        )
        best = max(PUBLISHED_RUNS, key=lambda run: of_set[run]["P@1"])
        one, base = of_set[best], of_set[DEFAULTS]
        lines.append(
            f"Of the published settings on {name}, ``{best}`` is the best, with a P@1 of {one['P@1']:.1f} in "
            f"{one['cpu']:.1f} s of CPU time; the defaults have {base['P@1']:.1f} "
            f"in {base['cpu']:.1f} s."
        )
    return lines


def page(data, found):
    tables = []
    for name, of_set in found.items():
        rows = []
        for change, one in of_set.items():
            points, error = difference(one, of_set[DEFAULTS])
            against = "" if change == DEFAULTS else f"{points:+.1f} ± {error:.1f}"
            shown = f"``{change}``" if "=" in change else change
            rows.append(
                [shown, *precision_cells([one]), against, f"{one['scored']:.0f}", *common_cells([one])]
            )
        header = ["changed", *PRECISIONS, "P@1 against the defaults", "scored", *COMMON_HEADER]
        note = "± is the standard error of the difference over the held-out rows; one seed."
        tables.append(f"{name}\n{'-' * len(name)}\n\n{note}\n\n{rst_table(header, rows)}")
    lines = explain(found) + busy_sentence([one for of_set in found.values() for one in of_set.values()])
    return PAGE.format(
        n_units=N_UNITS,
        n_epochs=", ".join(f"{name} with max_iter={EPOCHS[name]}" for name in data),
        judged=paragraphs([judged_sentence(data)]),
        text=paragraphs(lines),
        tables="\n".join(tables),
        code="\n".join(f"       {key}={value!r},".replace("'", '"') for key, value in PUBLISHED.items()),
        machine=machine(),
    )


def main():
    options = make_parser(__doc__).parse_args()
    data = load_data(options)
    compile_kernels([settings for settings, _ in CHANGES.values()])
    text = page(data, measure_all(data))
    print(text) if options.quick else write_page("ablation", text)


if __name__ == "__main__":
    main()
