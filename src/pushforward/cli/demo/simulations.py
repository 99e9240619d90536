"""The demo of simulations: a posterior of parameters given observations, beside the exact one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...models.console import Console
from ...models.options import TrainingOptions
from ...tables.density import TableDensity
from ...tables.options import TableOptions
from ..fitting import fit_table
from .steps import Steps, length

ROWS = 20_000
STEPS, LAYERS, HIDDEN = 1000, 3, (64, 64)  # half a minute
SEEN = {"on": 12, "off": 20}  # counts of photons
QUESTIONS = ("signal > 5", "background > 5")


def run(output: Path, console: Console, *, budget: float | None, seed: int) -> dict[str, Any]:
    """Simulates, fits parameters given observations, and asks about the parameters behind one observation."""
    output.mkdir(parents=True, exist_ok=True)
    data, folder, steps = output / "simulations.csv", output / "model", Steps(console)
    draws = output / "posterior.csv"
    console.say("A telescope counts photons: `on` a star, signal + background on average, and `off` it, 4 backgrounds.")
    simulate(ROWS, seed).write_csv(data)
    console.say(f"{ROWS:,} simulated stars: {data}\n")
    about = ("--given", "on,off", "--layers", LAYERS, "--hidden", ",".join(map(str, HIDDEN)))
    command = steps.begin("fit", data, "-o", folder, *about, *length(STEPS, budget), "--seed", seed)
    training = TrainingOptions(steps=None if budget else STEPS, budget=budget, seed=seed)
    options = TableOptions(given=("on", "off"), layers=LAYERS, hidden=HIDDEN, training=training)
    summary = fit_table(data, folder, options, console, command)
    model = TableDensity.load(folder)
    given = {name: str(count) for name, count in SEEN.items()}
    words = [word for name, count in given.items() for word in ("--given", f"{name}={count}")]
    asked = []
    for where in QUESTIONS:
        steps.begin("ask", folder, where, *words)
        asked.append(model.run("ask", where, given, console, seed=seed))
        asked[-1]["exact"] = exactly(where)
        console.say(f"exactly, by integration: {asked[-1]['exact']:.4g}")
    steps.begin("sample", folder, "-n", 1000, "-o", draws, *words)
    model.run("sample", 1000, draws, given, console, seed=seed)
    steps.end(
        "simulate a model of your own, a row a simulation, and name what will be observed: --given A,B",
        f"see how good it is: pushforward report {folder} {data} -o {output / 'report.html'}",
        "in Python, and inside sbi: docs/tutorials/scientist.md, docs/calibration.md",
    )
    return {"fit": summary, "ask": asked, "simulations": str(data), "samples": str(draws)}


def simulate(rows: int, seed: int) -> pl.DataFrame:
    r"""Brightnesses from their prior, Gamma(2) with a mean of 10, and counts: Poisson(s + b) and Poisson(4 b)."""
    rng = np.random.default_rng(seed)
    signal, background = rng.gamma(2.0, 5.0, (2, rows)).round(4)
    on, off = rng.poisson(signal + background), rng.poisson(4 * background)
    return pl.DataFrame({"signal": signal, "background": background, "on": on, "off": off})


def exactly(where: str) -> float:
    """The same probability, by integration over a grid of both parameters."""
    line = np.linspace(0.02, 80, 1500)
    signal, background = (axis.ravel() for axis in np.meshgrid(line, line))
    log = np.log(signal) - signal / 5 + np.log(background) - background / 5
    log += SEEN["on"] * np.log(signal + background) - signal + SEEN["off"] * np.log(background) - 5 * background
    weight = np.exp(log - log.max())
    inside = pl.DataFrame({"signal": signal, "background": background}).select(pl.sql_expr(where)).to_series()
    return float(weight[inside.to_numpy()].sum() / weight.sum())
