"""Are draws of tables whose columns know of each other told from rows? Simulated tables, one for each kind of relation.

    python benchmarks/jobs/relations.py [--quick]

Of three tables of 3,000 rows each, the first half is fitted with all defaults. A classifier (scikit-learn's histogram
boosting, 5 folds) distinguishes as many draws from the other half; the area under its ROC curve stands beside that for
the rows of the first half, which is 0.5 but for chance: of one table, 0.01 up or down.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row

ROWS, SEEDS = 3_000, 3


def product(random: np.random.Generator) -> dict[str, Any]:
    """Stones: a price that is carats times a price per carat, and depth as what three lengths say."""
    carat = np.round(random.gamma(3.0, 0.3, ROWS) + 0.2, 2)
    each = np.round(np.exp(7.5 + 0.6 * np.log(carat) + 0.35 * random.normal(size=ROWS)))
    return {
        "carat": carat,
        "per_carat": each,
        "price": np.round(carat * each),
        "depth": np.round(random.normal(62, 1.4, ROWS), 1),
    }


def square(random: np.random.Generator) -> dict[str, Any]:
    """People: an index of mass that is weight over the square of height, to one decimal."""
    height = np.round(random.normal(1.70, 0.09, ROWS), 2)
    weight = np.round(np.exp(np.log(22.5) + 2 * np.log(height) + 0.16 * random.normal(size=ROWS)), 1)
    age = random.integers(18, 90, ROWS)
    return {"age": age, "height": height, "weight": weight, "bmi": np.round(weight / height**2, 1)}


def sum_with_slips(random: np.random.Generator) -> dict[str, Any]:
    """Patients: age at the end is age at entry plus time, but in a few rows."""
    entry, time = np.round(random.normal(62, 9, ROWS), 1), np.round(random.gamma(1.5, 2.5, ROWS), 1)
    slip = np.where(random.random(ROWS) < 0.005, random.integers(-3, 4, ROWS), 0)
    return {
        "ageentry": entry,
        "time": time,
        "age": np.round(entry + time + slip, 1),
        "sex": random.choice(["f", "m"], ROWS),
    }


def composition(random: np.random.Generator) -> dict[str, Any]:
    """Class probabilities that sum to one, and the label of the largest."""
    logits = random.normal(size=(ROWS, 3)) * 2 @ np.array([[1, 0.3, 0], [0, 1, 0.2], [0, 0, 1.0]])
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = np.array(["low", "middle", "high"])
    return {**dict(zip(names, shares.T, strict=True)), "label": names[shares.argmax(1)]}


def order(random: np.random.Generator) -> dict[str, Any]:
    """Wars: the shortest length is never above the longest, and equal in most rows; parts below a total."""
    low = np.round(random.gamma(1.2, 200, ROWS)).astype(int) + 1
    more = np.where(random.random(ROWS) < 0.8, 0, random.integers(1, 400, ROWS))
    under18 = random.binomial(2000, random.beta(4, 10, ROWS))
    return {"mindur": low, "maxdur": low + more, "under5": random.binomial(under18, 0.27), "under18": under18}


def date_parts(random: np.random.Generator) -> dict[str, Any]:
    """Births a day: fewer at weekends, with year, month, day and weekday of the date."""
    days = pd.Series(
        pd.Timestamp("1994-01-01") + pd.to_timedelta(random.permutation(3 * 366)[:1098].repeat(3)[:ROWS], "D")
    )
    births = np.round(
        10_500
        - 3_000 * (days.dt.dayofweek >= 5)
        + 600 * np.sin(days.dt.dayofyear / 58)
        + 400 * random.normal(size=ROWS)
    )
    parts = {"year": days.dt.year, "month": days.dt.month, "day": days.dt.day, "weekday": days.dt.day_name()}
    return {"date": days.dt.strftime("%Y-%m-%d"), **parts, "births": births.astype(int)}


def threshold(random: np.random.Generator) -> dict[str, Any]:
    """Marks, whether they pass, and their grade."""
    mark = np.clip(np.round(random.normal(61, 15, ROWS)), 0, 100).astype(int)
    hours = np.round(np.maximum(0.15 * mark + 3 * random.normal(size=ROWS), 0), 1)
    return {
        "hours": hours,
        "mark": mark,
        "passed": mark >= 50,
        "grade": np.array(list("EDCBA"))[np.digitize(mark, [40, 50, 65, 80])],
    }


def interval(random: np.random.Generator) -> dict[str, Any]:
    """A measurement with a limit of detection, written ``<0.1``, beside one that depends on it."""
    lead = np.round(np.exp(random.normal(-1.6, 1.0, ROWS)), 2)
    blood = np.round(3 + 1.2 * np.log(lead) + 0.8 * random.normal(size=ROWS), 2)
    return {
        "lead": [f"{v}" if v >= 0.1 else "<0.1" for v in lead],
        "blood": blood,
        "site": random.choice(["a", "b", "c"], ROWS),
    }


TABLES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    each.__name__.replace("_", " "): each
    for each in (product, square, sum_with_slips, composition, order, date_parts, threshold, interval)
}


def area(ours: pd.DataFrame, fresh: pd.DataFrame, seed: int) -> float:
    """The area under the ROC curve of a classifier that distinguishes the two, texts as codes."""
    n = min(len(ours), len(fresh))
    both = pd.concat([ours.sample(n, random_state=seed), fresh.sample(n, random_state=seed)[ours.columns]])
    numbers = [c for c in fresh if pd.api.types.is_numeric_dtype(fresh[c])]
    x = np.column_stack([both[c] if c in numbers else pd.Categorical(both[c].astype(str)).codes for c in both])
    y, folds = np.arange(2 * n) < n, StratifiedKFold(5, shuffle=True, random_state=seed)
    classifier = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
    return float(
        roc_auc_score(y, cross_val_predict(classifier, x.astype(float), y, cv=folds, method="predict_proba")[:, 1])
    )


def areas(case: str, seed: int) -> tuple[float, float]:
    """The areas of draws and of training rows of one table."""
    table = pd.DataFrame(TABLES[case](np.random.default_rng(seed)))
    train, fresh = table[: ROWS // 2].reset_index(drop=True), table[ROWS // 2 :].reset_index(drop=True)
    model = pf.TableDensity().fit(train)
    print(case, seed, *model.schema.relations, sep="\n  ", flush=True)
    drawn = model.sample(ROWS // 2, random_state=1)
    drawn = drawn[[c for c in train if c in drawn]]
    return area(drawn, fresh, seed), area(train[drawn.columns], fresh, seed)


def run(case: str) -> list[Row]:
    """The mean areas over the tables."""
    warnings.simplefilter("ignore")
    ours, theirs = np.mean([areas(case, seed) for seed in range(SEEDS)], axis=0)
    return [row(case, "training rows", float(ours), float(theirs), higher=False)]


if __name__ == "__main__":
    main(
        "relations",
        "Draws of tables whose columns know of each other",
        "Area under the ROC curve of a classifier for draws and for training rows, both against rows not seen.",
        lambda quick: list(TABLES)[: 2 if quick else None],
        run,
    )
