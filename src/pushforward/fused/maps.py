"""Scalar maps whose parameters come from a network, with the memory of one call and hand-written gradients.

Each is the formula of :mod:`pushforward.numerics` for a plane ``(features, n)``: ``run`` maps it, ``vjp`` turns
the gradient of the result into those of the plane and of the network's outputs.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..numerics import affine, roots
from ..numerics import spline as plain_spline
from ..transforms.scalar import Scalar
from . import spline
from .network import nbytes

FEW = 16  # numbers that a spline inverts faster one by one


class Moving(Protocol):
    """The memory of one map for n events; the network writes the parameters into ``outputs``, which maps may share."""

    outputs: Tensor
    nbytes: int

    def run(self, before: Tensor, after: Tensor, log_slope: Tensor) -> Tensor:
        """Writes the log-slopes and the mapped plane (usually into ``after``); returns the mapped plane."""

    def vjp(self, grad: Tensor, slope_grad: Tensor) -> None:
        """Turns the gradient of the mapped plane into that of the plane before, in place; with that of the log-slopes
        ``(n,)``, it also overwrites ``outputs`` with their gradient."""

    def forget(self) -> None:
        """Drops references that only this call needed."""


class Solving(Protocol):
    """Interface for the sequential inverse: planes ``(features, n)``, parameters ``(features, num_params, n)``."""

    def plain(self, x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """The formula with parameters ``(num_params, features, n)``: the mapped plane and its log-slopes."""

    def solve(self, z: Tensor, params: Tensor, out: Tensor) -> None:
        """Writes x into ``out``, without a graph."""

    def log_slope(self, x: Tensor, z: Tensor, params: Tensor) -> Tensor:
        """log dx/dz, without a graph; ``x`` is what :meth:`solve` found."""


class AnyMap(NamedTuple):
    """A scalar map without a faster form."""

    scalar: Scalar

    def plain(self, x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        return (self.scalar.inverse if inverse else self.scalar.forward)(x, params)

    def solve(self, z: Tensor, params: Tensor, out: Tensor) -> None:
        out.copy_(self.scalar.solve(z, params.transpose(0, 1)))

    def log_slope(self, x: Tensor, z: Tensor, params: Tensor) -> Tensor:
        return -self.scalar(x, params.transpose(0, 1))[1]  # whether or not the inverse has a closed form: x is known


class AffineMap(NamedTuple):
    """z = (x - mu) exp(-s) with log-scales bounded by ``limit``, then optional logarithmic tails beyond ``tails``,
    which are linear beyond ``far`` times that."""

    limit: float
    tails: float | None = None
    far: float | None = None

    @property
    def num_params(self) -> int:
        return 2

    def workspace(self, outputs: Tensor, inverse: bool) -> AffineMoving:
        return AffineMoving(self, outputs, inverse)

    def plain(self, x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """The formula, differentiable to any order; ``params`` is ``(2, *x.shape)``."""
        mu, raw = params.unbind()
        z, log_slope = (affine.inverse if inverse else affine.forward)(x, mu, raw, self.limit)
        if self.tails is None:
            return z, log_slope
        z, log_tail = affine.log_tails(z, self.tails, self.far)
        return z, log_slope + log_tail

    def solve(self, z: Tensor, params: Tensor, out: Tensor) -> None:
        mu, raw = params.unbind(1)
        scale = raw.abs()  # s = r / (1 + |r| / limit)
        torch.add(_number(1.0, raw.dtype, raw.device), scale, alpha=1 / self.limit, out=scale)
        torch.div(raw, scale, out=scale).exp_()
        torch.addcmul(mu, z, scale, out=out)

    def log_slope(self, x: Tensor, z: Tensor, params: Tensor) -> Tensor:
        return affine.soft_clamp(params[:, 1], self.limit)


class AffineMoving:
    """See :class:`Moving`. With z kept, the gradient takes five operations where autograd would record ten."""

    def __init__(self, of: AffineMap, outputs: Tensor, inverse: bool) -> None:
        self.of, self.outputs, self.inverse = of, outputs, inverse
        self.mu, self.raw = outputs.unflatten(0, (-1, 2)).unbind(1)
        self.denominator, self.scale = torch.empty_like(self.mu), torch.empty_like(self.mu)
        self.nbytes = nbytes([self.denominator, self.scale])
        self.kept: Tensor | None = None
        self.tail: tuple[Tensor, Tensor] | None = None

    def run(self, before: Tensor, after: Tensor, log_slope: Tensor) -> Tensor:
        torch.abs(self.raw, out=self.denominator)  # s = r / (1 + |r| / limit) is the log-slope of the inverse
        sign = 1.0 if self.inverse else -1.0
        signed_one = _number(sign, self.raw.dtype, self.raw.device)
        torch.add(signed_one, self.denominator, alpha=sign / self.of.limit, out=self.denominator)
        torch.exp(torch.div(self.raw, self.denominator, out=log_slope), out=self.scale)
        if self.inverse:
            torch.addcmul(self.mu, before, self.scale, out=after)
            self.kept = before
        else:
            torch.sub(before, self.mu, out=after).mul_(self.scale)
            self.kept = after
        bound, far = self.of.tails, self.of.far or math.inf
        if bound is None or within(after, bound):
            return after
        a = after.abs().div_(bound).clamp_(1, far)
        log, clamped = a.log(), after.clamp(-bound, bound)
        self.tail = a, clamped
        log_slope.sub_(log)
        z = torch.addcmul(clamped, clamped, log)
        if within(after, far * bound):
            return z
        return z.add_(after - after.clamp(-far * bound, far * bound), alpha=1 / far)

    def vjp(self, grad: Tensor, slope_grad: Tensor) -> None:
        if self.tail is not None:  # d log a / dx = x̄ / (b² a) in the logarithmic tails, and 0 elsewhere
            a, clamped = self.tail
            bound, far = self.of.tails or 1.0, self.of.far or math.inf
            beyond = torch.mul(clamped, (a > 1).logical_and_(a < far))
            torch.addcmul(grad, slope_grad, beyond, value=-(bound**-2), out=grad).div_(a)
        assert self.kept is not None
        if self.inverse:
            self.mu.copy_(grad)
            torch.addcmul(slope_grad, grad.mul_(self.scale), self.kept, out=self.raw)
        else:
            torch.addcmul(-slope_grad, grad, self.kept, value=-1, out=self.raw)
            torch.neg(grad.mul_(self.scale), out=self.mu)
        self.raw.div_(self.denominator).div_(self.denominator)

    def forget(self) -> None:
        self.kept = self.tail = None


class SplineMap(NamedTuple):
    """The monotone rational-quadratic spline with this many bins on [-bound, bound]."""

    bins: int
    bound: float
    floor: float

    @property
    def num_params(self) -> int:
        return 3 * self.bins - 1

    def workspace(self, outputs: Tensor, inverse: bool) -> SplineMoving:
        return SplineMoving(self, outputs, inverse)

    def plain(self, x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        return plain_spline.rational_quadratic(x, params, self.bound, inverse, self.floor)

    def solve(self, z: Tensor, params: Tensor, out: Tensor) -> None:
        if z.numel() <= FEW and z.device.type == "cpu" and self._solve_numbers(z, params, out):
            return
        out.copy_(spline.solve(z, params, self.bound, self.floor))

    def _solve_numbers(self, z: Tensor, params: Tensor, out: Tensor) -> bool:
        """:meth:`solve` number by number; False if Python refuses what tensors make infinite."""
        rows = zip(z.flatten().tolist(), params.transpose(1, 2).flatten(0, 1).tolist(), strict=True)
        try:
            found = [spline.solve_number(number, row, self.bound, self.floor) for number, row in rows]
        except ArithmeticError:
            return False
        out.copy_(torch.tensor(found, dtype=out.dtype).view_as(out))
        return True

    def log_slope(self, x: Tensor, z: Tensor, params: Tensor) -> Tensor:
        return spline.evaluate(z, params, self.bound, self.floor, True)[1]


class SplineMoving:
    """See :class:`Moving`."""

    nbytes = 0  # its memory is allocated anew in each call

    def __init__(self, of: SplineMap, outputs: Tensor, inverse: bool) -> None:
        self.of, self.outputs, self.inverse = of, outputs, inverse
        self.params = outputs.unflatten(0, (-1, of.num_params))
        self.kept: spline.KeptSpline | None = None

    def run(self, before: Tensor, after: Tensor, log_slope: Tensor) -> Tensor:
        into, of = (after, log_slope), self.of
        self.kept = spline.evaluate(before, self.params, of.bound, of.floor, self.inverse, into)[-1]
        return after

    def vjp(self, grad: Tensor, slope_grad: Tensor) -> None:
        assert self.kept is not None
        grad.copy_(spline.vjp(self.kept, grad, slope_grad, self.of.bound, self.of.floor, out=self.params))

    def forget(self) -> None:
        self.kept = None


def within(x: Tensor, bound: float) -> bool:
    """Whether everything is known to lie within the bound, so that tails can be skipped: the check costs one pass,
    tails and their gradient a dozen. On a GPU the check would force a synchronisation."""
    return x.device.type == "cpu" and roots.within(x, bound)


@lru_cache(maxsize=32)
def _number(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor ``()``: PyTorch converts a Python number at each call, which takes as long as a few hundred sums."""
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=dtype, device=device)
