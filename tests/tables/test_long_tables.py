"""Long tables: every row once an epoch, in an order that can be entered anywhere; columns learnt from what counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from schemas import schema_of

from pushforward.errors import InputError
from pushforward.tables import long_tables
from pushforward.tables.io.read import open_parquet
from pushforward.tables.long_tables import LongTable, ShuffledRows, survey

ROWS = 3000


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, value in {"CHUNK": 50, "BUFFER_CELLS": 1500, "EMITTED": 120, "SAMPLE": 600}.items():
        monkeypatch.setattr(long_tables, name, value)


def write(folder, table, rows_per_group=170):
    for file in range(3):
        part = table[file * ROWS // 3 : (file + 1) * ROWS // 3]
        pq.write_table(part.to_arrow(), folder / f"{file}.parquet", row_group_size=rows_per_group)
    return open_parquet(folder)


def table(**columns):
    rng = np.random.default_rng(0)
    plain = {"place": np.arange(ROWS) + 0.5, "b": rng.normal(size=ROWS), "k": rng.choice(["u", "v"], ROWS)}
    return pl.DataFrame({**plain, **columns})


def surveyed(source, drop_missing=False, seed=3, strict=False):
    long = LongTable(source, seed, 0.1, drop_missing)
    found = survey(long, ["place", "b", "k"], strict)
    everything = pl.concat([found.sample, found.val, found.test, found.witnesses])
    schema = schema_of(everything, columns=["place", "b"], given=["k"])
    return found, schema, ShuffledRows(long, schema, found)


def places(stream, epoch=0, start=0):
    return torch.cat([x[:, 0] for x, _ in stream.read(epoch, start)])


def test_every_training_row_comes_once_an_epoch_and_no_other(tmp_path):
    found, _, stream = surveyed(write(tmp_path, table()))
    first, second = places(stream), places(stream, 1)
    held = set(found.val["place"]) | set(found.test["place"])
    assert set(first.tolist()) == set(np.arange(ROWS) + 0.5) - held
    assert len(first) == stream.rows == ROWS - found.val.height - found.test.height
    assert torch.equal(first.sort().values, second.sort().values)
    assert (first != second).float().mean() > 0.9
    assert set(found.sample["place"]) <= set(first.tolist())
    assert found.test["place"].to_list() == (found.test_numbers + 0.5).tolist()
    for part, share in ((found.val, 0.1), (found.test, 0.1), (found.sample, 0.2)):
        assert abs(part.height - share * ROWS) < 5 * (share * ROWS) ** 0.5


def test_contexts_stay_with_their_rows(tmp_path):
    data = table()
    _, schema, stream = surveyed(write(tmp_path, data))
    wanted = schema.context(data, "t")[0]
    for x, context in stream.read(0, 700):
        assert torch.equal(context, wanted[x[:, 0].long()])


def test_weights_stay_with_their_rows(tmp_path):
    source = write(tmp_path, table(w=np.arange(ROWS) % 3))
    long = LongTable(source, 3, 0.1, weights="w")
    found = survey(long, ["place"])
    stream = ShuffledRows(long, schema_of(found.sample, columns=["place"]), found)
    x, context, weights = zip(*stream.read(0, 700), strict=True)
    assert set(context) == {None}
    assert torch.allclose(torch.cat(weights), torch.cat(x)[:, 0].floor() % 3 / stream.mean)
    assert torch.cat([part[2] for part in stream.read(1, 0)]).mean() == pytest.approx(1.0)
    read = pl.concat([found.sample, found.val, found.test, found.witnesses])
    assert (read["w"] > 0).all()  # row 0, the least, and every third decide nothing
    assert (torch.cat(x)[:, 0].floor() % 3 > 0).all()
    for wrong, message in ((-1.0, "row 8: -1 is negative"), (None, "row 8: a missing value")):
        weights = [1.0] * 7 + [wrong] + [1.0] * (ROWS - 8)
        with pytest.raises(InputError, match=message):
            survey(replace(long, source=write(tmp_path, table(w=weights))), ["place"])


@pytest.mark.parametrize("start", [1, 120, 499, 500, 1234, 2390])
def test_an_epoch_can_be_entered_anywhere(tmp_path, start):
    _, _, stream = surveyed(write(tmp_path, table()))
    assert torch.equal(places(stream, 2, start), places(stream, 2)[start:])


def test_a_sorted_table_is_mixed(tmp_path):
    _, _, stream = surveyed(write(tmp_path, table()))
    batch = places(stream)[:100]
    assert batch.max() - batch.min() > ROWS / 2
    assert len(set((batch // 170).tolist())) >= long_tables.LANES


def test_missing_rows_are_left_out_or_named_with_file_and_row(tmp_path):
    b = np.random.default_rng(1).normal(size=ROWS)
    b[1234], b[2500] = np.nan, np.inf
    source = write(tmp_path, table(b=b))
    with pytest.raises(InputError, match=r"1.parquet: column 'b', row 235: a missing value"):
        surveyed(source, strict=True)
    found, schema, stream = surveyed(source)
    assert stream.rows == len(places(stream)) == ROWS - found.val.height - found.test.height
    assert schema.columns[1].holes.share > 0
    found, _, stream = surveyed(source, drop_missing=True)
    assert found.unusable == 2
    assert not {1234.5, 2500.5} & set(places(stream).tolist())
    assert len(places(stream)) == stream.rows


def test_one_row_in_thousands_decides_what_a_column_is(tmp_path):
    whole = np.random.default_rng(1).poisson(9.0, ROWS).astype(float) + 1
    k = np.array(["u", "v"] * (ROWS // 2), dtype=object)
    whole[1111], whole[2222], k[777] = 4.25, 1e6, "rare"
    found, schema, stream = surveyed(write(tmp_path, table(b=whole, k=k)))
    assert not {1111.5, 2222.5, 777.5} <= set(found.sample["place"]), "the sample has them all: choose other rows"
    column = schema.columns[1]
    assert not column.kind.whole
    assert column.kind.ends[1] == 1e6
    assert "rare" in schema.given[0].column.kind.labels
    assert len(places(stream)) == stream.rows


def test_files_that_change_are_noticed(tmp_path):
    _, _, stream = surveyed(write(tmp_path, table()), drop_missing=True)
    before = stream.identity()
    spoilt = table()["b"].to_numpy().copy()
    spoilt[places(stream)[0].long()] = np.nan
    again = write(tmp_path, table(b=spoilt))
    with pytest.raises(InputError, match=r"parquet: was changed while it was read"):
        places(stream)
    assert surveyed(again, drop_missing=True)[2].identity() != before


def test_a_column_that_is_text_in_one_file_is_refused(tmp_path):
    source = write(tmp_path, table())
    pl.read_parquet(tmp_path / "1.parquet").cast({"b": pl.String}).write_parquet(tmp_path / "1.parquet")
    with pytest.raises(InputError, match=r"1.parquet: column 'b' holds text"):
        surveyed(source)
