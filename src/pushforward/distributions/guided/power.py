"""How strongly to weight a guide's draws, chosen on held-out entries."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .density import BATCH, SHARED, Guided
from .holes import pieces, tempered

POWERS = (1.0, 0.5, 0.25, 0.125)
CANDIDATES = 256
HIDDEN = 0.2  # fraction of the entries


@torch.no_grad()
def best_power(guided: Guided, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> float:
    r"""The power of the weights whose draws predict held-out entries best.

    A fifth of the entries h of each row is hidden and drawn; draws H, H' of the guide, weighted by powers of p / q,
    have the continuous ranked probability score

    .. math:: \mathrm{E}\,|H - h| - \tfrac12\, \mathrm{E}\,|H - H'|

    for numbers as the guide reads them and for indicators of categories (half a Brier score), which is minimal for the
    true distribution. A joint that is better than its guide has power 1; one trained briefly, or on few rows, less.

    Reference:
        Gneiting, Raftery (2007), Strictly proper scoring rules, prediction, and estimation.
    """
    hidden = (torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < HIDDEN).to(x.device) & ~x.isnan()
    hidden[:, [k for _, k in guided.tell]] = False
    asked = pieces(hidden.any(1), BATCH // CANDIDATES)
    if not asked:
        return 1.0
    score = torch.cat([_scores(guided, x, hidden, context, some, seed) for some in asked], 1)
    return POWERS[int(score[:, score.isfinite().all(0)].sum(1).argmin())]  # the first of ties


def _scores(guided: Guided, x: Tensor, hidden: Tensor, context: Tensor | None, some: Tensor, seed: int) -> Tensor:
    """The score of each power for some of the rows, ``(powers, rows)``."""
    x, hidden, context = x[some], hidden[some], None if context is None else context[some]
    rows = guided._holed(x.masked_fill(hidden, math.nan), context, seed)
    found, log_w = guided._mirrored(rows, CANDIDATES)
    drawn, truth, mask = _read(guided, found), _read(guided, x[None]), hidden[:, guided.guide.entry]
    drawn, order = drawn.sort(0)
    near, gaps = (drawn - truth).abs(), drawn.diff(dim=0)
    scores = []
    for power in POWERS:
        w = tempered(power * log_w, SHARED).softmax(0)
        below = w[..., None].expand(drawn.shape).gather(0, order).cumsum(0)
        weight = below.diff(dim=0, prepend=torch.zeros_like(below[:1]))
        apart = (gaps * below[:-1] * (1 - below[:-1])).sum(0) / (1 - w.square().sum(0))[:, None]  # half of E |H - H'|
        scores.append((((weight * near).sum(0) - apart) * mask).sum(1))
    return torch.stack(scores)


def _read(guided: Guided, x: Tensor) -> Tensor:
    """Filled rows ``(K, n, features)`` as the guide reads them, ``(K, n, inputs)``; 0 for NaN."""
    return guided.guide._read(x.reshape(-1, x.shape[-1]))[1].T.reshape(*x.shape[:2], -1).double()
