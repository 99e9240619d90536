"""Posteriors from simulations: sbi's training with our density estimator, next to sbi's own.

    python benchmarks/jobs/simulations.py [FOLDER] [--simulations 2000] [--seeds 2] [--quick]

Two moons (two parameters) and SLCP (five, simple likelihood, complex posterior) from Lueckmann et al. (2021),
arXiv:2101.04653. All get the same simulations and sbi's own training loop, on one thread. For fresh simulations: the
mean log-density of their parameters given their data, in nats, higher is better. With FOLDER, which holds
two_moons.npz and slcp.npz (observations ``x_o_1`` to ``x_o_4``, posterior draws ``samples_1`` to ``samples_4``), also
the accuracy of a classifier between draws and reference draws (C2ST): 0.5 is perfect, 1 worthless. Needs sbi.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sbi.inference import NPE
from sbi.neural_nets import posterior_nn
from sbi.utils.metrics import c2st
from torch import Tensor
from torch.distributions import Independent, Uniform

from pushforward.interop.sbi import density_estimator

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row

FRESH, DRAWS, OBSERVATIONS = 2000, 2000, (1, 2, 3, 4)
OURS = "pushforward"


def two_moons(theta: Tensor) -> Tensor:
    """A crescent of radius N(0.1, 0.01^2), shifted by (-\\|t1 + t2\\|, t2 - t1) / sqrt(2)."""
    angle, radius = math.pi * (torch.rand(len(theta)) - 0.5), 0.1 + 0.01 * torch.randn(len(theta))
    crescent = torch.stack([radius * angle.cos() + 0.25, radius * angle.sin()], 1)
    return crescent + torch.stack([-theta.sum(1).abs(), theta[:, 1] - theta[:, 0]], 1) / math.sqrt(2)


def slcp(theta: Tensor) -> Tensor:
    """Four draws of N((t1, t2), S), whose standard deviations are t3^2 and t4^2 and whose correlation is tanh t5."""
    first, second, rho = theta[:, 2:3].square(), theta[:, 3:4].square(), theta[:, 4:5].tanh()
    a, b = torch.randn(2, len(theta), 4)
    x = theta[:, :1] + first * a
    y = theta[:, 1:2] + second * (rho * a + (1 - rho.square()).clamp_min(0).sqrt() * b)
    return torch.stack([x, y], -1).flatten(1)


def box(size: int, side: float) -> Independent:
    return Independent(Uniform(torch.full((size,), -side), torch.full((size,), side)), 1)


TASKS: dict[str, tuple[Callable[[Tensor], Tensor], Independent]] = {
    "two_moons": (two_moons, box(2, 1.0)),
    "slcp": (slcp, box(5, 3.0)),
}
ESTIMATORS: dict[str, Callable[[], Any]] = {
    OURS: density_estimator,
    "sbi nsf": lambda: posterior_nn("nsf"),
    "sbi zuko_nsf": lambda: posterior_nn("zuko_nsf"),
    "sbi maf": lambda: posterior_nn("maf"),
}


def run(options: argparse.Namespace, case: str) -> list[Row]:
    warnings.simplefilter("ignore")
    task, seed = case.split(", seed ")
    found = {name: measured(task, int(seed), make, options) for name, make in ESTIMATORS.items()}
    return [
        row(f"{case}, {what}", rival, found[OURS][what], scores[what], higher=what == "nats")
        for rival, scores in found.items()
        if rival != OURS
        for what in scores
    ]


def measured(task: str, seed: int, make: Callable[[], Any], options: argparse.Namespace) -> dict[str, float]:
    """An estimator's results: nats of fresh simulations and, with reference draws, the C2ST."""
    simulate, prior = TASKS[task]
    torch.manual_seed(seed)
    theta = prior.sample((options.simulations,))
    x, fresh = simulate(theta), prior.sample((FRESH,))
    seen = simulate(fresh)
    inference = NPE(prior, density_estimator=make(), show_progress_bars=False).append_simulations(theta, x)
    estimator = inference.train(max_num_epochs=options.epochs)
    with torch.no_grad():
        scores = {"nats": float(estimator.log_prob(fresh[None], condition=seen).mean())}
    if options.folder:
        scores["C2ST"] = classified(inference.build_posterior(), options.folder / f"{task}.npz")
    return scores


def classified(posterior: Any, path: Path) -> float:
    """The mean accuracy over the observations."""
    with np.load(path) as stored:
        pairs = [(torch.from_numpy(stored[f"x_o_{k}"]), torch.from_numpy(stored[f"samples_{k}"])) for k in OBSERVATIONS]
    drawn = [posterior.sample((DRAWS,), x=x, show_progress_bars=False) for x, _ in pairs]
    return float(np.mean([float(c2st(ours, truth[:DRAWS])) for ours, (_, truth) in zip(drawn, pairs, strict=True)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("folder", nargs="?", type=Path, help="of observations and reference draws")
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    chosen = parser.parse_known_args()[0]
    quick = "--quick" in sys.argv
    chosen.epochs = 5 if quick else 2**31 - 1
    chosen.simulations = 200 if quick else chosen.simulations
    torch.set_num_threads(1)
    main(
        "simulations",
        "Posteriors from simulations: our estimator in sbi next to sbi's own",
        "Log-density of the true parameters in nats: higher is better, and 0.1 more is 1.1 times the density. C2ST: "
        "how often a classifier tells draws from the true posterior's, 0.5 is perfect.",
        lambda quick: [
            f"{task}, seed {seed}"
            for task in list(TASKS)[: 1 if quick else 2]
            for seed in range(1 if quick else chosen.seeds)
        ],
        partial(run, chosen),
        arguments=parser,
    )
