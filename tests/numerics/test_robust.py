"""Fits that a minority of wrong rows does not move."""

import numpy as np

from pushforward.numerics.robust import best_subsets, least_absolute


def test_a_third_of_wrong_rows_does_not_move_the_fit():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    y = x @ [1.0, -2.0, 0.0] + 3
    y[:100] += rng.exponential(50, 100)
    beta = least_absolute(np.column_stack([x, np.ones(300)]), y)
    assert np.allclose(beta, [1, -2, 0, 3], atol=1e-3)


def test_a_sum_with_slips_is_found_among_many_columns():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(200, 400))
    y = columns[107] - 3 * columns[4]
    y[::3] += rng.normal(size=134)
    chosen, beta = list(best_subsets(columns, y, 2))[-1]
    assert chosen == [4, 107]
    assert np.allclose(beta, [-3, 1, 0], atol=1e-6)


def test_a_sum_of_four_with_slips_is_found_among_many_columns():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(40, 600))
    y = columns[[3, 11, 20, 37]].sum(0) + np.where(rng.random(600) < 0.1, rng.normal(size=600), 0)
    chosen, beta = list(best_subsets(columns, y, 4))[-1]
    assert chosen == [3, 11, 20, 37]
    assert np.allclose(beta, [1, 1, 1, 1, 0], atol=1e-6)


def test_columns_that_tell_something_only_together_are_found_beside_a_wrong_row():
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(8, 500))
    columns[1] = columns[0] + 0.01 * rng.normal(size=500)  # whose difference is the target, correlated with neither
    y = 100 * (columns[0] - columns[1]) + 0.01 * rng.normal(size=500)
    columns[2] = y + 0.2 * rng.normal(size=500)
    columns[5] = np.arange(500) == 9  # constant in all rows but one
    y[7] = 2.9
    found = dict(zip((1, 2), best_subsets(columns, y, 2), strict=True))
    assert found[1][0] == [2]
    assert found[2][0] == [0, 1]
    assert np.allclose(found[2][1], [100, -100, 0], atol=0.5)
