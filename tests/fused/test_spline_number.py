"""The inverse of a spline number by number in Python, against the formula."""

import pytest
import torch

import pushforward as pf
from pushforward.fused.spline_number import solve
from pushforward.numerics import spline
from pushforward.testing import randomize

BOUND, FLOOR = 5.0, 0.15


@pytest.mark.parametrize("bins", [2, 3, 8])
@pytest.mark.parametrize("spread", [0.0, 1.0, 10.0])
def test_equals_the_formula(bins, spread):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(50, generator=generator, dtype=torch.float64) * 3
    y[:3] = torch.tensor([-BOUND, BOUND, 7.0])
    params = torch.randn(3 * bins - 1, 50, generator=generator, dtype=torch.float64) * spread
    expected, _ = spline.rational_quadratic(y, params, BOUND, True, FLOOR)
    found = [solve(*point, BOUND, FLOOR) for point in zip(y.tolist(), params.t().tolist(), strict=True)]
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, rtol=1e-9, atol=1e-9)


def test_a_nan_stays_in_its_own_number():
    nan = float("nan")
    assert torch.tensor(solve(nan, [0.0] * 5, BOUND, FLOOR)).isnan()
    assert torch.tensor(solve(0.3, [nan] * 5, BOUND, FLOOR)).isnan()


def test_few_draws_are_those_of_the_formulas():
    flow = randomize(pf.nsf(5, layers=2, hidden=(16,)))
    few = flow.sample((3,), generator=torch.Generator().manual_seed(1))
    with pf.plain():
        expected = flow.sample((3,), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(few, expected, rtol=1e-4, atol=1e-4)
