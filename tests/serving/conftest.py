"""A table with every kind of column, a model of it, and servers: in this process, and as the shell starts them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import process, table

import pushforward as pf

QUICK: dict[str, Any] = {"flow": "maf", "layers": 2, "hidden": (16,), "steps": 60, "lr": 0.02}


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of the table."""
    path = tmp_path_factory.mktemp("serving") / "model"
    pf.TableDensity(**QUICK).fit(table()).save(path)
    return path


@pytest.fixture(scope="session")
def model(fitted: Path) -> pf.TableDensity:
    return pf.TableDensity.load(fitted)


@pytest.fixture(scope="session")
def url(fitted: Path) -> Iterator[str]:
    """The address of a server in a process of its own, with small limits."""
    with process(str(fitted), "--max-rows", "500", "--max-megabytes", "1", "--timeout", "20s") as (address, server):
        yield address
        assert server.poll() is None  # it outlived every test
