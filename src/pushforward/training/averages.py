"""Averages by name: the meaning of ``auto``, ``gmm`` and ``members=K``, on standardised rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..distributions.flow import Flow
from ..numerics import threads
from ..recipes.by_name import flow_by_name, learning_rate
from .few_rows import SIZES, Judged, fit_few_rows
from .members import WARM_UP, Plan

FEW_ROWS = 3000  # up to which "auto" averages several densities
MEMBERS = 5
LAYERS, BINS = 2, 5  # of the flows for few rows under "auto"
SMALL, RATE = 500, 1e-2  # rows from which the learning rate of these flows grows with the rows, and its maximum
BATCH = 128  # rows per batch


def wants_average(flow: str, members: int | str) -> bool:
    """Whether these names request an average regardless of the number of rows: ``gmm``, or more than one member.

    Raises:
        ValueError: ``members`` is no number of members.
    """
    if members != "auto" and (isinstance(members, bool) or not isinstance(members, int) or members < 1):
        raise ValueError(f"members={members!r}: expected a whole number of at least 1, or auto")
    return flow == "gmm" or (isinstance(members, int) and members > 1)


def fit_by_name(
    x: Tensor,
    context: Tensor | None = None,
    *,
    flow: str = "auto",
    members: int | str = "auto",
    layers: int | None = None,
    hidden: Sequence[int] | None = None,
    weight: Tensor | None = None,
    plan: dict[str, Any] | None = None,
    epochs: int | None = None,
    judged_copies: int = 4,
    mixtures: Sequence[int] = SIZES,
    copulas: Sequence[int] = SIZES,
    weigh: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
    small: bool = False,
    seed: int = 0,
) -> Judged:
    """Fits an average of densities.

    Args:
        x: Rows of about mean 0 and variance 1, ``(n, features)`` or ``(copies, n, features)``.
        context: Their contexts.
        flow: ``auto`` for flows, Gaussians and mixtures; ``gmm`` for Gaussians and mixtures of the rows themselves;
            or a recipe's name for its flows alone.
        members: Number of folds of the rows, and of flows.
        layers, hidden: The flows' layers and widths; if None, small ones for few rows under ``auto``, else the
            recipe's.
        weight: The weight of each row.
        plan: Arguments of :class:`Plan`; those that are None are chosen by this function.
        epochs: The number of steps, given as passes over the rows.
        judged_copies, weigh: As in :func:`fit_few_rows`.
        mixtures, copulas: Likewise, for ``auto`` and ``gmm``, and for ``auto``.
        small: Whether ``auto`` uses the small flows for few rows regardless of the number of rows.
        seed: Fixes the result.

    Raises:
        ValueError: a name is unknown, a size does not fit, or there are too few rows for the members.
    """
    rows, features = x.shape[-2:]
    name = "nsf" if flow == "auto" else flow
    few = flow == "auto" and (small or rows <= FEW_ROWS)
    if few:
        layers, hidden = layers or LAYERS, hidden or (max(32, features),) * 2

    def make(seed: int) -> Flow:
        given = 0 if context is None else context.shape[1]
        options = {"bins": BINS} if few else {}
        return flow_by_name(name, features, context=given, layers=layers, hidden=hidden, options=options, seed=seed)

    if name != "gmm":
        make(0)  # errors in names and sizes are raised before any work
    without = name == "gmm" or (few and _most(rows, features) < WARM_UP)
    with threads.using(1):  # small operators
        return fit_few_rows(
            x,
            context,
            flow=None if without else make,
            members=MEMBERS if members == "auto" else max(int(members), 2),
            mixtures=mixtures if flow in ("auto", "gmm") else (),
            copulas=copulas if flow == "auto" else (),
            weight=weight,
            plan=_plan(rows, features if few else None, learning_rate(name), epochs, plan or {}),
            judged_copies=judged_copies,
            weigh=weigh,
            seed=seed,
        )


def _most(rows: int, features: int | None) -> float:
    """Steps of a flow; fewer for small flows with more features, which are slower, and for few rows."""
    return max(Plan.steps, rows // 2) / max((features or 0) / 8, 1.0)


def _plan(rows: int, features: int | None, lr: float, epochs: int | None, asked: dict[str, Any]) -> Plan:
    """How members are trained; ``features`` is the number of features of small flows, None for others."""
    asked = {key: value for key, value in asked.items() if value is not None}
    most = _most(rows, features)
    if features is not None and "lr" not in asked:
        least, lr = lr, min(lr * max(rows / SMALL, 1.0), RATE)
        most *= math.sqrt(least / lr)  # larger steps, so fewer of them
        asked = {"batch_size": BATCH, **asked}
    plan = Plan(**{"steps": min(round(most), 5000), "lr": lr, **asked})
    if epochs is None:
        return plan
    return Plan(**{**vars(plan), "steps": epochs * -(-rows // plan.batch_size)})
