"""Patience against a plain search, and what is printed of epochs."""

import numpy as np
import pytest

from sklearn_slide import _progress
from sklearn_slide._epochs import Patience
from sklearn_slide._progress import Progress, RowProgress


def last_epoch(values, tol, n_iter_no_change):
    """Return the number of the epoch after which patience is spent, or None."""
    for epoch in range(len(values)):
        recent = range(epoch - n_iter_no_change + 1, epoch + 1)
        if recent[0] > 0 and all(values[e] > min(values[:e]) - tol for e in recent):
            return epoch
    return None


@pytest.mark.parametrize("n_iter_no_change", [1, 2, 3])
@pytest.mark.parametrize("tol", [0, 0.1, 1])
def test_patience(tol, n_iter_no_change):
    rng = np.random.default_rng(0)
    ends = []
    for _ in range(200):
        values = rng.integers(0, 40, size=12) / 8 - 0.15 * np.arange(12)
        patience, end = Patience(tol, n_iter_no_change), None
        for epoch, value in enumerate(values):
            if patience.is_spent(value):
                end = epoch
                break
        assert end == last_epoch(values, tol, n_iter_no_change)
        ends.append(end)
    assert len(set(ends)) > 3


def test_a_loss_that_falls_by_less_than_tol_each_time():
    patience = Patience(0.1, 3)
    assert [patience.is_spent(value) for value in (1.0, 0.95, 0.88, 0.82)] == [False, False, False, True]
    patience = Patience(0.1, 2)
    assert [patience.is_spent(value) for value in (1.0, 0.95, 0.8, 0.9)] == [False, False, False, False]


class Clock:
    """Tell the time that a test sets."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(_progress.time, "perf_counter", lambda: self.now)


def test_lines_of_epochs(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    progress = Progress(2, 1000, 3)
    clock.now = 2.0
    progress.add(200, 100.0, 800)
    assert capsys.readouterr().out == ""  # no five seconds yet
    clock.now = 10.0
    progress.add(300, 150.0, 1000)
    expected = "Epoch 1/3,  50%: loss = 0.500000, labels scored = 3.6, samples/s = 50, remaining = 50 s\n"
    assert capsys.readouterr().out == expected
    clock.now = 20.0
    progress.add(500, 50.0, 1000)
    assert capsys.readouterr().out == ""  # the end of the epoch has a line of its own
    progress.end_epoch()
    expected = "Epoch 1/3, 100%: loss = 0.300000, labels scored = 2.8, samples/s = 50, remaining = 40 s\n"
    assert capsys.readouterr().out == expected
    clock.now = 30.0
    progress.add(1000, 100.0, 1000)
    progress.end_epoch()
    expected = "Epoch 2/3, 100%: loss = 0.100000, labels scored = 1.0, samples/s = 100, remaining = 10 s\n"
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(("verbose", "n_lines"), [(0, 0), (False, 0), (1, 1), (True, 1), (2, 2)])
def test_how_much_is_printed(verbose, n_lines, monkeypatch, capsys):
    clock = Clock(monkeypatch)
    progress = Progress(verbose, 10, 1)
    for clock.now in (10.0, 20.0):
        progress.add(5, 1.0, 5)
    progress.end_epoch()
    assert capsys.readouterr().out.count("\n") == n_lines


def test_lines_of_predictions(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    progress = RowProgress(1, 100)
    for clock.now in (40.0, 44.0, 48.0, 52.0, 56.0):  # of which 40 seconds are compilation and a first round
        progress.add(20)
    assert capsys.readouterr().out.splitlines() == [
        "Predicted 60 of 100 samples, samples/s = 5, remaining = 8 s",
        "Predicted 100 of 100 samples, samples/s = 5, remaining = 0 s",
    ]
    silent = RowProgress(0, 100)
    for clock.now in (100.0, 200.0):
        silent.add(50)
    assert capsys.readouterr().out == ""
