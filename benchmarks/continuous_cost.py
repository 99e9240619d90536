"""What a continuous flow costs and how accurate it is.

    python benchmarks/continuous_cost.py traces       # time of a log-density against features, for each kind of trace
    python benchmarks/continuous_cost.py precision    # error and evaluations against tolerance, six decades

Prints JSON, one line for each measurement. Times are medians of single calls with the threads PyTorch has.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

import pushforward as pf
from pushforward.nets.field import MLPField
from pushforward.transforms import Continuous


def bent(features: int, hidden: int) -> MLPField:
    """A field that is not the identity, of the same stiffness at every size."""
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
    """Eight equal steps, so that all do the same work but for the trace; "none" is the solve alone."""
    for features in (2, 8, 32, 128, 512):
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
def precision() -> None:
    """Errors of log p against a solve at 1e-11, in float64, for each adaptive solver."""
    flow = pf.Flow(Continuous(bent(8, 64), rtol=1e-11, atol=1e-11), 8).double()
    x = 1.5 * torch.randn(200, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    field, exact = flow.transform.field, flow.log_prob(x)
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
            print(json.dumps(row | context()), flush=True)


def context() -> dict:
    return {"threads": torch.get_num_threads(), "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("traces", "precision"))
    {"traces": traces, "precision": precision}[parser.parse_args().what]()
