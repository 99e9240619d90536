"""Targets with many separated modes: is every mode found, with its weight, and is log Z right?

    python benchmarks/modes.py [--budget 300] [--seeds 1 2 3] [--only NAME ...] [--output benchmarks/results/modes.md]

Mixtures have random centres, uniform in a box, random widths and random weights, a new one for each seed; the
target's log Z is 0. Many-well is the product of 16 densities exp(-a^4 + 6 a^2 + a / 2 - b^2 / 2), with 65,536 modes;
its weights are those of each coordinate's two wells. Weights are counted over 40,000 of the flow's own draws, without
importance weights.
"""

from __future__ import annotations

import argparse
import datetime
import math
import platform
import time
from pathlib import Path

import torch
from torch import Tensor

import pushforward as pf

DRAWS = 40_000
# features, modes, half the side of the box, smallest and largest width, smallest weight beside the largest
MIXTURES = {
    "40 modes, equal (Midgley)": (2, 40, 40.0, 1.3, 1.3, 1.0),
    "40 modes": (2, 40, 40.0, 0.7, 1.8, 0.3),
    "8 modes": (8, 8, 10.0, 0.5, 1.5, 0.3),
    "8 modes, 16 d": (16, 8, 10.0, 0.7, 1.3, 0.3),
    "8 modes, 32 d": (32, 8, 10.0, 0.8, 1.2, 0.3),
}


class Mixture:
    """Gaussians with random centres, widths and weights."""

    def __init__(self, name: str, seed: int) -> None:
        self.features, modes, box, low, high, least = MIXTURES[name]
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand(modes, self.features + 2, generator=generator, dtype=torch.float64)
        self.loc = box * (2 * uniform[:, 2:] - 1)
        self.scale = low * (high / low) ** uniform[:, 0]
        self.weight = least + (1 - least) * uniform[:, 1]
        self.weight = self.weight / self.weight.sum()

    def parts(self, x: Tensor) -> Tensor:
        square = x.square().sum(-1)[:, None] - 2 * x @ self.loc.T + self.loc.square().sum(-1)
        norm = self.features * (self.scale.log() + 0.5 * math.log(2 * math.pi))
        return self.weight.log() - norm - 0.5 * square / self.scale.square()

    def __call__(self, x: Tensor) -> Tensor:
        return self.parts(x).logsumexp(-1)

    def ratios(self, draws: Tensor) -> Tensor:
        """Each mode's share of the draws, relative to its weight."""
        return self.parts(draws).softmax(-1).mean(0) / self.weight


class ManyWell:
    """Sixteen independent pairs, in each of which one number has two wells."""

    features = 32

    def __call__(self, x: Tensor) -> Tensor:
        a, b = x[:, 0::2], x[:, 1::2]
        return (-a.pow(4) + 6 * a.square() + 0.5 * a - 0.5 * b.square()).sum(-1)

    def wells(self) -> tuple[float, float]:
        """log Z and the weight of a coordinate's right well, by quadrature."""
        a = torch.linspace(-4, 4, 40_001, dtype=torch.float64)
        density = (-a.pow(4) + 6 * a.square() + 0.5 * a).exp()
        mass = density.sum() * (a[1] - a[0])
        return 16 * math.log(float(mass) * math.sqrt(2 * math.pi)), float(density[a > 0].sum() / density.sum())

    def ratios(self, draws: Tensor) -> Tensor:
        right = (draws[:, 0::2] > 0).double().mean(0)
        return torch.cat([right / self.wells()[1], (1 - right) / (1 - self.wells()[1])])


def row(name: str, seed: int, budget: float) -> str:
    """One row of the table."""
    target: ManyWell | Mixture = ManyWell() if name == "many-well 32" else Mixture(name, seed)
    log_z = target.wells()[0] if isinstance(target, ManyWell) else 0.0
    started = time.perf_counter()
    fitted = pf.fit_target(target, target.features, modes="search", budget=budget, seed=seed, progress=False)
    seconds, found = time.perf_counter() - started, fitted.importance
    ratios = target.ratios(fitted.flow.sample((DRAWS,), generator=torch.Generator().manual_seed(seed)))
    off = abs(found.log_z - log_z)
    met = bool(((ratios - 1).abs() < 0.2).all()) and (off < 2 * found.log_z_se or off < 0.1)
    return (
        f"| {name} | {target.features} | {seed} | {seconds:.0f} | "
        f"{float(ratios.min()):.2f} to {float(ratios.max()):.2f} | {found.log_z - log_z:+.4f} ± {found.log_z_se:.4f} | "
        f"{found.ess / 100:.1f} % | {found.khat:.2f} | "
        f"{'yes' if found.trusted else 'no'} | {'yes' if met else 'NO'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Modes found, weighed and measured.")
    parser.add_argument("--budget", type=float, default=300.0)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--only", nargs="*", default=[*MIXTURES, "many-well 32"])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = [
        "# Targets of many modes",
        "",
        f"{datetime.date.today()}, `python benchmarks/modes.py --budget {options.budget:g}`, {torch.get_num_threads()} "
        f"thread of {platform.processor() or platform.machine()}, torch {torch.__version__}, float64, 10,000 weighed "
        "draws. Met: every weight within 20 %, log Z within two standard errors or 0.1 nats.",
        "",
        "| target | features | seed | seconds | weights, found / true | log Z off by | ESS | k-hat | trusted | met |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in options.only:
        for seed in options.seeds:
            lines.append(row(name, seed, options.budget))
            print(lines[-1], flush=True)
            if options.output:
                options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
