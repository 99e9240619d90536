"""Broken and hostile tables: a result, or one sentence; never another error, a hang, or a file outside its folder."""

from __future__ import annotations

import gzip
import io
import os
import sqlite3
import time
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushforward.errors import InputError
from pushforward.tables.io.csv_rows import CsvRows
from pushforward.tables.io.format import ReadOptions
from pushforward.tables.io.parquet import ParquetRows
from pushforward.tables.io.read import open_parquet, read_table

RNG = np.random.default_rng(0)
TABLE = pl.DataFrame({"a": RNG.normal(size=200), "b": RNG.integers(0, 9, 200), "k": RNG.choice(["u", "vv"], 200)})
FUZZ = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def contents() -> dict[str, bytes]:
    found = {}
    writers = {
        "parquet": lambda file: pq.write_table(TABLE.to_arrow(), file, row_group_size=70),
        "arrow": TABLE.write_ipc,
        "csv": TABLE.write_csv,
        "npy": lambda file: np.save(file, TABLE[["a", "b"]].to_numpy()),
        "npz": lambda file: np.savez(file, train=TABLE[["a", "b"]].to_numpy(), val=np.ones((3, 2))),
    }
    writers |= {"xlsx": TABLE.write_excel, "jsonl": TABLE.write_ndjson, "json": TABLE.write_json}
    for ending, write in writers.items():
        file = io.BytesIO()
        write(file)
        found[ending] = file.getvalue()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("t.csv", found["csv"], zipfile.ZIP_DEFLATED)
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE t (a, b, k)")
    base.executemany("INSERT INTO t VALUES (?, ?, ?)", TABLE.rows())
    base.commit()
    return found | {
        "csv.gz": gzip.compress(found["csv"]),
        "csv.zst": pa.compress(found["csv"], "zstd", asbytes=True),
        "zip": packed.getvalue(),
        "sqlite": base.serialize(),
        "txt": found["csv"].replace(b",", b"  "),
    }


CONTENTS = contents()


def in_pieces(path: Path):
    return ParquetRows(path, [path]) if path.suffix == ".parquet" else CsvRows(path, path, ReadOptions())


def outcome(path: Path):
    """What reading gives, whole and in pieces; an error of another kind than ``InputError`` fails the test."""
    found, refused = [], []
    try:
        found.append(read_table(path))
    except InputError as error:
        refused.append(str(error))
    try:
        if path.suffix in (".csv", ".parquet"):
            rows = in_pieces(path)
            found.append(sum(piece.frame.height for piece in rows.read(0, rows.rows, rows.columns)))
    except InputError as error:
        refused.append(str(error))
    for sentence in refused:
        assert str(path) in sentence
        assert "\n" not in sentence.replace(str(path), "")
    return found


@pytest.mark.parametrize("ending", CONTENTS)
def test_the_sound_files_are_read(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    path.write_bytes(CONTENTS[ending])
    assert outcome(path)


@pytest.mark.parametrize("ending", CONTENTS)
@FUZZ
@given(data=st.data())
def test_flipped_and_missing_bytes(tmp_path, ending, data):
    content = bytearray(CONTENTS[ending])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path = tmp_path / f"t.{ending}"
    path.write_bytes(content)
    outcome(path)


@FUZZ
@given(content=st.binary(max_size=200), ending=st.sampled_from(list(CONTENTS)))
def test_any_bytes(tmp_path, content, ending):
    path = tmp_path / f"t.{ending}"
    path.write_bytes(content)
    outcome(path)


CELL = st.sampled_from(
    ["1", "-2.5", "1e308", "1e309", "-inf", "NaN", "", '"', '"a,b"', "x\x00y", "é", "<script>", "٣", "🜁"]
)


@pytest.mark.slow
@FUZZ
@given(rows=st.lists(st.lists(CELL, min_size=1, max_size=4), min_size=1, max_size=6), mark=st.sampled_from(",;\t"))
def test_odd_cells_in_text_of_several_encodings(tmp_path, rows, mark):
    text = "\n".join(mark.join(row) for row in rows)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"):
        (tmp_path / "t.csv").write_bytes(text.encode(encoding, errors="replace"))
        outcome(tmp_path / "t.csv")


def test_lines_of_two_encodings_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("k,a\nmünchen,1\n".encode() + "köln,2\n".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8 text; save it again as UTF-8"):
        read_table(path)
    with pytest.raises(InputError, match="is not UTF-8 text"):
        in_pieces(path)


def test_a_million_columns_are_refused_in_seconds(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",".join(f"c{j}" for j in range(10**6)) + "\n" + ",".join(["1"] * 10**6) + "\n1,2\n")
    started = time.monotonic()
    with pytest.raises(InputError, match="has 1,000,000 columns, more than 100,000; keep those that matter"):
        read_table(path)
    assert time.monotonic() - started < 60


def test_a_long_list_of_columns_is_cut_in_messages(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",".join(f"c{j}" for j in range(1000)) + "\n" + "\n".join([",".join(["x"] * 1000)] * 3))
    assert read_table(path).frame.width == 1000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_and_loops_of_links_are_not_waited_for(tmp_path):
    for ending in ("parquet", "csv", "npy"):
        os.mkfifo(tmp_path / f"t.{ending}")
        assert outcome(tmp_path / f"t.{ending}") == []
    (tmp_path / "rows").mkdir()
    TABLE.write_parquet(tmp_path / "rows" / "a.parquet")
    (tmp_path / "rows" / "loop").symlink_to(tmp_path / "rows")
    (tmp_path / "rows" / "dangling.parquet").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"dangling.parquet: there is no such file"):
        open_parquet(tmp_path / "rows")
    (tmp_path / "rows" / "dangling.parquet").unlink()
    assert open_parquet(tmp_path / "rows").rows == 200


@pytest.mark.parametrize("name", ["a\nb", "-rf", "..", "%s{}$(id)", "x" * 200])
def test_odd_names_of_files_are_only_names(tmp_path, name):
    path = tmp_path / f"{name}.parquet"
    path.write_bytes(CONTENTS["parquet"][:-5])
    assert outcome(path) == []
    path.write_bytes(CONTENTS["parquet"])
    assert len(outcome(path)) == 2
