"""Fitting Parquet files in pieces: as good as in one piece, resumed bit for bit, refused in one sentence."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch

import pushforward as pf
from pushforward.tables import long_tables
from pushforward.training.batches import StreamBatches

QUICK = ["--flow", "maf", "--layers", "2", "--hidden", "16", "--steps", "60", "--lr", "0.02"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder ``rows`` of 4,000 rows in two files, sorted by size."""
    monkeypatch.setattr(long_tables, "CHUNK", 100)
    monkeypatch.setattr(long_tables, "BUFFER_CELLS", 5000)
    rng = np.random.default_rng(0)
    size = np.sort(rng.gamma(3.0, 1.0, 4000))
    price = np.exp(np.log(size) + 0.3 * rng.normal(size=4000))
    table = pl.DataFrame({"size": size, "price": price, "colour": rng.choice(["red", "blue"], 4000)})
    (tmp_path / "rows").mkdir()
    for file in range(2):
        part = table[file * 2000 : (file + 1) * 2000].to_arrow()
        pq.write_table(part, tmp_path / "rows" / f"{file}.parquet", row_group_size=300)
    return tmp_path


@pytest.mark.slow
def test_a_stream_is_learnt_as_well_as_a_table(folder, run):
    options = ["--given", "colour", "--no-queries", *QUICK]
    piecewise = run("fit", folder / "rows", "-o", folder / "m", "--stream", *options)
    whole = run("fit", folder / "rows", "-o", folder / "n", *options)
    a, b = (summary["held_out"] for summary in (piecewise, whole))
    assert a["gain"] > 0.1
    assert abs(a["log_likelihood"] - b["log_likelihood"]) < 3 * np.hypot(a["standard_error"], b["standard_error"])
    assert piecewise["training_rows"] + piecewise["validation_rows"] + a["rows"] == 4000
    summary = run("score", folder / "m", folder / "rows", "-o", folder / "s.parquet")
    assert abs(summary["log_likelihood"] - a["log_likelihood"]) < 4 * a["standard_error"]
    percentiles = pl.read_parquet(folder / "s.parquet")["percentile"]
    assert 45 < percentiles.mean() < 55
    run("report", folder / "m", "-o", folder / "r.html")


@pytest.mark.slow
def test_rows_of_a_stream_count_as_their_weights_say(folder, run):
    for file in (folder / "rows").iterdir():
        table = pl.read_parquet(file)
        red = pl.col("colour") == "red"
        table = table.with_columns(
            price=pl.when(red).then("price").otherwise(9 * pl.col("price")), w=red.cast(pl.Float64)
        )
        pq.write_table(table.to_arrow(), file, row_group_size=300)
    options = ["--columns", "size,price", "--weights", "w", "--no-queries", *QUICK]
    run("fit", folder / "rows", "-o", folder / "m", "--stream", *options)
    red = table.filter(red)
    ratio = pf.TableDensity.load(folder / "m").sample(2000, random_state=1).select(pl.col("price") / pl.col("size"))
    assert float(ratio.median().item()) == pytest.approx(float((red["price"] / red["size"]).median()), rel=0.15)
    pq.write_table(table.with_columns(w=pl.col("w") - 1).to_arrow(), folder / "rows" / "1.parquet", row_group_size=300)
    run("fit", folder / "rows", "-o", folder / "o", "--stream", *options, code=2)


@pytest.mark.slow
def test_a_killed_stream_goes_on_bit_for_bit(folder, run, monkeypatch):
    steps = ["--steps", "60", "--checkpoint-every", "20", "--no-queries"]
    options = ["--columns", "size,price", *QUICK[:-4], "--lr", "0.01", *steps, "--resume", "--batch-size", "130"]
    run("fit", folder / "rows", "-o", folder / "straight", "--stream", *options)
    batch = StreamBatches.batch

    def dies(self, step):
        if step == 47:
            raise OSError("the power went off")
        return batch(self, step)

    monkeypatch.setattr(StreamBatches, "batch", dies)
    run("fit", folder / "rows", "-o", folder / "killed", "--stream", *options, code=1)
    monkeypatch.setattr(StreamBatches, "batch", batch)
    run("fit", folder / "rows", "-o", folder / "killed", "--stream", *options)
    for mine, theirs in zip(*(pf.load(folder / m).parameters() for m in ("straight", "killed")), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        ("rows/0.parquet", ["--bounds", "colour=0,1"], "'colour' is not among the modelled columns of numbers"),
        ("rows", ["--columns", "size", "--given", "nothing"], "has no column 'nothing'"),
        ("rows", ["--columns", "size", "--bounds", "price=0,"], "'price' is not among the modelled columns"),
        ("rows", ["--columns", "size,price", "--bounds", "size=0,1"], "lies outside its bounds 0 and 1"),
        ("t.csv", [], "only Parquet files are read in pieces"),
        ("none.parquet", [], "there is no such file"),
        ("none*", [], "matches no file"),
    ],
)
def test_what_cannot_be_streamed_is_refused_in_one_sentence(folder, run, data, options, sentence):
    (folder / "t.csv").write_text("a,b\n1,2\n")
    error = run("fit", folder / data, "-o", folder / "m", "--stream", *options, *QUICK, code=2)["error"]
    assert sentence in error
    assert "\n" not in error
    assert not (folder / "m").exists()


def test_files_with_other_columns_are_refused(folder, run):
    pl.read_parquet(folder / "rows" / "1.parquet").drop("price").write_parquet(folder / "rows" / "1.parquet")
    arguments = ["fit", folder / "rows", "-o", folder / "m", "--given", "colour", *QUICK]
    assert "1.parquet: has no column 'price'" in run(*arguments, "--stream", code=2)["error"]
    assert "do not have the same columns" in run(*arguments, code=2)["error"]


class Numbers:
    """A stream of normal rows."""

    rows = 1000

    def read(self, epoch, start):
        x = torch.randn(self.rows, 2, generator=torch.Generator().manual_seed(epoch))
        yield from ((piece, None) for piece in x[start:].split(170))

    def identity(self):
        return 7


def test_a_stream_of_your_own():
    flow = pf.realnvp(2, layers=2, hidden=(8,))
    result = pf.fit(flow, Numbers(), validation=torch.randn(200, 2), epochs=3, batch_size=150, progress=False)
    assert result.steps == 3 * 7
    assert result.train_index is None
    for wrong, sentence in (
        ({"validation": 0.1}, "a stream is not divided"),
        ({"context": torch.ones(1000, 1)}, "out"),
    ):
        with pytest.raises(ValueError, match=sentence):
            pf.fit(flow, Numbers(), **{"validation": None, "steps": 1, **wrong})
