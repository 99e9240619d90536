"""What the scores of a table amount to: counts, their mean, their exact median, and the least likely rows.

The scores may be in files and larger than memory: every figure is gathered piece by piece.
"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

SHOWN = 5  # least likely rows
BINS = 4096
ENOUGH = 1_000_000  # numbers sorted at once


def score_figures(scores: pl.LazyFrame) -> tuple[dict[str, Any], pl.DataFrame]:
    """The figures of scores, ``log_density`` and ``percentile`` of every row, null if it was not scored.

    Returns:
        The figures of ``pushforward score``, whose mean is -inf as soon as one row is impossible; and the least likely
        rows with their number, from 1.
    """
    value = pl.col("log_density")
    finite = value.filter(value.is_finite())
    counted = scores.select(
        rows=pl.len(),
        scored=value.count(),
        finite=finite.len(),
        impossible=(value == -math.inf).sum(),
        below=(pl.col("percentile") < 1).mean(),
        mean=finite.mean(),
        variance=finite.var(),
    )
    counts = counted.collect(engine="streaming").row(0, named=True)
    numbered = scores.with_row_index("row", offset=1).with_columns(pl.col("row").cast(pl.Int64))
    worst = numbered.filter(value.is_not_null()).bottom_k(SHOWN, by=["log_density", "row"])
    found = worst.collect(engine="streaming").sort("log_density", "row")
    possible, scored, variance = counts["finite"] == counts["scored"], counts["scored"], counts["variance"]
    figures = {
        "rows": counts["rows"],
        "scored": scored,
        "log_likelihood": counts["mean"] if possible else -math.inf if counts["impossible"] else math.inf,
        "standard_error": math.sqrt(variance / scored) if possible and variance is not None else math.nan,
        "median": _median(scores, counts),
        "below_1_percent": counts["below"],
        "impossible": counts["impossible"],
    }
    return figures, found


def _median(scores: pl.LazyFrame, counts: dict[str, int]) -> float:
    """The mean of the two scores in the middle, or the one that is there."""
    values = scores.select(pl.col("log_density").alias("x")).filter(pl.col("x").is_not_null())
    ranks = {(counts["scored"] - 1) // 2, counts["scored"] // 2}
    found = [_ranked(values, rank - counts["impossible"], counts["finite"]) for rank in ranks]
    return found[0] if len(set(found)) == 1 else sum(found) / 2  # NaN of none


def _ranked(values: pl.LazyFrame, rank: int, inside: int) -> float:
    """The number of a given rank, from 0, among the finite ones.

    The interval that holds it is divided into bins, and the bin that holds it becomes the next interval, until its
    numbers are few enough to be sorted.
    """
    if not 0 <= rank < inside:
        return math.copysign(math.inf, rank)
    values, x = values.filter(pl.col("x").is_finite()), pl.col("x")
    while inside > ENOUGH:
        low, high = values.select(low=x.min(), high=x.max()).collect(engine="streaming").row(0)
        if low == high:
            return float(low)
        place = ((x / 2 - low / 2) / (high / 2 - low / 2) * BINS).floor()  # halves: their difference is finite
        bins = values.group_by(place.alias("bin")).agg(pl.len(), low=x.min(), high=x.max())
        table = bins.collect(engine="streaming").sort("bin").with_columns(upto=pl.col("len").cum_sum())
        chosen = table.filter(pl.col("upto") > rank).row(0, named=True)
        rank, inside = rank - (chosen["upto"] - chosen["len"]), chosen["len"]
        values = values.filter(x.is_between(chosen["low"], chosen["high"]))
    return float(values.collect(engine="streaming").to_series().sort()[rank])
