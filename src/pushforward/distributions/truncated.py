"""Whether the features of an event are in order, and a density restricted to events where they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..nets.positions import rows_of
from ..saving.config import Configurable
from .base import Density, Generator

ROUNDS = 1000  # of redrawing: an order that one draw in fifty keeps leaves one broken draw in 10^8
DRAWS = 8_000  # that estimate a mass: of a half, to 0.011 nats
LEAST = 0.02  # share of draws that keep the order, below which redrawing would take too long
OWN, KEPT = 100, 0.1  # draws that lack the same, and share of them in order, of which the mass is estimated by itself

ROUNDING = 64  # units in the last place: how far apart two features may be and count as equal


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
        signs: For signs of differences x_i - x_j, which pairs name like further features, (number, i, j).
        beside: Codes that features have just where others have a value, (feature, the code, the other, the value).
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
        signs: Sequence[tuple[int, int, int]] = (),
        beside: Sequence[tuple[int, float, int, float]] = (),
    ) -> None:
        super().__init__()
        self.pairs = [(int(i), int(j)) for i, j in pairs]
        self.grids = {int(j): (float(origin), float(step)) for j, origin, step in grids}
        self.tables = {int(j): [float(value) for value in values] for j, values in tables}
        self.atoms = {int(j): [tuple(map(float, atom)) for atom in cells] for j, cells in atoms}
        self.flags = {int(j): int(flag) for j, flag in flags}
        self.apart = [[(int(j), float(code)) for j, code in some] for some in apart]
        self.read_from = {int(j): int(feature) for j, feature in read_from}
        self.signs = {int(number): (int(i), int(j)) for number, i, j in signs}
        self.beside = [(int(j), float(code), int(k), float(value)) for j, code, k, value in beside]

    def forward(self, x: Tensor) -> Tensor:
        """Which events keep all conditions, ``(*batch,)``; a missing value breaks none."""
        broken = [self._value(x, i) > self._value(x, j) for i, j in self.pairs]
        broken += [torch.stack([x[..., j] == code for j, code in some], -1).sum(-1) > 1 for some in self.apart]
        broken += [(x[..., j] == code) != self._is(x, k, value) for j, code, k, value in self.beside]
        return ~torch.stack(broken, -1).any(-1)

    def lacking(self, x: Tensor) -> Tensor:
        """Which of the first 60 features that are compared have no value, as the bits of a number, ``(*batch,)``."""
        compared = sorted({j for pair in self.pairs for j in pair})[:60]
        bits = [self._value(x, j).isnan().long() << place for place, j in enumerate(compared)]
        return sum(bits, start=torch.zeros(x.shape[:-1], dtype=torch.long, device=x.device))

    def _is(self, x: Tensor, j: int, value: float) -> Tensor:
        """Whether a feature has a value, up to rounding errors if these are on a grid."""
        step = self.grids[j][1] if j in self.grids else 0.0
        return (self._value(x, j) - value).abs() <= 0.5 * step

    def _value(self, x: Tensor, j: int) -> Tensor:
        if j in self.signs:
            first, second = (self._value(x, feature) for feature in self.signs[j])
            same = torch.isclose(first, second, rtol=ROUNDING * torch.finfo(x.dtype).eps, atol=0)
            return (first - second).sign().masked_fill(same, 0)
        value = x[..., self.read_from.get(j, j)]
        if j in self.flags:
            value = value.masked_fill(x[..., self.flags[j]] == 1, math.nan)
        if j in self.grids:
            origin, step = self.grids[j]
            return ((value - origin) / step).round() * step + origin
        if j in self.atoms:
            atom, low, width = value.new_tensor(self.atoms[j]).T.contiguous()
            place = (torch.searchsorted(atom + low, value.contiguous(), right=True) - 1).clamp_min(0)
            inside = (value >= (atom + low)[place]) & (value < (atom + low + width)[place])
            return torch.where(inside, atom[place], value)
        if j in self.tables:
            table = value.new_tensor([*self.tables[j], math.nan])
            known = (value >= 0) & (value < len(table) - 1)
            return table[torch.where(known, value, len(table) - 1).long()]
        return value


class Truncated(Density):
    r"""A density given that its events are in order; others keep at most a small share of the mass.

    .. math:: \log p_O(x \mid c) = \log p(x \mid c) + \begin{cases} \log(1 - b') - \log(1 - b) & x \in O \\
        \log b' - \log b & x \notin O \end{cases}

    with b the mass that p has outside O, and b' ≤ b what is left of it, of events that lack the same features: what is
    missing breaks no order, and would be drawn too often if b were one for all. Draws always lie in O.

    Args:
        density: p.
        order: O.
        broken: b, a share of at least 0 and below 1; over the contexts if there are any, so that the density is exact
            for their average alone.
        left: b', no more than b; 0 makes events outside O impossible.
        by_lacking: (what events lack, b of these), by :meth:`InOrder.lacking`; ``broken`` is that of the others.

    Raises:
        ValueError: a share is none.
    """

    def __init__(
        self,
        density: Density,
        order: InOrder,
        broken: float,
        left: float = 0.0,
        by_lacking: Sequence[tuple[int, float]] = (),
    ) -> None:
        super().__init__()
        if not 0 <= broken < 1 or not 0 <= left < 1:
            raise ValueError(f"broken and left are shares from 0 up to 1, got broken={broken} and left={left}")
        self.density, self.order = density, order
        self.event_shape, self.context_features = density.event_shape, density.context_features
        self.broken, self.left = float(broken), min(float(left), float(broken))
        self.by_lacking = [(int(lacking), float(share)) for lacking, share in by_lacking]

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        log_p, broken = self.density.log_prob(x, context), self._broken(x)
        left = broken.clamp_max(self.left)
        inside = torch.log1p(-left) - torch.log1p(-broken)
        outside = left.log() - broken.clamp_min(1e-300).log()
        return log_p + torch.where(self.order(x), inside, outside).to(log_p)

    def _broken(self, x: Tensor) -> Tensor:
        """b of events, ``(*batch,)``, float64."""
        share = torch.full(x.shape[:-1], self.broken, dtype=torch.float64, device=x.device)
        if self.by_lacking:
            lacking = self.order.lacking(x)
            for same, broken in self.by_lacking:
                share.masked_fill_(lacking == same, broken)
        return share

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        given = rows_of(context, batch)
        x = self.density._generate(torch.Size([batch.numel()]), given, generator, temperature)
        wrong = self._refused(x, generator).nonzero()[:, 0]
        for _ in range(ROUNDS):
            if not len(wrong):
                break
            again = None if given is None else given[wrong]
            x[wrong] = self.density._generate(torch.Size([len(wrong)]), again, generator, temperature)
            wrong = wrong[self._refused(x[wrong], generator)]
        return x.reshape(*batch, *self.event_shape)

    def _refused(self, x: Tensor, generator: Generator) -> Tensor:
        """Which draws are to be redrawn: those out of order, and as many of the others as keep the shares of what
        events lack."""
        refused = ~self.order(x)
        if not self.by_lacking:
            return refused
        kept = 1 - self._broken(x)
        least = 1 - max(self.broken, *(broken for _, broken in self.by_lacking))
        return refused | (torch.rand(kept.shape, generator=generator, device=x.device) * kept > least)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.density.initialize(x, context)


def untruncated(density: Density) -> Density:
    """p itself, of a density that is p given orders; any other density unchanged."""
    while isinstance(density, Truncated):
        density = density.density
    return density


@torch.no_grad()
def truncated(
    density: Density, order: InOrder, x: Tensor, context: Tensor | None = None, *, stated: bool, seed: int = 0
) -> Density:
    """The density given the order, its mass outside estimated by draws; unchanged if it nearly never keeps the order.

    Args:
        x: Training rows, whose number says how much mass is left to rows that break an order that was only found.
        context: Their contexts.
        stated: Whether the order must hold, so that rows which break it are impossible.
        seed: Seed of the draws.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    if context is not None:
        context = context[torch.randint(len(context), (DRAWS,), generator=generator, device=x.device)]
    draws = density.sample((DRAWS,) if context is None else (), context, generator=generator)
    outside, lacking = ~order(draws), order.lacking(draws)

    def mass(some: Tensor) -> float:
        return (float(outside[some].double().sum()) + 0.5) / (float(some.sum()) + 1)

    if 1 - (broken := mass(lacking >= 0)) < LEAST:
        return density

    def by_itself(some: Tensor) -> bool:
        return bool(some.sum() >= OWN) and 1 - mass(some) >= KEPT

    each = [(same, lacking == same) for same in lacking.unique().tolist()]
    by_lacking = [(same, mass(some)) for same, some in each if len(each) > 1 and by_itself(some)]
    rest = ~torch.isin(lacking, lacking.new_tensor([same for same, _ in by_lacking]))
    if by_itself(rest):
        broken = mass(rest)
    elif rest.sum() >= OWN:
        by_lacking = []  # one mass for all events, or theirs would not sum to one
    return Truncated(density, order, broken, 0.0 if stated else 0.5 / (len(x) + 1), by_lacking)
