"""Disks that are full, read-only or gone: one sentence, nothing half-written, and what was trained is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import pushforward as pf
from pushforward.cli import app as cli
from pushforward.tables.queries import score_files
from pushforward.training.batches import Batches

FIT = ["--columns", "size,price", "--flow", "realnvp", "--layers", "2", "--steps", "60", "--no-queries"]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of one mebibyte; temporary files are elsewhere."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place]
    if not sys.platform.startswith("linux") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield place
    subprocess.run(["umount", place], check=True)


def fill(disk: Path, leave: int = 0) -> list[Path]:
    room = shutil.disk_usage(disk).free - leave
    (disk / "filler").write_bytes(bytes(room))
    return sorted(disk.rglob("*"))


def told(capsys, *arguments, code=1) -> str:
    """The one sentence that the command ends with."""
    capsys.readouterr()
    assert cli.main([*map(str, arguments), "--quiet"]) == code
    sentences = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(sentences) == 1, sentences
    return sentences[0]


def refuge(sentence: str) -> Path:
    assert "cannot be written" in sentence
    return Path(sentence.split("saved as ")[1].split(" instead")[0])


def test_a_full_disk_costs_no_training(disk, workshop, capsys, monkeypatch):
    before = fill(disk)
    table = workshop / "table.csv"
    monkeypatch.setattr("pushforward.models.train.train", _without_warnings_as_errors(monkeypatch))
    sentence = told(capsys, "fit", table, "-o", disk / "m", *FIT, "--checkpoint-every", "20")
    assert "no space left on device" in sentence
    assert pf.load(refuge(sentence)).log_prob(pl.read_csv(table)[["size", "price"]].to_torch()).isfinite().any()
    assert sorted(disk.rglob("*")) == [*before, disk / "m.training"] or sorted(disk.rglob("*")) == before


def test_a_full_disk_keeps_the_old_model(disk, workshop, capsys):
    shutil.copytree(workshop / "plain", disk / "m")
    kept = {file.name: file.read_bytes() for file in (disk / "m").iterdir()}
    fill(disk, leave=8192)
    sentence = told(capsys, "fit", workshop / "table.csv", "-o", disk / "m", *FIT)
    assert pf.load(refuge(sentence)) is not None
    assert {file.name: file.read_bytes() for file in (disk / "m").iterdir()} == kept
    assert sorted(file.name for file in disk.iterdir()) == ["filler", "m"]


def test_a_read_only_disk_is_refused_before_the_work(disk, workshop, capsys):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert "read-only file system" in told(capsys, "fit", workshop / "table.csv", "-o", disk / "m", *FIT, code=2)
    for output in ("s.csv", "s.parquet"):
        arguments = ["score", workshop / "plain", workshop / "table.csv", "-o", disk / output]
        assert "read-only file system" in told(capsys, *arguments, code=2)


@pytest.mark.parametrize("output", ["s.csv", "s.parquet"])
def test_scores_on_a_full_disk_are_not_half_written(disk, workshop, capsys, output):
    before = fill(disk)
    sentence = told(capsys, "score", workshop / "plain", workshop / "table.csv", "-o", disk / output)
    assert "o space left on device" in sentence
    assert sorted(disk.rglob("*")) == before
    sentence = told(capsys, "sample", workshop / "plain", "-n", "500", "-o", disk / output)
    assert "o space left on device" in sentence
    assert sorted(disk.rglob("*")) == before


def test_parts_made_before_the_disk_was_full_are_used_when_there_is_room(disk, workshop, capsys, monkeypatch, run):
    monkeypatch.setattr(score_files, "SIZE", 100)
    rows = disk.parent / "rows"
    rows.mkdir()
    pl.read_csv(workshop / "table.csv").write_parquet(rows / "a.parquet")
    fill(disk, leave=24_576)
    arguments = ["score", workshop / "plain", rows, "-o", disk / "s.parquet"]
    assert "o space left on device" in told(capsys, *arguments)
    made = len(list((disk / "s.parquet.parts").glob("part-*.parquet")))
    assert 0 < made < 6
    (disk / "filler").unlink()
    summary = run(*arguments)
    assert any(f"{made} of 6 parts are there already" in note for note in summary["notes"])
    assert pl.read_parquet(disk / "s.parquet").height == 600


def test_a_folder_that_was_removed_is_made_again(tmp_path, workshop, run, monkeypatch):
    batch, place = Batches.batch, tmp_path / "models"
    place.mkdir()

    def removes(self, step):
        if step == 30:
            shutil.rmtree(place)
        return batch(self, step)

    monkeypatch.setattr(Batches, "batch", removes)
    run("fit", workshop / "table.csv", "-o", place / "m", *FIT, "--checkpoint-every", "20")
    assert pf.load(place / "m") is not None
    assert sorted(p.name for p in (place / "m.training").iterdir()) == ["step-00000040", "step-00000060"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_metrics_on_a_full_disk_are_given_up_with_a_note(tmp_path, workshop, monkeypatch, capsys):
    monkeypatch.setattr("pushforward.models.train.train", _without_warnings_as_errors(monkeypatch))
    arguments = ["fit", workshop / "table.csv", "-o", tmp_path / "m", *FIT, "--metrics", "/dev/full"]
    assert cli.main([*map(str, arguments)]) == 0
    note = "note: the metrics are no longer written, training goes on: [Errno 28] No space left on device\n"
    assert capsys.readouterr().err.endswith(note)
    assert pf.load(tmp_path / "m") is not None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_standard_output_is_said(workshop):
    command = [sys.executable, "-m", "pushforward", "sample", str(workshop / "plain"), "-n", "2000", "-o", "-"]
    with open("/dev/full", "wb") as full:
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (found.returncode, found.stderr.splitlines()[-1]) == (1, "pushforward: no space left on device")


def _without_warnings_as_errors(monkeypatch):
    """Training whose warnings are notes, as in the shell, and not errors, as in tests."""
    import warnings

    from pushforward.training.fit import train

    def trained(*arguments, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return train(*arguments, **options)

    return trained
