r"""Missing values of encoded rows: which there are, what their absence says, and rows without them.

A number without a value is NaN, and a further column, its *flag*, is 1 where it is; a category's missing value is the
code after its last. If values are missing at random, log-densities are conditioned on which ones are, and the flags may
be left out altogether (*ignored*): such values are NaN, and integrated out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...numerics.partly_known import partly_known

if TYPE_CHECKING:
    from .columns import Column


class Missingness:
    """What the columns of a schema know of missing values.

    Args:
        columns: The schema's columns, with those that flag missing numbers.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        places = {column.name: j for j, column in enumerate(columns)}
        self.flags = {places[column.kind.flags]: j for j, column in enumerate(columns) if column.kind.flags}
        self.ignored = {j: column.holes.share for j, column in enumerate(columns) if column.holes.ignored}
        holes = {j: column.holes for j, column in enumerate(columns)}
        self.in_part = any(some.in_part for some in holes.values())
        self.at_random = {j: some.share for j, some in holes.items() if some.at_random and some.recorded}

    @property
    def remarks(self) -> list[str]:
        """What a reader should know about missing values."""
        told = {
            True: "missing at random: nothing else tells which values are missing, and log-densities leave it out",
            False: "whether a value is missing is part of a row's probability (`drop_missing=True` drops such rows)",
        }
        return [told[at_random] for at_random in (True, False)
                if any(c.holes.share and c.holes.at_random == at_random for c in self.columns)]  # fmt: skip

    @property
    def occurs(self) -> bool:
        """Whether training rows have missing numbers, or some that are known in part."""
        return bool(self.flags or self.ignored or self.in_part)

    def found(self, x: Tensor) -> Tensor:
        """Which entries of rows ``(*batch, features)`` hold no value; those of flags, where they say so."""
        return (x.isnan() & ~partly_known(x)) | (
            x >= torch.tensor([1 if c.kind.flags else c.kind.classes or math.inf for c in self.columns]).to(x)
        )

    def unknown(self, x: Tensor) -> Tensor:
        """Of which entries nothing is known: those without a value, unless a flag says that it is missing, which is
        part of the row like any other value."""
        return self.hidden(x) & ~partly_known(x)

    def hidden(self, x: Tensor) -> Tensor:
        """Which entries are to be integrated out: unknown ones, and those that are known in part."""
        holes = x.isnan()
        for column, flag in self.flags.items():
            holes[..., column] &= x[..., flag] != 1
        return holes

    def forgotten(self, x: Tensor, flag: float) -> Tensor:
        """The rows with NaN for every missing value, even if it has its own code.

        Args:
            x: Encoded rows ``(*batch, features)``.
            flag: The new value of flags that are 1 or NaN: NaN if they are to be drawn too, 0 if values will be there.
        """
        gone, flags = self.found(x), list(self.flags.values())
        x = x.masked_fill(gone, math.nan)
        x[..., flags] = x[..., flags].masked_fill(gone[..., flags], flag)
        return x

    def drawn(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Drawn rows with values removed at random, as often as ignored ones are missing in training."""
        if not self.ignored:
            return x
        share = x.new_zeros(len(self.columns))
        for j, often in self.ignored.items():
            share[j] = often
        lots = torch.rand(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
        return x.masked_fill(lots.to(x.device) < share, math.nan)

    def log_prob(self, x: Tensor) -> Tensor | float:
        """The log-probability of which values are missing, over the columns where they are at random; in nats."""
        total: Tensor | float = 0.0
        if not self.at_random:
            return total
        gone = self.found(x)
        for j, share in self.at_random.items():
            at = self.flags.get(j, j)
            hole = gone[..., at].double()
            log_p = hole * math.log(share) + (1 - hole) * math.log1p(-share)
            total = total + log_p.masked_fill(x[..., at].isnan(), 0.0)
        return total

    @property
    def telling(self) -> list[int]:
        """All columns except the flags of numbers missing at random, which say nothing about the row."""
        idle = [flag for j, flag in self.flags.items() if self.columns[j].holes.at_random]
        return [j for j in range(len(self.columns)) if j not in idle]
