"""Fitted tables as ONNX: rows that no fit saw have the same log-densities in onnxruntime, from raw columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # onnxruntime's own, at its import
for library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library, reason=f"{library} is not installed")

SIZES: dict[str, Any] = {"layers": 1, "hidden": (8,), "steps": 5, "queries": False, "relations": "none"}


class Years(pf.Quantity):
    """Amounts in text."""

    @staticmethod
    def parse(values: pl.Series) -> pl.Series:
        return values.str.strip_suffix(" y").cast(pl.Float64, strict=False)

    @staticmethod
    def format(numbers: pl.Series) -> pl.Series:
        return numbers.cast(pl.String) + " y"


def rows(n: int, seed: int) -> pl.DataFrame:
    """Whole, spiked, heavy, few, named, true and missing cells; a column has the name of a value in the graph."""
    random = np.random.default_rng(seed)
    paid = np.where(random.random(n) < 0.4, 0.0, random.gamma(2.0, size=n))
    return pl.DataFrame(
        {
            "mul_1": np.where(random.random(n) < 0.1, np.nan, paid),
            "rooms": random.poisson(3, n),
            "colour": [*random.choice(["red", "blue", "pale green", None], n, p=[0.5, 0.3, 0.15, 0.05])],
            "gain": random.standard_cauchy(n),
            "sold": random.random(n) < 0.3,
            "day": pl.Series(random.integers(0, 20_000, n)).cast(pl.Date),
            "age": np.where(random.random(n) < 0.1, np.nan, random.integers(18, 80, n)),
            "shape": [*random.choice(["round", "square"], n)],
        },
        schema_overrides={"colour": pl.String, "shape": pl.String},
        nan_to_null=True,
    )


def fed(column: pl.Series) -> Any:
    """A column as onnxruntime takes it: text, truth values, or float64."""
    if column.dtype == pl.String:
        return column.fill_null("").to_numpy().astype(object)
    return column.to_numpy() if column.dtype == pl.Boolean else column.to_physical().cast(pl.Float64).to_numpy()


def run(path: Path, frame: pl.DataFrame) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert {each.name for each in session.get_inputs()} == {*frame.columns}
    return session.run(["log_density"], {column.name: fed(column) for column in frame})[0]


@pytest.mark.slow
def test_rows_that_no_fit_saw_have_the_same_log_densities(tmp_path: Path) -> None:
    model = pf.TableDensity("maf", given=["age", "shape"], **SIZES).fit(rows(400, 0))
    path, new = pf.export(model, tmp_path / "table.onnx"), rows(200, 1)
    odd = new.drop_nulls()[:6].with_columns(
        pl.Series("mul_1", [0.0, -0.0, 1.5, 99.0, 0.0, 0.2]),
        pl.Series("rooms", [3, 3, 40, 12, 1, -1]),
        pl.Series("gain", [0.0, -1e-9, 1e30, -5.0, 1e4, -1e12]),
        pl.Series("colour", ["red", "grey", "blue", "red", None, "red"]),
        pl.Series("age", [None, 30, 31, 200, 17, 40]),
        pl.Series("shape", ["round", "square", "oval", "round", "round", "square"]),
    )
    for table in (new.filter(new["mul_1"].is_not_null()), odd, odd[:1]):
        np.testing.assert_allclose(run(path, table), model.score_samples(table), rtol=1e-5, atol=1e-5)
    for holes in (new.filter(new["mul_1"].is_null()), odd.with_columns(gain=np.inf)):
        assert np.isnan(run(path, holes)).all()  # to be integrated out
    assert np.isnan(model.score_samples(odd)).tolist() == [False, False, True, False, False, False]


def test_what_has_no_tensor_form_is_refused(tmp_path: Path) -> None:
    table = rows(100, 0).select("rooms", (pl.col("day").to_physical().cast(pl.String) + " y").alias("age"))
    model = pf.TableDensity("maf", kinds={"age": Years}, **SIZES).fit(table)
    with pytest.raises(InputError, match="Years"):
        pf.export(model, tmp_path / "table.onnx")
    model = pf.TableDensity("iaf", **SIZES).fit({"x": np.random.default_rng(0).normal(size=100)})
    with pytest.raises(ValueError, match="many steps"):
        pf.export(model, tmp_path / "table.onnx")
    assert list(tmp_path.iterdir()) == []
