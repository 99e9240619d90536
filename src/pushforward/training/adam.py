"""Adam, without what PyTorch's class of that name brings: its first step imports a compiler for two seconds."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.adamw import adamw

BETAS, EPS = (0.9, 0.999), 1e-8


class Adam:
    """Adam by PyTorch's fused kernel, with decoupled weight decay; ``rate`` may be changed between steps.

    Attributes:
        state: Of each parameter that has been moved: its number of steps and its moments.

    Reference:
        Kingma, Ba (2015), Adam: A Method for Stochastic Optimization, arXiv:1412.6980; Loshchilov, Hutter (2019),
        Decoupled Weight Decay Regularization, arXiv:1711.05101.
    """

    def __init__(self, parameters: Iterable[Tensor], rate: float, decay: float = 0.0) -> None:
        self.parameters, self.rate, self.decay = list(parameters), rate, decay
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, skip: Tensor | None = None) -> None:
        """Moves the parameters that have a gradient, and forgets it; no parameter changes where ``skip`` is 1."""
        moved = {p: p.grad for p in self.parameters if p.grad is not None}
        if not moved:
            return
        for p in moved:
            if not self.state.get(p):
                count = torch.zeros((), dtype=torch.float32, device=p.device)
                self.state[p] = {"step": count, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        own = [(state["step"], state["exp_avg"], state["exp_avg_sq"]) for state in map(self.state.__getitem__, moved)]
        steps, first, second = map(list, zip(*own, strict=True))
        adamw(
            [*moved],
            [*moved.values()],
            first,
            second,
            [],
            steps,
            fused=True,
            found_inf=skip,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.rate,
            weight_decay=self.decay,
            eps=EPS,
            maximize=False,
        )
        for p in moved:
            p.grad = None
