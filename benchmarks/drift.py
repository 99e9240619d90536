"""Is a table still the one that was fitted? False alarms and power of ``drift``, next to what people would use instead.

    python benchmarks/drift.py [--model MODEL] [--resamples 500] [--repeats 20] [--rows 800]

One fit to 8,000 diamonds; everything else is drawn from the 45,940 that the fit never saw: rows in the place of those
saved with the model, and as many new ones. False alarms are counted over unchanged rows; power and whether the moved
column is named first over shifts of one column or of two. Rivals, on the same rows with level 0.05: alibi-detect's
maximum mean discrepancy and classifier, and evidently's tests of every column, if they are installed, and the tests of
columns that evidently makes up to 1,000 rows (Kolmogorov-Smirnov, chi-square); those of columns with Bonferroni's
correction.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measure import results
from scipy import stats

import pushforward as pf

FITTED, LEVEL = 8_000, 0.05
Shift = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


def _some(frame: pl.DataFrame, rng: np.random.Generator, share: float, column: str, value: pl.Expr) -> pl.DataFrame:
    chosen = pl.Series(rng.random(frame.height) < share)
    return frame.with_columns(pl.when(chosen).then(value).otherwise(pl.col(column)).alias(column))


def _shuffled(frame: pl.DataFrame, rng: np.random.Generator, share: float, column: str) -> pl.DataFrame:
    """A share of a column's values among themselves: it is as before, but goes less with the others."""
    chosen = rng.random(frame.height) < share
    values = frame[column].to_numpy().copy()
    values[chosen] = rng.permutation(values[chosen])
    return frame.with_columns(pl.Series(column, values))


SHIFTS: dict[str, tuple[str, Shift]] = {
    "mean of depth, 0.2 sd": ("depth", lambda f, _: f.with_columns((pl.col("depth") + 0.3).round(1))),
    "scale of depth, 1.25 times": (
        "depth",
        lambda f, _: f.with_columns(((pl.col("depth") - 61.75) * 1.25 + 61.75).round(1)),
    ),
    "prices up by 10 %": ("price", lambda f, _: f.with_columns((pl.col("price") * 1.1).round().cast(pl.Int64))),
    "table follows the others less": ("table", lambda f, rng: _shuffled(f, rng, 0.6, "table")),
    "color follows the others less": ("color", lambda f, rng: _shuffled(f, rng, 0.8, "color")),
    "cut Fair, 3 times as often": ("cut", lambda f, rng: _some(f, rng, 0.06, "cut", pl.lit("Fair"))),
    "clarity missing, 2 %": ("clarity", lambda f, rng: _some(f, rng, 0.02, "clarity", pl.lit(None))),
    "depth missing, 2 %": ("depth", lambda f, rng: _some(f, rng, 0.02, "depth", pl.lit(None))),
    "x in another unit, 3 %": ("x", lambda f, rng: _some(f, rng, 0.03, "x", pl.col("x") * 2.54)),
    "no carats above 1.5": ("carat", lambda f, _: f.filter(pl.col("carat") <= 1.5)),
    "a new category, 2 %": ("color", lambda f, rng: _some(f, rng, 0.02, "color", pl.lit("K"))),
    "prices heaped at 1,000, 5 %": ("price", lambda f, rng: _some(f, rng, 0.05, "price", pl.lit(1000))),
}


class Rows:
    """Rows never seen by the fit, as the model's held-out rows and as new ones."""

    def __init__(self, model: pf.TableDensity, frame: pl.DataFrame, rows: int) -> None:
        self.model, self.frame, self.rows = model, frame, rows

    def drawn(self, seed: int, shift: Shift | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
        rng = np.random.default_rng(seed)
        frame = self.frame[rng.permutation(self.frame.height)[: 4 * self.rows]]
        old, new = frame[: self.rows], frame[self.rows :]
        return old, (new if shift is None else shift(new, rng)).head(self.rows)

    def ours(self, old: pl.DataFrame, new: pl.DataFrame) -> Any:
        x = self.model.schema.encode(old, "old").x
        kept = {"x": x.tolist(), "context": None, "numbers": list(range(len(x)))}
        self.model.facts = {**self.model.facts, "held_out": kept}
        return self.model.drift(new)


def of_columns(old: pl.DataFrame, new: pl.DataFrame) -> float:
    """Bonferroni's p-value over the columns' own tests."""
    found = []
    for name in old.columns:
        if old[name].dtype == pl.String:
            a, b = (frame[name].fill_null("-").value_counts() for frame in (old, new))
            both = a.join(b, on=name, how="full", coalesce=True).fill_null(0).drop(name).to_numpy()
            found.append(stats.chi2_contingency(both.T)[1] if len(both) > 1 else 1.0)
        else:
            found.append(stats.ks_2samp(old[name].drop_nulls(), new[name].drop_nulls()).pvalue)
    return min(1.0, min(found) * len(found))


def rivals() -> dict[str, Callable[[pl.DataFrame, pl.DataFrame], float]]:
    found: dict[str, Callable[[pl.DataFrame, pl.DataFrame], float]] = {"columns": of_columns}
    with contextlib.suppress(ImportError):
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        def evidently(old: pl.DataFrame, new: pl.DataFrame) -> float:
            texts = [name for name in old.columns if old[name].dtype == pl.String]
            about = DataDefinition(numerical_columns=[*{*old.columns} - {*texts}], categorical_columns=texts)
            new_rows, old_rows = (Dataset.from_pandas(f.to_pandas(), data_definition=about) for f in (new, old))
            told = Report([DataDriftPreset()]).run(new_rows, old_rows).dict()["metrics"]
            p = [float(each["value"]) for each in told if "p_value" in each["metric_name"]]
            assert len(p) == len(old.columns)
            return min(1.0, min(p) * len(p))

        found["evidently"] = evidently
    try:
        from alibi_detect.cd import ClassifierDrift, MMDDrift
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError:
        return found

    def mmd(old: pl.DataFrame, new: pl.DataFrame) -> float:
        a, b = numbers(old, new)
        return float(MMDDrift(a, backend="pytorch", n_permutations=100).predict(b)["data"]["p_val"])

    def classifier(old: pl.DataFrame, new: pl.DataFrame) -> float:
        a, b = numbers(old, new)
        made = ClassifierDrift(a, HistGradientBoostingClassifier(max_iter=50), backend="sklearn", n_folds=5)
        return float(made.predict(b)["data"]["p_val"])

    return found | {"alibi MMD": mmd, "alibi classifier": classifier}


def numbers(old: pl.DataFrame, new: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Standardised numbers and indicators of categories; missing values at the mean."""
    both = pl.concat([old, new], how="vertical_relaxed")
    texts = [name for name in both.columns if both[name].dtype == pl.String]
    wide = both.to_dummies(texts).cast(pl.Float32)
    x = wide.select((pl.all() - pl.all().mean()) / (pl.all().std() + 1e-6)).fill_null(0.0).to_numpy()
    return x[: old.height], x[old.height :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--rows", type=int, default=800)
    asked = parser.parse_args()
    from plotnine.data import diamonds

    frame = pl.from_pandas(diamonds.astype(dict.fromkeys(("cut", "color", "clarity"), str)))
    frame = frame.sample(fraction=1.0, shuffle=True, seed=1)
    model = pf.TableDensity.load(asked.model) if asked.model else pf.TableDensity(steps=300).fit(frame[:FITTED])
    rows, started = Rows(model, frame[FITTED:], asked.rows), time.perf_counter()
    p = np.array([rows.ours(*rows.drawn(seed)).p_value for seed in range(asked.resamples)])
    alarms = {f"{level:.0%}": float((p <= level).mean()) for level in (0.01, LEVEL, 0.1)} if len(p) else {}
    print(f"false alarms in {asked.resamples} resamples: {alarms}, {time.perf_counter() - started:.0f} s", flush=True)
    table = []
    for name, (column, shift) in SHIFTS.items():
        line: dict[str, Any] = {"shift": name, "ours": 0.0, "named first": 0.0}
        for seed in range(asked.repeats):
            old, new = rows.drawn(10_000 + seed, shift)
            found = rows.ours(old, new)
            told = found.p_value <= LEVEL
            line["ours"] += told / asked.repeats
            line["named first"] += (told and found.columns[0] == column) / asked.repeats
            for rival, p_value in rivals().items():
                line[rival] = line.get(rival, 0.0) + (p_value(old, new) <= LEVEL) / asked.repeats
        table.append(line)
        print(line, flush=True)
    notes = f"False alarms in {asked.resamples} resamples of unchanged rows, by level: {alarms}."
    results.write("drift", "Drift of a table", {f"Power, {asked.rows} rows": results.table(table)}, table, notes=notes)


if __name__ == "__main__":
    main()
