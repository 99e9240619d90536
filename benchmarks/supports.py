"""Heavy tails and tori: the tail index of a flow's draws with and without the tail layer, and a von Mises mixture.

python benchmarks/supports.py [--rows 20000] [--steps 1500]
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, VonMises

import pushforward as pf

DRAWS = 200_000  # of which the 1,000 farthest on each side determine the tail index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    tails(options.rows, options.steps)
    torus(options.rows, options.steps)


def tails(rows: int, steps: int) -> None:
    """A 2-dimensional Student-t with 2 degrees of freedom, correlated through its common scale."""
    torch.manual_seed(0)
    x = student(rows)
    layers = {
        "nsf": [],
        "nsf with a tail layer, estimated": [
            pf.transforms.HeavyTails(2, pf.diagnostics.tail_index(x), trainable=False)
        ],
        "nsf with a tail layer, trained": [pf.transforms.HeavyTails(2)],
    }
    for name, before in layers.items():
        torch.manual_seed(0)
        flow = pf.nsf(2, layers=3, hidden=(64, 64)).behind(*before)
        result = pf.fit(flow, x, steps=steps, lr=3e-3, progress=False)
        drawn = flow.sample((DRAWS,), generator=torch.Generator().manual_seed(1))
        index = pf.diagnostics.tail_index(drawn, 1000)
        held_out = -flow.log_prob(student(20_000)).mean()
        print(
            f"{name}: tail index {index.flatten().tolist()} (2), {held_out:.3f} nats, {result.seconds:.0f} s",
            flush=True,
        )
    print(f"data: tail index {pf.diagnostics.tail_index(student(DRAWS), 1000).flatten().tolist()}", flush=True)


def student(rows: int) -> Tensor:
    """(n, 2): normal rows over a common scale, the root of an inverse gamma."""
    scale = torch.distributions.Gamma(1.0, 1.0).sample((rows, 1)).rsqrt()
    return torch.randn(rows, 2) * scale


def torus(rows: int, steps: int) -> None:
    """A mixture of five von Mises densities in three angles."""
    torch.manual_seed(0)
    centres, sharpness = 2 * math.pi * torch.rand(5, 3) - math.pi, 2 + 8 * torch.rand(5, 3)
    target = MixtureSameFamily(Categorical(torch.ones(5)), Independent(VonMises(centres, sharpness), 1))
    x, fresh = target.sample((rows,)), target.sample((20_000,))
    flow = pf.ncsf(3, layers=5, hidden=(64, 64))
    result = pf.fit(flow, x, steps=steps, lr=3e-3, progress=False)
    with torch.no_grad():
        truth, ours = target.log_prob(fresh), flow.log_prob(fresh)
    gap, error = (truth - ours).mean(), (truth - ours).std() / len(fresh) ** 0.5
    print(f"torus: truth {truth.mean():.3f}, ncsf {ours.mean():.3f}, {gap:.3f} +- {error:.3f} nats below, "
          f"{result.seconds:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
