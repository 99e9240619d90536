"""Where numbers may lie, and which intervals of the density stand for values."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pushforward.tables.schema.kinds.base import Hints
from pushforward.tables.schema.kinds.circle import Periodic
from pushforward.tables.schema.kinds.grid import Grid, Spikes
from pushforward.tables.schema.kinds.numeric import Number, Numeric

RNG = np.random.default_rng(0)
AMOUNT = np.where(RNG.random(400) < 0.3, 0.0, RNG.gamma(2.0, size=400))


def kind_of(kind: type[Numeric], values: np.ndarray, **hints: tuple[float, float]) -> Numeric:
    found = kind.fits(pl.Series(values), Hints(**hints))
    assert found is not None
    return found


KINDS = {
    "spike": kind_of(Spikes, AMOUNT),
    "counts": kind_of(Grid, RNG.poisson(1.0, 400).astype(float)),
    "cents": kind_of(Grid, np.where(RNG.random(400) < 0.5, 0.0, 20_000 * AMOUNT).round(2)),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_the_whole_cell_of_a_value_on_a_bound_may_be_drawn(kind: Numeric) -> None:
    low, width = (part[0] for part in kind.cells_of(np.array([0.0])))
    limits = kind.limits(1.0)
    assert limits[0] == pytest.approx(low, abs=1e-4)
    assert limits[0] < low + 0.01 * width
    assert low + width < limits[1]


def test_few_values_that_leave_a_grid_empty_are_no_scale() -> None:
    dollars = RNG.integers(40, 90, 600) / 100
    single = (dollars.astype(np.float32) * np.float32(100)).astype(float).round(6)  # 57.999998 for 58
    years = np.where(RNG.random(600) < 0.1, 9.94, RNG.integers(0, 18, 600))
    for values in (single, years):
        kind = kind_of(Spikes, values)
        assert Grid.fits(pl.Series(values), Hints()) is None
        assert {value for value, _, _ in kind.atoms} == {*values}
    for values in (100 * dollars, np.where(RNG.random(600) < 0.5, 0, RNG.integers(0, 9_000, 600)), dollars.round(1)):
        assert Grid.fits(pl.Series(values), Hints()) is not None
    assert Grid.fits(pl.Series(np.repeat([0, 700.0, 1501.0], 50)), Hints(day=1.0)) is not None


def test_no_training_row_is_far() -> None:
    x = np.exp(RNG.normal(0.0, 4.0, 400))
    share, near = x / (1 + x), 5 + 1e-12 + x - x.min()  # so near that a millionth of it is nothing
    cases = ((x, {}), (share, {"bounds": (0.0, 1.0)}), (near, {"bounds": (5.0, 1e6)}))
    for kind, values in ((kind_of(Number, values, **said), values) for values, said in cases):
        low, high = kind.limits(1.0)
        assert kind.bounds is not None
        assert kind.bounds[0] < low < values.min()
        assert values.max() < high


def test_ranges_are_unions_of_cells() -> None:
    counts = kind_of(Grid, RNG.poisson(9.0, 400).astype(float))
    assert counts.between(3, 5).tolist() == [[2.5], [5.5]]
    assert counts.between(3.2, 3.8).size == 0
    fine = Grid.of(np.array([88.0, 139.0]), step=1e-6, origin=88.0, decimals=6)
    for value in np.round(88 + 1e-6 * np.arange(31_000_000, 31_000_100), 6):  # rounded as ends are, to 1e-14
        assert fine.between(value, value).ravel().tolist() == pytest.approx([value - 5e-7, value + 5e-7], abs=1e-8)
    amounts = kind_of(Spikes, AMOUNT)
    (value, _, _), *_ = amounts.atoms
    assert value == 0.0
    assert amounts.between(0, 0).ravel().tolist() == pytest.approx([-np.inf, 0.0])
    assert amounts.between(0, 1).ravel().tolist() == pytest.approx([-np.inf, 1.0])
    assert amounts.between(0.5, 1).ravel().tolist() == pytest.approx([0.5, 1.0])
    plain = kind_of(Number, RNG.normal(size=400))
    assert plain.between(-1.0, np.inf).ravel().tolist() == [-1.0, np.inf]
    hours = kind_of(Periodic, RNG.uniform(0, 24, 400), period=(0.0, 24.0))
    assert hours.between(22, 3).tolist() == [[0.0, 22.0], [3.0, 24.0]]


def test_what_is_between_reads_back_as_a_value_in_the_range() -> None:
    for kind in (kind_of(Spikes, AMOUNT), kind_of(Grid, RNG.poisson(4.0, 400).astype(float))):
        x = RNG.uniform(-0.4, 6, 2000)
        low, high = kind.between(1, 3)
        inside = ((x[:, None] > low) & (x[:, None] < high)).any(1)
        values = kind.snap(x)
        assert ((values >= 1) & (values <= 3) == inside).mean() > 0.999


@pytest.mark.parametrize("n", [2, 10, 17, 33, 100, 200])
def test_a_few_rows_at_an_end_make_no_end_of_draws_however_few_there_are(n: int) -> None:
    x = np.linspace(3.0, 5.0, n)
    for more in (0, 1, 8):
        assert Number.of(np.append(x, np.full(more, 5.0))).limits(1.0) == (1.0, 7.0)
    assert Number.of(np.append(x, np.full(9, 5.0))).limits(1.0) == (1.0, 5.0)
    assert Number(minimum=3.0, maximum=5.0).limits(1.0) == (1.0, 7.0)


def test_draws_end_where_ten_rows_do_and_hardly_any_fresh_row_lies_beyond() -> None:
    rng, beyond = np.random.default_rng(7), []
    for _ in range(100):
        rows, fresh = rng.poisson(9.0, 60).astype(float), rng.poisson(9.0, 600)
        low, high = kind_of(Grid, rows).limits(1.0)
        beyond.append(((fresh < low) | (fresh > high)).mean())
    assert 60 * np.mean(beyond) < 0.1  # .4 if ends that two of the rows share are those of draws
    rows, fresh = np.minimum(rng.exponential(size=(2, 2000)), 5.0)
    assert 10 <= (rows == 5).sum() < 20
    assert Number.of(rows).limits(1.0)[1] == fresh.max() == 5.0


def test_what_is_snapped_stays_where_it_is():
    x = np.random.default_rng(0).gamma(3, 300, 900).round(1)
    kind = Spikes.of(np.append(x, x[:300].round()), decimals=1, atoms=((120.0, -0.12, 0.24), (130.5, -0.1, 0.2)))
    drawn = kind.snap(np.linspace(110, 140, 3001))
    np.testing.assert_array_equal(kind.snap(drawn), drawn)


def test_numbers_are_written_with_the_decimals_of_nearly_all() -> None:
    heap, x = 2.53080628409411, RNG.normal(5.0, 1.0, 600).round(3)
    fresh = RNG.normal(5.0, 1.0, 100)
    few = np.where(np.arange(600) < 3, heap + np.arange(600), x)
    assert {*kind_of(Number, few).write(fresh)} == {*fresh.round(3)}
    divided = np.where(np.arange(600) % 5, x, np.nextafter(x, 0.0))  # by what no binary number is
    assert {*kind_of(Number, divided).write(fresh)} == {*fresh.round(3)}
    for moved in (-10, 0, 10):  # at either end, or among the others
        values = np.where(np.arange(600) % 2, heap, (x + moved).round(3))
        kind = kind_of(Spikes, values)
        assert kind.decimals == 3
        assert heap in kind.snap(kind.middles(values))
        assert {*kind.snap(values[values != heap]).round(3)} <= {*values.round(3)}
        np.testing.assert_array_equal(kind.snap(np.full(5, heap)), heap)
