"""FFJORD's toys: a continuous flow trained on each, its test likelihood against the entropy, and its total mass.

    python benchmarks/continuous_toys.py checkerboard --matching 60 --likelihood 120

Flow matching first (cheap steps; the optimal coupling makes later solves cheap), exact maximum likelihood afterwards;
the seconds of each are arguments. Prints one line of JSON: the mean negative log-likelihood of 20,000 fresh points with
its standard error, the entropy, their difference, and the integral of the density over a grid.
"""

from __future__ import annotations

import argparse
import json
import math
import time

import torch

import pushforward as pf
from pushforward.data import toy
from pushforward.nets.field import MLPField


def train(objective, name, seconds, batch, lr, generator):
    """Adam with a learning rate that falls to zero as the seconds run out; the number of steps."""
    optimizer = torch.optim.Adam(objective.parameters(), lr=lr, fused=True)
    start, steps = time.perf_counter(), 0
    while (used := (time.perf_counter() - start) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * used))
        optimizer.zero_grad()
        objective(toy.sample(name, batch, generator=generator)).backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 5.0)
        optimizer.step()
        steps += 1
    return steps


@torch.no_grad()
def log_prob(flow, x):
    return torch.cat([flow.log_prob(part) for part in x.split(10_000)])


def mass(flow, half=5.0, places=221):
    """The integral of the density over a square, by the midpoint rule."""
    width = 2 * half / places
    line = torch.arange(places) * width - half + width / 2
    return float(log_prob(flow, torch.cartesian_prod(line, line)).exp().double().sum()) * width**2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=toy.ENTROPIES)
    parser.add_argument("--matching", type=float, default=60.0, help="seconds of flow matching")
    parser.add_argument("--likelihood", type=float, default=120.0, help="seconds of maximum likelihood")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--batch", type=int, default=512)
    options = parser.parse_args()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    field = MLPField(2, hidden=(options.hidden, options.hidden), scale=6.0)
    flow = pf.Flow(pf.transforms.Continuous(field, rtol=5e-4, atol=5e-4), 2)
    name = options.name
    matching = train(pf.FlowMatching(flow, "optimal"), name, options.matching, 256, 6e-3, generator)
    test = toy.sample(name, 20_000, generator=torch.Generator().manual_seed(2))
    after_matching = -float(log_prob(flow, test).mean())
    likelihood = train(pf.ForwardKL(flow), name, options.likelihood, options.batch, 2e-3, generator)
    exact = pf.transforms.Continuous(flow.transform.field, rtol=1e-5, atol=1e-5)
    flow.transform = exact
    losses = -log_prob(flow, test)
    with torch.no_grad():
        evaluations = float(exact.solve(test[:2000]).evaluations.double().mean())
    entropy = toy.ENTROPIES[name]
    result = {
        "toy": name,
        "nll": round(float(losses.mean()), 4),
        "se": round(float(losses.std() / len(losses) ** 0.5), 4),
        "entropy": round(entropy, 4),
        "gap": round(float(losses.mean()) - entropy, 4),
        "nll_after_matching": round(after_matching, 4),
        "mass": round(mass(flow), 5),
        "steps": [matching, likelihood],
        "seconds": [options.matching, options.likelihood],
        "hidden": options.hidden,
        "evaluations": round(evaluations, 1),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
