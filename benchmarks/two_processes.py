"""Costs and gains of a second process: DDP and FSDP2 against one process, on this machine's processors.

    python benchmarks/two_processes.py [--steps 60]

Prints, for each model, seconds per step and the bytes of tensors that one process holds for training, next to the
prediction of the plan in ``docs/scale.md``. Every process has one thread, so two processes have two of them.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

import torch
import torch.distributed as dist

import pushforward as pf
from pushforward.objectives.divergences import Objective
from pushforward.training.distributed import World, divided

MODELS = {
    "realnvp 4 x 32": lambda: pf.realnvp(10, layers=4, hidden=(32, 32)),
    "nsf, as it comes": lambda: pf.nsf(10),
    "nsf 5 x 512": lambda: pf.nsf(10, hidden=(512, 512)),
}
BATCH, WARM = 512, 5


def local(tensor: torch.Tensor) -> int:
    part = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part.numel() * part.element_size()


def measure(name: str, way: str, steps: int) -> dict[str, float]:
    """One kind of training for some steps; each step takes the time of the slowest process; averaged over steps."""
    torch.manual_seed(0)
    objective: Objective = pf.ForwardKL(MODELS[name]())
    world = World(torch.device("cpu"), way == "FSDP2")
    if world.shard:
        objective = divided(objective, world.device)
    loss = world.wrap(objective)
    optimizer = torch.optim.Adam(objective.parameters(), fused=True)
    x = torch.randn(BATCH // world.count, 10)
    for step in range(steps + WARM):
        if step == WARM:
            started = time.perf_counter()
        loss(x).backward()
        optimizer.step()
        optimizer.zero_grad()
    seconds = (time.perf_counter() - started) / steps
    held = [t for state in optimizer.state.values() for t in state.values()] + 2 * list(objective.parameters())
    return {
        "seconds": float(world.mean(torch.tensor(seconds))),
        "bytes": sum(map(local, held)),  # weights, gradients, two moments
        "weights": sum(p.numel() * 4 for p in objective.parameters()),
    }


def sending(size: int) -> float:
    """Seconds to average a tensor of that many bytes over the processes."""
    tensor = torch.zeros(size // 4)
    dist.all_reduce(tensor)
    started = time.perf_counter()
    for _ in range(10):
        dist.all_reduce(tensor)
    return (time.perf_counter() - started) / 10


def rank_main(rank: int, count: int, port: int, steps: int) -> None:
    torch.set_num_threads(1)
    if count > 1:
        os.environ |= {
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(port),
            "RANK": str(rank),
            "WORLD_SIZE": str(count),
        }
        dist.init_process_group("gloo")
    for name in MODELS:
        for way in ("DDP", "FSDP2") if count > 1 else ("alone",):
            found = {"model": name, "way": way, **measure(name, way, steps)}
            if count > 1:
                found["all_reduce_seconds"] = sending(int(found["weights"]))
            if rank == 0:
                print(json.dumps(found), flush=True)
    if count > 1:
        dist.barrier()
        dist.destroy_process_group()


def main() -> None:
    steps = int(sys.argv[sys.argv.index("--steps") + 1]) if "--steps" in sys.argv else 60
    for count in (1, 2):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        children = []
        for rank in range(count):
            children.append(os.fork())
            if children[-1] == 0:
                rank_main(rank, count, port, steps)
                os._exit(0)
        for child in children:
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
                raise SystemExit("a process failed")


if __name__ == "__main__":
    main()
