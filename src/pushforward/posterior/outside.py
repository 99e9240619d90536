"""Checks whether a target contradicts its stated support by having density beyond the bounds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..objectives.user_target import UserTarget, place
from ..transforms.base import Transform
from ..transforms.constrained import Above, Below, Between, Blocks, Ordered
from ..transforms.elementwise import Log

ROWS = 256


@torch.no_grad()
def note_outside(target: UserTarget, supported: Blocks, x: Tensor) -> None:
    """Notes if a target is finite beyond its stated support, and warns if it is higher there than within.

    The rows are mirrored at their bounds, one block at a time. Formulas in the square of a scale, say, are as high on
    the other side, and only the support excludes it: that gives just a note. More mass there contradicts the support.

    Args:
        target: The target.
        supported: The stated support.
        x: Rows within it, ``(n, features)``.
    """
    x = x[:ROWS]
    inside, start = _log_mean(target(x)), 0
    for part, size in zip(supported.maps, supported.sizes, strict=True):
        mirrored = _mirrored(part, x[:, start : start + size])
        if mirrored is not None:
            rows = torch.cat([x[:, :start], mirrored, x[:, start + size :]], 1)
            with target.unnoticed():
                value = target(rows)
            _tell(
                target,
                rows,
                value,
                inside,
                f"features {start} to {start + size - 1}" if size > 1 else f"feature {start}",
            )
        start += size


def _tell(target: UserTarget, rows: Tensor, value: Tensor, inside: float, where: str) -> None:
    if not bool(value.isfinite().any()):
        return
    best = int(value.argmax())
    note = (
        f"log_density is {value[best].item():.4g} at x = {place(rows[best])}, outside the support that `blocks=` "
        f"states for {where}: pi is cut off there, and log Z is that of the part inside"
    )
    if note in target.notes:
        return
    target.notes.append(note)
    if _log_mean(value) > inside + math.log(2):
        target.show()
    else:
        target.shown += 1


def _mirrored(part: Transform, x: Tensor) -> Tensor | None:
    """The same values beyond the bound; None if there is no bound, or nothing to mirror."""
    if isinstance(part, Log):
        return -x
    if isinstance(part, Above):
        return 2 * part.low - x
    if isinstance(part, Below):
        return 2 * part.high - x
    if isinstance(part, Between):
        return torch.where(x - part.low < 0.5 * part.width, 2 * part.low - x, 2 * (part.low + part.width) - x)
    if isinstance(part, Ordered) and x.shape[1] > 1:
        return x.flip(-1)
    return None


def _log_mean(value: Tensor) -> float:
    return float(value.double().logsumexp(0)) - math.log(max(len(value), 1))
