"""A kind of column that a user wrote: every verb works with it, the server too, as with those that are built in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.errors import InputError
from pushforward.tables.schema.kinds.base import Description, Hints

ROWS = 300
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, kw_only=True)
class Kilograms(pf.Quantity):
    """Weights with their unit: ``1.5 kg``, ``800 g``."""

    @staticmethod
    def parse(values: pl.Series) -> pl.Series:
        parts = values.str.extract_groups(r"^([\d.]+) (k?)g$")
        number = parts.struct.field("1").cast(pl.Float64)
        return (number * (parts.struct.field("2") == "k").cast(pl.Float64).replace(0.0, 0.001)).round(9)

    @staticmethod
    def format(numbers: pl.Series) -> pl.Series:
        return numbers.round(3).cast(pl.String) + " kg"


@dataclass(frozen=True, kw_only=True)
class Weekday(pf.Kind):
    """Days of the week, whatever their case, in their order and each with a probability."""

    labels: tuple[str, ...] = DAYS  # type: ignore[assignment]
    contents = "names"

    @classmethod
    def fits(cls, values: pl.Series, hints: Hints) -> Self | None:
        return cls() if values.drop_nulls().str.to_titlecase().is_in(DAYS).all() else None

    def read(self, values: pl.Series) -> Any:
        places = {day: float(place) for place, day in enumerate(DAYS)}
        return values.str.to_titlecase().replace_strict(places, default=-1.0).to_numpy()

    def write(self, numbers: Any) -> pl.Series:
        return pl.Series(DAYS).gather(pl.Series(numbers.astype(int)))

    def describe(self) -> Description:
        return Description("day of the week")


def table() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    size = rng.gamma(3.0, 1.0, ROWS)
    weight = Kilograms.format(pl.Series(size * rng.lognormal(0, 0.1, ROWS)))
    return pl.DataFrame({"weight": weight, "size": size, "day": rng.choice(DAYS, ROWS)})


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    kinds = {"weight": Kilograms, "day": Weekday()}
    return pf.TableDensity("maf", layers=2, hidden=(16,), steps=60, random_state=0, kinds=kinds).fit(table())


def test_scores_are_of_the_amount_however_it_is_written(model: pf.TableDensity) -> None:
    rows = pl.DataFrame({"weight": ["1.5 kg", "1500 g"], "size": [1.5, 1.5], "day": ["Mon", "mon"]})
    scores = model.score_samples(rows)
    assert np.isfinite(scores[0])
    assert scores[0] == scores[1]
    assert model.score_samples(rows.drop("weight"))[0] > model.score_samples(rows)[0] - 20


def test_draws_holes_explanations_outliers_and_reports(model: pf.TableDensity, tmp_path: Path) -> None:
    drawn = model.sample(50)
    assert drawn["weight"].str.ends_with(" kg").all()
    assert drawn["day"].is_in(DAYS).all()
    filled = model.impute(table().head(4).with_columns(weight=pl.lit(None, pl.String)))
    assert Kilograms.parse(filled["weight"]).null_count() == 0
    odd = pl.DataFrame({"weight": ["900 kg"], "size": [1.0], "day": ["Mon"]})
    told = model.explain(odd)
    assert told["unlikely_because"][0] == "weight"
    assert Kilograms.parse(told["would_fit"])[0] < 100
    assert model.outliers(pl.concat([odd, table()]), level=0.1)["row"][0] == 1
    model.report(tmp_path / "report.html")
    assert "day of the week" in (tmp_path / "report.html").read_text()


def test_it_is_saved_by_its_fields_and_found_by_its_class(model: pf.TableDensity, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    again = pf.TableDensity.load(tmp_path / "model")
    assert again.schema == model.schema
    np.testing.assert_allclose(again.score_samples(table()), model.score_samples(table()))
    config = tmp_path / "model" / "config.json"
    schema = json.loads(config.read_text())["extra"]["schema"]
    assert schema["columns"][0]["kind"]["type"].endswith("Kilograms")


def test_values_that_it_cannot_read_are_refused(model: pf.TableDensity) -> None:
    with pytest.raises(InputError, match="'heavy'") as caught:
        model.score_samples({"weight": ["1 kg", "heavy"], "size": [1.0, 1.0], "day": ["Mon", "Tue"]})
    assert "row 2" in str(caught.value)
    for kind in (Weekday, 3, int):
        with pytest.raises(InputError) as raised:
            pf.TableDensity("maf", steps=1, kinds={"weight": kind}).fit(table())
        assert raised.value.argument == "kinds"


def test_the_server_and_its_form_know_it(model: pf.TableDensity) -> None:
    pytest.importorskip("starlette")
    from pushforward.serving.columns import RowType
    from pushforward.serving.verbs import ScoreRequest, scores

    row = RowType(model.schema)
    request = ScoreRequest.of(row, 10)
    rows = request.model_validate_json(json.dumps({"rows": [{"weight": "2 kg", "size": 2.0, "day": "Tue"}]})).rows
    found = scores(model, row.frame(rows), [])
    assert found[0].log_density == pytest.approx(model.score_samples(row.frame(rows))[0])
    with pytest.raises(ValueError, match="weight"):
        request.model_validate_json(json.dumps({"rows": [{"weight": "much"}]}))
    column = row.cells["weight"].info
    assert (column["contents"], column["expected"][:12]) == ("text", "text such as")
    assert all(value.endswith(" kg") for value in column["categories"])


def test_it_can_be_given(tmp_path: Path) -> None:
    options = {"steps": 20, "queries": False, "kinds": {"weight": Kilograms}, "given": ["weight"]}
    model = pf.TableDensity("maf", layers=1, **options).fit(table())
    rows = pl.DataFrame({"weight": ["1.5 kg", "1500 g"], "size": [1.5, 1.5], "day": ["Mon", "Mon"]})
    scores = model.score_samples(rows)
    assert scores[0] == scores[1]
    assert model.sample(2, given={"weight": "2 kg"})["weight"].to_list() == ["2.0 kg"] * 2  # as it is written
