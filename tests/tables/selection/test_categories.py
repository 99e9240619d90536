"""Categories of a table are learnt by themselves, for as long as they take, and stay as they are under the flow."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch

import pushforward as pf
from pushforward.models.console import Console
from pushforward.models.options import TrainingOptions
from pushforward.tables.io.read import read_any
from pushforward.tables.options import TableOptions
from pushforward.tables.prepare import prepare
from pushforward.tables.schema.learner import Learner
from pushforward.tables.selection.categories import RATE, categories_first, release, side_by_side
from pushforward.tables.selection.members import MemberOptions, Points, folds, others
from pushforward.tables.selection.one_flow import untrained
from pushforward.tables.splits import TableSplits

RNG = np.random.default_rng(0)
COLOURS, AGREE = 4, 0.9
COLOUR = RNG.integers(0, COLOURS, 2000)
SHADE = np.where(RNG.random(2000) < AGREE, COLOUR, RNG.integers(0, COLOURS, 2000))
TABLE = pl.DataFrame(
    {"colour": [f"c{k}" for k in COLOUR], "shade": [f"s{k}" for k in SHADE], "size": RNG.standard_normal(2000)}
)


@pytest.fixture(scope="module")
def small_fits() -> None:
    """Of networks as wide as they come: how much they learn in so many steps is the subject here."""


def split(table: pl.DataFrame) -> TableSplits:
    options = TableOptions(columns=table.columns)
    return prepare(read_any(table), Learner(options, "table", asked=False), Console(quiet=True))


def fresh(rows: TableSplits):
    return untrained(rows, TableOptions(layers=1, hidden=(16,)), "maf")


def test_categories_are_learnt_before_the_flow_and_held_fixed() -> None:
    rows = split(TABLE)
    flow = fresh(rows)
    training = categories_first(flow, rows, TrainingOptions(threads=1, budget=100.0))
    same = AGREE + (1 - AGREE) / COLOURS
    best = -math.log(COLOURS) + same * math.log(same) + (1 - same) * math.log((1 - same) / (COLOURS - 1))
    with torch.no_grad():
        assert flow.categories.log_prob(rows.train.x[:, flow.names_at].float()).mean() > best - 0.05
    assert not any(p.requires_grad for p in flow.categories.parameters())
    assert 90 <= training.budget < 100  # what is left for the flow
    release(flow)
    assert all(p.requires_grad for p in flow.parameters())


def test_categories_that_have_not_converged_go_on_with_the_flow() -> None:
    rows = split(TABLE)
    flow = fresh(rows)
    before = [p.clone() for p in flow.categories.parameters()]
    training = TrainingOptions(threads=1, steps=40)
    assert categories_first(flow, rows, training) == training
    assert all(p.requires_grad for p in flow.parameters())
    assert not all(torch.equal(*pair) for pair in zip(before, flow.categories.parameters(), strict=True))


def test_categories_with_unknown_codes_are_left_to_the_flow() -> None:
    rows = split(TABLE)
    flow = fresh(rows)
    before = [p.clone() for p in flow.categories.parameters()]
    rows.train.x[0, 0] = math.nan
    categories_first(flow, rows, TrainingOptions(steps=3))
    assert all(torch.equal(*pair) for pair in zip(before, flow.categories.parameters(), strict=True))


@pytest.mark.parametrize("length", [{"steps": 5}, {"budget": 0.02}])
def test_every_weight_can_be_trained_further(length: dict[str, float]) -> None:
    model = pf.TableDensity("maf", layers=1, hidden=(16,), queries=False, **length).fit(TABLE[:600])
    assert all(p.requires_grad for p in model.density.parameters())
    assert model.fit(TABLE[:600], more=0.1).summary_["training"]["steps"] > 0


@pytest.mark.slow
def test_all_shares_of_few_rows_take_as_many_steps_as_suit_them_together() -> None:
    """Alone, each stops where its few rows happen to be likeliest; the one that sees all rows has no say."""
    random = np.random.default_rng(1)
    which, wide = random.choice(3, 300, p=[0.3, 0.6, 0.1]), random.integers(0, 20, 300)
    rows = Points.of(torch.tensor(np.column_stack([wide, which == 0, which == 1])).float(), None, None)
    parts = folds(300, 4, 0)
    shares = [(rows, rows), *((rows[others(parts, k)], rows[fold]) for k, fold in enumerate(parts))]
    found = {}
    for together in (False, True):
        options = MemberOptions(steps=200, lr=RATE, decay=0.0, together=together)
        members, found[together] = side_by_side([20, 2, 2], shares, options, 0)
    assert len(set(found[True])) == 1 < len(set(found[False]))
    assert found[True][0] < found[False][0]  # its own rows would never stop it
    drawn = members[0].sample((2000,), generator=torch.Generator().manual_seed(0))
    assert (drawn[:, 1:] == 1).all(1).float().mean() < 0.05  # 0.18 if each flag came by itself


@pytest.mark.slow
def test_columns_that_nothing_tells_do_not_keep_others_from_being_learnt() -> None:
    """Which few rows lack a value is learnt by heart, in steps in which one column is learnt from another."""
    random = np.random.default_rng(0)
    gaps = random.random((240, 1)) < 0.02
    codes = np.column_stack([COLOUR[:240], SHADE[:240], gaps, gaps, random.random((240, 3)) < 0.02])
    rows = Points.of(torch.tensor(codes).float(), None, None)
    fresh = np.column_stack([COLOUR, SHADE, np.zeros((2000, 5))])[240:]
    parts = folds(240, 5, 0)
    shares = [(rows, rows), *((rows[others(parts, k)], rows[fold]) for k, fold in enumerate(parts))]
    options = MemberOptions(steps=160, lr=RATE, decay=0.0, together=True)
    (found, *_), _ = side_by_side([COLOURS, COLOURS, *[2] * 5], shares, options, 0)
    with torch.no_grad():
        each = -found.log_prob(torch.tensor(fresh).float(), by_column=True).mean(0)
    assert each[1] < 0.8  # 1.39 by frequencies, 0.44 at best
    assert each[2:].max() < 0.05
