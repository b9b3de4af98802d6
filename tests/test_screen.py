"""The small copy of the output layer, and how far scores by it are off, against matrix products."""

import numpy as np
import pytest
from helpers import callable_kernel
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_slide._core import screen, screening
from sklearn_slide._core.layers import Layer, Network
from sklearn_slide._core.matrices import float_rows, quantize
from sklearn_slide._core.rows import Rows


@pytest.mark.parametrize(("n_first", "n_axes"), [(3, 3), (3, 16), (6, 7), (128, 128)])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_screen_tells_how_far_it_is_off(n_first, n_axes, dtype, monkeypatch):
    monkeypatch.setattr(screen, "_N_FIRST", n_first)
    monkeypatch.setattr(screen, "_N_AXES", n_axes)
    monkeypatch.setattr(screen, "_LABELS_AT_ONCE", 50)
    score_first, measure_reach, slack_of = (
        callable_kernel(kernel)
        for kernel in (screening.score_first, screen.measure_reach, screening.slack_of)
    )
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((203, 17), dtype=np.float32) * rng.lognormal(size=(203, 1)).astype("f")
    weights[5] = 0
    stored = quantize(weights, 1) if dtype == "int8" else weights
    weights = float_rows(stored, 0, 203).astype(float)
    biases = rng.standard_normal((203, 1), dtype=np.float32)
    network, lengths = Network(None, None, Layer(stored, biases), None, None), np.ones(203, dtype="f")
    made = screen.make_screen(network, lengths, 2)
    axes, copies = made.axes.astype(float), float_rows(made.rounded, 0, 203).astype(float)
    n_axes, n_first = min(n_axes, 17), min(n_first, 17)
    assert axes.shape == (n_axes, 17)
    assert_allclose(axes @ axes.T, np.eye(n_axes), atol=1e-6)
    lengths_of_rows = np.linalg.norm(weights, axis=1)
    for n, rests in ((n_first, made.slacks[2]), (n_axes, made.slacks_of[:, 2])):
        left = np.linalg.norm(weights - weights @ axes[:n].T @ axes[:n], axis=1)
        assert (rests[:203] >= left).all()
        assert (rests[:203] <= left + 0.003 * lengths_of_rows).all()
    errors, scales = made.slacks_of[:, 0], made.rounded.scales
    assert (np.linalg.norm(weights @ axes.T - copies, axis=1) <= errors).all()
    assert (errors <= 0.02 * lengths_of_rows).all()
    assert_array_equal(made.slacks[:, :203], np.vstack([errors, lengths, made.slacks[2, :203]]))
    assert_array_equal(made.slacks_of[:, [1, 3]], np.column_stack([lengths, scales[:203]]))
    logits, reach = np.empty(256, dtype=np.float32), np.empty(4, dtype=np.float32)
    x = Rows(np.array([0, 2]), np.array([0, 1], dtype=np.int32), np.array([3, -40], dtype=np.float32))
    for h in rng.standard_normal((20, 17), dtype=np.float32):
        along = (axes @ h).astype(np.float32)
        score_first(along, made, logits)
        first = copies[:, :n_first] @ along[:n_first] + biases[:, 0]
        assert_allclose(logits[:203], first, rtol=1e-5, atol=1e-5)
        assert_array_equal(logits[203:], -np.inf)
        measure_reach(x, 0, h, along, n_first, reach)
        rests = [np.linalg.norm(h - axes[:n].T @ (axes[:n] @ h)) for n in (n_first, n_axes)]
        assert_allclose(reach, [np.linalg.norm(h), screen.ROUNDING * 43, *rests], rtol=1e-2, atol=0.01)
        assert (reach[2:] >= rests).all()
        slack = np.array([slack_of(np.uint64(y), made, screen.Shadow(along, reach)) for y in range(203)])
        slack_of_first = reach[:3] @ made.slacks[:, :203]
        scores = weights @ h + biases[:, 0]
        assert (np.abs(scores - first) <= slack_of_first).all()
        assert (np.abs(scores - copies @ along - biases[:, 0]) <= slack).all()


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_axes_are_those_of_a_singular_value_decomposition(shape):
    rows = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    axes = screen.principal_axes(rows)
    assert axes.shape == (6, shape[1])
    expected = np.linalg.svd(rows.astype(float), full_matrices=False)[2]
    assert_allclose(np.abs(axes @ expected.T), np.eye(6), atol=1e-5)
