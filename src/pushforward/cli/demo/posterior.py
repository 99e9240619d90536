"""The demo of a posterior known up to a constant: eight schools (Rubin 1981), beside the exact answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import torch

from ...testing import targets
from ..options import PrintOptions
from .steps import Steps, length

TARGET = f"{targets.__name__}:eight_schools"
FLOW, LAYERS, STEPS = "realnvp", 4, 2000  # half a minute


def exactly() -> dict[str, float]:
    """log Z and posterior means, by integration over mu and tau: given these, the effects are normal."""
    mean = torch.linspace(-30, 40, 351, dtype=torch.float64)
    spread = torch.linspace(0.05, 100, 1000, dtype=torch.float64)
    m, t = torch.meshgrid(mean, spread, indexing="ij")
    log = targets.between_schools(m, t)
    for effect, error in zip(*targets.SCHOOLS, strict=True):
        log += torch.distributions.Normal(m, (error**2 + t**2).sqrt()).log_prob(torch.tensor(effect).to(m))
    weight = log.flatten().softmax(0).view_as(log)
    cell = float((mean[1] - mean[0]) * (spread[1] - spread[0]))
    log_z = float(log.flatten().logsumexp(0)) + math.log(cell)
    return {"log Z": log_z, "mean of mu": float((weight * m).sum()), "mean of tau": float((weight * t).sum())}


def estimates(summary: dict[str, Any]) -> dict[str, float]:
    """The same by the draws of the fitted flow, with their weights."""
    draws = pl.read_parquet(summary["draws"])
    weight = draws["log_weight"].to_torch().double().softmax(0)
    means = {name: float(weight @ draws[name].to_torch().double()) for name in ("x9", "x10")}
    return {"log Z": summary["target"]["log_z"], "mean of mu": means["x9"], "mean of tau": means["x10"]}


def run(output: Path, printing: PrintOptions, *, budget: float | None, seed: int) -> None:
    """Fits a sampler to the posterior, and compares what it says with the exact integral."""
    folder, steps = output / "model", Steps(output, printing)
    steps.say("Coaching in eight schools: how large is its effect, and how different are schools? Ten parameters,")
    steps.say("their posterior known up to a constant.\n")
    about = ("--target", TARGET, "--flow", FLOW, "--layers", LAYERS)
    summary = steps.run("fit", *about, "-o", folder, *length(STEPS, budget), "--seed", seed)
    exact, found = exactly(), estimates(summary)
    steps.say("\n               flow     exactly")
    for name, value in exact.items():
        steps.say(f"{name:12} {found[name]:9.3f} {value:9.3f}")
    steps.run("sample", folder, "-n", 1000, "-o", output / "draws.csv", "--seed", seed)
    steps.end(
        {"fit": summary, "found": found, "exact": exact},
        "write a log-density of your own, (n, D) to (n,), and fit it: --target my_file:log_density --dim D",
        "several modes? add --modes search",
        "in Python, with exact draws: pushforward.fit_target(log_density, D).draws(1000, exact=True)",
    )
