"""Row updates against the reference and scikit-learn's Adam."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

from sklearn_slide._optimizers import SOLVERS, Solver, make_weights, mean_square, update_rows


def apply(weights, row, scale, direction, solver, rate):
    direction = direction.astype(np.float32)
    square = mean_square(direction, len(direction))
    rows, scales = np.array([row], dtype=np.int32), np.array([scale], dtype=np.float32)
    update_rows(weights, rows, scales, 1, direction, square, Solver(SOLVERS[solver], np.float32(rate)))


@pytest.mark.parametrize("solver", SOLVERS)
def test_agree_with_reference(solver):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 9)).astype(np.float32)
    weights = make_weights(values.copy(), solver, 0.2)
    expected = values.astype(np.float64)
    oracle = reference.SOLVERS[solver](values.shape, 0.05, np.float32(0.2))
    for _ in range(50):
        row, scale, direction = rng.integers(4), rng.normal(), rng.normal(size=9)
        apply(weights, row, scale, direction, solver, 0.05)
        gradient = np.zeros(values.shape)
        gradient[row] = scale * direction
        oracle.step(expected, gradient)
    assert_allclose(weights.values, expected, rtol=1e-4, atol=1e-5)


def test_adam_of_a_row_in_constant_use_is_scikit_learns():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(1, 6)).astype(np.float32)
    weights = make_weights(values.copy(), "adam", 0.0)
    expected = [values[0].astype(np.float64)]
    oracle = AdamOptimizer(expected, learning_rate_init=0.01)
    for _ in range(20):
        gradient = rng.normal(size=6)
        apply(weights, 0, 1.0, gradient, "adam", 0.01)
        oracle.update_params(expected, [gradient])
    assert_allclose(weights.values[0], expected[0], rtol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("scale", "size"), [(0.0, 1.0), (1.0, 0.0)])
def test_a_gradient_of_zero_changes_nothing(solver, scale, size):
    weights = make_weights(np.ones((2, 3), dtype=np.float32), solver, 0.0)
    apply(weights, 1, scale, np.full(3, size), solver, 0.1)
    assert_array_equal(weights.values, 1)
    assert_array_equal(weights.steps, 0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_only_the_row_is_touched(solver):
    weights = make_weights(np.ones((3, 2), dtype=np.float32), solver, 0.1)
    before = weights.steps.copy()
    apply(weights, 1, 1.0, np.array([1.0, -2.0]), solver, 0.1)
    assert_array_equal(weights.values[[0, 2]], 1)
    assert (weights.values[1] != 1).all()
    assert_array_equal(weights.steps[[0, 2]], before[[0, 2]])
