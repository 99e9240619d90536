"""Draws of whole rows: as often as the rows hold a value."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import pushforward as pf

RNG = np.random.default_rng(0)
EARNED = np.where(RNG.random(300) < 0.6, 0.0, RNG.gamma(2.0, 9000.0, 300)).round(5)


def test_zeros_with_a_narrow_cell_on_their_bound_are_drawn() -> None:
    rows = pl.DataFrame({"earned": EARNED, "before": EARNED[::-1]})
    model = pf.TableDensity("gmm", queries=False).fit(rows)
    assert model.schema.columns[0].kind.step == 1e-5
    drawn = model.sample(2000)
    for name in rows.columns:
        assert (drawn[name] == 0).mean() == pytest.approx((rows[name] == 0).mean(), abs=0.08)
