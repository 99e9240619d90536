"""A region of rows, and draws of a guide that stay inside: each entry from its conditional given that it lies there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...numerics.partly_known import log_mass, squeezed

if TYPE_CHECKING:
    from .anyorder import AnyOrder


@dataclass(frozen=True)
class Region:
    """Where entries of rows may lie, for every row on its own; entries that are not named may be anything.

    Args:
        numbers: For entries that are numbers, ends of disjoint intervals, ``(2, intervals, n)``, float64; NaN in rows
            that do not name the entry.
        codes: For entries that are categories, which codes are allowed, ``(classes, n)``; none in such rows.
    """

    numbers: Mapping[int, Tensor]
    codes: Mapping[int, Tensor]

    def __getitem__(self, rows: Tensor) -> Region:
        return Region(*({j: part[..., rows] for j, part in some.items()} for some in (self.numbers, self.codes)))

    def named(self, x: Tensor) -> Tensor:
        """Which entries of rows ``(*batch, n, features)`` are named, bool of that shape."""
        named = torch.zeros_like(x, dtype=torch.bool)
        for j, ends in self.numbers.items():
            named[..., j] = ~ends[0, 0].isnan().to(x.device)
        for j, allowed in self.codes.items():
            named[..., j] = allowed.any(0).to(x.device)
        return named

    @property
    def entries(self) -> list[int]:
        """The entries that are named, categories first."""
        return [*self.codes, *self.numbers]


class Inside:
    r"""Draws of a guide that stay inside a region, entry by entry, from noise that is moved there.

    With :math:`m_j` the mass of :math:`R_j` under the guide's conditional of entry j given those before it, the draws
    have the density :math:`q_R(x) = \prod_j q(x_j \mid x_{<j})\, 1[x_j \in R_j] / m_j`.

    Args:
        region: The region of n rows.
        z: Noise ``(K, n, features)``; read where an entry is drawn.
        scale: How much wider than standard normal the noise of each draw is, ``(K,)``.
        scales: The scales for which masses are kept.

    Reference:
        Hajivassiliou, McFadden, Ruud (1996), Simulation of multivariate normal rectangle probabilities and their
        derivatives, Journal of Econometrics 72: the sampler of Geweke, Hajivassiliou and Keane.
    """

    def __init__(self, region: Region, z: Tensor, scale: Tensor, scales: Sequence[float]) -> None:
        self.region, self.scales, self.n = region, scales, z.shape[1]
        self.z = z.reshape(-1, z.shape[-1]).double()
        self.scale = scale.double().repeat_interleave(self.n)
        self.log_mass = self.z.new_zeros(len(scales), len(self.z))  # of the numbers, for each scale

    def draw(self, guide: AnyOrder, j: int, rows: Any, params: Tensor, standard: Any) -> tuple[Tensor, Tensor]:
        """Entry j of some draws, standardised, and its log-density: of a category, given that it is inside; of a
        number, the guide's own, while the mass inside goes to ``log_mass``."""
        at = torch.arange(len(self.z), device=self.z.device)[rows]
        z = self.z[at, j]
        if j in self.region.codes:
            params = params.masked_fill(~self.region.codes[j][:, at % self.n], -torch.inf)
        elif j in self.region.numbers:
            ends = self.region.numbers[j][..., at % self.n]
            low, high = guide.noise_of_ends(j, ends, params, standard)
            high = torch.where(ends[0] >= ends[1], low, high)  # rows with fewer intervals than others have empty ones
            scale = self.scale[at]
            z = scale * into(torch.special.log_ndtr(z / scale).exp(), low / scale, high / scale)
            self.z[at, j] = z = z.nan_to_num(0.0)  # where nothing is inside, the draw has no weight
            for k, wide in enumerate(self.scales):
                self.log_mass[k, at] += masses(low / wide, high / wide).sum(0).log()
        return guide.conditionals.draw(j, z.to(params), params, 1.0, standard)

    def moved(self, j: int, x: Tensor, rows: Any) -> Tensor:
        """Entry j of some draws, in the table's units, moved over rounding errors into the region."""
        if j not in self.region.numbers:
            return x
        at = torch.arange(len(self.z), device=self.z.device)[rows]
        inside = x.clamp(*self.region.numbers[j][..., at % self.n].to(x))
        return inside.gather(0, (inside - x).abs().argmin(0, keepdim=True))[0]


def masses(low: Tensor, high: Tensor) -> Tensor:
    r""":math:`\Phi(b) - \Phi(a)` of intervals, to full relative precision in both tails; 0 where a >= b."""
    return log_mass(low, high).exp().masked_fill(low >= high, 0.0)


def into(u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Standard normal noise given that it lies in a union of intervals, from uniform numbers.

    Args:
        u: Numbers in (0, 1), ``(n,)``, float64.
        low, high: Ends of disjoint intervals, ``(intervals, n)``, float64; empty where ``low >= high``.

    Returns:
        ``(n,)``; NaN where all intervals are empty.
    """
    mass = masses(low, high)
    ends = mass.cumsum(0)
    place = u * ends[-1]
    which = (place >= ends[:-1]).sum(0, keepdim=True)
    low, high, mass, end = (part.gather(0, which)[0] for part in (low, high, mass, ends))
    return squeezed(torch.special.ndtri((1 - (end - place) / mass).clamp(0, 1)), low, high)
