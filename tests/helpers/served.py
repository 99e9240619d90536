"""A table with every kind of column, and a server as the shell starts it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import polars as pl


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


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address and the process of a server that the shell program runs."""
    command = [sys.executable, "-m", "pushforward", "serve", *arguments, "--port", "0", "--json", "--no-compile"]
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
