"""Regions of highest density: their share of rows not seen, their shape, their volume, and what they refuse."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

import pushforward as pf
from pushforward.errors import InputError


def table(rows: int, seed: int) -> pl.DataFrame:
    """Two normal numbers around (0, 0) or (6, 6), and the name of the place, which is missing now and then."""
    rng = np.random.default_rng(seed)
    place = rng.choice(["near", "far"], rows, p=[0.6, 0.4])
    x, y = rng.normal(size=(2, rows)) + 6.0 * (place == "far")
    return pl.DataFrame({"place": place, "x": x, "y": y}).with_columns(
        place=pl.when(pl.Series(rng.random(rows) > 0.05)).then("place")
    )


FRESH = table(2000, 1)


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity("maf", layers=1, hidden=(24,), steps=150, lr=0.02).fit(table(1500, 0))


@pytest.fixture(scope="module")
def mixture() -> pf.TableDensity:
    return pf.TableDensity("gmm").fit(table(1500, 0).select("x", "y"))


@pytest.fixture
def _by_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels are calibrated by fewer rows, each of which takes draws, and these by fewer draws of what is missing."""
    monkeypatch.setattr("pushforward.tables.queries.known.CALIBRATED", 40)
    monkeypatch.setattr("pushforward.tables.queries.query.most_draws.__defaults__", (32, 512, 60_000))


@pytest.mark.parametrize("given", [None, "x"])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_regions_hold_their_level_on_rows_not_seen(given: str | None, level: float, mixture: pf.TableDensity) -> None:
    rows = FRESH[:300]
    region = mixture.region(["x", "y"] if given is None else "y", given and rows.select(given), level)
    assert region.holds(rows).mean() == pytest.approx(level, abs=0.1)  # calibrated by 150 rows
    assert region.threshold.shape == (1 if given is None else 300,)


@pytest.mark.slow
@pytest.mark.usefixtures("_by_few_rows")
def test_a_region_is_where_the_density_is_high() -> None:
    normal = pl.DataFrame(dict(zip("xy", np.random.default_rng(0).normal(size=(2, 1000)), strict=True)))
    model = pf.TableDensity("gmm").fit(normal)
    region = model.region(["x", "y"], level=0.9)
    radius = -2 * np.log(1 - region.probability)  # of a normal distribution in the plane, squared
    assert region.volume == pytest.approx(np.pi * radius, rel=0.15)
    assert repr(region).startswith("HighestDensityRegion(level=0.9, probability=0.")  # not the whole model
    inside, log_density = region.holds(normal), model.score_samples(normal)
    assert (log_density[inside] >= region.threshold).all()
    assert (log_density[~inside] < region.threshold).all()
    assert model.region(["x", "y"], level=0.5).volume < region.volume
    part = model.region("y", {"x": (0, 1)}, level=0.9)  # independent of x
    away = torch.special.ndtri(torch.tensor(0.5 + 0.5 * part.probability))
    assert part.volume == pytest.approx(2 * float(away), rel=0.15)


@pytest.mark.slow
@pytest.mark.usefixtures("_by_few_rows")
def test_regions_given_names_hold_their_level_too(model: pf.TableDensity) -> None:
    rows = FRESH.filter(pl.col("place") == "near")
    assert model.region(["x", "y"], {"place": "near"}, 0.9).holds(rows).mean() == pytest.approx(0.9, abs=0.1)
    assert model.region("x", rows.select("place").head(5), 0.9).threshold.shape == (5,)


def test_every_given_row_has_its_own_region(mixture: pf.TableDensity) -> None:
    rows = [{"x": 0.0}, {"x": 3.0}, {"x": 6.0}]  # beside the first and the last, y has one place; between, two
    found = mixture.region("y", pl.DataFrame(rows))
    each = [mixture.region("y", row) for row in rows]
    np.testing.assert_allclose(found.volume, [one.volume[0] for one in each], rtol=0.1)
    assert found.volume[1] > 1.3 * found.volume[0]
    truth = 2 * float(torch.special.ndtri(torch.tensor(0.5 + 0.5 * found.probability)))
    assert found.volume[[0, 2]] == pytest.approx(truth, rel=0.15)


@pytest.mark.usefixtures("_by_few_rows")
def test_of_names_the_likeliest_are_enough(model: pf.TableDensity) -> None:
    assert model.region("place", level=0.5).holds({"place": ["near", "far"]}).tolist() == [True, False]


@pytest.mark.usefixtures("_by_few_rows")
def test_two_places_are_two_parts(model: pf.TableDensity) -> None:
    region = model.region(["x", "y"])
    assert region.holds({"x": [0.0, 6.0, 3.0, np.nan], "y": [0.0, 6.0, 3.0, 0.0]}).tolist() == [
        True,
        True,
        False,
        False,
    ]
    given = model.region(["x", "y"], {"place": "far"})
    assert given.holds({"x": [0.0, 6.0], "y": [0.0, 6.0]}).tolist() == [False, True]
    assert given.volume < region.volume


@pytest.mark.slow
def test_few_held_out_rows_are_said() -> None:
    small = pf.TableDensity("gmm").fit(table(60, 0).drop_nulls().drop("place"))
    region = small.region("x", level=0.99)
    assert region.probability == 0.99
    assert any("held-out" in note for note in small.notes_)
    found = small.predict(FRESH[:3], "y", "interval", level=0.99)
    assert (found["low"] < found["high"]).all()


def test_bad_arguments_are_refused(model: pf.TableDensity, mixture: pf.TableDensity) -> None:
    for ask, argument in (
        (lambda: model.region(["nothing"]), "columns"),
        (lambda: model.region(["x"], {"x": 1.0}), "columns"),
        (lambda: model.region(["x", "y", "x"]), "columns"),
        (lambda: model.region(["x"], "x > y"), "given"),
        (lambda: model.region(["x"], level=1.5), "level"),
        (lambda: mixture.region(["x"], FRESH.select("y")[:2]).holds(FRESH[:3]), "table"),
        (lambda: mixture.region(["x"]).holds(FRESH.select("y")), None),
    ):
        with pytest.raises(InputError) as error:
            ask()
        assert error.value.argument == argument


@pytest.mark.slow
@pytest.mark.usefixtures("_by_few_rows")
@pytest.mark.parametrize("at_random", [True, False])
def test_volumes_are_of_values_however_often_they_are_missing(at_random: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 800))
    gone = rng.random(800) < (0.5 if at_random else torch.from_numpy(4 * x).sigmoid().numpy())
    rows = pl.DataFrame({"x": x, "y": y}).with_columns(y=pl.when(pl.Series(~gone)).then("y"))
    model = pf.TableDensity("maf", layers=1, hidden=(16,), steps=60, lr=0.02).fit(rows)
    line = pl.DataFrame({"y": np.linspace(-8, 8, 401)})
    for given in (None, pl.DataFrame({"x": [0.0]})):
        region = model.region("y", given, level=0.5)
        assert region.volume == pytest.approx(0.04 * region.holds(line).sum(), rel=0.25)


def test_a_region_of_no_column_is_refused(mixture: pf.TableDensity) -> None:
    with pytest.raises(InputError, match="columns"):
        mixture.region([])
