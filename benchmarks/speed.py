"""Milliseconds of density, training step and sampling, next to zuko where it is installed, at the same sizes.

    python benchmarks/speed.py [--features 43] [--batch 512] [--rounds 5] [--only maf]

The contestants take turns, so that a machine that slows down slows down all of them; the table holds medians and the
ratio to pushforward. Results depend on the machine: quote ratios of one run, and the line that names the hardware.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import pushforward as pf

try:
    import zuko
except ImportError:
    zuko = None

Job = Callable[[], object]


def contestants(features: int) -> dict[str, dict[str, Callable[[], nn.Module]]]:
    """Name of the family, then name of the library, to a constructor; the same layers and widths on both sides."""
    families: dict[str, dict[str, Callable[[], nn.Module]]] = {
        "maf": {"pushforward": lambda: pf.maf(features, layers=5, hidden=(512, 512))},
        "realnvp": {"pushforward": lambda: pf.realnvp(features, layers=8, hidden=(128, 128))},
        "nsf": {"pushforward": lambda: pf.nsf(features, layers=5, hidden=(512, 512), bins=8)},
        "nsf-coupling": {"pushforward": lambda: pf.nsf(features, layers=8, hidden=(128, 128), bins=8, coupling=True)},
    }
    if zuko is not None:
        hidden = {"hidden_features": (512, 512)}
        families["maf"]["zuko"] = lambda: zuko.flows.MAF(features, transforms=5, **hidden)
        families["nsf"]["zuko"] = lambda: zuko.flows.NSF(features, transforms=5, bins=8, **hidden)
        families["realnvp"]["zuko"] = lambda: zuko.flows.NICE(features, transforms=8, hidden_features=(128, 128))
    return families


def jobs(flow: nn.Module, x: Tensor) -> dict[str, Job]:
    """Density without gradients, one step of Adam, and as many samples as there are rows in x."""
    ours = isinstance(flow, pf.Flow)
    log_prob = flow.log_prob if ours else lambda v: flow().log_prob(v)
    draw = flow.sample if ours else lambda shape: flow().sample(shape)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4, fused=True)

    def density() -> None:
        with torch.no_grad():
            log_prob(x)

    def train() -> None:
        optimizer.zero_grad()
        (-log_prob(x).mean()).backward()
        optimizer.step()

    def sample() -> None:
        with torch.no_grad():
            draw((len(x),))

    return {"density": density, "train": train, "sample": sample}


def milliseconds(job: Job) -> float:
    start = time.perf_counter()
    job()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=43)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only")
    options = parser.parse_args()
    torch.manual_seed(0)
    x = torch.randn(options.batch, options.features)
    machine = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    versions = f"torch {torch.__version__}, zuko {getattr(zuko, '__version__', 'not installed')}"
    print(f"{machine}, {versions}: {options.features} features, batch {options.batch}, float32, medians in ms")
    for family, makers in contestants(options.features).items():
        if options.only not in (None, family):
            continue
        work = {library: jobs(make(), x) for library, make in makers.items()}
        for task in ("density", "train", "sample"):
            times: dict[str, list[float]] = {library: [] for library in work}
            for turn in range(options.rounds + 1):
                for library, own in work.items():
                    taken = milliseconds(own[task])
                    if turn:  # the first is to warm up
                        times[library].append(taken)
            medians = {library: statistics.median(values) for library, values in times.items()}
            ratios = [f"{name} {value:.2f} ({value / medians['pushforward']:.2f}x)" for name, value in medians.items()]
            print(f"{family:13} {task:8} " + "  ".join(ratios), flush=True)


if __name__ == "__main__":
    main()
