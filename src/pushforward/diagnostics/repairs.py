r"""Why is a row unlikely? How many nats likelier a change of each single column could make it.

.. math:: \mathrm{gain}_j(x) = \max_v \log p(x_{-j}, x_j = v) - \log p(x)

v runs over typical values: evenly spaced quantiles of a column of numbers, every value of a category. A large gain
means that the other columns are plausible and this one does not fit them. Gains are differences of log-densities in the
same units, so they compare across columns; if several columns are odd together, no single gain is large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

LogProb = Callable[[Tensor, Tensor | None], Tensor]
POINTS = 4  # points per cell: only whole nats matter for gains
CANDIDATES = 33  # values tried for each column of numbers
BATCH = 65_536  # candidate rows scored at once


def repairs(
    log_prob: LogProb,
    rows: Tensor,
    candidates: Sequence[Tensor],
    context: Tensor | None = None,
    holes: Mapping[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """The gain in log-density, in nats, of rows ``(r, features)`` with one column changed, and the value that attains
    it, both ``(r, columns)``. A gain is at least 0, and infinite if a row had zero density and would have a positive
    one.

    ``candidates`` are the values to try for each of the first columns; ``holes`` says which column of numbers has
    another one that indicates what is missing in it.
    """
    before = log_prob(rows, context)
    holes = holes or {}
    tried = [
        _best(log_prob, rows, column, values, context, holes.get(column)) for column, values in enumerate(candidates)
    ]
    gains = [(after - before).nan_to_num(nan=0.0, posinf=math.inf).clamp_min(0) for after, _ in tried]
    return torch.stack(gains, 1), torch.stack([values for _, values in tried], 1)


def _best(
    log_prob: LogProb, rows: Tensor, column: int, values: Tensor, context: Tensor | None, hole: int | None
) -> tuple[Tensor, Tensor]:
    """The largest log-density over the values of one column, and the value that attains it, both (r,)."""
    scores = []
    for part in torch.arange(len(rows)).split(max(BATCH // len(values), 1)):
        changed = rows[part].repeat_interleave(len(values), 0)  # row 1 with every value, then row 2, …
        changed[:, column] = values.repeat(len(part))
        if hole is not None:
            changed[:, hole] = 0.0
        given = None if context is None else context[part].repeat_interleave(len(values), 0)
        scores.append(log_prob(changed, given).view(len(part), -1))
    best, place = torch.cat(scores).max(1)
    return best, values[place]


def typical_values(reference: Tensor, known: Sequence[Sequence[float]] = ()) -> list[Tensor]:
    """The values to try for every column: those that are known, or quantiles of reference rows (n, features)."""
    ranks = torch.linspace(0.01, 0.99, CANDIDATES, dtype=torch.float64).mul(len(reference) - 1).round().long()
    return [
        torch.tensor(values, dtype=torch.float64).unique() if values else column.sort().values[ranks].unique()
        for values, column in zip(known or [()] * reference.shape[1], reference.T, strict=True)
    ]
