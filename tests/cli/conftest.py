"""A small mixed table, and two models of it, fitted by the shell program itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mixed_tables import QUICK, mixed_table
from picture_files import QUICK as QUICK_IMAGES
from picture_files import halves

from pushforward.cli import app as cli


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``table.csv``, an unconditional model ``plain`` and a model ``given`` the colour."""
    folder = tmp_path_factory.mktemp("workshop")
    table = folder / "table.csv"
    mixed_table().write_csv(table)
    assert cli.main(["fit", str(table), "-o", str(folder / "plain"), "--columns", "size,price,count", *QUICK]) == 0
    assert cli.main(["fit", str(table), "-o", str(folder / "given"), "--given", "colour", *QUICK]) == 0
    return folder


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``images.npz`` (classes in it) and models of it: ``glow``, ``given`` the class, ``pixelcnn``."""
    folder = tmp_path_factory.mktemp("gallery")
    images, labels = halves()
    np.savez(folder / "images.npz", images=images, labels=labels)
    data = str(folder / "images.npz")
    assert cli.main(["fit", data, "-o", str(folder / "glow"), *QUICK_IMAGES]) == 0
    assert cli.main(["fit", data, "-o", str(folder / "given"), "--given", "class", *QUICK_IMAGES, "--lr", "0.01"]) == 0
    assert (
        cli.main(["fit", data, "-o", str(folder / "pixelcnn"), "--flow", "pixelcnn", "--bits", "2", *QUICK_IMAGES]) == 0
    )
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command with ``--json`` in this process, checks its exit code, and gives its result."""

    def command(*arguments: Any, code: int = 0) -> Any:
        capsys.readouterr()
        found = cli.main([*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        assert found == code, err
        return json.loads(out)

    return command
