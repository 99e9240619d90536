"""Sums, and copies, of other columns."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from schemas import schema_of

from pushforward.tables.schema.relations.sums import Sum


def test_a_copy_that_is_missing_where_the_other_column_is_0_is_drawn_so() -> None:
    spent = np.random.default_rng(0).gamma(3.0, size=400) * (np.arange(400) % 4 > 0)
    frame = pl.DataFrame({"spent": spent, "if any": pl.Series(spent).set(pl.Series(spent == 0), None)})
    schema = schema_of(frame[:300])
    (relation,) = schema.relations
    assert isinstance(relation, Sum)
    rows = schema.encode(frame[300:], "t")
    assert not schema.broken(rows).any()
    assert schema.decode(rows.x).equals(frame[300:])
    assert schema.decode(rows.x, recorded=False)["if any"].equals(frame["spent"][300:])
    slips = frame.with_columns(pl.when(pl.int_range(400) == 4).then(0.0).otherwise("if any").alias("if any"))
    found = schema_of(slips[:300])
    assert found.relations[0].gap == 0
    assert not found.broken(found.encode(slips, "t")).any()
    some = frame[:300].with_columns(pl.when(pl.int_range(300) > 20).then("if any"))
    assert schema_of(some).relations[0].gap is None


def test_a_total_of_few_large_amounts_follows_up_to_rounding():
    rng = np.random.default_rng(0)
    first, second = rng.choice([1e8 + 0.1, 2e8 + 0.2, 3e8 + 0.3], (2, 300))
    schema = schema_of({"first": first, "second": second, "total": (first + second).round(1)})
    assert [type(each).__name__ for each in schema.dependencies] == ["Sum"]


def test_a_sum_that_is_drawn_at_its_bound_keeps_the_relation():
    x = np.random.default_rng(0).gamma(3.0, size=300).round(2) + 5
    schema = schema_of({"x": x, "over 5": (x - 5).round(2)})
    drawn = schema.decode(torch.tensor([[3.0], [7.0]], dtype=torch.float64))
    assert drawn["over 5"].to_list() == [0.0, 2.0]
    assert not schema.broken(schema.encode(drawn, "t")).any()


def test_a_total_that_no_row_had_breaks_a_sum_of_few_values():
    first, second = np.random.default_rng(0).integers(0, 3, (2, 300))
    frame = pl.DataFrame({"first": first, "second": second, "total": first + second})
    schema = schema_of(frame)
    assert [type(each).__name__ for each in schema.dependencies] == ["Sum"]
    rows = frame.with_columns(first=pl.col("first").cast(pl.Float64)).cast({"total": pl.Float64})
    for off, breaks in ((0, False), (0.5, True), (10, True)):
        found = schema.broken(schema.encode(rows.with_columns(pl.col("total") + off), "t"))
        assert found.all() if breaks else not found.any()
