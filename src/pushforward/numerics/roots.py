r"""The root of a strictly increasing function on the whole line, for many numbers at once: it inverts every map without
a closed-form inverse; and quantiles, of a distribution function without a slope.

Each element keeps a bracket from its own evaluations, at first the whole line. The next point is Newton's if that lies
within the bracket and steps keep shrinking; otherwise the bracket is halved, on a logarithmic scale if its ends are far
apart; while an end is infinite, steps are bounded by a cap that grows until it covers the largest numbers.

Gradients follow from the implicit function theorem. A Newton step at the root x*, differentiated through f,

.. math:: x = x^* - \frac{f(x^*; \theta) - z}{f'(x^*; \theta)}

has the value x* and the first derivatives of the root; two such steps give the first three.

Reference:
    Press, Teukolsky, Vetterling, Flannery (2007), Numerical Recipes, section 9.4: Newton's method with bisection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .torch_internals import eager, transformed

Increasing = Callable[[Tensor], tuple[Tensor, Tensor]]  # x to f(x) and log f'(x), both of the shape of x
Bracket = tuple[Tensor, Tensor]
Around = Callable[[Tensor], Bracket]  # z to two points that bracket the root

MOST_STEPS = 200  # per element: bisection alone takes 32 in single precision and 64 in double, and is every third step
TRACED_STEPS = 60  # if nothing may depend on values, as under vmap
FREE_STEPS = 4  # of Newton while an end of the bracket is infinite: later steps grow, unless they converge fast
STRICT, LOOSE = 2.0, 64.0  # residual in units of rounding at which an element is done, and if its steps shrink no more
NEAR = 32.0  # units of rounding from which one more Newton step takes all elements to the noise of f
QUANTILE_STEPS, BISECT = 60, 3  # every third step halves the bracket, so that it shrinks whatever the shape of F
CLOSE = 1e-6  # in probability; single precision tells a little less than 1e-7


def invert(f: Increasing, z: Tensor) -> tuple[Tensor, Tensor]:
    """x with f(x) = z, and log dx/dz; arguments and derivatives as for :func:`solve`."""
    x = solve(f, z)
    return x, -f(x)[1]


def solve(f: Increasing, z: Tensor, *, around: Around | None = None, start: Tensor | None = None) -> Tensor:
    """x with f(x) = z, differentiable with respect to z and everything that f depends on.

    Derivatives are exact up to the third order; elements that did not converge are NaN.

    Args:
        f: A strictly increasing, elementwise function: x to f(x) and log f'(x), of the shape of x.
        z: Any shape.
        around: Gives two finite numbers that bracket each root. Without it the search is on the whole line.
        start: Where the search begins; elements outside their bracket begin in its middle. z itself if neither is
            given.
    """
    x = find_root(f, z, around=around, start=start).detach()  # also from forward-mode derivatives
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or transformed():
        for _ in range(2):
            value, log_slope = f(x)
            step = (value - z) * (-log_slope).exp()
            x = x - (step - step.detach())  # adds derivatives, not a value: x is the same with and without gradients
    return x


@eager
@torch.no_grad()
def find_root(f: Increasing, z: Tensor, *, around: Around | None = None, start: Tensor | None = None) -> Tensor:
    """The elementwise root of f(x) = z, without gradients, NaN where none was found; arguments as for :func:`solve`.

    An element has converged if its residual is within :data:`STRICT` units of rounding of 1 + abs(z); if the Newton
    step is below a unit of rounding of x; if steps no longer shrink and the residual is within :data:`LOOSE` units, the
    noise of f itself; or if no number is left in its bracket. All have converged once all residuals are within
    :data:`NEAR` units. One more step is taken from there.
    """
    z, traced = z.detach(), transformed()
    x, ends = _begin(z, around, start)
    unit = torch.finfo(z.dtype).eps * (1 + z.abs())
    search: Any = None  # created if the first point is not near all roots
    every = 1 if z.device.type == "cpu" else 4  # checking whether all are done synchronises a GPU
    for number in range(TRACED_STEPS if traced else MOST_STEPS):
        point, looks = _Point.met(f, x, z), not z.is_meta and not traced and number % every == 0
        if looks and point.near(unit):
            return point.target
        search = search or _Search(z, unit, ends)
        search.judge(point)
        if z.is_meta or (looks and not bool(search.active.any())):
            break  # without values there is nothing to check
        x = search.move(number)
    return torch.where(search.converged, search.x, torch.nan)


def _begin(z: Tensor, around: Around | None, start: Tensor | None) -> tuple[Tensor, Bracket | None]:
    """The first x, and the brackets if given."""
    if around is None:
        return z if start is None else start.detach(), None
    low, high = (end.detach() for end in around(z))
    x = (low + high) / 2
    if start is not None:
        x = torch.where((low <= start) & (start <= high), start.detach(), x)
    return x, (low, high)


class _Point(NamedTuple):
    """Points x, the residual f(x) - z, and where the Newton step from x ends."""

    x: Tensor
    excess: Tensor
    target: Tensor

    @classmethod
    def met(cls, f: Increasing, x: Tensor, z: Tensor) -> _Point:
        value, log_slope = f(x)
        excess = value - z
        return cls(x, excess, x - excess * (-log_slope).exp())

    def near(self, unit: Tensor) -> bool:
        """Whether one step takes all elements to their roots."""
        return within(self.excess / unit, NEAR) and within(self.target, torch.finfo(unit.dtype).max)


class _Search:
    """The state of all elements; one that is no longer active keeps its x."""

    def __init__(self, z: Tensor, unit: Tensor, ends: Bracket | None) -> None:
        self.unit, self.eps = unit, torch.finfo(z.dtype).eps
        self.low, self.high = ends or (torch.full_like(z, -torch.inf), torch.full_like(z, torch.inf))
        self.bounded = ends is not None
        self.moved = torch.full_like(z, torch.inf)  # size of the last step
        self.active = z.isfinite()
        self.converged = torch.zeros_like(self.active)

    def judge(self, point: _Point) -> None:
        """Narrows the brackets by f at x, and takes a last step where converged."""
        x, self.excess, self.target = point
        self.low = torch.where(self.excess <= 0, x, self.low)
        self.high = torch.where(self.excess >= 0, x, self.high)
        self.size, residual = (x - self.target).abs(), self.excess.abs()
        self.shrinking = self.size < self.moved / 2
        rounding = self.eps * x.abs()
        done = (residual <= STRICT * self.unit) | (self.size <= rounding) | (self.high - self.low <= rounding)
        done |= ~self.shrinking & (residual <= LOOSE * self.unit)
        done &= self.active
        self.inside = (self.target >= self.low) & (self.target <= self.high) & self.target.isfinite()
        self.x = torch.where(done & self.inside, self.target, x)
        self.converged = self.converged | done
        self.active = self.active & ~done & ~self.excess.isnan()

    def move(self, number: int) -> Tensor:
        """The next x of the elements that are still active."""
        x = self.x
        following = torch.where(self.inside & self.shrinking, self.target, _middle(self.low, self.high))
        if not self.bounded:
            unbounded = (self.high - self.low).isinf()
            cap = (1 + x.abs()) * 4.0 ** min(number + 1, 60)
            newtonian = self.shrinking if number < FREE_STEPS else self.size < self.moved / 16
            far = torch.where(newtonian, self.size, torch.maximum(self.size, 4 * self.moved))
            outwards = x - torch.where(far < cap, far, cap).copysign(self.excess)  # NaN goes to the cap
            largest = torch.finfo(x.dtype).max / 4
            following = torch.where(unbounded, outwards, following).clamp(-largest, largest)
        following = torch.where(self.active & following.isfinite(), following, x)
        self.moved = (following - x).abs()
        return following


def _middle(low: Tensor, high: Tensor) -> Tensor:
    """The middle of two ends, on a scale of sign(x) log(1 + abs(x)) if they are far apart."""
    halfway = low / 2 + high / 2
    mean = (_log_scale(low) + _log_scale(high)) / 2
    far = mean.sign() * mean.abs().expm1()
    close = high - low <= 1 + torch.minimum(low.abs(), high.abs())
    return torch.where(close, halfway, torch.minimum(torch.maximum(far, low), high))


def _log_scale(x: Tensor) -> Tensor:
    return x.sign() * x.abs().log1p()


def within(x: Tensor, bound: float) -> bool:
    """Whether abs(x) is at most the bound everywhere; false for NaN, and for empty x."""
    if not x.numel():
        return False
    low, high = torch.aminmax(x)
    return -bound <= low.item() and high.item() <= bound


@torch.no_grad()
def quantile_between(cdf: Callable[[Tensor], Tensor], q: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x with F(x) = q, element by element, by regula falsi (Illinois) and bisection.

    Args:
        cdf: F, non-decreasing.
        q: Probabilities of any shape.
        low, high: Where F is at most and at least q; finite.

    Reference:
        Dowell, Jarratt (1971), A modified regula falsi method for computing the root of an equation, BIT 11.
    """
    below, above = cdf(low) - q, cdf(high) - q
    nearer = below.abs() <= above.abs()
    x, off = torch.where(nearer, low, high), torch.where(nearer, below, above)
    for step in range(1, QUANTILE_STEPS + 1):
        done = (off.abs() <= CLOSE) | (high - low <= 1e-12 * (low.abs() + high.abs()))
        if bool(done.all()):
            break
        slope = above - below
        secant = low - below * (high - low) / torch.where(slope > 0, slope, 1.0)
        middle = low + 0.5 * (high - low)
        halve = (slope <= 0) | (step % BISECT == 0) | (secant <= low) | (secant >= high)
        x = torch.where(done, x, torch.where(halve, middle, secant))
        off = torch.where(done, off, cdf(x) - q)
        left = (off < 0) & ~done
        right = ~left & ~done
        above = torch.where(right, off, torch.where(left & (below < 0), 0.5 * above, above))
        below = torch.where(left, off, torch.where(right & (above > 0), 0.5 * below, below))
        low, high = torch.where(left, x, low), torch.where(right, x, high)
    return x
