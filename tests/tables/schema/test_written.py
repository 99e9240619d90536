"""Cells come back as they came, are told apart as they are, and are read by what was recorded at the fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import pushforward as pf

RNG = np.random.default_rng(0)
ROWS = 300
QUICK: dict[str, Any] = {"flow": "maf", "layers": 1, "hidden": (16,), "steps": 5, "queries": False, "random_state": 0}


def fitted(frame: Any, **options: Any) -> pf.TableDensity:
    return pf.TableDensity(**QUICK | options).fit(frame)


def scored(model: pf.TableDensity, name: str, values: Any) -> np.ndarray:
    return model.score_samples(pl.DataFrame({name: values}).with_columns(x=pl.lit(0.0)))


def test_draws_have_the_types_that_came() -> None:
    frame = pl.DataFrame(
        {
            "whole": RNG.integers(0, 500, ROWS),
            "small": pl.Series(RNG.integers(0, 90, ROWS), dtype=pl.Int16),
            "float": RNG.integers(0, 300, ROWS).astype(float),
            "single": RNG.normal(size=ROWS).astype(np.float32),
            "truth": RNG.random(ROWS) < 0.4,
            "few": RNG.integers(1, 4, ROWS),
            "halves": RNG.integers(1, 6, ROWS) / 2,
        }
    )
    holed = frame.with_columns(pl.when(pl.int_range(ROWS) % 9 > 0).then(pl.col("whole", "truth", "few")))
    assert fitted(frame).sample(20).schema == frame.schema
    assert fitted(holed).sample(20).schema == frame.schema
    nullable = holed.to_pandas().astype({"whole": "Int64", "truth": "boolean", "few": "Int64"})
    drawn = fitted(nullable).sample(100)
    assert drawn.dtypes[["whole", "truth", "few"]].astype(str).tolist() == ["Int64", "boolean", "Int64"]
    some = (
        frame.with_columns(name=pl.int_range(ROWS).mod(3).cast(pl.String))
        .to_pandas()
        .astype({"few": "Int64", "halves": "Float64"})
    )
    for came in (some, some.convert_dtypes(dtype_backend="pyarrow")):
        assert fitted(came).sample(20).dtypes.to_dict() == came.dtypes.to_dict()


@pytest.mark.parametrize("decimals", [1, 2, 4])
def test_draws_have_as_many_decimals_though_most_values_are_distinct(decimals: int) -> None:
    bills = RNG.gamma(3.0, 8.0, ROWS).round(decimals) + 10.0**-decimals
    shares = (RNG.beta(0.5, 0.5, ROWS) * 0.98 + 0.01).round(decimals)
    frame = pl.DataFrame({"bill": bills.round(decimals), "share": shares, "real": RNG.normal(size=ROWS)})
    model = fitted(frame, bounds={"share": (0, 1)} if shares.min() > 0 and shares.max() < 1 else {})
    drawn = model.sample(500)
    for name in ("bill", "share"):
        assert (drawn[name].round(decimals) == drawn[name]).all()
    assert (drawn["real"].round(9) != drawn["real"]).any()
    assert np.isfinite(model.score_samples(drawn)).all()


def test_long_whole_codes_are_told_apart() -> None:
    codes = 1_000_000_000 + RNG.integers(1, 6, ROWS)
    frame = pl.DataFrame({"code": codes, "x": RNG.normal(size=ROWS)})
    for options in ({}, {"categories": ["code"]}):
        model = fitted(frame, **options)
        assert set(model.sample(300)["code"]) <= set(codes.tolist())
        found = scored(model, "code", [1_000_000_001, 1_000_000_002])
        assert np.isfinite(found).all()
        assert found[0] != found[1]
        assert scored(model, "code", [999_999_000])[0] == -np.inf or options == {}
    single = pl.DataFrame({"n": (1_000_000 + RNG.integers(0, 5000, ROWS)).astype(np.float32), "x": frame["x"]})
    assert fitted(single).schema.columns[0].describe().kind == "integer"


def test_names_that_look_like_numbers_are_read_as_names_whatever_stands_beside_them() -> None:
    text = pl.DataFrame({"code": RNG.choice(["007", "012", "A9"], ROWS), "x": RNG.normal(size=ROWS)})
    model = fitted(text)
    assert scored(model, "code", [7, 12]).tolist() == scored(model, "code", ["007", "012"]).tolist()
    numbers = fitted(text.with_columns(code=pl.Series(RNG.choice([7, 12], ROWS))))
    alone, beside = scored(numbers, "code", ["007"])[0], scored(numbers, "code", ["007", "A9"])
    assert alone == scored(numbers, "code", [7])[0] == beside[0]
    assert beside[1] == -np.inf


def test_numbers_that_begin_with_zeros_are_written_with_them() -> None:
    """Families 001 to 204, one of which was divided."""
    text = [f"{number:03d}" for number in RNG.integers(1, 100, ROWS)]
    table = pl.DataFrame({"family": ["136A", *text[1:]], "x": RNG.normal(size=ROWS)})
    drawn = fitted(table, numbers=["family"]).sample(50, random_state=0)["family"].drop_nulls()
    assert drawn.str.contains(r"^\d\d\d$").all()
    assert drawn.str.starts_with("0").any()


def test_truth_values_may_be_written_as_0_and_1() -> None:
    model = fitted(pl.DataFrame({"b": RNG.random(ROWS) < 0.3, "x": RNG.normal(size=ROWS)}))
    expected = scored(model, "b", [False, True]).tolist()
    assert np.isfinite(expected).all()
    for written in ([0, 1], [0.0, 1.0], ["False", "True"], ["0", "1"]):
        assert scored(model, "b", written).tolist() == expected
    numbers = fitted(pl.DataFrame({"b": RNG.integers(0, 2, ROWS), "x": RNG.normal(size=ROWS)}))
    assert scored(numbers, "b", [False, True]).tolist() == scored(numbers, "b", [0, 1]).tolist()


def test_zero_has_no_sign() -> None:
    for values in (RNG.integers(-20, 20, ROWS).astype(float), RNG.integers(-1, 2, ROWS) / 2, RNG.normal(size=ROWS)):
        model = fitted(pl.DataFrame({"a": values, "x": RNG.normal(size=ROWS)}))
        found = scored(model, "a", [0.0, -0.0])
        assert found[0] == found[1]
        assert not np.signbit(model.sample(500)["a"].to_numpy()[model.sample(500)["a"].to_numpy() == 0]).any()


def test_rows_of_weight_0_decide_nothing() -> None:
    frame = pl.DataFrame({"a": RNG.normal(size=ROWS), "k": RNG.choice(["u", "v"], ROWS)})
    odd = pl.DataFrame({"a": [1e9, -1e12, None], "k": ["never", "u", None]})
    weights = np.append(np.ones(ROWS), np.zeros(3))
    model = pf.TableDensity(**QUICK).fit(pl.concat([frame, odd]), sample_weight=weights)
    number, name = model.schema.columns
    assert number.kind.ends[1] < 10
    assert name.kind.labels == ("u", "v")
    assert (number.holes.share, name.holes.share) == (0, 0)
    assert np.isfinite(model.summary_["held_out"]["log_likelihood"])


def test_probabilities_as_small_as_rounding_are_fitted() -> None:
    logits = RNG.normal(scale=9, size=(ROWS, 3))
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    repeated = shares[RNG.integers(0, 60, ROWS)]  # as trees give them
    tiny = np.where(RNG.random((ROWS, 3)) < 0.3, RNG.choice([0, 1, 4e-18], (ROWS, 3)), repeated)
    for rows in (shares, repeated, tiny):
        frame = pd.DataFrame(rows[:, :2], columns=["p", "q"])
        model = fitted(frame, flow="nsf")
        assert np.isfinite(model.score_samples(frame)).mean() > 0.9


def test_numbers_on_a_grid_far_from_0_are_written_to_the_last_digit() -> None:
    """Half points, less their mean over all pupils, 11.834062090074333."""
    centred = RNG.integers(8, 36, ROWS) / 2 - 11.834062090074333
    drawn = fitted(pl.DataFrame({"iq": centred, "x": RNG.normal(size=ROWS)})).sample(100, random_state=0)["iq"]
    assert np.isin(drawn.to_numpy(), centred).mean() > 0.95
