"""How the shell refuses a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from pushforward.cli import app as cli


def refused(capsys: pytest.CaptureFixture[str], folder: Path, arguments: str, sentence: str) -> None:
    """The shell refuses the command in one sentence, and writes nothing."""
    before = sorted(folder.rglob("*"))
    capsys.readouterr()
    code = cli.main(arguments.split())
    out, err = capsys.readouterr()
    assert code == 2, err
    assert sentence in err
    assert "Traceback" not in err
    sentences = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert len(sentences) == 1
    assert sentences[0].startswith("pushforward: ")
    assert "saved" not in out
    assert sorted(folder.rglob("*")) == before
