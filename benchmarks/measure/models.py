"""Models as the benchmarks use them: three functions, and the timed jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .sizes import Size

Job = Callable[[], Any]
JOBS = ("density", "train", "sample")


@dataclass
class TorchModel:
    """A model of a PyTorch library; ``reverse(n)`` gives differentiable draws with their log-densities."""

    module: nn.Module
    log_prob: Callable[[Tensor], Tensor]
    sample: Callable[[int], Tensor] | None = None
    reverse: Callable[[int], tuple[Tensor, Tensor]] | None = None


@dataclass
class Subject:
    """One library's jobs at one size; jobs that the library cannot do are missing."""

    library: str
    parameters: int
    jobs: dict[str, Job] = field(repr=False)


def data(size: Size) -> Tensor:
    """Rows of noise, or images in [0, 1): the same for every library."""
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand if size.side else torch.randn
    return draw(size.batch, *size.event, generator=generator).to(size.device)


def torch_subject(library: str, model: TorchModel, size: Size) -> Subject:
    """Density without gradients, one step of Adam, and sampling of as many draws as rows.

    A model with ``reverse`` trains by the reverse Kullback-Leibler divergence, the others by maximum likelihood.
    """
    x, optimizer = data(size), torch.optim.Adam(model.module.parameters(), lr=1e-4, fused=True)

    def loss() -> Tensor:
        if model.reverse is None:
            return -model.log_prob(x).mean()
        draws, log_q = model.reverse(size.batch)
        return (log_q + 0.5 * (draws - 1).square().sum(-1)).mean()

    def train() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    jobs: dict[str, Job] = {"density": lambda: model.log_prob(x), "train": train}
    if model.sample is not None:
        jobs["sample"] = lambda: model.sample(size.batch)  # type: ignore[misc]
    for name in ("density", "sample"):
        if name in jobs:
            jobs[name] = torch.no_grad()(jobs[name])
    if size.device.startswith("cuda"):
        jobs = {name: _awaited(job) for name, job in jobs.items()}
    return Subject(library, sum(p.numel() for p in model.module.parameters()), jobs)


def _awaited(job: Job) -> Job:
    def run() -> None:
        job()
        torch.cuda.synchronize()

    return run


@torch.no_grad()
def stir(module: nn.Module, scale: float = 1.5) -> None:
    """Random weights of one stiffness, for continuous flows: some start as the identity, others far from it."""
    generator = torch.Generator().manual_seed(0)
    for p in module.parameters():
        spread = scale * p.shape[-1] ** -0.5 if p.dim() > 1 else 0.1
        p.copy_(spread * torch.randn(p.shape, generator=generator))
