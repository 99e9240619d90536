"""Training on several processes: everything that differs from a single process is in this file."""

from __future__ import annotations

import atexit
import inspect
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .sharding import share_weights


class World:
    """The processes that train together; with a single process, everything here is a no-op.

    Args:
        device: The device on which this process trains.
        shard: Whether the weights are sharded between them, see :mod:`pushforward.training.sharding`.
    """

    def __init__(self, device: torch.device, shard: bool = False) -> None:
        self.device = device
        self.together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if self.together else 0
        self.count = dist.get_world_size() if self.together else 1
        self.shard = shard and self.together

    def wrap(self, objective: nn.Module) -> nn.Module:
        """The objective, with its backward pass averaging the gradients over the processes."""
        if not self.together or self.shard:
            return objective
        share_weights(objective)  # once: buffers are masks and constants, which need not be sent in every step
        known = inspect.signature(DistributedDataParallel).parameters
        option = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {option: False}
        return DistributedDataParallel(objective, **options)

    def share(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """This process's rows of a batch, if all processes have to work on every batch together."""
        if not self.shard:
            return inputs
        return tuple(part if part is None else part[self.rank :: self.count] for part in inputs)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes, the same on all of them."""
        if self.together:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.count
        return value

    def agree(self, value: float, what: str) -> None:
        """Raises ``ValueError`` on every process whose value is not that of the first one."""
        if self.first(value) != value:
            raise ValueError(f"process {self.rank} does not have the same {what} as process 0")

    def wait(self) -> None:
        """Returns when all processes have arrived here, however long that takes."""
        if self.together:
            patient = dist.new_group(backend="gloo", timeout=timedelta(days=30))
            dist.barrier(patient)
            dist.destroy_process_group(patient)

    def first(self, value: float) -> float:
        """The value of the first process, for quantities that processes may measure differently: time."""
        if not self.together:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)


def join(device: torch.device, shard: bool = False) -> World:
    """Joins the processes started by ``torchrun``, unless the caller has already done so.

    They stay together until the interpreter exits: a second start at the same address could encounter remnants of the
    first one, and wait for ever.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ
    if launched and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return World(device, shard)
