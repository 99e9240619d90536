"""Names of PyTorch's that are not public, each with what happens where it is missing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

_FUNCTORCH_ACTIVE: Any = getattr(torch._C, "_are_functorch_transforms_active", None)
_TOP_HOOKS: Any = getattr(getattr(torch._C, "_autograd", None), "_top_saved_tensors_default_hooks", None)
_ADD_RELU: Any = getattr(getattr(torch.ops.aten, "_add_relu", None), "out", None)


def transformed() -> bool:
    """Whether a transformation of ``torch.func`` (vmap, jvp, jacrev, …) is under way. Unknown counts as yes: the plain
    formulas are right in any case."""
    return _FUNCTORCH_ACTIVE is None or _FUNCTORCH_ACTIVE()


def forward_mode() -> bool:
    """Whether derivatives are carried along forwards (``torch.autograd.forward_ad``). Unknown counts as no."""
    return getattr(forward_ad, "_current_level", -1) >= 0


def saved_tensors_hooked() -> bool:
    """Whether saved tensors go through default hooks, as under ``torch.utils.checkpoint``, which expects that a graph
    holds nothing else. Unknown counts as no: a graph then holds more memory than it needs to."""
    return _TOP_HOOKS is not None and _TOP_HOOKS(True) is not None


def add_rectified(h: Tensor, bias: Tensor) -> Tensor:
    """max(h + bias, 0) without a graph, in place; one pass over memory where PyTorch has it, two elsewhere."""
    if _ADD_RELU is None or h.device.type != "cpu" or h.dtype not in (torch.float32, torch.float64):
        return h.add_(bias).relu_()
    return _ADD_RELU(h, bias, out=h)  # type: ignore[no-any-return]


def standard_gamma(shape: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draws of gamma variables of scale 1 that gradients of their shapes go through. Where PyTorch has no draws by a
    generator, those of ``torch.distributions``, which follow the global one."""
    draw = getattr(torch, "_standard_gamma", None)
    if draw is None:
        return torch.distributions.Gamma(shape, torch.ones_like(shape), validate_args=False).rsample()
    return draw(shape, generator=generator)  # type: ignore[no-any-return]
