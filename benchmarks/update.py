"""A table that grows: five updates against one fit of all rows, in nats of rows that nothing saw, and in CPU seconds.

    python benchmarks/update.py FOLDER [--tables 10] [--flow auto] [--steps N] [--keep 0]

Half of each table's training rows are fitted, and the rest comes in five updates, each with a fifth of as many rows.
``behind`` is by how many nats the last update is behind one fit of all, and ``lost`` by how many behind the first fit,
on a fifth of the table's rows. ``time`` is that of an update, as a share of the fit's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measure import results

import pushforward as pf

LEAST, MOST, WIDEST = 600, 8_000, 16  # rows and columns
UPDATES = 5


def tables(folder: Path, count: int) -> list[Path]:
    """The first files, by name, of a size that takes minutes."""
    found = []
    for file in sorted(folder.glob("*.csv")):
        frame = pl.read_csv(file, infer_schema_length=None, ignore_errors=True)
        if LEAST <= frame.height <= MOST and frame.width <= WIDEST:
            found.append(file)
    return found[:count]


def seconds(job: Callable[[], Any]) -> float:
    started = time.process_time()
    job()
    return time.process_time() - started


def measured(file: Path, flow: str, steps: int | None, keep: int) -> dict[str, Any]:
    frame = pl.read_csv(file, infer_schema_length=None, ignore_errors=True).drop("rownames", strict=False)
    frame = frame[np.random.default_rng(0).permutation(frame.height)]
    test, rest = frame[: frame.height // 5], frame[frame.height // 5 :]
    half, part = rest.height // 2, rest.height // 2 // UPDATES

    def new(keep: int = 0) -> pf.TableDensity:
        return pf.TableDensity(flow, steps=steps, queries=False, keep=keep)

    one, grown = new(), new(keep)
    alone = seconds(lambda: one.fit(rest))
    grown.fit(rest[:half])
    before, times = usual(grown, test), []
    for j in range(UPDATES):
        rows = rest[half + j * part : half + (j + 1) * part] if j < UPDATES - 1 else rest[half + j * part :]
        times.append(seconds(partial(grown.update, rows)))
    possible = np.isfinite(usual(one, test)) & np.isfinite(usual(grown, test)) & np.isfinite(before)
    scores = {name: float(np.mean(score[possible])) for name, score in
              {"one": usual(one, test), "first": before, "grown": usual(grown, test)}.items()}  # fmt: skip
    return {
        "table": file.stem,
        "rows": frame.height,
        "columns": frame.width,
        "behind": scores["one"] - scores["grown"],
        "lost": scores["first"] - scores["grown"],
        "time": float(np.mean(times)) / alone,
        "impossible": int((~possible).sum()),
    }


def usual(model: pf.TableDensity, rows: pl.DataFrame) -> np.ndarray:
    return np.asarray(model.score_samples(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", type=int, default=10)
    parser.add_argument("--flow", default="auto")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--keep", type=int, default=0)
    asked = parser.parse_args()
    found = []
    few = pl.DataFrame(np.random.default_rng(0).normal(size=(300, 2)), ["x", "y"])
    pf.TableDensity(steps=1, queries=False).fit(few)  # what is imported once is no part of a fit
    for file in tables(asked.folder, asked.tables):
        try:
            found.append(measured(file, asked.flow, asked.steps, asked.keep))
        except Exception as error:
            print(file.stem, type(error).__name__, str(error)[:300], flush=True)
            continue
        print(found[-1], flush=True)
    middle = {name: float(np.median([row[name] for row in found])) for name in ("behind", "lost", "time")}
    print("medians", middle)
    notes = f"Medians: {middle}. Saved rows: {asked.keep}."
    results.write(f"update-keep-{asked.keep}", "Updates", {"Nats and time": results.table(found)}, found, notes=notes)


if __name__ == "__main__":
    main()
