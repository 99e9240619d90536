"""Sums, and copies, of other columns."""

from __future__ import annotations

import numpy as np
import polars as pl
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
