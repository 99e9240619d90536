"""Reverse KL evaluated: posteriors against reference draws, and log Z of targets for which it is known.

    python benchmarks/posteriors.py DATA [--budget 60] [--only NAME ...] [--output benchmarks/results/posteriors.md]

DATA is a folder from Stan's posterior database with one folder for each name of ``posterior_models.POSTERIORS``, each
with ``data.json.zip`` and ``draws.json.zip``. Each fit runs for ``--budget`` seconds on PyTorch's number of threads.
Writes a table in Markdown. Errors are of the flow's own draws, without importance weights: of the mean in standard
deviations of the reference draws, of the standard deviation relative to theirs, the largest over all quantities.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
from own_posteriors import OWN, reference
from posterior_models import POSTERIORS, Posterior

import pushforward as pf
from pushforward.testing import targets

DRAWS = 20_000
MEAN, SD, KHAT = 0.05, 0.05, 0.7  # the thresholds
# How each target of known log Z is fitted: splines if edges are sharp, annealing if there are several modes.
KNOWN: dict[str, dict[str, Any]] = {
    "potential_1": {"flow": "nsf-coupling", "start": "normal", "widen": 2.0, "anneal": 500},
    "potential_2": {"flow": "nsf-coupling", "start": "normal"},
    "potential_3": {"flow": "nsf-coupling", "start": "normal", "anneal": 500},
    "potential_4": {"flow": "nsf-coupling", "start": "normal", "anneal": 500},
    "funnel": {"flow": "realnvp", "start": "normal"},
    "banana": {"flow": "realnvp", "hidden": (64, 64)},
    "mixture": {"flow": "nsf-coupling", "start": "normal", "anneal": 500},
    "separated": {"flow": "nsf-coupling", "start": "normal", "widen": 4.0, "anneal": 1000},
}


def read(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(archive.namelist()[0]))


def database(folder: Path, name: str) -> tuple[Posterior, dict[str, torch.Tensor]]:
    """A posterior from the database and its reference draws."""
    data = {key: torch.tensor(value, dtype=torch.float64) for key, value in read(folder / "data.json.zip").items()}
    chains = read(folder / "draws.json.zip")
    reference = {key: torch.tensor([chain[key] for chain in chains]).double().flatten() for key in chains[0]}
    return POSTERIORS[name](data), reference


def posterior_row(name: str, posterior: Posterior, reference: dict[str, torch.Tensor], budget: float) -> str:
    """One row of the table."""
    started = time.perf_counter()
    fitted = pf.fit_target(
        posterior.log_density,
        sum(posterior.support.sizes),
        blocks=list(zip(posterior.support.maps, posterior.support.sizes, strict=True)),
        budget=budget,
        draws=DRAWS,
        progress=False,
    )
    seconds = time.perf_counter() - started
    found, ours = fitted.importance, posterior.outputs(fitted.importance.draws)
    mean = max(float((ours[key].mean() - value.mean()).abs() / value.std()) for key, value in reference.items())
    sd = max(float((ours[key].std() / value.std() - 1).abs()) for key, value in reference.items())
    met = mean < MEAN and sd < SD and found.khat < KHAT
    return (
        f"| {name} | {len(reference)} | {fitted.result.steps:,} | {seconds:.0f} | {mean:.3f} | {100 * sd:.1f} % | "
        f"{found.khat:.2f} | {100 * found.ess / DRAWS:.1f} % | {found.log_z:.4f} ± {found.log_z_se:.4f} | "
        f"{'yes' if met else 'NO'} |"
    )


def known_row(name: str, budget: float) -> str:
    """One row of the table."""
    target = getattr(targets, name)
    fitted = pf.fit_target(
        target, target.features, blocks=target.support, budget=budget, draws=DRAWS, progress=False, **KNOWN[name]
    )
    found = fitted.importance
    off = (found.log_z - target.log_z) / found.log_z_se
    return (
        f"| {name} | {KNOWN[name]['flow']} | {fitted.result.steps:,} | {target.log_z:.4f} | "
        f"{found.log_z:.4f} ± {found.log_z_se:.4f} | {off:+.1f} | {found.khat:.2f} | {100 * found.ess / DRAWS:.1f} % | "
        f"{found.verdict} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Reverse KL on posteriors and on targets of known log Z.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--only", nargs="*", default=[*POSTERIORS, *OWN, *KNOWN])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = [
        "# Reverse KL: posteriors and normalising constants",
        "",
        f"{datetime.date.today()}, `python benchmarks/posteriors.py DATA --budget {options.budget:g}`, "
        f"{torch.get_num_threads()} thread of {platform.processor() or platform.machine()}, torch {torch.__version__}, "
        f"float64, {DRAWS:,} draws.",
        "",
        f"Posteriors; met: mean within {MEAN} reference standard deviations, standard deviation within {SD:.0%}, "
        f"k-hat below {KHAT}.",
        "",
        "| posterior | quantities | steps | seconds | mean off by | sd off by | k-hat | ESS | log Z | met |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in filter(options.only.__contains__, POSTERIORS):
        write(lines, options.output, posterior_row(name, *database(options.data / name, name), options.budget))
    for name in filter(options.only.__contains__, OWN):
        posterior = OWN[name]()
        write(lines, options.output, posterior_row(name, posterior, reference(posterior), options.budget))
    lines += [
        "",
        "Targets of known log Z; off is in standard errors.",
        "",
        "| target | flow | steps | log Z | estimate | off | k-hat | ESS | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in filter(options.only.__contains__, KNOWN):
        write(lines, options.output, known_row(name, options.budget))


def write(lines: list[str], output: Path | None, row: str) -> None:
    """Prints a row at once, and keeps the file up to date."""
    print(row, flush=True)
    lines.append(row)
    if output:
        output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
