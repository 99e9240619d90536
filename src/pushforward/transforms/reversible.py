"""Backpropagation without stored activations: the backward pass recomputes them from the outputs.

A flow is invertible, so the activation memory of training need not grow with its depth: only the last output is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..numerics.torch_internals import eager
from .base import Transform, sum_event
from .compose import Composition
from .coupling import Coupling


class Reversible(Composition):
    r"""The same map as ``Compose(transforms)``, with the same gradients and the activation memory of a single part.

    The backward pass goes through the parts in reverse order: each recovers its input from its output,
    :math:`x = g(z)`, and is run again under autograd. A coupling needs one network pass for both, since the kept part
    is the same before and after: about a third more time overall. A transform whose inverse is
    sequential stores its input instead, which is small compared with the activations of its network. Second
    derivatives are not available.

    Args:
        transforms: The transforms, in the order from data to noise.

    Reference:
        Gomez et al. (2017), The reversible residual network, arXiv:1707.04585.
    """

    @eager
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if not torch.is_grad_enabled():
            return super().forward(x, context)
        parameters = [p for p in self.transforms.parameters() if p.requires_grad]
        return _Recompute.apply(self.parts(), x, context, *parameters)


class _Recompute(torch.autograd.Function):
    """z and logdet of a composition; ``backward`` traverses it from z back to x."""

    @staticmethod
    def forward(ctx, transforms: Sequence[Transform], x: Tensor, context: Tensor | None, *parameters: Tensor):
        total, kept, z = x.new_zeros(()), [], x
        for transform in transforms:
            kept.append(z if transform.sequential[1] else None)
            z, logdet = transform(z, context)
            total = total + logdet
        ctx.transforms, ctx.autocast = transforms, autocast_of(x)
        ctx.save_for_backward(z, context, *kept, *parameters)
        return z.clone() if z is x else z, total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_z: Tensor, grad_logdet: Tensor):
        z, context, *rest = ctx.saved_tensors
        kept, parameters = rest[: len(ctx.transforms)], rest[len(ctx.transforms) :]
        gradients: dict[Tensor, Tensor] = {}
        for transform, entered in zip(reversed(ctx.transforms), reversed(kept), strict=True):
            own = [p for p in transform.parameters() if p.requires_grad]
            given = [context] if context is not None and ctx.needs_input_grad[2] else []
            with torch.enable_grad(), torch.autocast(**ctx.autocast):
                inputs, outputs, join = _rerun(transform, z, context, entered)
            wanted = [*inputs, *own, *given]
            pairs = zip(outputs, (grad_z, grad_logdet), strict=True)
            outputs, grads = zip(*((value, grad) for value, grad in pairs if value.requires_grad), strict=True)
            found = torch.autograd.grad(outputs, wanted, grads, allow_unused=True)
            for tensor, gradient in zip(wanted[len(inputs) :], found[len(inputs) :], strict=True):
                if gradient is not None:
                    gradients[tensor] = gradients[tensor] + gradient if tensor in gradients else gradient
            z, grad_z = join(*(v.detach() for v in inputs)), join(*found[: len(inputs)])
        return None, grad_z, gradients.get(context), *(gradients.get(p) for p in parameters)


def autocast_of(x: Tensor) -> dict[str, Any]:
    """The autocast state for x's device type, as arguments of ``torch.autocast``; for types without autocast, such as
    ``meta``, that of the CPU, disabled."""
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind):
        return {"device_type": "cpu", "enabled": False}
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return {"device_type": kind, "dtype": dtype, "enabled": enabled}


def _rerun(transform: Transform, z: Tensor, context: Tensor | None, entered: Tensor | None):
    """The inputs that gave z, as leaves; the outputs under autograd; and a function that joins the inputs to a
    tensor."""
    if isinstance(transform, Coupling):
        return _rerun_coupling(transform, z, context)
    with torch.no_grad():
        x = transform.inverse(z, context)[0] if entered is None else entered.detach()
    x.requires_grad_()
    return (x,), transform(x, context), lambda x: x


def _rerun_coupling(coupling: Coupling, z: Tensor, context: Tensor | None):
    """One network pass serves both directions: the kept part is the same before and after."""
    kept, moved = (part.detach() for part in coupling.split(z))
    kept.requires_grad_()
    params = coupling.params(kept, context)
    with torch.no_grad():
        moved = coupling.scalar.inverse(moved, params)[0]
    moved.requires_grad_()
    value, log_slope = coupling.scalar(moved, params)
    outputs = coupling.split.join(kept, value), sum_event(log_slope, coupling.event_dim)
    return (kept, moved), outputs, coupling.split.join
