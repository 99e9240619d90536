r"""Numbers that are known in part: NaN in float64 arrays, whose payload holds what is known.

NaN alone is a missing value: nothing is known. Its payload, 51 bits that arithmetic ignores, may hold an interval in
which the value lies, or a measurement of it with a normal error. So such numbers are indexed, shuffled and batched like
any others, and whatever does not know of them takes them for missing values, which is true, if less than is known.

Intervals are rounded inwards: with one end to 36 bits of mantissa, with two to 15. Measurements keep 21 bits, and 10 of
their error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ABOVE, BELOW, BETWEEN, MEASURED = 1, 2, 3, 4  # what is known: an end, the other, both; or a measurement
_TAG, _PAYLOAD, _QUIET = 48, (1 << 51) - 1, 0x7FF8 << 48
_BIAS = 1023 - 127  # of exponents, between float64 and float32
INFINITE = 40.0  # standard deviations that stand for infinitely many

Floats = NDArray[np.float64]


class Parts(NamedTuple):
    """What is known of numbers; NaN where nothing is, or all."""

    # the ends of an interval, which may be infinite
    low: Tensor
    high: Tensor
    # a measurement and its standard deviation
    value: Tensor
    error: Tensor


def between(low: Floats, high: Floats) -> Floats:
    """Numbers that lie between ends, either of which may be infinite; the lower end if they are nearly equal."""
    low, high = np.broadcast_arrays(np.asarray(low, np.float64), np.asarray(high, np.float64))
    one = np.where(np.isinf(high), _tagged(ABOVE, _code(_up(low, 36), 36)), _tagged(BELOW, _code(-_up(-high, 36), 36)))
    first, second = _up(low, 15), -_up(-high, 15)
    two = _tagged(BETWEEN, (_code(first, 15) << np.uint64(24)) | _code(second, 15))
    unbounded = np.isinf(low) | np.isinf(high)
    found = np.where(unbounded, one, two).view(np.float64)
    found = np.where(unbounded | (first < second), found, low)
    return np.where(np.isinf(low) & np.isinf(high), np.nan, found)


def measured(value: Floats, error: Floats) -> Floats:
    """Numbers that were measured with normal errors of known standard deviation; exact where that is 0."""
    value, error = np.broadcast_arrays(np.asarray(value, np.float64), np.asarray(error, np.float64))
    code = (_code(_up(value, 21), 21) << np.uint64(18)) | _code(_up(error, 10), 10)
    return np.where(error > 0, _tagged(MEASURED, code).view(np.float64), value)


def known_in_part(x: Floats) -> NDArray[np.bool_]:
    """Which entries are such numbers."""
    return np.isnan(x) & ((np.ascontiguousarray(x).view(np.int64) & _PAYLOAD) != 0)


def partly_known(x: Tensor) -> Tensor:
    """Which entries are such numbers; none are in single precision."""
    if x.dtype != torch.float64:
        return torch.zeros_like(x, dtype=torch.bool)
    return x.isnan() & ((x.view(torch.int64) & _PAYLOAD) != 0)


def unknown(x: Tensor) -> Tensor:
    """Which entries are NaN of which nothing is known."""
    return x.isnan() & ~partly_known(x)


def parts_of(x: Tensor) -> Parts:
    """What is known of numbers, as read from float64 entries."""
    bits = x.view(torch.int64)
    tag, nothing = torch.where(x.isnan(), (bits >> _TAG) & 7, 0), torch.full_like(x, torch.nan)
    one = ((bits & ((1 << _TAG) - 1)) << 16).view(torch.float64)
    first, second, two = _decoded(bits >> 24, 15), _decoded(bits, 15), tag == BETWEEN
    low = nothing.masked_fill(tag == BELOW, -torch.inf).where(tag != ABOVE, one).where(~two, first)
    high = nothing.masked_fill(tag == ABOVE, torch.inf).where(tag != BELOW, one).where(~two, second)
    is_measured = tag == MEASURED
    value = torch.where(is_measured, _decoded(bits >> 18, 21), nothing)
    return Parts(low, high, value, torch.where(is_measured, _decoded(bits, 10, sign=False), nothing))


def log_mass(low: Tensor, high: Tensor) -> Tensor:
    r""":math:`\log(\Phi(b) - \Phi(a))` of standard normal noise between a and b, stable in both tails."""
    top, bottom, _ = _tails(low, high)
    return top + torch.log1p(-(bottom - top).clamp_max(-1e-12).exp())


def squeezed(z: Tensor, low: Tensor, high: Tensor) -> Tensor:
    r"""Standard normal noise mapped to what is between a and b: :math:`\Phi^{-1}` of a share :math:`\Phi(z)` of it."""
    top, bottom, flipped = _tails(low, high)
    z = torch.where(flipped, -z, z)
    log_u = torch.logaddexp(bottom + torch.special.log_ndtr(-z), top + torch.special.log_ndtr(z))
    found = torch.special.ndtri(log_u.exp())
    found = torch.where(flipped, -found, found)
    return torch.maximum(torch.minimum(found, high), low)


def _tails(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log of the distribution function at both ends, of the mirrored interval where that is further down a tail."""
    flipped = low + high > 0
    top, bottom = torch.where(flipped, -low, high), torch.where(flipped, -high, low)
    return torch.special.log_ndtr(top), torch.special.log_ndtr(bottom), flipped


def _up(x: Floats, mantissa: int) -> Floats:
    """Finite numbers rounded up to so many bits of mantissa."""
    bits, mask = np.ascontiguousarray(x).view(np.uint64), np.uint64((1 << (52 - mantissa)) - 1)
    cut = bits & ~mask
    return np.where((x > 0) & (bits != cut), cut + mask + np.uint64(1), cut).view(np.float64)


def _code(x: Floats, mantissa: int) -> NDArray[np.uint64]:
    """Rounded numbers as whole ones: sign, exponent (8 bits, or 11 with a long mantissa) and mantissa."""
    bits = np.ascontiguousarray(x).view(np.uint64) >> np.uint64(52 - mantissa)
    if mantissa > 21:
        return bits
    size = np.uint64(mantissa)
    sign, exponent = bits >> (size + np.uint64(11)), ((bits >> size) & np.uint64(2047)).astype(np.int64) - _BIAS
    fits = exponent > 0
    low = bits & np.uint64((1 << mantissa) - 1)
    code = (sign << (size + np.uint64(8))) | (exponent.clip(0, 254).astype(np.uint64) << size) | low
    return np.where(fits, code, np.uint64(0))


def _tagged(tag: int, code: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.uint64(_QUIET | (tag << _TAG)) | code


def _decoded(bits: Tensor, mantissa: int, sign: bool = True) -> Tensor:
    """Numbers from the lowest bits of codes."""
    exponent, low = (bits >> mantissa) & 255, bits & ((1 << mantissa) - 1)
    found = ((exponent + _BIAS) << 52) | (low << (52 - mantissa))
    number = torch.where(exponent > 0, found, 0).view(torch.float64)
    return torch.where(((bits >> (mantissa + 8)) & 1).bool(), -number, number) if sign else number
