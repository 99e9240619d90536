"""Peaks of a log-density over the whole space, each with the Gaussian of its location and curvature."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..numerics.annealing import with_slope
from ..transforms.base import Transform

Height = Callable[[Tensor], Tensor]
APART = 1.5  # least distance of two peaks, in standard deviations of the narrower one
ROWS = 16384  # whose gradients are computed at once
MOST = 64  # peaks that are kept, those with the largest mass


@dataclass(frozen=True, eq=False)
class Peaks:
    r"""K peaks, and the Gaussians :math:`N(\mu_k, L_k L_k^\top)` that have their curvature."""

    loc: Tensor  # mu, ``(K, features)``
    factor: Tensor  # L, lower triangular, ``(K, features, features)``
    log_mass: Tensor  # log of the mass around each, ``(K,)``; by Laplace's approximation if it comes from a climb

    def __len__(self) -> int:
        return len(self.loc)

    def white(self, z: Tensor) -> Tensor:
        """L_k^-1 (z - mu_k), ``(K, n, features)`` for z of ``(n, features)``."""
        away = z - self.loc[:, None]
        return torch.linalg.solve_triangular(self.factor, away.mT, upper=False).mT

    def log_parts(self, z: Tensor) -> Tensor:
        """The log of each peak's mass times its Gaussian, ``(K, n)``."""
        constant = self.log_mass - 0.5 * z.shape[-1] * math.log(2 * math.pi) - _log_volume(self.factor)
        return constant[:, None] - 0.5 * self.white(z).square().sum(-1)

    def at(self, index: Tensor) -> Peaks:
        return Peaks(self.loc[index], self.factor[index], self.log_mass[index])

    def merged(self) -> Peaks:
        """Without those close to a larger one, in standard deviations of either."""
        order = self.log_mass.argsort(descending=True)[: 8 * MOST]
        kept: list[int] = []
        for i in order.tolist():
            known = self.at(torch.tensor(kept, dtype=torch.long))
            there = known.white(self.loc[i, None])[:, 0].norm(dim=-1)
            back = self.at(torch.tensor([i])).white(known.loc)[0].norm(dim=-1)
            if not kept or bool((torch.maximum(there, back) > APART).all()):
                kept.append(i)
            if len(kept) == MOST:
                break
        return self.at(torch.tensor(kept, dtype=torch.long))

    def together(self, other: Peaks) -> Peaks:
        return Peaks(*(torch.cat(pair) for pair in ((self.loc, other.loc), (self.factor, other.factor),
                                                    (self.log_mass, other.log_mass))))  # fmt: skip


def _log_volume(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def log_mean(log_weights: Tensor) -> float:
    """The logarithm of the mean of weights; -infinity of none."""
    return float(log_weights.double().logsumexp(0)) - math.log(max(len(log_weights), 1))


def in_noise(log_density: Height, transform: Transform) -> Height:
    """A density of x as one of z = f(x): that of flows is N(0, I) there."""

    def height(z: Tensor) -> Tensor:
        x, logdet = transform.inverse(z)
        return log_density(x) + logdet

    return height


def slopes(height: Height, z: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of every row, 0 if there is none, and whether its height is finite."""
    value, gradient = with_slope(height, z)
    return gradient, value.isfinite()


def climb(height: Height, z: Tensor, reach: Tensor | float, steps: int = 200, seconds: float = math.inf) -> Tensor:
    """Gradient ascent of every row of z by Adam, with steps that fall from ``reach`` to a hundredth of it: coarse
    first, then fine. A row whose height is not finite returns to its last position and continues with steps half as
    long; one that starts so stays. If the time is up before the steps are done, there are fewer of them."""
    started = time.monotonic()
    alive = slopes(height, z)[1]
    start, z = z, z[alive]
    if not len(z):
        return start
    like = z.flatten(1)[:, 0].view(-1, *[1] * (z.dim() - 1))
    length = torch.as_tensor(reach, dtype=z.dtype, device=z.device).expand(len(start), *like.shape[1:])[alive]
    mean, square, last = torch.zeros_like(z), torch.zeros_like(z), z
    for step in range(1, steps + 1):
        gradient, finite = slopes(height, z)
        finite = finite.view_as(like)
        last = z = torch.where(finite, z, last)
        length = torch.where(finite, length, 0.5 * length)
        mean = torch.where(finite, 0.9 * mean + 0.1 * gradient, 0.0)
        square = torch.where(finite, 0.99 * square + 0.01 * gradient.square(), square)
        slope = mean / (1 - 0.9**step) / ((square / (1 - 0.99**step)).sqrt() + 1e-12)
        gone = min(max(step / steps, (time.monotonic() - started) / seconds), 1.0)
        z = z + length * 0.01**gone * slope
        if gone == 1:
            break
    return start.index_put((alive,), torch.where(slopes(height, z)[1].view_as(like), z, last))


def peaks_from(height: Height, starts: Tensor, reach: Tensor | float, steps: int = 150) -> Peaks | None:
    """The distinct peaks at which climbs from ``starts``, ``(n, features)``, end; None if there are none."""
    z = _apart(climb(height, starts, reach, steps), height)
    z, values, vectors = newton(height, z)
    gradient, finite = slopes(height, z)
    decrement = ((vectors.mT @ gradient[..., None])[..., 0].square() / values.abs().clamp_min(1e-12)).sum(-1)
    good = finite & (values[:, 0] > 1e-9 * values[:, -1]) & (values[:, 0] > 0) & (decrement < 1e-2)
    if not bool(good.any()):
        return None
    z, values, vectors = z[good], values[good], vectors[good]
    upper = torch.linalg.qr((vectors * values.rsqrt()[:, None]).mT).R  # (V s)(V s)^T = R^T R
    factor = upper.mT * upper.diagonal(dim1=-2, dim2=-1).sign()[:, None]
    with torch.no_grad():
        log_mass = height(z) + 0.5 * z.shape[1] * math.log(2 * math.pi) + _log_volume(factor)
    return Peaks(z, factor, log_mass).merged()


@torch.no_grad()
def _apart(z: Tensor, height: Height) -> Tensor:
    """The highest of those that ended at the same point; at most twice as many as may be kept."""
    value = height(z).nan_to_num(-math.inf, -math.inf, -math.inf)
    near = 1e-2 * (1 + z.norm(dim=1))
    kept: list[int] = []
    for i in value.argsort(descending=True).tolist():
        if not math.isinf(value[i]) and all(float((z[i] - z[j]).norm()) > float(near[i]) for j in kept):
            kept.append(i)
    return z[kept[: 2 * MOST]]


def newton(height: Height, z: Tensor, iterations: int = 6, *, exact: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Newton's method for all points together, with absolute curvatures, so that it always climbs, and step halving;
    also the eigenvalues and eigenvectors of minus the Hessian, ``(P, d)`` and ``(P, d, d)``, by second derivatives if
    ``exact``."""
    curvature = exact_precision if exact else precision
    values, vectors = torch.linalg.eigh(curvature(height, z))
    sizes = 0.5 ** torch.arange(8, dtype=z.dtype, device=z.device)
    for _ in range(iterations if len(z) else 0):
        gradient = (vectors.mT @ slopes(height, z)[0][..., None])[..., 0]
        step = (vectors @ (gradient / values.abs().clamp_min(1e-8))[..., None])[..., 0]
        tries = torch.cat([z[None], z + sizes[:, None, None] * step])  # (9, P, d)
        with torch.no_grad():
            value = height(tries.flatten(0, 1)).nan_to_num(-math.inf, -math.inf, -math.inf).view(len(tries), -1)
        best = value.argmax(0)
        if not bool(best.any()):
            break
        z = tries[best, torch.arange(len(z), device=z.device)]
        values, vectors = torch.linalg.eigh(curvature(height, z))
    return z, values, vectors


def exact_precision(height: Height, z: Tensor) -> Tensor:
    """Minus the Hessian at each point, ``(P, d, d)``, by second derivatives, however narrow the density is there."""
    try:
        with torch.enable_grad():
            at = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(height(at).sum(), at, create_graph=True)
            rows = [torch.autograd.grad(part.sum(), at, create_graph=True, materialize_grads=True)[0].detach()
                    for part in gradient.unbind(1)]  # fmt: skip
    except RuntimeError:  # a gradient from outside PyTorch has no derivative, and may be a difference itself: noisier
        return precision(height, z, 1e-3)
    found = -torch.stack(rows, 1)
    return found if bool(found.isfinite().all()) else precision(height, z)


def precision(height: Height, z: Tensor, step: float | None = None) -> Tensor:
    """The same by central differences of gradients, over a step relative to each point if none is given."""
    P, d = z.shape
    h = torch.finfo(z.dtype).eps ** (1 / 3) * (1 + z.abs().amax(1, keepdim=True)).unsqueeze(-1)  # (P, 1, 1)
    h = h if step is None else torch.full_like(h, step)
    shifts = h * torch.eye(d, dtype=z.dtype, device=z.device)
    points = torch.stack([z[:, None] + shifts, z[:, None] - shifts]).reshape(-1, d)
    gradients = torch.cat([slopes(height, part)[0] for part in points.split(ROWS)]) if P else points
    up, down = gradients.view(2, P, d, d)
    curvature = (down - up) / (2 * h)
    return (curvature + curvature.mT) / 2
