"""Make the environments of the peers, run their scripts, and measure what these rank."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import venv
from pathlib import Path

import benchmarking
import numpy as np
from peers.catalogue import ALL, ENVIRONMENTS, PACKAGES

from sklearn_slide.metrics import label_propensities, precision_at_k, ps_precision_at_k

HERE = Path(__file__).resolve().parent
SETTINGS = HERE / "settings.json"
RANKS = (1, 3, 5)
MEASURES = [f"{measure}@{k}" for measure in ("P", "PSP") for k in RANKS]
MODULES = os.pathsep.join(str(folder) for folder in (HERE.parent, HERE.parents[1]))


def make_environment(name, cache):
    """Return the Python of an environment, made if need be, and None; or None and why there is none."""
    if ENVIRONMENTS[name] is None:
        return sys.executable, None
    folder = cache / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "installed"
    if not done.exists():
        print(f"installing {name}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        for line in ENVIRONMENTS[name]:
            command = [python, "-m", "pip", "install", "--quiet", *line.split()]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                errors = [text for text in result.stderr.splitlines() if text.startswith("ERROR")]
                return None, f"could not be installed: {(errors or ['pip failed'])[-1]}"
        done.touch()
    return str(python), None


def versions(name, python):
    """Return the versions of those packages of an environment that a page names."""
    code = f"import benchmarking; print(benchmarking.versions({PACKAGES[name]}))"
    environment = dict(os.environ, PYTHONPATH=MODULES)
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, env=environment
    ).stdout.strip()


def with_fixed(peer, name, settings):
    """Return the settings and what is fixed of a peer for a data set."""
    return {**peer.fixed.get("", {}), **settings, **peer.fixed.get(name, {})}


def chosen_settings(peer, name):
    """Return the settings of a peer for a data set: the fixed ones and those of settings.json."""
    chosen = json.loads(SETTINGS.read_text()).get(peer.like or peer.name, {})
    # a data set that was not searched takes the settings of the last one that was
    known = [other for other in ALL[: ALL.index(name) + 1] if other in chosen]
    if not known:
        raise SystemExit(f"{SETTINGS} has no settings of {peer.name!r} for {name}; run with --search first")
    settings = with_fixed(peer, name, chosen[known[-1]])
    return {**settings, **peer.fixed[""]} if peer.like else settings


class Runner:
    """Run peers on a data set, the true test rows or held-out training rows, and measure what they rank.

    Attributes
    ----------
    compile_seconds : float
        The longest time that the kernels of a peer took to be compiled before the clock started.
    """

    def __init__(self, options, name, held_out, unit_rows=True):
        self.options, self.name, self.held_out, self.unit_rows = options, name, held_out, unit_rows
        X, Y, _, self.Y_test = benchmarking.load(options.folder, name, held_out, unit_rows)
        self.shape = (*X.shape, Y.shape[1])
        self.propensities = label_propensities(Y)
        self.compile_seconds = 0

    def run(self, peer, settings):
        """Return the points of a peer's curve, and a note on what went wrong or None."""
        python, note = make_environment(peer.environment, self.options.cache)
        if python is None:
            return [], note
        points, notes = [], []
        with tempfile.TemporaryDirectory(dir=self.options.cache) as work:
            job = {"folder": str(self.options.folder.resolve()), "name": self.name, "held_out": self.held_out}
            job["unit_rows"] = self.unit_rows
            job.update(settings=settings, limit=self.options.limit, work=work)
            command = [python, str(HERE / peer.script), json.dumps(job)]
            environment = dict(os.environ, NUMBA_CACHE_DIR=str(self.options.cache / "numba"))
            environment["PYTHONPATH"] = MODULES
            errors = Path(work) / "errors"
            with errors.open("w") as file:
                process = subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=file, text=True, env=environment
                )
            watch = threading.Thread(target=self._limit_memory, args=(process, notes), daemon=True)
            watch.start()
            for line in process.stdout:
                answer = json.loads(line)
                if "labels" in answer:
                    points.append(self._measure(answer))
                self.compile_seconds = max(self.compile_seconds, answer.get("compile_seconds", 0))
                notes += [answer["skip"]] if "skip" in answer else []
            code = process.wait()
            watch.join()
            if code == -signal.SIGALRM:
                notes.append(f"stopped at the limit of {self.options.limit:.0f} s")
            elif code and not notes:
                lines = errors.read_text().strip().splitlines()
                notes.append(f"failed: {lines[-1] if lines else f'exit code {code}'}")
        if notes:
            print(f"    {notes[0]}", flush=True)
        return points, notes[0] if notes else None

    def _limit_memory(self, process, notes):
        """Kill the process, and note why, should it hold too much memory; watch it to its end."""
        limit = self.options.memory * 2**30
        statm = Path(f"/proc/{process.pid}/statm")
        while process.poll() is None and statm.exists():
            fields = statm.read_text().split()
            if len(fields) > 1 and int(fields[1]) * os.sysconf("SC_PAGE_SIZE") > limit:
                notes.append(f"took more than {self.options.memory:.0f} GiB of memory")
                process.kill()
            time.sleep(0.2)

    def _measure(self, answer):
        """Replace the file of labels in a point by the measures, in percent."""
        labels = np.load(answer.pop("labels"))
        for k in RANKS:
            answer[f"P@{k}"] = 100 * precision_at_k(self.Y_test, labels, k=k)
            answer[f"PSP@{k}"] = 100 * ps_precision_at_k(self.Y_test, labels, self.propensities, k=k)
        values = " ".join(f"{answer[measure]:6.2f}" for measure in MEASURES)
        print(f"    {answer['point']:20s}{answer['seconds']:9.2f} s  {values}", flush=True)
        return answer
