"""Texts that spreadsheets take for formulas: found in what is written as CSV, and kept from being run."""

from __future__ import annotations

import polars as pl

FORMULA = r"^[=+\-@\t\r]"
NUMBER = r"^[-+]?[\d.,]+(?:[eE][-+]?\d+)?\s*%?$"


def formula_columns(rows: pl.LazyFrame) -> list[str]:
    """The columns of text in which some value, or whose name, would be run."""
    names = _texts(rows)
    found = rows.select(_runs(name).any() for name in names).collect(engine="streaming").row(0) if names else ()
    return [name for name, runs in zip(names, found, strict=True) if runs]


def with_apostrophes(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows with an apostrophe before such texts and names, by which spreadsheets know text."""
    kept = rows.with_columns(
        pl.when(_runs(name))
        .then("'" + pl.col(name).cast(pl.String))
        .otherwise(pl.col(name).cast(pl.String))
        .alias(name)
        for name in _texts(rows)
    )
    return kept.rename({name: f"'{name}" for name in rows.collect_schema() if name[:1] in tuple("=+-@\t\r")})


def _texts(rows: pl.LazyFrame) -> list[str]:
    return [name for name, dtype in rows.collect_schema().items() if dtype in (pl.String, pl.Categorical, pl.Enum)]


def _runs(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String)
    return text.str.contains(FORMULA) & ~text.str.contains(NUMBER)
