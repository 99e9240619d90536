"""Synthetic rows: how well draws pass for unseen rows, next to other generators.

    python benchmarks/jobs/synthetic.py [TABLE.csv ...] [--budget 150] [--python NAME=PATH ...] [--quick]

A fifth of the rows is held out; every tool learns the others within the budget on one thread, and draws as many rows as
it learnt from. With ``OMP_NUM_THREADS=1 BENCH_CLOCK=cpu`` the budget and the seconds are CPU time, for all tools.
Rivals run in separate processes, in the Python given for them (``--python ARF=PATH``) or this one, and are
listed as left out if they cannot be imported there. Rows with missing cells are left out, as most rivals take none.
Without a table, two that come with statsmodels are used.

Measures: the area under the ROC curve of LightGBM that distinguishes as many draws from held-out rows (5 folds; 0.5 is
perfect), the mean over parts of the draws, next to that of training rows; the shape of columns and the trend of pairs
by the formulas of sdmetrics, draws against training rows as in its reports (1 is perfect), and the same of as many
training rows against held-out ones and of draws against them, which shows what so few rows allow; the share of draws
that are nearer to a training row than 99 % of training rows are to another; and how well LightGBM learns the last
column from draws, next to training rows, evaluated on held-out rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

import pushforward as pf
from pushforward.diagnostics import closeness

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure import results
from measure.clock import clock, fit_on_clock
from measure.jobs import done
from measure.jobs import row as job_row

OURS, RIVALS = "pushforward", ("Gaussian copula", "CTGAN", "TVAE", "ARF", "ForestFlow")
BINS = 10  # of numbers paired with categories, as in sdmetrics
FEW = 20  # up to this many values, a column's pairs are counted and its values predicted as classes


def generate(name: str, python: str, train: pl.DataFrame, rows: int, budget: float) -> tuple[pl.DataFrame, float, str]:
    """Draws of a tool, the seconds it took to learn and draw, and what was reduced."""
    if name == OURS:
        started = clock()
        with fit_on_clock():
            model = pf.TableDensity(budget=budget, queries=False, threads=1).fit(train)
        drawn = model.sample(rows)
        there = [name for name in train.columns if name in drawn.columns]  # names and counters are left out
        return drawn.select(there), clock() - started, model.summary_["flow"]
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / "train.csv"), str(Path(folder) / "drawn.csv")]
        train.write_csv(files[0])
        script = str(Path(__file__).parents[1] / "measure" / "synthetic_rivals.py")
        found = subprocess.run(
            [python, script, name, *files, str(rows), str(budget)], capture_output=True, text=True, check=False
        )
        if found.returncode:
            raise RuntimeError(found.stderr.strip().rpartition("\n")[2])
        facts = json.loads(found.stdout.strip().rpartition("\n")[2])
        drawn = pl.read_csv(
            files[1], schema_overrides={c: pl.String for c in train.columns if not train[c].dtype.is_numeric()}
        )
        return drawn.select(train.columns), facts["seconds"], facts["note"]


def coded(*tables: pl.DataFrame) -> tuple[list[np.ndarray], list[int]]:
    """Tables as numbers, with texts encoded by common codes; and which columns were text."""
    texts = [j for j, dtype in enumerate(tables[0].dtypes) if not dtype.is_numeric()]
    parts: list[list[np.ndarray]] = [[] for _ in tables]
    for j, name in enumerate(tables[0].columns):
        columns = [table[name] for table in tables]
        if j in texts:
            words = sorted(set().union(*(column.cast(pl.String).unique() for column in columns)))
            code = {word: i for i, word in enumerate(words)}
            columns = [pl.Series([code[word] for word in column.cast(pl.String)]) for column in columns]
        for part, column in zip(parts, columns, strict=True):
            part.append(column.cast(pl.Float64).to_numpy())
    return [np.stack(part, 1) for part in parts], texts


def told_apart(real: pl.DataFrame, other: pl.DataFrame) -> float:
    """The area under the ROC curve of a classifier between equally many rows of each: mean over parts of ``other``."""
    n = min(len(real), len(other))
    return float(np.mean([_told_apart(real[:n], other[k : k + n]) for k in range(0, len(other) - n + 1, n)]))


def _told_apart(real: pl.DataFrame, other: pl.DataFrame) -> float:
    (a, b), texts = coded(real, other)
    x, y = np.concatenate([a, b]), np.repeat([0, 1], len(real))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = lightgbm.LGBMClassifier(n_jobs=1, verbose=-1, random_state=0)
    fit = {"categorical_feature": texts}
    return float(roc_auc_score(y, cross_val_predict(model, x, y, cv=folds, method="predict_proba", params=fit)[:, 1]))


def shape(real: np.ndarray, drawn: np.ndarray, texts: list[int]) -> float:
    """The mean over columns of 1 - the Kolmogorov-Smirnov distance, for texts 1 - the total variation."""
    scores = []
    for j, (a, b) in enumerate(zip(real.T, drawn.T, strict=True)):
        at = np.unique(np.concatenate([a, b]))
        if j in texts:
            scores.append(1 - 0.5 * np.abs([(a == v).mean() - (b == v).mean() for v in at]).sum())
        else:
            below = [np.searchsorted(np.sort(c), at, side="right") / len(c) for c in (a, b)]
            scores.append(1 - np.abs(below[0] - below[1]).max())
    return float(np.mean(scores))


def trend(real: np.ndarray, drawn: np.ndarray, texts: list[int]) -> float:
    """The mean over pairs of 1 - half the difference of correlations, with texts 1 - the total variation of both, where
    numbers paired with a text are put into ten bins."""
    scores = []
    for i, j in itertools.combinations(range(real.shape[1]), 2):
        if i in texts or j in texts:
            tables = _binned(real[:, [i, j]], drawn[:, [i, j]], [i in texts, j in texts])
            scores.append(1 - 0.5 * np.abs(tables[0] - tables[1]).sum())
        else:
            rho = [np.corrcoef(rows[:, i], rows[:, j])[0, 1] for rows in (real, drawn)]
            scores.append(1 - 0.5 * abs(rho[0] - rho[1]))
    return float(np.nanmean(scores))


def _binned(real: np.ndarray, drawn: np.ndarray, text: list[bool]) -> list[np.ndarray]:
    edges = [
        np.append(np.unique(np.concatenate([real[:, k], drawn[:, k]])) - 0.5, np.inf)
        if text[k]
        else np.array([-np.inf, *np.histogram_bin_edges(real[:, k], BINS)[1:-1], np.inf])
        for k in range(2)
    ]
    return [np.histogram2d(rows[:, 0], rows[:, 1], edges)[0] / len(rows) for rows in (real, drawn)]


def learnt(rows: np.ndarray, held: np.ndarray, texts: list[int], classes: bool) -> float:
    """The held-out score of a model of the last column, trained on ``rows``: mean AUC of its classes, or R²."""
    kind = lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor
    if classes and len(np.unique(rows[:, -1])) < 2:
        return 0.5
    model = kind(n_jobs=1, verbose=-1, random_state=0)
    names = [j for j in texts if j < rows.shape[1] - 1]
    model.fit(rows[:, :-1], rows[:, -1], categorical_feature=names)
    if not classes:
        return float(r2_score(held[:, -1], model.predict(held[:, :-1])))
    chances = dict(zip(model.classes_, np.asarray(model.predict_proba(held[:, :-1])).T, strict=True))
    there = [(held[:, -1] == c, p) for c, p in chances.items() if 0 < (held[:, -1] == c).sum() < len(held)]
    return float(np.mean([roc_auc_score(y, p) for y, p in there]))


def read(path: Path, most: int | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training and held-out rows; columns that number the rows, and those without any text or number, are left out."""
    table = pl.read_csv(path, infer_schema_length=None, null_values=["NA", ""])
    table = table.drop_nulls().drop("rownames", strict=False)
    counts = {name: len(table) if table[name].dtype.is_integer() else -1 for name in table.columns}
    table = table.drop([name for name, most in counts.items() if table[name].n_unique() in (1, most)])
    order = np.random.default_rng(0).permutation(len(table))[:most]
    cut = int(0.8 * len(order))
    return table[order[:cut]], table[order[cut:]]


def measured(path: Path, name: str, python: str, budget: float, most: int | None) -> list[results.Row]:
    """The row of a tool on a table; without figures if it cannot run, with the reason."""
    train, held = read(path, most)
    row: results.Row = {"table": path.stem, "rows": len(train), "columns": train.width, "tool": name}
    try:
        drawn, seconds, note = generate(name, python, train, len(train), budget)
    except RuntimeError as error:
        return [{**row, "note": f"left out: {error}"}]
    train, held = train.select(drawn.columns), held.select(drawn.columns)
    (seen, real, fake), texts = coded(train, held, drawn)
    last, near = train.columns[-1], closeness(train, held, drawn)
    classes = not train[last].dtype.is_numeric() or train[last].n_unique() <= FEW
    figures: dict[str, Any] = {
        "told apart": told_apart(held, drawn),
        "training rows": told_apart(held, train),
        **{of.__name__: of(seen, fake, texts) for of in (shape, trend)},
        **{f"{of.__name__}, held out": of(real, fake[: len(real)], texts) for of in (shape, trend)},
        **{f"{of.__name__}, training rows": of(real, seen[: len(real)], texts) for of in (shape, trend)},
        "near": near.drawn,
        "near, held out": near.held_out,
        "learnt from draws": learnt(fake, real, texts, classes),
        "from rows": learnt(seen[: len(fake)], real, texts, classes),
        "seconds": seconds,
    }
    return [{**row, **figures, "note": note}]


def races(rows: list[results.Row]) -> list[results.Row]:
    """How well draws are told apart, ours next to each rival's."""
    there = [row for row in rows if "told apart" in row]
    ours = {row["table"]: row["told apart"] for row in there if row["tool"] == OURS}
    return [
        job_row(row["table"], row["tool"], ours[row["table"]], row["told apart"], higher=False)
        for row in there
        if row["tool"] != OURS and row["table"] in ours
    ]


def plot(rows: list[results.Row]) -> Figure:
    """How well draws are told from held-out rows, a row of dots for every table."""
    there = [row for row in rows if "told apart" in row]
    tables, tools = (list(dict.fromkeys(row[key] for row in there)) for key in ("table", "tool"))
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(tables)), layout="constrained")
    axes = figure.subplots()
    for tool in tools:
        own = [row for row in there if row["tool"] == tool]
        axes.plot([r["told apart"] for r in own], [tables.index(r["table"]) for r in own], "o", label=tool)
    axes.axvline(0.5, color="0.6", linewidth=1)
    axes.set(yticks=range(len(tables)), yticklabels=tables, xlabel="area under the ROC: draws told from held-out rows")
    axes.legend(fontsize="small")
    return figure


def built_in() -> list[Path]:
    """Mixed tables that come with statsmodels."""
    import statsmodels

    folder = Path(statsmodels.__file__).parent / "datasets"
    return [folder / "fair" / "fair.csv", folder / "randhie" / "randhie.csv"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Synthetic rows next to other tools.")
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--budget", type=float, default=150.0, help="seconds of training")
    parser.add_argument("--rivals-budget", type=float, help="seconds of training of the others, else as many")
    parser.add_argument("--python", nargs="*", default=[], metavar="NAME=PATH", help="the Python that has a rival")
    parser.add_argument("--tools", nargs="*", default=[OURS, *RIVALS])
    parser.add_argument("--quick", action="store_true", help="1,000 rows of one table, two tools, 5 seconds")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    pythons = dict(pair.split("=", 1) for pair in options.python)
    tables, tools, most = options.tables or built_in(), options.tools, None
    if options.quick:
        tables, tools, most, options.budget = tables[:1], tools[:2], 1000, 5.0
    seconds = {tool: options.budget if tool == OURS else options.rivals_budget or options.budget for tool in tools}
    cases = {f"{path.stem}, {tool}, {seconds[tool]:g} s": (path, tool) for path in tables for tool in tools}

    def run(case: str) -> list[results.Row]:
        path, tool = cases[case]
        return measured(path, tool, pythons.get(tool, sys.executable), seconds[tool], most)

    name = f"job-synthetic{'-quick' if options.quick else ''}"
    rows = done(name, cases, run)
    full = next((row for row in rows if "told apart" in row), rows[0])
    shown = [{key: row.get(key) for key in full} for row in rows]
    notes = "Learnt from four fifths of the rows within so many seconds of one thread: " + ", ".join(
        f"{tool} {seconds[tool]:g}" for tool in tools
    )
    title, tables_of = "Synthetic rows next to other tools", {"Next to": results.table(shown)}
    path = results.write(name, title, tables_of, races(rows), notes=notes, figure=plot(rows))
    path.with_suffix(".jsonl").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
