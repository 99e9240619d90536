"""Checks whether a flow starts at its target, once, before a training that would not reach it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..distributions.flow import Flow
from .user_target import UserTarget

ROWS = 64
FAR = 5.0  # in the flow's own standard deviations
OTHER_SCALE = 10.0


def note_start(flow: Flow, target: UserTarget) -> None:
    """Notes if a target lies away from the flow's draws, or on another scale, judging by its gradient."""
    x = flow.sample((ROWS,), generator=torch.Generator(_device(flow)).manual_seed(1))
    with target.unnoticed():
        place = _where(x, target)
    if place is not None:
        target.notes.append(
            f"the target lies {place} than the flow, which would learn that slowly or never: start there, with "
            "pushforward.fit_target(log_density, features) or pushforward.constrain(flow, pushforward.laplace(...))"
        )
        target.show()


def _where(x: Tensor, target: UserTarget) -> str | None:
    r"""Fits a line to each feature's derivative, :math:`\partial_j \log\tilde\pi \approx (m_j - x_j) / s_j^2`, whose
    root would be the target's location and whose slope its scale, if it were Gaussian."""
    with torch.enable_grad():
        rows = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(target(rows).nan_to_num(0.0, 0.0, 0.0).sum(), rows)
    x, slope = x.flatten(1).double(), slope.flatten(1).double()
    mean, spread = x.mean(0), x.std(0)
    precision = -((x - mean) * (slope - slope.mean(0))).mean(0) / spread.square()
    away = (slope.mean(0) / precision / spread).nan_to_num(0.0).abs() * (precision > 0)
    scale = (precision.clamp_min(1e-300).rsqrt() / spread).masked_fill(precision <= 0, 1.0)
    j, k = int(away.argmax()), int(scale.log().abs().argmax())
    if away[j] > FAR:
        return f"elsewhere (feature {j}: about {away[j]:.2g} standard deviations of the flow away)"
    if scale[k].log().abs() > torch.tensor(OTHER_SCALE).log():
        return f"on another scale (feature {k}: about {scale[k]:.2g} times as wide)"
    return None


def _device(flow: Flow) -> torch.device:
    return next((parameter.device for parameter in flow.parameters()), torch.device("cpu"))
