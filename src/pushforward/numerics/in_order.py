"""Whether the features of an event are in order, and codes that exclude each other apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..saving.config import Configurable


class InOrder(Configurable):
    r"""Whether features of an event are in order, :math:`c_i(x_i) \le c_j(x_j)` for some pairs, and hold at most one of
    some codes.

    c maps all points of a value's cell to the value: the nearest on a grid, or the number that a code stands for.

    Args:
        pairs: Pairs (i, j) of features.
        grids: For features on a grid, (feature, origin, step).
        tables: For features that are codes of numbers, (feature, the numbers); other codes have no value.
        atoms: For features some of whose values stand out, (feature, (value, lower end, width) of each), the cells of
            these values, with lower ends relative to them, in increasing order.
        flags: For features whose value is void where another feature is 1, (feature, the other).
        apart: Pairs of a feature and a code of which an event holds at most one, a list for each such condition.
        read_from: For numbers that codes of others stand for, too, which pairs and tables name like further features,
            (number, the feature).
    """

    def __init__(
        self,
        pairs: Sequence[tuple[int, int]],
        grids: Sequence[tuple[int, float, float]] = (),
        tables: Sequence[tuple[int, Sequence[float]]] = (),
        atoms: Sequence[tuple[int, Sequence[tuple[float, float, float]]]] = (),
        flags: Sequence[tuple[int, int]] = (),
        apart: Sequence[Sequence[tuple[int, float]]] = (),
        read_from: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__()
        self.pairs = [(int(i), int(j)) for i, j in pairs]
        self.grids = {int(j): (float(origin), float(step)) for j, origin, step in grids}
        self.tables = {int(j): [float(value) for value in values] for j, values in tables}
        self.atoms = {int(j): [tuple(map(float, atom)) for atom in cells] for j, cells in atoms}
        self.flags = {int(j): int(flag) for j, flag in flags}
        self.apart = [[(int(j), float(code)) for j, code in some] for some in apart]
        self.read_from = {int(j): int(feature) for j, feature in read_from}

    def forward(self, x: Tensor) -> Tensor:
        """Which events keep all conditions, ``(*batch,)``; a missing value breaks none."""
        broken = [self._value(x, i) > self._value(x, j) for i, j in self.pairs]
        broken += [torch.stack([x[..., j] == code for j, code in some], -1).sum(-1) > 1 for some in self.apart]
        return ~torch.stack(broken, -1).any(-1)

    def _value(self, x: Tensor, j: int) -> Tensor:
        value = x[..., self.read_from.get(j, j)]
        if j in self.flags:
            value = value.masked_fill(x[..., self.flags[j]] == 1, math.nan)
        if j in self.grids:
            origin, step = self.grids[j]
            return ((value - origin) / step).round() * step + origin
        if j in self.atoms:
            atom, low, width = value.new_tensor(self.atoms[j]).T.contiguous()
            place = (torch.searchsorted(atom + low, value.contiguous(), right=True) - 1).clamp_min(0)
            return torch.where(
                (value >= (atom + low)[place]) & (value < (atom + low + width)[place]), atom[place], value
            )
        if j in self.tables:
            table = value.new_tensor([*self.tables[j], math.nan])
            known = (value >= 0) & (value < len(table) - 1)
            return table[torch.where(known, value, len(table) - 1).long()]
        return value
