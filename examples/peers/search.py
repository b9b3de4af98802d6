"""Choose the settings of the peers on held-out training rows."""

import json

import benchmarking
from peers.catalogue import ALL, PEERS
from peers.driver import RANKS, SETTINGS, Runner, with_fixed

PAGE = """
Settings of the peers
=====================

How the settings with which :doc:`time_to_accuracy` trains the peers were chosen. A tenth of the training
rows, or at most 10,000 (``numpy.random.RandomState(7).permutation``), were held out, and each peer was
trained on the others. The search begins with the first row of a table; each further row changes one or two
settings of the best so far, and is kept where the mean of P@1, P@3 and P@5 of its best point is higher.
That point also gives the number of epochs. Trees were compared one at a time, and are up to three in the
benchmark. No test row was looked at.

What does not stand in a table is fixed in ``examples/peers/catalogue.py``; the chosen settings are in
``examples/peers/settings.json``. A data set without a table of a peer takes the settings of the one before
it.

Held-out parts are small: one standard error of P@1 is 2.2 points on bibtex, 1.3 on delicious, 0.6 on
debian-deps-min2 and 0.5 on wordnet-related. The seconds only serve to see what is slow: other work went on.

``python examples/benchmark_time_to_accuracy.py FOLDER --search`` writes this page. {machine}.
"""


def quality(point):
    """Return what the search maximises: the mean of P@1, P@3 and P@5."""
    return sum(point[f"P@{k}"] for k in RANKS) / len(RANKS)


def search(options, peers):
    """Try the choices of the peers on the data sets; write settings.json and the page of the settings."""
    path = options.cache / "search.json"
    log = json.loads(path.read_text()) if path.exists() else {}
    for name in options.data:
        runner = None
        for peer in peers:
            if name not in peer.searched or not peer.choices:
                continue
            runner = runner or Runner(options, name, held_out=True)
            chosen, trials = try_choices(runner, peer, name)
            log.setdefault(name, {})[peer.name] = trials
            path.write_text(json.dumps(log, indent=1))
            if chosen:
                settings = json.loads(SETTINGS.read_text())
                settings.setdefault(peer.name, {})[name] = chosen
                write_settings(settings)
    write_page(log, options)


def try_choices(runner, peer, name):
    """Return the best settings, with the epochs of the best point, and what is known of each trial."""
    base, chosen, best_quality, trials = {}, None, float("-inf"), []
    for change in peer.choices:
        settings = {**base, **change}
        print(f"{name}, {peer.name}: {describe(settings)}", flush=True)
        points, note = runner.run(peer, {**with_fixed(peer, name, settings), **peer.search_with})
        best = max(points, key=quality, default=None)
        kept = best is not None and quality(best) > best_quality
        if kept:
            base, best_quality, chosen = settings, quality(best), {**settings, **best["at"]}
        elif not base:
            base = settings
        trials.append({"change": describe(change), "note": note, "best": best, "kept": kept})
    return chosen, trials


def describe(settings):
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def write_settings(settings):
    """Write settings.json with a line for each peer and data set."""
    blocks = []
    for peer in (peer.name for peer in PEERS if peer.name in settings):
        known = (name for name in ALL if name in settings[peer])
        lines = (f"    {json.dumps(name)}: {json.dumps(settings[peer][name])}" for name in known)
        blocks.append(f"  {json.dumps(peer)}: {{\n" + ",\n".join(lines) + "\n  }")
    SETTINGS.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


def write_page(log, options):
    text = PAGE.format(machine=benchmarking.machine())
    for name in (name for name in benchmarking.DATA_SETS if name in log):
        text += f"\n{name}\n{'-' * len(name)}\n"
        for peer in (peer.name for peer in PEERS if peer.name in log[name]):
            rows = [table_row(trial) for trial in log[name][peer]]
            header = ["settings", "P@1 / P@3 / P@5", "best point", "seconds", "kept", "note"]
            text += f"\n**{peer}**\n\n" + benchmarking.rst_table(header, rows)
    benchmarking.write_page("settings", text)


def table_row(trial):
    best, kept = trial["best"], "yes" if trial["kept"] else "no"
    if best is None:
        return [trial["change"], "", "", "", kept, trial["note"]]
    values = " / ".join(f"{best[f'P@{k}']:.1f}" for k in RANKS)
    return [trial["change"], values, best["point"], f"{best['seconds']:.3g}", kept, trial["note"] or ""]
