"""The demo of a posterior known up to a constant: eight schools (Rubin 1981), beside the exact answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from ..options import PrintOptions
from .steps import Steps, length

EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
TARGET, DIM, SUPPORT = f"{__name__}:eight_schools", 10, "real:9,positive:1"
FLOW, LAYERS, STEPS = "realnvp", 4, 1200  # half a minute


def eight_schools(v: Tensor) -> Tensor:
    r"""Log of prior times likelihood: :math:`y_j \sim N(\mu + \tau \eta_j, \sigma_j)`, :math:`\eta_j \sim N(0, 1)`.

    Args:
        v: ``(n, 10)``: :math:`\mu \sim N(0, 5)`, eight :math:`\eta_j`, and :math:`\tau` of a half-Cauchy of scale 5.

    Returns:
        ``(n,)``, in nats.
    """
    mean, eta, spread = v[:, :1], v[:, 1:9], v[:, 9:]
    likelihood = _normal(EFFECTS.to(v), mean + spread * eta, ERRORS.to(v)).sum(-1)
    half_cauchy = math.log(2 / (5 * math.pi)) - torch.log1p((spread / 5).square()).squeeze(-1)
    value = likelihood + _normal(eta, 0.0, 1.0).sum(-1) + _normal(mean, 0.0, 5.0).squeeze(-1) + half_cauchy
    return torch.where(spread.squeeze(-1) > 0, value, -torch.inf)


def _normal(x: Tensor, mean: Tensor | float, spread: Tensor | float) -> Tensor:
    return torch.distributions.Normal(mean, spread, validate_args=False).log_prob(x)


def exactly() -> dict[str, float]:
    """log Z and posterior means, by integration over mu and tau: given these, the effects are normal."""
    mean = torch.linspace(-30, 40, 351, dtype=torch.float64)
    spread = torch.linspace(0.05, 100, 1000, dtype=torch.float64)
    m, t = torch.meshgrid(mean, spread, indexing="ij")
    log = _normal(m, 0.0, 5.0) + math.log(2 / (5 * math.pi)) - torch.log1p((t / 5).square())
    for effect, error in zip(EFFECTS, ERRORS, strict=True):
        log += _normal(effect, m, (error**2 + t**2).sqrt())
    weight = log.flatten().softmax(0).view_as(log)
    cell = float((mean[1] - mean[0]) * (spread[1] - spread[0]))
    log_z = float(log.flatten().logsumexp(0)) + math.log(cell)
    return {"log Z": log_z, "mean of mu": float((weight * m).sum()), "mean of tau": float((weight * t).sum())}


def estimates(summary: dict[str, Any]) -> dict[str, float]:
    """The same by the draws of the fitted flow, with their weights."""
    draws = pl.read_parquet(summary["draws"])
    weight = draws["log_weight"].to_torch().double().softmax(0)
    means = {name: float(weight @ draws[name].to_torch().double()) for name in ("x1", "x10")}
    return {"log Z": summary["target"]["log_z"], "mean of mu": means["x1"], "mean of tau": means["x10"]}


def run(output: Path, printing: PrintOptions, *, budget: float | None, seed: int) -> None:
    """Fits a sampler to the posterior, and compares what it says with the exact integral."""
    folder, steps = output / "model", Steps(output, printing)
    steps.say("Coaching in eight schools: how large is its effect, and how different are schools? Ten parameters,")
    steps.say("their posterior known up to a constant.\n")
    about = ("--target", TARGET, "--dim", DIM, "--support", SUPPORT, "--flow", FLOW, "--layers", LAYERS)
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
        "targets of Stan, PyMC and JAX, and exact draws: docs/reverse_kl.md",
    )
