"""A user's log-density: checked once, and evaluated in chunks.

A target is any function of a batch ``(n, *event)`` that returns log pi(x) + constant in nats, of shape ``(n,)``,
through PyTorch operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..distributions.flow import Flow
from ..numerics.annealing import with_slope
from .forms import as_target
from .user_target import LogDensity, UserTarget, place

DRAWS = 16  # on which a target is tried
STARTED = 64  # on which the start of a flow is judged
FAR, OTHER_SCALE = 5.0, 10.0  # from the start, in the flow's own standard deviations


def check_target(flow: Flow, log_density: Any, *, fails: float = 0.5) -> UserTarget:
    """The target of a log-density, whatever its form, in which failing rows have density 0: tried on a few draws of the
    flow to be fitted to it, without advancing the global random generator. A share ``fails`` of these may have no
    finite value and gradient."""
    generator = torch.Generator(flow.device).manual_seed(0)
    x = flow.sample((DRAWS,), generator=generator).requires_grad_()
    target = as_target(log_density, x)
    with target.held():
        value = _call(target, x)
        check_finite(value, x, fails=fails)
        _note_zeros(target, value, x)
        _check_gradient(target, x, fails)
        with torch.no_grad(), target.unnoticed():
            _check_rows(target, x.detach(), value.detach())
            _check_fall(flow, target, x.detach(), generator)
    return target


def check_finite(value: Tensor, x: Tensor, what: str = "log_density", fails: float = 0.0) -> None:
    """Checks that values are finite, and names the first row whose value is not."""
    good = value.isfinite()
    if float((~good).sum()) <= fails * len(good):
        return
    bad = int((~good).nonzero()[0])
    raise ValueError(
        f"the {what} is {value[bad].item()} at x = {place(x[bad])}, and not finite for {int((~good).sum())} of "
        f"{len(good)} draws: make it finite on the whole space, or state its support (`blocks=`, pushforward.constrain)"
    )


def evaluate(log_density: LogDensity, x: Tensor, chunk: int | None = None) -> Tensor:
    """log pi of every row; with ``chunk``, that many rows at a time, so that only one chunk's graph is in memory."""
    if chunk is None or len(x) <= chunk:
        value = log_density(x)
    elif torch.is_grad_enabled() and x.requires_grad:
        value = _in_pieces(x, log_density, chunk)
    else:
        value = torch.cat([log_density(piece) for piece in x.split(chunk)])
    if value.shape != x.shape[:1]:
        _check_shape(value, x)
    return value


def _in_pieces(x: Tensor, log_density: LogDensity, chunk: int) -> Tensor:
    """Computes each piece's gradient right after its value, so that no two graphs exist at once."""
    values, gradients = [], []
    for piece in x.detach().split(chunk):
        piece = piece.clone().requires_grad_()
        with torch.enable_grad():
            value = log_density(piece)
            gradients.append(torch.autograd.grad(value.sum(), piece)[0])
        values.append(value.detach())
    return with_gradients(torch.cat(values), [torch.cat(gradients)], x)


def with_gradients(value: Tensor, gradients: Sequence[Tensor], *inputs: Tensor) -> Tensor:
    """A value ``(n,)`` that is known with its gradient for each of the inputs, ``(n, ...)``, as a function of these,
    differentiable once."""
    return _Known.apply(value, gradients, *inputs)  # type: ignore[no-any-return, no-untyped-call]


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor], *inputs: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(*gradients)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        found = [each * grad.view(-1, *[1] * (each.dim() - 1)) for each in ctx.saved_tensors]
        return None, None, *found


def _call(target: UserTarget, x: Tensor) -> Tensor:
    """The values of a batch; if no row has one, raises the function's own error."""
    value = target(x)
    if target.error is not None and target.failed == target.rows:
        try:
            plain = target.log_density(x)
        except Exception as error:
            raise TypeError(f"log_density fails on a batch of shape {tuple(x.shape)}: {error}") from error
        _check_shape(plain, x)
    return value


def _note_zeros(target: UserTarget, value: Tensor, x: Tensor) -> None:
    zero = value == -math.inf
    if bool(zero.any()) and not target.failed:
        target.notes.append(
            f"log_density is -inf at x = {place(x[zero][0])}, and for {int(zero.sum())} of {len(x)} draws: if pi ends "
            "at a bound, state its support with `blocks=`, so that the flow ends there too"
        )


def _check_shape(value: Tensor, x: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"log_density must return a tensor of shape ({len(x)},), got {type(value).__name__}")
    if value.shape != x.shape[:1]:
        raise ValueError(
            f"log_density must map x of shape {tuple(x.shape)} to shape ({len(x)},), one number for each row, "
            f"got {tuple(value.shape)}: sum over the event, not over the batch, and squeeze what is left"
        )


def _check_gradient(target: UserTarget, x: Tensor, fails: float) -> None:
    """Checks the user's own gradient, which the target would have made finite."""
    good = target(x.detach()).isfinite()
    rows = x.detach()[good].requires_grad_()
    value = target.log_density(rows)
    gradient = torch.autograd.grad(value.sum(), rows, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None:
        raise ValueError(
            "log_density returns values without a gradient: compute them from its argument with PyTorch operations, "
            "without numpy, .item(), .detach() or no_grad"
        )
    check_finite(gradient.flatten(1).sum(1), rows, "gradient of log_density", fails)


def _check_rows(log_density: LogDensity, x: Tensor, value: Tensor) -> None:
    """Checks that no value depends on the rest of the batch, or the flow would be fitted to something not a density."""
    for part in (slice(0, 1), slice(5, 8)):
        alone = log_density(x[part])
        if not torch.allclose(alone, value[part], rtol=1e-3, atol=1e-3):
            raise ValueError(
                f"log_density gives {alone.tolist()} for rows whose values are {value[part].tolist()} in a larger "
                "batch: each row's value must depend on that row alone"
            )


def _check_fall(flow: Flow, log_density: LogDensity, x: Tensor, generator: torch.Generator) -> None:
    r"""Checks that a density falls off far out: on cones faster than r^-m, along a ridge faster than 1/r.

    Looks along the axes and along random directions of the noise z, where the target is
    :math:`\log\tilde\pi(g(z)) + \log|\det J_g(z)|`. Values that overflow there are no evidence and pass.
    """
    like: dict[str, Any] = {"dtype": x.dtype, "device": x.device}
    size = math.prod(flow.base.event_shape)
    axes = torch.eye(size, **like)[:64]
    rays = torch.nn.functional.normalize(torch.randn(64, size, generator=generator, **like), dim=-1)
    directions = torch.cat([axes, -axes, rays])
    power = torch.cat([torch.ones(2 * len(axes), **like), torch.full((64,), float(size), **like)])

    def height(r: float, along: Tensor) -> Tensor:
        x, logdet = flow.transform.inverse((r * along).view(-1, *flow.base.event_shape))
        return log_density(x) + logdet

    near, middle, far = (height(r, directions) + power * math.log(r) for r in (1e2, 1e3, 1e4))
    first, second = middle - near, far - middle
    # growth that slows down may still turn into a decline, and what lies far off declines behind itself
    grows = (first > 0) & (second >= 0.9 * first) & second.isfinite()
    for r in (1e6, 1e8) if bool(grows.any()) else ():
        behind = height(r, directions) + power * math.log(r)
        grows &= ~(behind.isfinite() & (behind < far))
    if bool(grows.any()):
        raise ValueError(
            f"log_density does not fall off far out (in {int(grows.sum())} of {len(grows)} directions), so it has no "
            "normalising constant: add a proper prior, or pass check=False to pushforward.ReverseKL if it has one"
        )


def note_start(flow: Flow, target: UserTarget) -> None:
    """Notes if a target lies away from the flow's draws, or on another scale, judging by its gradient."""
    x = flow.sample((STARTED,), generator=torch.Generator(flow.device).manual_seed(1))
    with target.unnoticed():
        where = _where(x, target)
    if where is not None:
        target.note(
            f"the target lies {where} than the flow, which would learn that slowly or never: start there, with "
            "pushforward.fit_target(log_density, features) or pushforward.constrain(flow, pushforward.laplace(...))"
        )


def _where(x: Tensor, target: UserTarget) -> str | None:
    r"""Fits a line to each feature's derivative, :math:`\partial_j \log\tilde\pi \approx (m_j - x_j) / s_j^2`, whose
    root would be the target's location and whose slope its scale, if it were Gaussian."""
    x, slope = (part.flatten(1).double() for part in (x, with_slope(target, x)[1]))
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
