"""FFJORD's toys: a continuous flow trained on each, its test likelihood against the entropy, and its total mass.

    python benchmarks/continuous_toys.py rings --seconds 120

Trains by flow matching alone, for the given seconds of CPU time; no equation is solved until the flow is evaluated.
With --models FOLDER flows are saved there, and those already there are only evaluated.
Prints one line of JSON for each toy: the mean negative log-likelihood of 20,000 fresh points with its standard error,
solved at 1e-6, the entropy, their difference, the mean error of a log-density against a float64 solve at 1e-9, and the
integral of the density over a grid.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
import toys

import pushforward as pf
from pushforward.transforms import Continuous

LR, MUON_LR, WARM = 3e-3, 0.02, 100  # WARM: warm-up steps of the learning rate


def optimizers(flow: pf.Flow) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices between hidden layers and Adam for the rest, each with its learning rate.

    Muon (Jordan et al., 2024) moves all directions of a matrix equally: fine structure, which Adam learns last, emerges
    several times sooner.
    """
    continuous: Any = flow.transform
    matrices = [layer.weight for layer in continuous.field.layers[:-1]]
    rest = [p for p in flow.parameters() if not any(p is matrix for matrix in matrices)]
    muon = torch.optim.Muon(matrices, lr=MUON_LR, weight_decay=0.0)
    return [(muon, MUON_LR), (torch.optim.Adam(rest, lr=LR, fused=True), LR)]


def train(
    flow: pf.Flow, objective: pf.FlowMatching, name: str, seconds: float, batch: int, generator: torch.Generator
) -> int:
    """Trains with a cosine from the full learning rate to zero as the time runs out; returns the number of steps."""
    both = optimizers(flow)
    start, steps = time.process_time(), 0
    while (used := (time.process_time() - start) / seconds) < 1:
        for optimizer, lr in both:
            optimizer.param_groups[0]["lr"] = lr * min(1, (steps + 1) / WARM) * (1 + math.cos(math.pi * used)) / 2
            optimizer.zero_grad()
        objective(toys.sample(name, batch, generator=generator)).backward()
        for optimizer, _ in both:
            optimizer.step()
        steps += 1
    return steps


@torch.no_grad()
def log_prob(flow: pf.Flow, x: torch.Tensor, tolerance: float) -> torch.Tensor:
    continuous: Any = flow.transform
    flow = pf.Flow(Continuous(continuous.field, rtol=tolerance, atol=tolerance), 2)
    return torch.cat([flow.log_prob(part) for part in x.split(5000)])


def mass(flow: pf.Flow, half: float = 4.8, places: int = 160) -> float:
    """The integral of the density over a square, by the midpoint rule; its cells are narrower than any structure."""
    width = 2 * half / places
    line = torch.arange(places) * width - half + width / 2
    return float(log_prob(flow, torch.cartesian_prod(line, line), 1e-5).double().exp().sum()) * width**2


def measure(flow: pf.Flow, name: str) -> dict:
    """The likelihood of fresh points, and the checks of its accuracy."""
    test = toys.sample(name, 20_000, generator=torch.Generator().manual_seed(2))
    losses, total = -log_prob(flow, test, 1e-6).double(), mass(flow)
    with torch.no_grad():
        continuous: Any = flow.transform
        evaluations = float(continuous.solve(test[:1000]).evaluations.double().mean())
    tighter = -log_prob(flow.double(), test[:300].double(), 1e-9)
    return {
        "nll": round(float(losses.mean()), 4),
        "se": round(float(losses.std() / len(losses) ** 0.5), 4),
        "entropy": round(toys.ENTROPIES[name], 4),
        "gap": round(float(losses.mean()) - toys.ENTROPIES[name], 4),
        "solver_error": float(f"{float((tighter - losses[:300]).abs().mean()):.1e}"),
        "mass": round(total, 5),
        "evaluations_at_1e-5": round(evaluations, 1),
    }


def trained(name: str, options: argparse.Namespace) -> tuple[pf.Flow, int]:
    """A trained flow and its number of steps, from the folder of models if it is there."""
    path = None if options.models is None else options.models / name
    if path is not None and path.exists():
        return pf.load(path), pf.checkpoint.load_extra(path)["steps"]
    torch.manual_seed(0)
    flow = pf.ffjord(2, hidden=options.hidden, frequencies=options.frequencies)
    objective = pf.FlowMatching(flow, options.coupling, late=options.late)
    steps = train(flow, objective, name, options.seconds, options.batch, torch.Generator().manual_seed(1))
    if path is not None:
        pf.save(flow, path, extra={"steps": steps})
    return flow, steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=toys.ENTROPIES)
    parser.add_argument("--seconds", type=float, default=120.0, help="processor time of the training")
    parser.add_argument("--models", type=Path, help="a folder to keep the flows in")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64, 64])
    parser.add_argument("--frequencies", type=int, default=32)
    parser.add_argument("--coupling", choices=("independent", "optimal"), default="independent")
    parser.add_argument("--late", type=float, default=2.0, help="of FlowMatching: above 1, more times near the data")
    parser.add_argument("--batch", type=int, default=1024)
    options = parser.parse_args()
    for name in options.names:
        flow, steps = trained(name, options)
        row = {"toy": name, **measure(flow, name), "steps": steps, **vars(options)}
        del row["names"], row["models"]
        row |= {"torch": torch.__version__, "threads": torch.get_num_threads(), "date": time.strftime("%Y-%m-%d")}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
