"""Training on several processes: what differs from one process is all in here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Ranks:
    """The processes that train together; alone, everything here does nothing."""

    def __init__(self) -> None:
        self.together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if self.together else 0
        self.count = dist.get_world_size() if self.together else 1

    def wrap(self, objective: nn.Module) -> nn.Module:
        """The objective whose backward pass averages the gradients over the processes."""
        return DistributedDataParallel(objective) if self.together else objective

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes, the same on all of them."""
        if self.together:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.count
        return value

    def first(self, value: float, device: torch.device) -> float:
        """The value of the first process, for what they might measure differently: time."""
        if not self.together:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(shared, 0)
        return float(shared)


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Joins the processes that ``torchrun`` started, unless the caller has done so already."""
    start = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ and not dist.is_initialized()
    if start:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks()
    finally:
        if start:
            dist.destroy_process_group()
