"""Files and directories are replaced whole: what is read is the old content or the new."""

from __future__ import annotations

import os

import pytest

from pushforward.saving import files


@pytest.mark.parametrize("one_call", [True, False])
def test_a_directory_is_replaced_whole_and_other_files_are_kept(tmp_path, monkeypatch, one_call):
    if not one_call:  # as on systems that cannot swap two directories
        monkeypatch.setattr(files.sys, "platform", "elsewhere")
    path = tmp_path / "target"
    path.mkdir()
    (path / "a").write_text("old")
    (path / "mine").write_text("kept")
    with files.temporary_sibling(path) as folder:
        files.write_file(folder / "a", b"new")
        assert (path / "a").read_text() == "old"
        files.replace_directory(folder, path)
    assert (path / "a").read_text() == "new"
    assert (path / "mine").read_text() == "kept"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_an_error_while_writing_leaves_no_trace(tmp_path):
    def write() -> None:
        with files.temporary_sibling(tmp_path / "target") as folder:
            files.write_file(folder / "a", b"half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_new_directory_has_the_usual_permissions(tmp_path):
    (tmp_path / "plain").mkdir()
    with files.temporary_sibling(tmp_path / "target") as folder:
        files.replace_directory(folder, tmp_path / "target")
    assert os.stat(tmp_path / "target").st_mode == os.stat(tmp_path / "plain").st_mode
