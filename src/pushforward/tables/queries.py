"""Questions about some of the columns: p(a | b), rows with missing cells, tables that lack columns.

The joint density answers exactly what it was fitted for: all columns, given those of ``given=``. Everything else goes
through the functions of this file, which :class:`~pushforward.TableDensity` calls with the rows as the user gave them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from .errors import InputError, listed

if TYPE_CHECKING:
    from .density import TableDensity


def check_asked(model: TableDensity, frame: pl.DataFrame, given: Sequence[str]) -> None:
    """Refuses a question that the joint density cannot answer.

    Raises:
        InputError: ``given`` is not what the model is conditioned on, or the table lacks a column.
    """
    known = model.schema.given_names
    if given and set(given) != set(known):
        what = f"conditioned on {listed(known)}" if known else "not conditioned on any column"
        raise InputError(f"given={list(given)}: the model {model.called} is {what}, and answers for that alone")


def impute(model: TableDensity, frame: pl.DataFrame, draws: int, seed: int) -> pl.DataFrame:
    """The rows with their missing cells drawn from p(missing | observed), ``draws`` times one after another.

    Raises:
        InputError: the model cannot.
    """
    raise InputError(f"impute: the model {model.called} has no guide, which draws missing cells; fit it with one")
