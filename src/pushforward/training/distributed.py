"""Training on several processes: everything that differs from a single process is in this file.

Weights are replicated (PyTorch's DDP), or sharded (FSDP2): then every process keeps 1/N of every tensor; a block of the
flow is gathered from all of them just before it computes, and freed afterwards. The trained weights go back to the
caller's own flow, which stays unsharded.

Reference:
    Zhao et al. (2023), PyTorch FSDP, arXiv:2304.11277; Rajbhandari et al. (2020), ZeRO, arXiv:1910.02054.
"""

from __future__ import annotations

import atexit
import copy
import inspect
import os
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..objectives.divergences import Objective
from ..transforms.compose import Compose


class World:
    """The processes that train together, with their weights sharded if asked for; with one, everything here is a
    no-op."""

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


def divided(objective: Objective, device: torch.device) -> Objective:
    """A copy of an objective with its weights sharded over the processes; all start from those of the first one."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if not objective.calls_flow:
        raise ValueError(
            f"shard=True gathers weights where the flow is called, and {type(objective).__name__} does more than that: "
            "train it with shard=False"
        )
    objective = copy.deepcopy(objective)
    share_weights(objective)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in _blocks(objective.flow):
        fully_shard(block, mesh=mesh)
    fully_shard(objective.flow, mesh=mesh)
    # the blocks' results are views; Compose never writes to them
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    return objective


def share_weights(module: nn.Module) -> None:
    """Gives every process the parameters and buffers of the first one."""
    for tensor in (*module.parameters(), *module.buffers()):
        dist.broadcast(tensor.detach(), 0)


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered from all processes, which must all call this together; any other tensor unchanged."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def divided_like(value: Tensor, like: Tensor) -> Tensor:
    """Shards a whole tensor in the same way as another one."""
    if not hasattr(like, "full_tensor") or value.shape != like.shape:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(value, like.device_mesh, like.placements)


def _blocks(flow: nn.Module) -> Iterator[nn.Module]:
    """The transforms that a flow is composed of: the units that are gathered."""
    for module in flow.modules():
        if isinstance(module, Compose):
            for block in module.transforms:
                if not isinstance(block, Compose) and next(block.parameters(), None) is not None:
                    yield block
