"""A table with every kind of column, a model of it, and servers: in this process, and as the shell starts them."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import pushforward as pf

QUICK: dict[str, Any] = {"flow": "maf", "layers": 2, "hidden": (16,), "steps": 60, "lr": 0.02}


def table(rows: int = 600) -> pl.DataFrame:
    """Numbers, whole numbers, names, truth values, dates, times, few numbers, text as dates, and one that follows."""
    rng = np.random.default_rng(0)
    group = rng.choice(["a", "b"], rows, p=[0.7, 0.3])
    x = rng.normal(size=rows) + 3.0 * (group == "b")
    days = rng.integers(19_000, 19_700, rows)
    dates = [dt.date(1970, 1, 1) + dt.timedelta(days=int(day)) for day in days]
    return pl.DataFrame(
        {
            "x": x,
            "group": group,
            "n": rng.poisson(40, rows),
            "stars": rng.integers(1, 6, rows),
            "new": rng.random(rows) < 0.4,
            "day": dates,
            "at": [dt.datetime(2022, 1, 1) + dt.timedelta(seconds=int(s)) for s in rng.integers(0, 10**7, rows)],
            "posted": [day.strftime("%d/%m/%Y") for day in dates[::-1]],
            "double": 2 * x,
        }
    )


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of the table."""
    path = tmp_path_factory.mktemp("serving") / "model"
    pf.TableDensity(**QUICK).fit(table()).save(path)
    return path


@pytest.fixture(scope="session")
def model(fitted: Path) -> pf.TableDensity:
    return pf.TableDensity.load(fitted)


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address and the process of a server that the shell program runs."""
    command = [sys.executable, "-m", "pushforward", "serve", *arguments, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        said = ""
        while not said.rstrip().endswith("}"):
            line = server.stdout.readline()
            assert line, server.stderr.read() if server.stderr else ""
            said += line
        try:
            yield json.loads(said)["url"], server
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def url(fitted: Path) -> Iterator[str]:
    """The address of a server in a process of its own, with small limits."""
    with process(str(fitted), "--max-rows", "500", "--max-megabytes", "1", "--timeout", "20s") as (address, server):
        yield address
        assert server.poll() is None  # it outlived every test
