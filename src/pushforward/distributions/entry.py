"""One entry of a row: what a network reads of it, and its log-density and draws from the parameters of its conditional.

A number is a scalar map of a standard normal: beyond ``TAILS`` on a logarithmic scale, then a scale and shift, then a
spline. A category has logits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..numerics import affine
from ..numerics.indicators import indicators
from ..transforms.scalar import Affine, Spline

TAILS = 5.0  # standard deviations beyond which a number is taken on a logarithmic scale
LOG_SCALE = 7.0  # the bound of a conditional's log-scale
_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def network_inputs(size: int, v: Tensor) -> Tensor:
    """What a network reads of entries ``(n,)``: ``size`` indicators of a category, two numbers where it is 0."""
    if size:
        return indicators(v[:, None], [size], v.dtype).t()
    return torch.stack([affine.log_tails(v, TAILS)[0], torch.ones_like(v)])


def number_log_prob(scale: Affine, spline: Spline, v: Tensor, params: Tensor) -> Tensor:
    """log-densities of standardised numbers ``(numbers, n)``."""
    params = params.view(len(v), -1, v.shape[1]).movedim(0, -1)  # (parameters, n, numbers)
    t, slope = affine.log_tails(v.t(), TAILS)
    t, more = scale(t, params[:2])
    z, most = spline(t, params[2:])
    return (-0.5 * z.square() - _HALF_LOG_TWO_PI + slope + more + most).t()


def draw_number(scale: Affine, spline: Spline, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """A standardised number from noise z, and its log-density; both ``(n,)``."""
    z = z[:, None]
    t, slope = spline.inverse(z, params[2:, :, None])
    t, more = scale.inverse(t, params[:2, :, None])
    v, most = affine.inverse_log_tails(t, TAILS)
    log_p = -0.5 * z.square() - _HALF_LOG_TWO_PI - slope - more - most
    return v[:, 0], log_p[:, 0]


def category_log_prob(size: int, code: Tensor, logits: Tensor) -> Tensor:
    """log-probabilities of codes ``(n,)``; -inf for one outside the range."""
    known = (code >= 0) & (code < size) & (code == code.floor())
    found = logits.log_softmax(0).gather(0, code.where(known, 0).long()[None])[0]
    return found.masked_fill(~known, -math.inf)


def draw_category(size: int, z: Tensor, logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """A code from standard normal noise z, logits divided by the temperature, and its log-probability; both ``(n,)``.

    The log-probability is that at temperature 1.
    """
    u = 0.5 * torch.erfc(-z * math.sqrt(0.5))
    code = (u >= (logits / temperature).softmax(0).cumsum(0)[:-1]).sum(0).to(z.dtype)
    return code, category_log_prob(size, code, logits)
