"""Row updates against the reference and scikit-learn's Adam."""

import numpy as np
import pytest
import reference
from helpers import callable_kernel
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

from sklearn_slide._core import optimizers
from sklearn_slide._core.optimizers import SOLVERS

step_rows, step_and_sum_rows, mean_square = map(
    callable_kernel, (optimizers.step_rows, optimizers.step_and_sum_rows, optimizers.mean_square)
)


def step(state, values, row, scale, direction, rate):
    direction = direction.astype(np.float32)
    square = mean_square(direction, len(direction))
    rows, scales = np.array([row], dtype=np.int32), np.array([scale], dtype=np.float32)
    step_rows(state, values, rows, scales, 1, direction, square, np.float32(rate))


@pytest.mark.parametrize("solver", SOLVERS)
def test_agree_with_reference(solver):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 9)).astype(np.float32)
    state = SOLVERS[solver].start(values.shape, 0.2)
    expected = values.astype(np.float64)
    oracle = reference.SOLVERS[solver](values.shape, 0.05, np.float32(0.2))
    for _ in range(50):
        row, scale, direction = rng.integers(4), rng.normal(), rng.normal(size=9)
        step(state, values, row, scale, direction, 0.05)
        gradient = np.zeros(values.shape)
        gradient[row] = scale * direction
        oracle.step(expected, gradient)
    assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


def test_adam_of_a_row_in_constant_use_is_scikit_learns():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(1, 6)).astype(np.float32)
    state = SOLVERS["adam"].start(values.shape, 0.0)
    expected = [values[0].astype(np.float64)]
    oracle = AdamOptimizer(expected, learning_rate_init=0.01)
    for _ in range(20):
        gradient = rng.normal(size=6)
        step(state, values, 0, 1.0, gradient, 0.01)
        oracle.update_params(expected, [gradient])
    assert_allclose(values[0], expected[0], rtol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("scale", "size"), [(0.0, 1.0), (1.0, 0.0)])
def test_a_gradient_of_zero_changes_nothing(solver, scale, size):
    values = np.ones((2, 3), dtype=np.float32)
    state = SOLVERS[solver].start(values.shape, 0.0)
    step(state, values, 1, scale, np.full(3, size), 0.1)
    assert_array_equal(values, 1)
    for array in state:
        assert_array_equal(array, 0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_only_the_row_is_touched(solver):
    values = np.ones((3, 2), dtype=np.float32)
    state = SOLVERS[solver].start(values.shape, 0.1)
    before = [array.copy() for array in state]
    step(state, values, 1, 1.0, np.array([1.0, -2.0]), 0.1)
    assert_array_equal(values[[0, 2]], 1)
    assert (values[1] != 1).all()
    for array, old in zip(state, before, strict=True):
        assert_array_equal(array[[0, 2]], old[[0, 2]])
        assert (array[1] != old[1]).all()


def test_adam_of_tiny_gradients_agrees_with_reference():
    # epsilon, as large as the gradients, is added to the root of the corrected second moment
    values = np.zeros((1, 4), dtype=np.float32)
    state = SOLVERS["adam"].start(values.shape, 0.0)
    expected, oracle = np.zeros((1, 4)), reference.SOLVERS["adam"]((1, 4), 0.01, 0.0)
    for _ in range(3):
        gradient = np.array([1e-8, -2e-8, 5e-9, 1e-7])
        step(state, values, 0, 1.0, gradient, 0.01)
        oracle.step(expected, gradient[np.newaxis])
    assert_allclose(values, expected, rtol=1e-4)


def test_only_the_first_rows_are_stepped():
    values = np.ones((3, 2), dtype=np.float32)
    state = SOLVERS["adagrad"].start(values.shape, 0.0)
    rows, scales = np.array([2, 0, 1], dtype=np.int32), np.ones(3, dtype=np.float32)
    step_rows(state, values, rows, scales, 2, np.ones(2, np.float32), np.float32(1), np.float32(0.25))
    assert_allclose(values[:, 0], [0.75, 1, 0.75])


@pytest.mark.parametrize("solver", SOLVERS)
def test_rows_step_together_as_one_by_one(solver):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 9)).astype(np.float32)
    expected = values.copy()
    state, same = (SOLVERS[solver].start(values.shape, 0.2) for _ in range(2))
    for n in (1, 3, 2, 4, 2):  # rows have had different numbers of steps
        rows, scales = rng.permutation(4)[:n].astype(np.int32), rng.normal(size=n).astype(np.float32)
        direction = rng.normal(size=9).astype(np.float32)
        step_rows(state, values, rows, scales, n, direction, mean_square(direction, 9), np.float32(0.05))
        for row, scale in zip(rows, scales, strict=True):
            step(same, expected, row, scale, direction, 0.05)
    assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n", [0, 1, 2, 5, 6])
def test_rows_are_summed_before_they_step(solver, n):
    rng = np.random.default_rng(0)
    values, rows = rng.normal(size=(8, 9)).astype(np.float32), rng.permutation(8).astype(np.int32)
    scales, direction = rng.normal(size=8).astype(np.float32), rng.normal(size=9).astype(np.float32)
    scales[2] = 0.0  # a row that does not count
    expected, total = values.copy(), np.full(12, 7, dtype=np.float32)
    state, same = (SOLVERS[solver].start(values.shape, 0.2) for _ in range(2))
    sums = scales[:n] @ values[rows[:n]]
    rate = np.float32(0.05)
    step_and_sum_rows(state, values, rows, scales, n, direction, total, rate)
    step_rows(same, expected, rows, scales, n, direction, mean_square(direction, 9), rate)
    assert_allclose(total, [*sums, 7, 7, 7], rtol=1e-5, atol=1e-6)
    assert_allclose(values, expected, rtol=1e-5)
    for one, two in zip(state, same, strict=True):
        assert_allclose(one, two, rtol=1e-6)


def test_mean_square_of_the_first_numbers():
    vector = np.array([3, -1, 2, 100], dtype=np.float32)
    assert_allclose(mean_square(vector, 3), 14 / 3, rtol=1e-6)
    assert mean_square(vector, 0) == 0


def test_direct_weights_step_by_the_accumulator_of_their_label():
    adagrad = SOLVERS["adagrad"].start((3, 2), 0.0)
    adagrad.sums[:] = 4, 9, 16
    adam = SOLVERS["adam"].start((3, 2), 0.0)
    direct_factor = callable_kernel(optimizers.direct_factor)
    assert_allclose(direct_factor(adagrad, 1, np.float32(6)), 2)
    assert_allclose(direct_factor(adam, 1, np.float32(6)), 6)
