"""The demo of simulations: a posterior of parameters given observations, beside the exact one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ..options import PrintOptions
from .steps import Steps, length

ROWS = 20_000
STEPS, LAYERS, HIDDEN = 1000, 3, (64, 64)  # half a minute
SEEN = {"on": 12, "off": 20}  # counts of photons
QUESTIONS = ("signal > 5", "background > 5")


def run(output: Path, printing: PrintOptions, *, budget: float | None, seed: int) -> None:
    """Simulates, fits parameters given observations, and asks about the parameters behind one observation."""
    data, folder, steps = output / "simulations.csv", output / "model", Steps(output, printing)
    draws = output / "posterior.csv"
    steps.say("A telescope counts photons: `on` a star, signal + background on average, and `off` it, 4 backgrounds.")
    simulate(ROWS, seed).write_csv(data)
    steps.say(f"{ROWS:,} simulated stars: {data}\n")
    about = ("--given", "on,off", "--layers", LAYERS, "--hidden", ",".join(map(str, HIDDEN)))
    summary = steps.run("fit", data, "-o", folder, *about, *length(STEPS, budget), "--seed", seed)
    given = [word for name, count in SEEN.items() for word in ("--given", f"{name}={count}")]
    asked = []
    for where in QUESTIONS:
        asked.append({**steps.run("ask", folder, where, *given, "--seed", seed), "exact": exactly(where)})
        steps.say(f"exactly, by integration: {asked[-1]['exact']:.4g}")
    steps.run("sample", folder, "-n", 1000, "-o", draws, *given, "--seed", seed)
    steps.end(
        {"fit": summary, "ask": asked, "simulations": str(data), "samples": str(draws)},
        "simulate a model of your own, a row a simulation, and name what will be observed: --given A,B",
        f"see how good it is: pushforward report {folder} {data} -o {output / 'report.html'}",
        "in Python: pushforward.ConditionalFlowDensity; inside sbi: pushforward.interop.sbi.density_estimator",
    )


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
