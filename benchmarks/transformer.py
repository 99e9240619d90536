"""Transformer autoregressive flows: time and memory next to a plain PyTorch implementation of the paper's blocks.

    python benchmarks/transformer.py                       # about a minute on one core
    python benchmarks/transformer.py --device cuda --width 384 --blocks 8 --layers 8 --batch 128

Images of 28 x 28 in 196 patches of 2 x 2. benchmarks/results receives: milliseconds of density, training step
and sampling of 64 images; of the inverse of a block with the cache, by one pass for each patch, and in Jacobi blocks,
and how far these differ in float32 and float64; megabytes of a training step at 4 and 16 blocks, with activations
stored and recomputed. Both implementations start at the identity and are perturbed slightly.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
from functools import partial
from typing import Any

import torch
from measure import results
from measure.clock import clock
from measure.plain_tarflow import Plain
from measure.timing import interleaved
from torch import Tensor

import pushforward as pf

SHAPE, PATCH = (1, 28, 28), 2


def ours(sizes: dict[str, Any], **choices: Any) -> Any:
    torch.manual_seed(0)
    return pf.testing.randomize(pf.tarflow(SHAPE, patch=PATCH, **sizes, **choices), scale=0.05)


def plain(sizes: dict[str, int]) -> Any:
    torch.manual_seed(0)
    return pf.testing.randomize(Plain(196, 4, **sizes), scale=0.05)


def waited_for(device: str, function: Any, *given: Any) -> Any:
    """The result of a function, once the device has computed it."""
    value = function(*given)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return value


def step(model: Any, x: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    (-model(x).mean()).backward()
    optimizer.step()


def speed(sizes: dict[str, int], batch: int, device: str, budget: float) -> list[results.Row]:
    """Density, training and sampling, ours and plain."""
    flow, peer = ours(sizes).to(device), plain(sizes).to(device)
    x = torch.randn(batch, *SHAPE, device=device)
    patches = flow.transform[0](x)[0].view(batch, 196, 4)
    adam, their_adam = (torch.optim.Adam(m.parameters(), lr=1e-5, fused=True) for m in (flow, peer))
    density, their_density = torch.no_grad()(flow), torch.no_grad()(peer)
    jobs = {
        "density": (lambda: density(x), lambda: their_density(patches)),
        "training step": (lambda: step(flow, x, adam), lambda: step(peer, patches, their_adam)),
        "64 samples": (lambda: flow.sample((64,)), lambda: peer.sample(64)),
    }
    rows = []
    for name, (mine, theirs) in jobs.items():
        turns = {"ours": partial(waited_for, device, mine), "plain": partial(waited_for, device, theirs)}
        times = interleaved(turns, budget=budget, least=3)
        mean = {who: round(t.median, 1) for who, t in times.items()}
        rows.append(
            {
                "job": name,
                **{f"{who} ms": ms for who, ms in mean.items()},
                "plain / ours": round(mean["plain"] / mean["ours"], 2),
            }
        )
        print(rows[-1], flush=True)
    return rows


@torch.no_grad()
def inverses(sizes: dict[str, int], device: str, n: int) -> list[results.Row]:
    """One block's inverse with the cache, by one pass for each patch, and in Jacobi blocks: times and differences."""
    flow = ours(sizes | {"blocks": 1}).to(device)
    block: Any = flow.transform[1]
    z = torch.randn(n, 784, device=device)
    jacobi = copy.deepcopy(block)
    jacobi.inversion, jacobi.block, jacobi.tolerance = "blocks", 14, 1e-6
    runs: dict[str, Any] = {
        "with the cache": lambda b, z: b.inverse(z)[0],
        "a pass for each patch": by_passes,
        "in Jacobi blocks of 14, tolerance 1e-6": lambda b, z: jacobi.to(z.dtype).inverse(z)[0],
    }
    times, single = {}, {}
    for name, run in runs.items():  # once each: a pass for each patch takes long
        waited_for(device, block.inverse, z[:1])
        start = clock()
        single[name] = waited_for(device, run, block, z)
        times[name] = 1e3 * (clock() - start)
    exact = block.double()
    double = {name: run(exact, z.double()) for name, run in runs.items()}
    truth = "a pass for each patch"
    rows = []
    for name in runs:
        rows.append(
            {
                "inverse": name,
                "ms": round(times[name], 1),
                "float32 differs by": f"{(single[name] - single[truth]).abs().max():.1e}",
                "float64 differs by": f"{(double[name] - double[truth]).abs().max():.1e}",
            }
        )
        print(rows[-1], flush=True)
    return rows


def by_passes(block: Any, z: Tensor) -> Tensor:
    """The inverse by one full pass of the network for each patch."""
    x = torch.zeros_like(z)
    for start in range(0, 784, 4):
        found = block.scalar.inverse(z, block.net(x))[0]
        x = torch.cat([x[:, :start], found[:, start : start + 4], x[:, start + 4 :]], 1)
    return x


def megabytes(sizes: dict[str, int], batch: int, device: str, reversible: bool) -> float:
    """How far a training step rises above what the process held before, parameters and gradients included."""
    flow = ours(sizes, reversible=reversible).to(device)
    x = torch.randn(batch, *SHAPE, device=device)
    adam = torch.optim.Adam(flow.parameters(), lr=1e-5, fused=True)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(flow, x, adam)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    import resource

    step(flow, x[:1], adam)  # one-off allocations of a process's first step
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(flow, x, adam)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10


def memory(options: argparse.Namespace) -> list[results.Row]:
    """Runs each configuration in a separate process."""
    rows = []
    for name, reversible in (("stored", False), ("recomputed", True)):
        row: results.Row = {"activations": name}
        for blocks in (options.blocks, 4 * options.blocks):
            told = ["--memory", str(int(reversible)), "--blocks", str(blocks), "--device", options.device]
            told += ["--batch", str(max(options.batch // 4, 1))]
            told += ["--width", str(options.width), "--layers", str(options.layers), "--heads", str(options.heads)]
            done = subprocess.run([sys.executable, __file__, *told], capture_output=True, text=True, check=True)
            row[f"{blocks} blocks MB"] = round(float(done.stdout.split()[-1]))
        first, second = list(row.values())[1:]
        row["ratio"] = round(second / first, 2)
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16, help="images of a density and a training step")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budget", type=float, default=3.0, help="seconds for each of three comparisons")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--parts", default="speed,inverses,memory")
    options = parser.parse_args()
    sizes = {name: getattr(options, name) for name in ("blocks", "layers", "width", "heads")}
    if options.memory is not None:
        print(megabytes(sizes, options.batch, options.device, bool(options.memory)))
        return
    parts = options.parts.split(",")
    tables: dict[str, list[results.Row]] = {}
    if "speed" in parts:
        tables["Beside the plain implementation"] = speed(sizes, options.batch, options.device, options.budget)
    if "inverses" in parts:
        tables["The inverse of one block"] = inverses(sizes, options.device, options.batch)
    if "memory" in parts:
        tables["Memory of a training step"] = memory(options)
    name = "-".join(
        ["transformer", *([] if parts == ["speed", "inverses", "memory"] else parts), *results.card(options.device)]
    )
    rows = [
        {"table": title, **sizes, "batch": options.batch, **row} for title, table in tables.items() for row in table
    ]
    results.write(name, "Transformer autoregressive flows", {k: results.table(v) for k, v in tables.items()}, rows)


if __name__ == "__main__":
    main()
