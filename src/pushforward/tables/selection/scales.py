"""Whether some dozens of different numbers are a list of values or lie on a scale: as rows not seen are likelier.

In a list, each value has a probability of its own, whatever its neighbours have, and may go with anything in the other
columns; on a scale, each row tells of the numbers near its own. Which of the two is right cannot be seen from the
column alone: days of measurements and prices of a few brands are lists, heights to half an inch are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...models.console import Console
from ..splits import TableSplits
from .candidate import Task, are_likelier
from .small_tables import AverageOfFew, fit_average

FOLDS, SHARE = 3, 0.1  # of the rows in a comparison; of the time for each half of it, if that is limited


def on_scales(task: Task, scaled: Callable[[Sequence[str]], TableSplits]) -> TableSplits:
    """A task's rows: with their long lists of numbers on a scale, if rows that neither density saw are then likelier by
    more than the standard error, or as they are.

    The densities are averages without flows, which are quick, beside the table's categories, of the rows that lack
    nothing, if at least half do.

    Args:
        scaled: The rows with columns of some names on a scale.
    """
    rows = task.rows
    names = [column.name for column in rows.schema.columns if column.kind.may_be_scale]
    if not names or not AverageOfFew().suits(task, None) or 2 * len(_whole(rows).train) < len(rows.train):
        return rows
    other = scaled(names)
    with suppress(ValueError, torch.linalg.LinAlgError):  # if either cannot be fitted, they stay as they are
        as_scales, as_lists = (_log_probability(task, _whole(each), names) for each in (other, rows))
        return other if are_likelier(as_scales, as_lists, rows.rows.weights) else rows
    return rows


def _whole(rows: TableSplits) -> TableSplits:
    """The rows that lack nothing."""
    lack = rows.rows.x.isnan().any(1).numpy()
    train, val, test = (part[~lack[part]] for part in rows.split)
    return replace(rows, split=(train, val, test))


def _log_probability(task: Task, rows: TableSplits, names: Sequence[str]) -> Tensor:
    """The log-density of each row under a density that did not see it, as a probability in columns of some names."""
    task = replace(task, options=replace(task.options, members=FOLDS)).within(SHARE)
    found = fit_average(task, rows, Console(quiet=True), quick=True).log_unseen(rows)
    for j, column in enumerate(rows.schema.columns):
        if column.name in names and not column.classes:
            _, width = column.kind.cells_of(rows.rows.x[:, j].numpy())
            found += torch.from_numpy(np.where(width > 0, width, column.kind.resolution)).log()
    return found
