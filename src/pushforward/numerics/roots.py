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

MOST_STEPS = 200  # of a row: bisection alone takes 32 in single precision and 64 in double, and every third step is one
TRACED_STEPS = 60  # where nothing may depend on values, as under vmap
FREE_STEPS = 4  # Newton's while an end of the bracket is infinite: later steps grow, unless they converge fast
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
    f: Increasing, z: Tensor, *, start: Tensor | None = None, bracket: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """x with f(x) = z, and log dx/dz, differentiable with respect to z and all that f depends on.

    Derivatives are exact up to the third; a row that did not converge is NaN.

    Args:
        f: A strictly increasing function that treats every row alone: x to f(x) and log f'(x), of the shape of x.
        z: Any shape.
        start: Where the search begins, of the shape of z; z itself by default.
        bracket: Two tensors of the shape of z between which the root lies, if that is known.
    """
    x = find_root(f, z, start=start, bracket=bracket).x.detach()  # of forward-mode derivatives, too
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
    f: Increasing, z: Tensor, *, start: Tensor | None = None, bracket: tuple[Tensor, Tensor] | None = None
) -> Root:
    """The root of f(x) = z in every row, without gradients; arguments as for :func:`invert`.

    A row has converged where its residual is within :data:`STRICT` units of rounding of 1 + abs(z), or where the Newton
    step is below a unit of rounding of x; or where steps do not shrink any more and the residual is within
    :data:`LOOSE` units, which is the noise of f itself; or where no number is left in its bracket.
    """
    z = z.detach()
    search = _Search(z, z if start is None else start.detach(), bracket)
    traced = transformed()
    every = 1 if z.device.type == "cpu" else 4  # looking whether all rows are done makes a GPU wait
    for number in range(TRACED_STEPS if traced else MOST_STEPS):
        search.step(*f(search.x), number)
        if z.is_meta or (not traced and number % every == 0 and not bool(search.active.any())):
            break  # without values there is nothing to wait for
    return Root(torch.where(search.converged, search.x, torch.nan), search.converged)


class _Search:
    """The state of all rows; a row that is no longer active keeps its x."""

    def __init__(self, z: Tensor, start: Tensor, bracket: tuple[Tensor, Tensor] | None) -> None:
        self.z, self.eps = z, torch.finfo(z.dtype).eps
        self.unit = self.eps * (1 + z.abs())
        low, high = bracket or (torch.full_like(z, -torch.inf), torch.full_like(z, torch.inf))
        self.low, self.high = low.detach(), high.detach()
        self.x = torch.minimum(torch.maximum(start, self.low), self.high)
        self.moved = torch.full_like(z, torch.inf)  # how far the last step went
        self.active = z.isfinite()
        self.converged = torch.zeros_like(self.active)

    def step(self, value: Tensor, log_slope: Tensor, number: int) -> None:
        x, excess = self.x, value - self.z
        self.low = torch.where(excess <= 0, x, self.low)
        self.high = torch.where(excess >= 0, x, self.high)
        newton = excess * (-log_slope).exp()
        size, residual = newton.abs(), excess.abs()
        shrinking = size < self.moved / 2
        within = self.eps * x.abs()
        done = (residual <= STRICT * self.unit) | (size <= within) | (self.high - self.low <= within)
        done |= ~shrinking & (residual <= LOOSE * self.unit)
        target = x - newton
        inside = (target >= self.low) & (target <= self.high)
        following = torch.where(inside & shrinking, target, _middle(self.low, self.high))
        unbounded = (self.high - self.low).isinf()
        cap = (1 + x.abs()) * 4.0 ** min(number + 1, 60)
        newtonian = shrinking if number < FREE_STEPS else size < self.moved / 16
        far = torch.where(newtonian, size, torch.maximum(size, 4 * self.moved))
        outwards = x - torch.where(far < cap, far, cap).copysign(excess)  # NaN goes to the cap
        following = torch.where(unbounded, outwards, following).clamp(-self.largest, self.largest)
        following = torch.where(done, torch.where(inside, target, x), following)
        following = torch.where(self.active & following.isfinite(), following, x)
        self.converged = self.converged | (self.active & done)
        self.active = self.active & ~done & ~value.isnan()
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
