"""What a known formula leaves of a feature: an additive coupling whose shift is not learnt but given."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Transform

Term = tuple[float, Sequence[tuple[int, float]]]  # w and the (feature, power) of its factors
Cell = tuple[float, float, float]  # value, low and width
Wave = tuple[float, int, float, float]  # a, i, the period T and s


class Remainder(Transform):
    r"""Subtracts from one feature what others say of it: :math:`z_j = x_j - m(x)`, the rest unchanged.

    .. math:: m(x) = b + \sum_k w_k \prod_i c_i(x_i)^{p_{ki}} + \sum_l a_l \cos(2 \pi (c_i(x_i) - s_l) / T_l),
              \quad\text{where } c^0 \text{ stands for } \log c

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
    ) -> None:
        super().__init__()
        self.feature, self.offset = int(feature), float(offset)
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
        return total

    def _factor(self, x: Tensor, i: int, power: float) -> Tensor:
        c = self._value(x, i)
        return c if power == 1 else c.log() if power == 0 else c.pow(power)

    def _value(self, x: Tensor, i: int) -> Tensor:
        c = x[..., i]
        if i in self.grids:
            origin, step = self.grids[i]
            c = ((c - origin) / step).round() * step + origin
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
