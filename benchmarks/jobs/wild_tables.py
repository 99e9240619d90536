"""Tables as they come: can they be fitted, sampled and scored with no information about their columns?

    python benchmarks/jobs/wild_tables.py [FOLDER] [--limit N] [--quick]

FOLDER holds CSV files; without it, the tables shipped inside statsmodels and plotnine: holes, text, dates,
counters, constants, sums. For us a table passes if the shell's ``fit`` (60 steps), ``sample`` and ``score`` succeed,
the sample has the columns that the model keeps and every row gets a score. A rival has less to do: to fit, and
to give every row a finite score. One is scikit-learn's mixture on the table as pandas reads it; the other the
pipeline that a careful person writes around it, with columns of numbers imputed and scaled, and others imputed and
one-hot encoded; its scores are of codes, and what it draws is not a table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pushforward.cli.app import main as shell

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row, table

STEPS = 60


def shipped() -> list[Path]:
    import plotnine
    import statsmodels

    found = [
        *Path(statsmodels.__file__).parent.glob("datasets/*/*.csv"),
        *Path(plotnine.__file__).parent.glob("data/*.csv"),
    ]
    return sorted(found, key=lambda path: path.stem)


def run(tables: dict[str, Path], case: str) -> list[Row]:
    warnings.simplefilter("ignore")
    passed, said = ours(tables[case])
    frame = pd.read_csv(tables[case], low_memory=False)
    extra = {"rows": len(frame), "columns": frame.shape[1], "said": said}
    return [row(case, rival, passed, theirs(frame, make), higher=True) | extra for rival, make in RIVALS.items()]


def ours(path: Path) -> tuple[int, str]:
    """Whether the table passes, and otherwise the error message."""
    with tempfile.TemporaryDirectory() as folder:
        model, drawn, scores = (str(Path(folder) / name) for name in ("model", "drawn.csv", "scores.csv"))
        for arguments in (
            ["fit", str(path), "-o", model, "--steps", str(STEPS), "--quiet"],
            ["sample", model, "-n", "100", "-o", drawn],
            ["score", model, str(path), "-o", scores],
        ):
            said = io.StringIO()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
                code = shell(arguments)
            if code:
                sentence = said.getvalue().replace(f"{path.parent}/", "").strip()
                return 0, f"{arguments[0]}: exit code {code}, {sentence[:200]}"
        rows = len(pd.read_csv(path, low_memory=False))
        counted = len(pl.read_csv(scores)) == rows and len(pl.read_csv(drawn, infer_schema=False)) == 100
        return int(counted), "" if counted else "rows are missing from what was written"


def theirs(frame: pd.DataFrame, make: Callable[[], Any]) -> int:
    try:
        scores = make().fit(frame).score_samples(frame)
    except (ValueError, TypeError, MemoryError):
        return 0
    return int(len(scores) == len(frame) and np.isfinite(scores).all())


def pipeline() -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    names = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(sparse_output=False))
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")), (names, make_column_selector(dtype_exclude="number"))
    )
    return make_pipeline(columns, mixture())


def mixture() -> GaussianMixture:
    return GaussianMixture(3, reg_covar=1e-3, random_state=0)


RIVALS: dict[str, Callable[[], Any]] = {"scikit-learn's mixture": mixture, "the same behind a pipeline": pipeline}


def shares(rows: Sequence[Row]) -> dict[str, str]:
    first = list({each["case"]: each for each in rows}.values())
    found = [{"tool": "pushforward", "tables": len(first), "passed": sum(each["ours"] for each in first)}]
    for rival in RIVALS:
        of = [each for each in rows if each["rival"] == rival]
        found.append({"tool": rival, "tables": len(of), "passed": sum(each["theirs"] for each in of)})
    refused = "; ".join(f"{each['case']}: {each['said']}" for each in first if each["said"])
    return {"Tables": table(found), "Refused": refused or "None."}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of CSV files")
    parser.add_argument("--limit", type=int, help="only the first so many tables")
    chosen = parser.parse_known_args()[0]
    files = sorted(chosen.folder.glob("*.csv")) if chosen.folder else shipped()
    tables = {path.stem: path for path in files}
    main(
        "wild-tables" + (f"-{chosen.folder.name}" if chosen.folder else ""),
        "Tables as they come: which are fitted, sampled and scored without options",
        "1 for a table that goes through, 0 for one that does not; ours also has to draw rows that are a table again.",
        lambda quick: list(tables)[: 3 if quick else chosen.limit],
        partial(run, tables),
        arguments=parser,
        summary=shares,
    )
