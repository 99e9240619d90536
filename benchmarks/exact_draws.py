"""Exact draws by Metropolis from a fitted flow, next to Pyro's NUTS on the same posterior and machine. Needs pyro-ppl.

    python benchmarks/exact_draws.py DATA [--steps 800] [--only NAME ...] [--output benchmarks/results/exact_draws.md]

DATA is as for ``posteriors.py``. NUTS runs in the free parameters, with 200 warm-up steps and 300 draws; its time is
that of the draws alone. Effective sample sizes are the smallest over all free parameters, bulk, by arviz-stats. The
flow's fit is counted separately, as is NUTS's warm-up.
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path

import pyro
import torch
from posterior_models import POSTERIORS, Posterior
from posteriors import read, write
from torch import Tensor

import pushforward as pf
from pushforward.posterior.exact import Chains

DRAWS, NUTS_DRAWS, WARMUP = 20_000, 300, 200


def row(folder: Path, name: str, steps: int) -> str:
    """One row of the table."""
    data = {key: torch.tensor(value, dtype=torch.float64) for key, value in read(folder / "data.json.zip").items()}
    posterior = POSTERIORS[name](data)
    blocks = list(zip(posterior.support.maps, posterior.support.sizes, strict=True))
    started = time.perf_counter()
    features = sum(posterior.support.sizes)
    fitted = pf.fit_target(posterior.log_density, features, blocks=blocks, steps=steps, progress=False)
    fit_seconds = time.perf_counter() - started
    started = time.perf_counter()
    found = fitted.chains(DRAWS, method="metropolis")
    rate = float(found.ess.min()) / (time.perf_counter() - started)
    nuts, seconds, warm = by_nuts(posterior)
    nuts_rate = float(nuts.ess.min()) / seconds
    return (
        f"| {name} | {fit_seconds:.0f} | {found.acceptance:.1%} | {float(found.rhat.max()):.3f} | "
        f"{float(found.ess.min()):,.0f} | {rate:,.0f} | {warm:.0f} | {nuts_rate:,.1f} | {rate / nuts_rate:,.0f} |"
    )


def by_nuts(posterior: Posterior) -> tuple[Chains, float, float]:
    """Draws of the free parameters, the seconds they took, and those of the warm-up."""
    from pyro.infer import MCMC, NUTS

    def potential(parameters: dict[str, Tensor]) -> Tensor:
        x, logdet = posterior.support.inverse(parameters["u"][None])
        return -(posterior.log_density(x) + logdet)[0]

    times: list[float] = []
    start = {"u": torch.zeros(sum(posterior.support.noise_sizes), dtype=torch.float64)}
    pyro.set_rng_seed(0)
    sampler = MCMC(
        NUTS(potential_fn=potential),
        num_samples=NUTS_DRAWS,
        warmup_steps=WARMUP,
        initial_params=start,
        hook_fn=lambda *_: times.append(time.perf_counter()),
        disable_progbar=True,
    )
    started = time.perf_counter()
    sampler.run()
    draws = sampler.get_samples(group_by_chain=True)["u"]
    return Chains(draws, "nuts", None), times[-1] - times[WARMUP - 1], times[WARMUP - 1] - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Metropolis from a flow, beside NUTS.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--only", nargs="*", default=[*POSTERIORS])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = [
        "# Exact draws: Metropolis from the flow, beside Pyro's NUTS",
        "",
        f"{datetime.date.today()}, `python benchmarks/exact_draws.py DATA --steps {options.steps}`, one thread, "
        f"torch {torch.__version__}, pyro {pyro.__version__}, float64; {DRAWS:,} draws in 4 chains, NUTS {NUTS_DRAWS}.",
        "",
        "| name | fit, s | acceptance | R-hat | effective | effective/s | warm-up, s | NUTS, effective/s | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in filter(options.only.__contains__, POSTERIORS):
        write(lines, options.output, row(options.data / name, name, options.steps))


if __name__ == "__main__":
    main()
