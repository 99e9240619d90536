"""Flows on the constrained space of a user's parameters, initialised close to their target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diagnostics.peaks import climb, in_noise, log_mean, newton
from ..distributions.flow import Flow
from ..objectives.target import DRAWS, check_target
from ..objectives.user_target import LogDensity, UserTarget, place
from ..transforms.base import Transform
from ..transforms.circle import Circle
from ..transforms.compose import Compose
from ..transforms.constrained import Blocks, Ordered, support
from ..transforms.elementwise import Identity
from ..transforms.normalization import Standardize, Whiten
from ..transforms.sphere import Sphere

OUTSIDE = 256  # rows tried beyond a support


def constrain(flow: Flow, *blocks: tuple[Any, int] | Transform) -> Flow:
    """The same flow mapped to a constrained space: draws obey the constraints, densities are in their units.

    Args:
        flow: A flow over rows; its parameters are shared, not copied.
        blocks: For each block of the row its constraint from ``torch.distributions.constraints`` (or a transform:
            ``pf.transforms.Ordered()``) and its number of features; or one transform, from the constrained row to the
            flow's own, such as the one :func:`laplace` gives.

    Returns:
        The flow of the constrained rows. Densities on a simplex are with respect to its first K - 1 coordinates.

    Raises:
        ValueError: the blocks do not add up to the flow's features, a constraint has no map, or a block is on a circle
            and the flow has no period there.

    Example:
        >>> import pushforward as pf
        >>> from torch.distributions import constraints
        >>> flow = pf.constrain(pf.realnvp(3), (constraints.positive, 1), (constraints.simplex, 3))
        >>> flow.event_shape
        torch.Size([4])
    """
    outer = blocks[0] if len(blocks) == 1 and isinstance(blocks[0], Transform) else support(*blocks)  # type: ignore[arg-type]
    if flow.transform.event_dim != 1:
        raise ValueError(f"flow has events of shape {tuple(flow.event_shape)}, but only rows can be constrained")
    if isinstance(outer, Blocks) and sum(outer.noise_sizes) != flow.event_shape[0]:
        raise ValueError(
            f"the blocks have {sum(outer.noise_sizes)} free features (a simplex of K has K - 1), but the flow has "
            f"{flow.event_shape[0]}"
        )
    _refuse_seams(flow, outer)
    features = outer.inverse(torch.zeros(flow.event_shape))[0].shape
    return flow.behind(outer, event_shape=features)


@torch.no_grad()
def _refuse_seams(flow: Flow, outer: Transform) -> None:
    """Refuses a flow without a period if rows are on circles: its density would not be a density there."""
    maps, sizes = ([outer], [flow.event_shape[0]]) if not isinstance(outer, Blocks) else (outer.maps, outer.noise_sizes)
    turn = torch.cat([_turn(part, size) for part, size in zip(maps, sizes, strict=True)])
    if not bool(turn.any()):
        return
    like = next(flow.parameters())
    z = torch.randn(4, len(turn), generator=torch.Generator().manual_seed(0)).to(like)
    context = like.new_zeros(4, flow.context_features) if flow.context_features else None
    heights = []
    for point in (z, z + turn.to(like)):
        noise, logdet = flow.transform(point, context)
        heights.append(flow.base_log_prob(noise, context) + logdet)
    if not torch.allclose(heights[0], heights[1], rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"features {turn.nonzero()[:, 0].tolist()} of the flow are on circles, but its density has no period of "
            "2 pi there: build it with pf.ncsf, and for other features beside angles with pf.transforms.AnglesFirst"
        )


def _turn(part: Transform, size: int) -> torch.Tensor:
    """One period of every number of a block of z, 0 if it has none."""
    turn = torch.full((size,), 2 * math.pi * isinstance(part, Circle))
    if isinstance(part, Sphere) and part.circle:
        turn[-1] = 2 * math.pi
    return turn


@dataclass(frozen=True)
class Space:
    """The rows x of a target, and their free coordinates u."""

    outer: Transform  # from x to u
    free: int  # features of u
    dtype: torch.dtype  # of both

    @staticmethod
    def of(blocks: Sequence[tuple[Any, int]], features: int, dtype: torch.dtype) -> Space:
        """The space of the stated support; unconstrained without one."""
        if not blocks:
            return Space(Identity(), features, dtype)
        supported = support(*blocks)
        if sum(supported.sizes) != features:
            raise ValueError(f"the blocks have {sum(supported.sizes)} features, but features={features}")
        return Space(supported, sum(supported.noise_sizes), dtype)

    def normal(self) -> Flow:
        """N(0, I) of the free coordinates."""
        event = self.outer.inverse(torch.zeros(self.free))[0].shape
        return Flow(self.outer, self.free, event_shape=event).to(self.dtype)

    def to(self, *inner: Transform) -> Transform:
        """From x to what transforms make of u."""
        parts = inner if isinstance(self.outer, Identity) else (self.outer, *inner)
        return parts[0] if len(parts) == 1 else Compose(parts)

    def wide(self, scale: float) -> Transform:
        """From x to z such that N(0, I) of z is N(0, scale^2 I) of u, mapped to the support."""
        return self.to(Standardize(*(torch.full((self.free,), value, dtype=self.dtype) for value in (0.0, scale))))

    @torch.no_grad()
    def note_outside(self, target: UserTarget, flow: Flow) -> None:
        """Notes if a target is finite beyond its stated support, and warns if it is higher there than within.

        Draws of the flow are mirrored at their bounds, one block at a time. Formulas in the square of a scale, say, are
        as high on the other side, and only the support excludes it: that gives just a note. More mass there contradicts
        the support.
        """
        if not isinstance(self.outer, Blocks):
            return
        x = flow.sample((OUTSIDE,), generator=torch.Generator(flow.device).manual_seed(0))
        inside, start = log_mean(target(x)), 0
        for part, size in zip(self.outer.maps, self.outer.sizes, strict=True):
            mirrored = _mirrored(part, x[:, start : start + size])
            if mirrored is not None:
                rows = torch.cat([x[:, :start], mirrored, x[:, start + size :]], 1)
                with target.unnoticed():
                    value = target(rows)
                where = f"features {start} to {start + size - 1}" if size > 1 else f"feature {start}"
                _tell(target, rows, value, inside, where)
            start += size


def laplace(
    log_density: LogDensity,
    features: int,
    supported: Transform | None = None,
    *,
    starts: int = 8,
    widen: float = 1.0,
    dtype: torch.dtype | None = None,
    seconds: float = math.inf,
) -> Transform:
    r"""The Laplace approximation of a target as a transform: its highest mode is mapped to 0, its curvature there to I.

    .. math:: z = L^{-1} (u - u^*),\quad L L^\top = \mathrm{widen}^2 \left(-\nabla^2 \log\tilde\pi(u^*)\right)^{-1}

    with u the free coordinates of x. A flow composed with it starts at the target's location and scale: training then
    has to learn only what is not Gaussian.

    Args:
        log_density: Maps ``(n, *event)`` to ``(n,)``, in nats, up to a constant.
        features: Features of u, the flow's own.
        supported: From x to u, as :func:`pushforward.transforms.support` gives; None if x is unconstrained.
        starts: Number of climbs, from points of N(0, I); the highest end point counts. Every call uses the same points.
        widen: Factor on the scale; above 1 for a start that covers more.
        dtype: Of the computation and of the result; PyTorch's default if None.
        seconds: Time after which the climbs end, converged or not.

    Returns:
        The transform from x to z, for :func:`constrain`.

    Raises:
        TypeError: ``log_density`` is not a function of a batch.
        ValueError: ``log_density`` violates its contract, or no climb ends at a finite height.
    """
    space = Space(supported or Identity(), features, dtype or torch.get_default_dtype())
    target = check_target(space.normal(), log_density, fails=(DRAWS - 1) / DRAWS)  # one row is enough to climb from
    u = torch.randn(starts, features, generator=torch.Generator().manual_seed(0), dtype=space.dtype)
    u[0] = 0.0
    with target.unnoticed():
        mode, scales = _highest(in_noise(target, space.outer), u, seconds)
    _, upper = torch.linalg.qr((widen * scales).T)  # S S^T = R^T R
    factor = upper.T * upper.diagonal().sign()
    return space.to(Whiten(mode, factor))


def _highest(height: LogDensity, u: Tensor, seconds: float) -> tuple[Tensor, Tensor]:
    """The highest point that any row reaches, and the scales of the curvature there: all climb roughly by gradients,
    then the best one by Newton steps."""
    u = climb(height, u, reach=0.2, steps=500, seconds=seconds)
    with torch.no_grad():
        heights = height(u).nan_to_num(-torch.inf, -torch.inf)
    if not bool(heights.isfinite().any()):
        raise ValueError(f"log_density is not finite where {len(u)} climbs from N(0, I) end: rescale the parameters")
    mode, values, vectors = newton(height, u[heights.argmax(), None], iterations=50, exact=True)
    return mode[0], scales_at(height, mode, values[0], vectors[0])


@torch.no_grad()
def scales_at(height: LogDensity, mode: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
    """Columns S with S S^T the covariance that the curvature at a mode ``(1, features)`` implies, by its eigenvalues
    and eigenvectors. Each is halved or doubled until the density falls by 0.1 to 2 nats along it, on the gentler side
    (a Gaussian falls by 1/2), since a kink or a plateau has no curvature that tells."""
    scales = values.abs().clamp_min(1e-8).rsqrt()
    for _ in range(60):
        steps = (scales * vectors).T
        fall = height(mode) - torch.maximum(height(mode + steps), height(mode - steps))
        factor = torch.where(fall < 0.1, 2.0, torch.where(fall <= 2, 1.0, 0.5))
        if bool((factor == 1).all()):
            break
        scales = factor * scales
    return vectors * scales


def _tell(target: UserTarget, rows: Tensor, value: Tensor, inside: float, where: str) -> None:
    if not bool(value.isfinite().any()):
        return
    best = int(value.argmax())
    note = (
        f"log_density is {value[best].item():.4g} at x = {place(rows[best])}, outside the support that `blocks=` "
        f"states for {where}: pi is cut off there, and log Z is that of the part inside"
    )
    if note in target.notes:
        return
    target.notes.append(note)
    if log_mean(value) > inside + math.log(2):
        target.show()
    else:
        target.shown += 1


def _mirrored(part: Transform, x: Tensor) -> Tensor | None:
    """The same values beyond the nearer bound; None if there is no bound, or nothing to mirror."""
    if isinstance(part, Ordered) and x.shape[1] > 1:
        return x.flip(-1)
    ends = None if isinstance(part, Circle) else part.domain
    low, high = (getattr(ends, f"{side}_bound", None) for side in ("lower", "upper"))
    if low is None or high is None:
        bound = high if low is None else low
        return None if bound is None else 2 * bound - x
    return torch.where(x - low < high - x, 2 * low - x, 2 * high - x)
