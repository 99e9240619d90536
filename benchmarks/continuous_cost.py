"""What a continuous flow costs and how accurate it is.

    python benchmarks/continuous_cost.py traces       # time of a log-density against features, for each kind of trace
    python benchmarks/continuous_cost.py precision --plot precision.png   # error and evaluations against tolerance
    python benchmarks/continuous_cost.py contexts     # how the cost of context distance affects optimal coupling

Prints JSON, one line per measurement. Times are medians of single calls with PyTorch's number of threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import pushforward as pf
from pushforward.nets.field import MLPField
from pushforward.objectives.continuous import optimal_partners
from pushforward.transforms import Continuous


def bent(features: int, hidden: int) -> MLPField:
    """A field that is not the identity, with the same stiffness at every size."""
    generator = torch.Generator().manual_seed(0)
    field = MLPField(features, hidden=(hidden, hidden))
    with torch.no_grad():
        for p in field.parameters():
            size = 1.5 / p.shape[-1] ** 0.5 if p.dim() > 1 else 0.1
            p.copy_(torch.randn(p.shape, generator=generator) * size)
    return field


def median_ms(call, rounds: int = 3) -> float:
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


@torch.no_grad()
def traces(batch: int = 128, hidden: int = 128) -> None:
    """Eight equal steps, so that all do the same work except for the trace; "none" is the solve alone."""
    for features in (2, 4, 8, 16, 32, 64, 128, 256, 512):
        field, x = bent(features, hidden), torch.randn(batch, features, generator=torch.Generator().manual_seed(1))
        row: dict[str, float] = {"features": features, "batch": batch, "hidden": hidden}
        solve = Continuous(field, steps=8)
        row["none_ms"] = round(median_ms(lambda s=solve, x=x: s.solve(x, logdet=False)), 2)
        for trace in ("closed", "hutchinson", "exact"):
            transform = Continuous(field, steps=8, trace=trace)
            rounds = 1 if trace == "exact" and features > 64 else 3
            row[f"{trace}_ms"] = round(median_ms(lambda t=transform, x=x: t(x), rounds), 2)
        print(json.dumps(row | context()), flush=True)


@torch.no_grad()
def precision() -> list[dict]:
    """Errors of log p against a solve at 1e-11, in float64, for each adaptive solver over six decades of tolerance."""
    rows = []
    field = bent(8, 64)
    flow = pf.Flow(Continuous(field, rtol=1e-11, atol=1e-11), 8).double()
    x = 1.5 * torch.randn(200, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = flow.log_prob(x)
    for solver in ("bosh3", "dopri5", "tsit5"):
        for power in range(3, 10):
            tolerance = 10.0**-power
            transform = Continuous(field, solver=solver, rtol=tolerance, atol=tolerance, max_steps=20_000)
            solution = transform.solve(x)
            error = (flow.base.log_prob(solution.z) + solution.logdet - exact).abs()
            back = transform.inverse(solution.z)[0]
            row = {
                "solver": solver,
                "tolerance": tolerance,
                "evaluations": round(float(solution.evaluations.double().mean()), 1),
                "rejected": round(float(solution.rejected.double().mean()), 2),
                "log_prob_error_mean": float(f"{error.mean():.2e}"),
                "log_prob_error_max": float(f"{error.max():.2e}"),
                "round_trip_max": float(f"{(back - x).abs().max():.2e}"),
            }
            rows.append(row)
            print(json.dumps(row | context()), flush=True)
    return rows


def plot(rows: list[dict], path: str) -> None:
    """Work against precision, and precision against the requested tolerance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    work, asked = figure.subplots(1, 2, sharey=True)
    for solver in dict.fromkeys(row["solver"] for row in rows):
        mine = [row for row in rows if row["solver"] == solver]
        error, back = ([row[key] for row in mine] for key in ("log_prob_error_mean", "round_trip_max"))
        tolerance = [row["tolerance"] for row in mine]
        work.loglog([row["evaluations"] for row in mine], error, "o-", label=solver)
        (line,) = asked.loglog(tolerance, error, "o-", label=f"{solver}, mean error of log p")
        asked.loglog(tolerance, back, "--", color=line.get_color(), label=f"{solver}, largest round trip")
    asked.loglog(tolerance, tolerance, ":", color="grey", label="the tolerance itself")
    work.set(xlabel="evaluations of the field for one row", ylabel="error")
    asked.set(xlabel="tolerance of a step")
    for axes in (work, asked):
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def contexts(batch: int = 256, batches: int = 60, bins: int = 16) -> None:
    """How much shorter paths become, and how much the noise then reveals about its context, which it should not.

    The context is an angle. It determines the position of x (``informative``), or is independent of it.
    """
    for informative in (True, False):
        for cost in (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0):
            generator = torch.Generator().manual_seed(0)
            lengths, angles, noises = [], [], []
            for _ in range(batches):
                angle, other = 2 * torch.pi * torch.rand(2, batch, generator=generator)
                place = angle if informative else other
                x, z = torch.randn(2, batch, 2, generator=generator)
                x = 0.3 * x + 2 * torch.stack([place.cos(), place.sin()], 1)
                told = torch.stack([angle.cos(), angle.sin()], 1)
                before = (x - z).square().sum(1).mean()
                z = z[optimal_partners(x, z, told, cost)]
                lengths.append(float((x - z).square().sum(1).mean() / before))
                angles.append(angle)
                noises.append(z)
            sector = (torch.cat(angles) / (2 * torch.pi) * bins).long().clamp(max=bins - 1)
            means = torch.stack([torch.cat(noises)[sector == k].mean(0) for k in range(bins)])
            row = {
                "informative": informative,
                "context_cost": cost,
                "squared_length": round(statistics.mean(lengths), 3),
                "noise_explained_by_context": round(float(means.square().mean()) - bins / (batch * batches), 4),
            }
            print(json.dumps(row | context()), flush=True)


def context() -> dict:
    return {"threads": torch.get_num_threads(), "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("traces", "precision", "contexts"))
    parser.add_argument("--plot", metavar="FILE", help="where to draw the precision")
    options = parser.parse_args()
    measurements: dict[str, Callable[[], Any]] = {"traces": traces, "precision": precision, "contexts": contexts}
    rows = measurements[options.what]()
    if options.plot and rows:
        plot(rows, options.plot)
