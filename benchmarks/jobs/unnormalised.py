"""Posteriors known up to a constant: a flow fitted by reverse KL, next to a normal at the mode and to NUTS.

    python benchmarks/jobs/unnormalised.py [FOLDER] [--budget 60] [--quick]

On the five posteriors of ``own_posteriors.py``, one of which raises, and with FOLDER on those of Stan's posterior
database that it holds (see ``benchmarks/posteriors.py``). Ours and NUTS (Pyro's, if it is installed; one chain,
200 warm-up steps) have ``--budget`` seconds each on one thread. An error is the largest over all quantities: of
the mean, in reference standard deviations, and of the standard deviation, relative to the reference's. Draws of the
flow are used as they are, without weights; the normal (Laplace's) is in the free parameters.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pushforward as pf

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure.jobs import main, row
from measure.results import Row
from own_posteriors import OWN, reference
from posterior_models import POSTERIORS, Posterior
from posteriors import database

from pushforward.objectives.user_target import UserTarget

Draws = dict[str, Tensor]
N, WARMUP = 20_000, 200  # draws for the errors; warm-up steps of NUTS


def load(folder: Path | None, case: str) -> tuple[Posterior, Draws]:
    """A posterior and the reference draws of its quantities."""
    if case in OWN:
        posterior = OWN[case]()
        return posterior, reference(posterior)
    assert folder is not None
    return database(folder / case, case)


def run(folder: Path | None, budget: float, case: str) -> list[Row]:
    warnings.simplefilter("ignore")  # targets that fail somewhere
    posterior, truth = load(folder, case)
    size = sum(posterior.support.sizes)
    blocks = list(zip(posterior.support.maps, posterior.support.sizes, strict=True))
    fitted = pf.fit_target(posterior.log_density, size, blocks=blocks, budget=budget, draws=N, progress=False)
    ours = errors(posterior.outputs(fitted.importance.draws), truth)
    return [
        row(f"{case}, {what}", rival, mine, yours, higher=False)
        for rival, draws in rivals(posterior, budget)
        for what, mine, yours in zip(
            ("means", "deviations"), ours, errors(posterior.outputs(draws), truth), strict=True
        )
    ]


def errors(drawn: Draws, truth: Draws) -> tuple[float, float]:
    """The largest error of a mean, in standard deviations, and of a standard deviation, relative."""
    means = [abs(float(drawn[key].mean() - value.mean()) / float(value.std())) for key, value in truth.items()]
    return max(means), max(abs(float(drawn[key].std() / value.std()) - 1) for key, value in truth.items())


def rivals(posterior: Posterior, budget: float) -> Iterator[tuple[str, Tensor]]:
    target = UserTarget(posterior.log_density)
    start = pf.laplace(target, sum(posterior.support.sizes), posterior.support, dtype=torch.float64)
    z = torch.randn(
        N, sum(posterior.support.noise_sizes), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        yield "a normal at the mode", start.inverse(z)[0]
    try:
        import pyro  # noqa: F401
    except ImportError:
        return
    yield "NUTS", nuts(target, posterior, budget)


class TimeIsOverError(Exception):
    """Ends a chain."""


def nuts(target: UserTarget, posterior: Posterior, budget: float) -> Tensor:
    """The draws of one chain until the time is up; if it has not warmed up by then, its last half."""
    from pyro.infer import MCMC, NUTS

    def potential(parameters: dict[str, Tensor]) -> Tensor:
        x, logdet = posterior.support.inverse(parameters["u"][None])
        return -(target(x) + logdet)[0]

    visited: dict[str, list[Tensor]] = {"Warmup": [], "Sample": []}
    started = time.perf_counter()

    def visit(kernel: Any, parameters: dict[str, Tensor], stage: str, step: int) -> None:
        visited["Sample" if stage == "Sample" else "Warmup"].append(parameters["u"].detach().clone())
        if time.perf_counter() - started > budget:
            raise TimeIsOverError

    start = {"u": torch.zeros(sum(posterior.support.noise_sizes), dtype=torch.float64)}
    sampler = MCMC(NUTS(potential_fn=potential), 10**6, WARMUP, start, hook_fn=visit, disable_progbar=True)
    with contextlib.suppress(TimeIsOverError):
        sampler.run()
    early = visited["Warmup"]
    found = visited["Sample"] if len(visited["Sample"]) > 1 else early[len(early) // 2 :]
    return posterior.support.inverse(torch.stack(found))[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("folder", nargs="?", type=Path, help="of Stan's posterior database")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for each posterior and tool")
    chosen = parser.parse_known_args()[0]
    stored = [name for name in POSTERIORS if chosen.folder and (chosen.folder / name).exists()]
    quick = "--quick" in sys.argv
    torch.set_num_threads(1)
    main(
        "posteriors",
        "Posteriors known up to a constant, next to a normal at the mode and NUTS",
        "Largest errors over all quantities: of means in standard deviations (0.05 is hardly visible), of standard "
        "deviations relative to the reference (0.05 is 5 %). Lower is better.",
        lambda quick: ["logistic regression"] if quick else [*stored, *OWN],
        partial(run, chosen.folder, 5.0 if quick else chosen.budget),
        arguments=parser,
    )
