"""Training a model whose weights, gradients and optimiser state are sharded over the processes (PyTorch's FSDP2).

Every process keeps 1/N of every tensor; a block of the flow is gathered from all of them just before it computes, and
freed afterwards. The trained weights go back to the caller's own flow, which stays unsharded.

Reference:
    Zhao et al. (2023), PyTorch FSDP, arXiv:2304.11277; Rajbhandari et al. (2020), ZeRO, arXiv:1910.02054.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..objectives.divergences import Objective
from ..transforms.compose import Compose


def divided(objective: Objective, device: torch.device) -> Objective:
    """A copy of an objective with its weights sharded over the processes; all start from those of the first one.

    Raises:
        ValueError: the objective does not compute its loss by calling the flow, which is where weights are gathered.
    """
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
