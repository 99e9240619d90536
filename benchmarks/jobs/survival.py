"""Times until an event, of which many are only known to be longer: p(time | x) next to what people use for it.

    python benchmarks/jobs/survival.py [--quick]

Needs scikit-survival, whose tables it takes. Five times, 30 % of a table's rows are held out. The measure is the
integrated Brier score of the probabilities to survive, between the 10th and the 80th percentile of the events' times,
on rows not seen: Cox's model and a survival forest (200 trees) beside ours, all with their defaults otherwise. The
log-likelihood is that of held-out rows, events by their density and others by the probability of a longer time, beside
that of our fit to the rows with events alone. One division tells little, so each difference has its standard error
over the divisions, which share rows.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline
from sksurv import datasets
from sksurv.ensemble import RandomSurvivalForest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import integrated_brier_score
from sksurv.preprocessing import OneHotEncoder
from sksurv.util import Surv

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row

TABLES = ("veterans_lung_cancer", "gbsg2", "whas500", "aids", "flchain")
SPLITS, TIMES, MOST = 5, 20, 2_000
CENSORED = {"time": "status"}


def load(name: str) -> pd.DataFrame:
    """The table with ``time`` and ``status``; rows without holes, at most MOST."""
    table, events = getattr(datasets, f"load_{name}")()
    status, time = events.dtype.names
    table = table.drop(columns="chapter", errors="ignore")  # of the death itself
    table = table.assign(time=events[time], status=events[status].astype(int)).dropna()
    table = table[table["time"] > 0]
    return table.sample(min(len(table), MOST), random_state=0).reset_index(drop=True)


def rivals(train: pd.DataFrame, test: pd.DataFrame, times: np.ndarray) -> dict[str, np.ndarray]:
    """The probabilities to survive each time, ``(rows, times)``, by name."""
    x = pd.concat([train, test]).drop(columns=["time", "status"])
    x = x.astype({c: "category" for c in x if not pd.api.types.is_numeric_dtype(x[c])})
    seen, fresh, y = x[: len(train)], x[len(train) :], Surv.from_dataframe("status", "time", train)
    fitted = {
        "Cox's model": make_pipeline(OneHotEncoder(), CoxPHSurvivalAnalysis(alpha=1e-4)).fit(seen, y),
        "survival forest": make_pipeline(OneHotEncoder(), RandomSurvivalForest(200, random_state=0)).fit(seen, y),
    }
    return {n: np.stack([f(times) for f in m.predict_survival_function(fresh)]) for n, m in fitted.items()}


def ours(train: pd.DataFrame) -> pf.TableDensity:
    """Our p(time | the other columns)."""
    given = [c for c in train if c not in ("time", "status")]
    return pf.TableDensity(columns=["time"], given=given, censored=CENSORED, threads=1).fit(train)


def compared(table: pd.DataFrame, seed: int) -> dict[str, float]:
    """Each contestant's score, and our mean log-likelihoods, on one division of the rows."""
    rows = np.random.default_rng(seed).permutation(len(table))
    train, test = (table.iloc[part].reset_index(drop=True) for part in np.split(rows, [int(0.7 * len(rows))]))
    test = test[test["time"] < train["time"].max()].reset_index(
        drop=True
    )  # the score weighs rows by what is seen later
    named = [c for c in test if not pd.api.types.is_numeric_dtype(test[c])]
    test = test[test[named].isin({c: train[c].unique() for c in named}).all(axis=1)].reset_index(drop=True)
    times = np.quantile(train["time"][train["status"] == 1], np.linspace(0.1, 0.8, TIMES))
    times = np.unique(times[times < test["time"].max()])
    model, given = ours(train), test.drop(columns=["time", "status"])
    survives = {"pushforward": np.stack([model.probability({"time": (t, None)}, given) for t in times], 1)}
    both = [Surv.from_dataframe("status", "time", part) for part in (train, test)]
    scores = {
        name: float(integrated_brier_score(*both, np.clip(found, 0, 1), times))
        for name, found in {**survives, **rivals(train, test, times)}.items()
    }
    alone = ours(train[train["status"] == 1])
    return {**scores, "all": model.score(test), "events": alone.score(test)}


def run(case: str) -> list[Row]:
    """The means over the divisions."""
    warnings.simplefilter("ignore")
    table = load(case)
    found = pd.DataFrame([compared(table, seed) for seed in range(SPLITS)])
    print(found.to_string(float_format="%.4f"), flush=True)

    def beside(measure: str, ours: str, theirs: str, rival: str, *, higher: bool) -> Row:
        named = f"{case}: {measure} (difference ± {(found[ours] - found[theirs]).sem():.4f})"
        return row(named, rival, float(found[ours].mean()), float(found[theirs].mean()), higher=higher)

    rivals = [name for name in found if name not in ("pushforward", "all", "events")]
    return [
        *(beside("Brier score", "pushforward", rival, rival, higher=False) for rival in rivals),
        beside("log-likelihood", "all", "events", "rows with events alone", higher=True),
    ]


if __name__ == "__main__":
    main(
        "survival",
        "Times until an event",
        "Integrated Brier scores of the probability to survive; mean log-likelihoods of held-out rows, in nats.",
        lambda quick: list(TABLES[: 1 if quick else None]),
        run,
    )
