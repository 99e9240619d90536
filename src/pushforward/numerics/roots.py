r"""The root of a strictly increasing function on the whole line, for many rows at once: what inverts every map that
has no closed inverse.

Each row keeps a bracket that its own evaluations made, at first the whole line. The next point is Newton's where that
lies within the bracket and the steps keep shrinking; otherwise the bracket is halved, on a logarithmic scale where its
ends are far apart; while an end is infinite, steps are bounded by a cap that grows until it holds the largest numbers.

Gradients follow from the implicit function theorem. A Newton step at the root x*, taken with the gradients of f,

.. math:: x = x^* - \frac{f(x^*; \theta) - z}{f'(x^*; \theta)}

has the value x* and the first derivatives of the root; two such steps have its first three.

Reference:
    Press, Teukolsky, Vetterling, Flannery (2007), Numerical Recipes, section 9.4: Newton's method with bisection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .eager import eager
from .torch_internals import transformed

Increasing = Callable[[Tensor], tuple[Tensor, Tensor]]  # x to f(x) and log f'(x), both of the shape of x
Bracket = tuple[Tensor, Tensor]

MOST_STEPS = 200  # of a row: bisection alone takes 32 in single precision and 64 in double, and every third step is one
TRACED_STEPS = 60  # where nothing may depend on values, as under vmap
FREE_STEPS = 4  # Newton's while an end of the bracket is infinite: later steps grow, unless they converge fast
POINTS = 128  # of a table of a function that many rows share: cubic interpolation in it mostly leaves one step
STRICT, LOOSE = 2.0, 64.0  # units of rounding of a residual: at which a row is done, and if its steps shrink no more


class Root(NamedTuple):
    """Where f(x) = z.

    Attributes:
        x: The roots, NaN where none was found.
        converged: For every row, whether its residual came down to rounding.
    """

    x: Tensor
    converged: Tensor


def invert(
    f: Increasing, z: Tensor, *, start: Tensor | None = None, bracket: Bracket | None = None, shared: bool = False
) -> tuple[Tensor, Tensor]:
    """x with f(x) = z, and log dx/dz, differentiable with respect to z and all that f depends on.

    Derivatives are exact up to the third; a row that did not converge is NaN.

    Args:
        f: A strictly increasing function that treats every row alone: x to f(x) and log f'(x), of the shape of x.
        z: Any shape.
        start: Where the search begins, of the shape of z; z itself by default.
        bracket: Two finite tensors of the shape of z between which the root lies, if that is known.
        shared: Whether f is the same function along the last dimension, and takes any number of x there.
    """
    x = find_root(f, z, start=start, bracket=bracket, shared=shared).x.detach()  # of forward-mode derivatives, too
    if wants_derivatives():
        for _ in range(2):
            value, log_slope = f(x)
            step = (value - z) * (-log_slope).exp()
            x = x - (step - step.detach())  # its derivatives, not its value: x is the same with gradients and without
    return x, -f(x)[1]


def wants_derivatives() -> bool:
    """Whether derivatives of any kind may be asked of what runs now."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling() or transformed()


@eager
@torch.no_grad()
def find_root(
    f: Increasing, z: Tensor, *, start: Tensor | None = None, bracket: Bracket | None = None, shared: bool = False
) -> Root:
    """The root of f(x) = z in every row, without gradients; arguments as for :func:`invert`.

    A row has converged where its residual is within :data:`STRICT` units of rounding of 1 + abs(z), or where the Newton
    step is below a unit of rounding of x; or where steps do not shrink any more and the residual is within
    :data:`LOOSE` units, which is the noise of f itself; or where no number is left in its bracket.
    """
    z, traced = z.detach(), transformed()
    if shared and bracket is not None and z.shape[-1] >= 2 * POINTS and not traced:
        start = _tabulated(f, z, bracket)
    search = _Search(z, z if start is None else start.detach(), bracket)
    every = 1 if z.device.type == "cpu" else 4  # looking whether all rows are done makes a GPU wait
    for number in range(TRACED_STEPS if traced else MOST_STEPS):
        search.judge(*f(search.x))
        if z.is_meta or (not traced and number % every == 0 and not bool(search.active.any())):
            break  # without values there is nothing to wait for
        search.move(number)
    return Root(torch.where(search.converged, search.x, torch.nan), search.converged)


def _tabulated(f: Increasing, z: Tensor, bracket: Bracket) -> Tensor:
    """Where about f(x) = z, by cubic interpolation of x in a table of f that all rows share, and a step of Newton's."""
    low, high = bracket[0].amin(-1, keepdim=True), bracket[1].amax(-1, keepdim=True)
    x = low + (high - low) * torch.linspace(0, 1, POINTS, dtype=z.dtype, device=z.device)
    y, log_slope = f(x)
    k = torch.searchsorted(y, z.contiguous()).clamp(1, POINTS - 1)
    x0, x1, y0, y1 = x.gather(-1, k - 1), x.gather(-1, k), y.gather(-1, k - 1), y.gather(-1, k)
    step, height, inverse = x1 - x0, y1 - y0, (-log_slope).exp()
    d0, d1 = inverse.gather(-1, k - 1) * height, inverse.gather(-1, k) * height
    s = ((z - y0) / height.clamp_min(torch.finfo(z.dtype).tiny)).clamp(0, 1)
    start = x0 + step * s * s * (3 - 2 * s) + s * (1 - s) * (d0 * (1 - s) - d1 * s)
    value, log_slope = f(start)
    better = start - (value - z) * (-log_slope).exp()
    return torch.where((better - start).abs() <= step, better, start)


class _Search:
    """The state of all rows; a row that is no longer active keeps its x."""

    def __init__(self, z: Tensor, start: Tensor, bracket: Bracket | None) -> None:
        self.z, self.eps = z, torch.finfo(z.dtype).eps
        self.unit = self.eps * (1 + z.abs())
        low, high = bracket or (torch.full_like(z, -torch.inf), torch.full_like(z, torch.inf))
        self.low, self.high = low.detach(), high.detach()
        self.x = torch.minimum(torch.maximum(start, self.low), self.high)
        self.bounded = bracket is not None
        self.moved = torch.full_like(z, torch.inf)  # how far the last step went
        self.active = z.isfinite()
        self.converged = torch.zeros_like(self.active)

    def judge(self, value: Tensor, log_slope: Tensor) -> None:
        """Narrows the brackets by f at x, and takes a last step with the rows that are done."""
        x, self.excess = self.x, value - self.z
        self.low = torch.where(self.excess <= 0, x, self.low)
        self.high = torch.where(self.excess >= 0, x, self.high)
        newton = self.excess * (-log_slope).exp()
        self.size, residual = newton.abs(), self.excess.abs()
        self.shrinking = self.size < self.moved / 2
        within = self.eps * x.abs()
        done = (residual <= STRICT * self.unit) | (self.size <= within) | (self.high - self.low <= within)
        done |= ~self.shrinking & (residual <= LOOSE * self.unit)
        done &= self.active
        self.target = x - newton
        self.inside = (self.target >= self.low) & (self.target <= self.high) & self.target.isfinite()
        self.x = torch.where(done & self.inside, self.target, x)
        self.converged = self.converged | done
        self.active = self.active & ~done & ~value.isnan()

    def move(self, number: int) -> None:
        """The next x of the rows that are still active."""
        x = self.x
        following = torch.where(self.inside & self.shrinking, self.target, _middle(self.low, self.high))
        if not self.bounded:
            unbounded = (self.high - self.low).isinf()
            cap = (1 + x.abs()) * 4.0 ** min(number + 1, 60)
            newtonian = self.shrinking if number < FREE_STEPS else self.size < self.moved / 16
            far = torch.where(newtonian, self.size, torch.maximum(self.size, 4 * self.moved))
            outwards = x - torch.where(far < cap, far, cap).copysign(self.excess)  # NaN goes to the cap
            following = torch.where(unbounded, outwards, following).clamp(-self.largest, self.largest)
        following = torch.where(self.active & following.isfinite(), following, x)
        self.moved, self.x = (following - x).abs(), following

    @property
    def largest(self) -> float:
        return float(torch.finfo(self.z.dtype).max / 4)


def _middle(low: Tensor, high: Tensor) -> Tensor:
    """Between two ends: halfway, on a scale of sign(x) log(1 + abs(x)) where they are far apart."""
    halfway = low / 2 + high / 2
    mean = (_log_scale(low) + _log_scale(high)) / 2
    far = mean.sign() * mean.abs().expm1()
    close = high - low <= 1 + torch.minimum(low.abs(), high.abs())
    return torch.where(close, halfway, torch.minimum(torch.maximum(far, low), high))


def _log_scale(x: Tensor) -> Tensor:
    return x.sign() * x.abs().log1p()
