"""One entry of a row: its network inputs, and its log-density and draws from the parameters of its conditional.

A number, taken on a logarithmic scale beyond ``TAILS`` and on a linear one again far out, is a scalar map of a standard
normal: a scale and shift, then a spline. A category has logits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...numerics import affine
from ...numerics.indicators import indicators
from ...numerics.logs import HALF_LOG_2PI
from ...transforms.scalar import Affine, Spline
from ..conditional import category_log_prob

Standard = tuple[Tensor, Tensor]  # a mean and a standard deviation

TAILS = 5.0  # standard deviations beyond which a number is taken on a logarithmic scale
LOG_SCALE = 7.0  # the bound on a conditional's log-scale
CLOSE = 1e-6  # nats within which categories are equally likely
KNOWN = 3.0  # likewise for known numbers, where the draws' scale ends: beyond, nothing was learnt of what they tell


def network_inputs(classes: Sequence[int], v: Tensor, bound: float = TAILS) -> Tensor:
    """Network inputs for entries ``(features, n)``: the indicators of a category, two inputs for a number."""
    near = affine.log_tails(v, bound)[0] if 0 in classes else v  # all numbers in one operation
    ones = torch.ones_like(v[:1])
    parts = [
        indicators(v[j, :, None], [size], v.dtype).t() if size else torch.cat([near[j : j + 1], ones])
        for j, size in enumerate(classes)
    ]
    return torch.cat(parts)


class Conditionals(NamedTuple):
    """Log-densities and draws of entries from their parameters."""

    affine: Affine
    spline: Spline
    classes: Sequence[int]  # 0 for a number
    rows: Sequence[range]  # of the parameters, for each entry
    far: float | None = None  # where the logarithmic tails end, in multiples of TAILS

    @property
    def numbers(self) -> list[int]:
        """Which entries are numbers."""
        return [j for j, size in enumerate(self.classes) if not size]

    def all(self, v: Tensor, params: Tensor, standard: Standard | None = None) -> Tensor:
        """log-densities of all entries ``(features, n)``; all numbers in one batch."""
        parts: dict[int, Tensor] = {}
        for j, size in enumerate(self.classes):
            if size:
                parts[j] = category_log_prob(v[j], params[self.rows[j].start : self.rows[j].stop])
        if numbers := self.numbers:
            own = params if not parts else params[[row for j in numbers for row in self.rows[j]]]
            some = slice(None) if not parts else numbers
            found = self.number_log_prob(v[some], own, standard and (standard[0][some], standard[1][some]))
            parts |= {j: found[k] for k, j in enumerate(numbers)}
        return torch.stack([parts[j] for j in range(len(self.classes))])

    def one(self, j: int, v: Tensor, params: Tensor, standard: Standard | None = None) -> Tensor:
        """log-densities of entry j alone, ``(n,)``."""
        if self.classes[j]:
            return category_log_prob(v, params)
        return self.number_log_prob(v[None], params, standard and (standard[0][None], standard[1][None]))[0]

    def draw(
        self, j: int, z: Tensor, params: Tensor, temperature: float, standard: Standard | None = None
    ) -> tuple[Tensor, Tensor]:
        """Entry j from noise (standardised if it is a number) and its log-density as such; both ``(n,)``."""
        if self.classes[j]:
            return draw_category(z, params, temperature)
        return self.draw_number(z * temperature, params, standard)

    def number_log_prob(self, v: Tensor, params: Tensor, standard: Standard | None = None) -> Tensor:
        """log-densities of standardised numbers ``(numbers, n)``; a mean and a standard deviation of that shape, if
        given, standardise them again."""
        z, slope = self.number_noise(v, params, standard)
        return -0.5 * z.square() - HALF_LOG_2PI + slope

    def number_noise(self, v: Tensor, params: Tensor, standard: Standard | None = None) -> tuple[Tensor, Tensor]:
        """The standard normal noise of standardised numbers, and the log-slopes, both ``(numbers, n)``."""
        params = params.view(len(v), len(params) // max(len(v), 1), v.shape[1]).movedim(
            0, -1
        )  # (parameters, n, numbers)
        t, slope = affine.log_tails(v.t(), TAILS, self.far)
        if standard is not None:
            mean, deviation = (part.t() for part in standard)
            t, slope = (t - mean) / deviation, slope - deviation.log()
        t, more = self.affine(t, params[:2])
        z, most = self.spline(t, params[2:])
        return z.t(), (slope + more + most).t()

    def tail(self, j: int, v: Tensor, params: Tensor, standard: Standard | None = None) -> Tensor:
        """log of the two-sided tail probability of entry j, ``(n,)``; of a category, that of all no likelier ones."""
        if self.classes[j]:
            own, each = category_log_prob(v, params), params.log_softmax(0)
            return torch.where(each <= own + CLOSE, each, -math.inf).logsumexp(0).double()
        z = self.number_noise(v[None], params, standard and (standard[0][None], standard[1][None]))[0][0].double()
        return math.log(2) + torch.special.log_ndtr(-z.abs()).nan_to_num(nan=-math.inf)

    def draw_number(self, z: Tensor, params: Tensor, standard: Standard | None = None) -> tuple[Tensor, Tensor]:
        """A standardised number from noise z, and its log-density; both ``(n,)``."""
        z = z[:, None]
        t, slope = self.spline.inverse(z, params[2:, :, None])
        t, more = self.affine.inverse(t, params[:2, :, None])
        if standard is not None:
            mean, deviation = (part[:, None] for part in standard)
            t, more = mean + deviation * t, more + deviation.log()
        v, most = affine.inverse_log_tails(t, TAILS, self.far)
        log_p = -0.5 * z.square() - HALF_LOG_2PI - slope - more - most
        return v[:, 0], log_p[:, 0]


def draw_category(z: Tensor, logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """A code from standard normal noise z, logits divided by the temperature, and its log-probability; both ``(n,)``.

    The log-probability is that at temperature 1.
    """
    u = 0.5 * torch.erfc(-z * math.sqrt(0.5))
    code = (u >= (logits / temperature).softmax(0).cumsum(0)[:-1]).sum(0).to(z.dtype)
    return code, category_log_prob(code, logits)
