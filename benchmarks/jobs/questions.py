"""Do the answers to questions agree with draws of the same model, and with each other? On tables as they come.

    [BENCH_STEPS=N] python benchmarks/jobs/questions.py FOLDER [--limit N] [--quick]

FOLDER holds CSV files. Of each table's model (with all defaults, or of N steps), 20 conditions on one or two columns,
with ends and values that the model draws, are asked for. P(a) is compared with the share of 100,000 draws, P(a and b)
with P(a) P(b | a), and P(a) + P(not a) with 1, each in standard errors of both sides.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row, table

ASKED, DRAWN, FAR = 20, 100_000, 4.0
STEPS = int(os.environ["BENCH_STEPS"]) if "BENCH_STEPS" in os.environ else None
Part = tuple[
    str, Any, pl.Expr, str
]  # a column, what is asked of it, the same as an expression, and its opposite in SQL


def parts(drawn: pl.DataFrame, random: np.random.Generator) -> list[Part]:
    """A condition on one column, or two conditions on two."""
    usable = [name for name in drawn.columns if drawn[name].dtype.is_numeric() or drawn[name].dtype == pl.String]
    found: list[Part] = []
    for name in random.choice(usable, min(int(random.integers(1, 3)), len(usable)), replace=False).tolist():
        some = drawn[name].drop_nulls().sample(2, seed=int(random.integers(2**31))).sort()
        if drawn[name].dtype == pl.String:
            held, quoted = pl.col(name) == some[0], some[0].replace("'", "''")
            found.append((name, [some[0]], held, f"\"{name}\" <> '{quoted}'"))
        else:
            low, high = some.to_list()
            opposite = f'NOT ("{name}" BETWEEN {low} AND {high})'
            found.append((name, (low, high), pl.col(name).is_between(low, high), opposite))
    return found


def errors(difference: float, *around: float) -> float:
    """A difference in standard errors; one of 1e-6 counts as none."""
    return abs(difference) / float(np.sqrt(np.square([*around, 1e-6]).sum()))


def run(files: dict[str, Path], case: str) -> list[Row]:
    warnings.simplefilter("ignore")
    return compared(pf.TableDensity(steps=STEPS).fit(files[case]), case)


def compared(model: pf.TableDensity, case: str) -> list[Row]:
    random, drawn = np.random.default_rng(0), model.sample(DRAWN, random_state=1)
    named, ask = set(model.schema.names), partial(model.probability, errors=True)
    asked = [parts(drawn.select(name for name in drawn.columns if name in named), random) for _ in range(ASKED)]
    both = zip(*ask([{name: what for name, what, _, _ in each} for each in asked]), strict=True)
    ones = zip(*ask([{each[0][0]: each[0][1]} for each in asked]), strict=True)
    found = []
    for each, (value, error), (one, one_error) in zip(asked, both, ones, strict=True):
        held = np.logical_and.reduce(
            [drawn.select(is_so.fill_null(False)).to_series().to_numpy() for *_, is_so, _ in each]
        )
        far = {"draws": errors(value - held.mean(), error, float(np.sqrt(held.var() / DRAWN)), 0.5 / DRAWN)}
        first, other = each[0], each[-1]
        if first is not other and one > 0:
            then, then_error = ask({other[0]: other[1]}, {first[0]: first[1]})
            far["chain"] = errors(value - one * then, error, one * then_error, then * one_error)
        elif not drawn[first[0]].null_count():
            rest, rest_error = ask(first[3])
            far["not"] = errors(one + rest - 1, one_error, rest_error)
        if max(far.values()) > FAR:
            print(case, far, [part[:2] for part in each], value, error, held.mean(), one, one_error, file=sys.stderr)
        found.append(far)
    return [_told(case, what, [far[what] for far in found if what in far]) for what in ("draws", "chain", "not")]


def _told(case: str, what: str, far: Sequence[float]) -> Row:
    within = float(np.mean(np.array(far) <= FAR)) if far else 1.0
    return row(f"{case}, {what}", "what is asked", within, 0.99, higher=True) | {
        "asked": len(far),
        "worst": max(far, default=0.0),
    }


def summary(rows: Sequence[Row]) -> dict[str, str]:
    found = []
    for what in ("draws", "chain", "not"):
        some = [each for each in rows if each["case"].endswith(f", {what}")]
        asked = sum(each["asked"] for each in some)
        within = sum(each["asked"] * each["ours"] for each in some) / max(asked, 1)
        found.append({"beside": what, "questions": asked, "within four errors": within})
    return {"All tables": table(found)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("folder", type=Path, help="a folder of CSV files")
    parser.add_argument("--limit", type=int, default=25, help="only the first so many tables")
    chosen = parser.parse_known_args()[0]
    files = {path.stem: path for path in sorted(chosen.folder.glob("*.csv"))}
    meaning = "Shares of questions that agree within four errors: with draws, by the chain rule, and with the opposite."
    main(
        "questions",
        "Answers beside draws, and beside each other",
        meaning,
        lambda quick: list(files)[: 2 if quick else chosen.limit],
        partial(run, files),
        arguments=parser,
        summary=summary,
    )
