"""Intervals and measurements in the payload of NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from pushforward.numerics.partly_known import (
    between,
    known_in_part,
    log_mass,
    measured,
    partly_known,
    parts_of,
    squeezed,
)

rng = np.random.default_rng(0)
LOW = rng.normal(size=500) * 10.0 ** rng.integers(-5, 8, 500)
HIGH = LOW + np.abs(LOW) * (0.01 + rng.random(500))


@pytest.mark.parametrize("ends", [(LOW, HIGH), (LOW, np.full(500, np.inf)), (np.full(500, -np.inf), HIGH)])
def test_intervals_are_kept_and_rounded_inwards(ends):
    low, high = ends
    x = torch.from_numpy(between(low, high))
    parts = parts_of(x)
    assert partly_known(x).all()
    assert known_in_part(x.numpy()).all()
    assert (parts.low.numpy() >= low).all()
    assert (parts.high.numpy() <= high).all()
    for kept, given in ((parts.low.numpy(), low), (parts.high.numpy(), high)):
        finite = np.isfinite(given)
        np.testing.assert_array_equal(kept[~finite], given[~finite])
        np.testing.assert_allclose(kept[finite], given[finite], rtol=1e-4)


def test_measurements_are_kept():
    parts = parts_of(torch.from_numpy(measured(LOW, np.abs(LOW) / 7)))
    np.testing.assert_allclose(parts.value, LOW, rtol=1e-6)
    np.testing.assert_allclose(parts.error, np.abs(LOW) / 7, rtol=2e-3)
    assert parts.low.isnan().all()
    np.testing.assert_array_equal(measured(LOW, np.zeros(500)), LOW)


def test_numbers_and_missing_values_are_neither():
    x = np.array([0.0, 1.5, np.nan, -np.nan, np.inf, *between([-np.inf], [np.inf])])
    assert not known_in_part(x).any()
    assert not partly_known(torch.from_numpy(x)).any()
    assert all(part.isnan().all() for part in parts_of(torch.from_numpy(x)))
    assert between(np.array([3.0]), np.array([3.0]))[0] == 3


def test_they_survive_arithmetic_indexing_and_where():
    x = torch.from_numpy(between(LOW, HIGH))
    same = torch.where(x.isnan(), x + 0.5, 0.0)[torch.arange(500)].clone()
    assert (same.view(torch.int64) == x.view(torch.int64)).all()


def test_mass_and_draws_between_ends_in_both_tails():
    low, high = (torch.tensor(ends, dtype=torch.float64) for ends in ([-1, 5, -9, -40], [1, 6, -8, 40]))
    exact = [stats.norm.cdf(1) - stats.norm.cdf(-1), stats.norm.sf(5) - stats.norm.sf(6)]
    np.testing.assert_allclose(log_mass(low, high)[:2], np.log(exact), rtol=1e-10)
    assert log_mass(low, high)[3].abs() < 1e-12
    z = torch.linspace(-4, 4, 101, dtype=torch.float64)[:, None]
    drawn = squeezed(z, low, high)
    assert ((drawn >= low) & (drawn <= high)).all()
    assert (drawn.diff(dim=0) > 0).all()
    torch.testing.assert_close(drawn[:, 3:], z, rtol=1e-6, atol=1e-6)
