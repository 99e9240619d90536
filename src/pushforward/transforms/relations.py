"""What columns know of each other as transforms: what a known formula leaves of one, and parts of a whole by ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .base import Transform

Term = tuple[float, Sequence[tuple[int, float]]]  # w and the (feature, power) of its factors
Cell = tuple[float, float, float]  # value, low and width
Wave = tuple[float, int, float, float]  # a, i, the period T and s

LOGARITHM, ONE_MORE = 0.0, -1e9  # powers that stand for log c, as Box and Cox have it, and for log(1 + c)
LOGARITHMS = LOGARITHM, ONE_MORE


class Remainder(Transform):
    r"""Subtracts from one feature what others say of it: :math:`z_j = x_j - m(x)`, the rest unchanged.

    .. math:: m(x) = b + \sum_k w_k \prod_i c_i(x_i)^{p_{ki}} + \sum_l a_l \cos(2 \pi (c_i(x_i) - s_l) / T_l),
              \quad\text{where } c^0 \text{ stands for } \log c \text{ and } c^{-10^9} \text{ for } \log (1 + c)

    m may be any function of the other features, since :math:`\log|\det| = 0`. That c replaces a number on a grid by the
    grid's nearest value, and one in a cell by the value that the cell stands for, so that all points of a row's cell
    share one m; and keeps numbers above a floor, below which logarithms and negative powers are not defined.

    Args:
        feature: j.
        terms: The terms of m, each a weight w and its factors, pairs of a feature and a power p.
        offset: b.
        waves: Those of m, (a, i, T, s) each.
        grids: For features on a grid, (feature, origin, step).
        cells: For features with cells, (feature, the value, low and width of each, increasing): a number in value + low
            + [0, width) counts as the value.
        floors: For features with a floor, (feature, floor).
        rounded: The origin and step of the grid to which m is rounded; empty if it is not.

    Raises:
        ValueError: m depends on j itself.

    Reference:
        Dinh, Krueger, Bengio (2015), NICE, arXiv:1410.8516, additive coupling layers. Lecture: "RealNVP".
    """

    def __init__(
        self,
        feature: int,
        terms: Sequence[Term],
        offset: float = 0.0,
        *,
        waves: Sequence[Wave] = (),
        grids: Sequence[tuple[int, float, float]] = (),
        cells: Sequence[tuple[int, Sequence[Cell]]] = (),
        floors: Sequence[tuple[int, float]] = (),
        rounded: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.feature, self.offset, self.rounded = int(feature), float(offset), tuple(map(float, rounded))
        self.terms = tuple((float(w), tuple((int(i), float(p)) for i, p in factors)) for w, factors in terms)
        self.waves = tuple((float(a), int(i), float(period), float(start)) for a, i, period, start in waves)
        used = [i for _, factors in self.terms for i, _ in factors] + [i for _, i, _, _ in self.waves]
        if self.feature in used:
            raise ValueError(f"feature {feature} is computed from itself: leave it out of terms")
        self.grids = {int(i): (float(origin), float(step)) for i, origin, step in grids}
        self.celled = [int(i) for i, _ in cells]
        for i, all_of in cells:  # value, and ends
            table = torch.tensor([(v, v + low, v + low + width) for v, low, width in all_of], dtype=torch.float64)
            self.register_buffer(f"cells_{int(i)}", table.t().contiguous(), persistent=False)
        self.floors = {int(i): float(floor) for i, floor in floors}

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(x, -self.formula(x)), x.new_zeros(x.shape[:-1])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._moved(z, self.formula(z)), z.new_zeros(z.shape[:-1])

    def formula(self, x: Tensor) -> Tensor:
        """m(x), of the batch shape."""
        total = x.new_full(x.shape[:-1], self.offset)
        for weight, factors in self.terms:
            term = torch.full_like(total, weight)
            for i, power in factors:
                term = term * self._factor(x, i, power)
            total = total + term
        for size, i, period, start in self.waves:
            total = total + size * (2 * math.pi / period * (self._value(x, i) - start)).cos()
        return _nearest(total, *self.rounded) if self.rounded else total

    def _factor(self, x: Tensor, i: int, power: float) -> Tensor:
        c = self._value(x, i)
        if power in LOGARITHMS:
            return c.log1p() if power == ONE_MORE else c.log()
        return c if power == 1 else c.pow(power)

    def _value(self, x: Tensor, i: int) -> Tensor:
        c = x[..., i]
        if i in self.grids:
            c = _nearest(c, *self.grids[i])
        if i in self.celled:
            value, low, high = getattr(self, f"cells_{i}").to(c.dtype)
            place = (torch.searchsorted(low, c.contiguous(), right=True) - 1).clamp_min(0)
            c = torch.where((c >= low[place]) & (c < high[place]), value[place], c)
        if i in self.floors:
            c = c.clamp_min(self.floors[i])
        return c

    def _moved(self, x: Tensor, shift: Tensor) -> Tensor:
        j = self.feature
        return torch.cat([x[..., :j], (x[..., j] + shift)[..., None], x[..., j + 1 :]], -1)


def _nearest(x: Tensor, origin: float, step: float) -> Tensor:
    """The nearest values of a grid."""
    return ((x - origin) / step).round() * step + origin


class LogRatios(Transform):
    r"""Parts of a whole by their ratios to what is left of it: :math:`z_i = \log (u_i / u_0)`, the rest unchanged.

    .. math:: u_i = x_i + d_i, \quad u_0 = T - \sum_i x_i + d_0, \quad T = t + \sum_{k} x_k,
              \quad \log|\det| = \log\Big(\sum_i u_i + u_0\Big) - \sum_i \log u_i - \log u_0

    The last part, T - Σ x, is no feature: it follows. The whole T is a number, or the sum of other features; margins d
    leave room for cells of zeros and of rounded parts. Inverse: :math:`u = (T + \sum d)\, \mathrm{softmax}(z, 0)`.

    Args:
        parts: The features x_i.
        total: t.
        wholes: The features k.
        margins: d_i of each part, and d_0 last; 0 by default.

    Raises:
        ValueError: a feature is a part and a whole, or margins are not one more than parts.

    Reference:
        Aitchison (1982), The statistical analysis of compositional data, additive log-ratios.
    """

    def __init__(
        self,
        parts: Sequence[int],
        total: float = 0.0,
        wholes: Sequence[int] = (),
        margins: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.parts, self.wholes, self.total = [int(i) for i in parts], [int(k) for k in wholes], float(total)
        self.margins = [float(d) for d in margins] or [0.0] * (len(self.parts) + 1)
        if set(self.parts) & set(self.wholes):
            raise ValueError(f"parts {self.parts} and wholes {self.wholes} share a feature")
        if len(self.margins) != len(self.parts) + 1:
            raise ValueError(f"got {len(self.margins)} margins, expected {len(self.parts) + 1}: one more than parts")

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        parts = x[..., self.parts]
        left = self._whole(x) - parts.sum(-1) + self.margins[-1]
        logs, rest = (parts + x.new_tensor(self.margins[:-1])).log(), left.log()
        logdet = (self._whole(x) + sum(self.margins)).log() - logs.sum(-1) - rest
        return self._with(x, logs - rest[..., None]), logdet

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        size = self._whole(z) + sum(self.margins)
        logs = torch.nn.functional.pad(z[..., self.parts], (0, 1)).log_softmax(-1) + size.log()[..., None]
        x = self._with(z, logs[..., :-1].exp() - z.new_tensor(self.margins[:-1]))
        return x, logs.sum(-1) - size.log()

    def _whole(self, x: Tensor) -> Tensor:
        return x[..., self.wholes].sum(-1) + self.total

    def _with(self, x: Tensor, parts: Tensor) -> Tensor:
        places: list[Any] = [x[..., j] for j in range(x.shape[-1])]
        for i, part in zip(self.parts, parts.unbind(-1), strict=True):
            places[i] = part
        return torch.stack(places, -1)
