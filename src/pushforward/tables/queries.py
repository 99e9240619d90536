"""Questions about some of the columns: p(a | b), rows with missing cells, tables that lack columns.

The joint density answers exactly the question it was fitted for: all columns, given those of ``given=``. All other
questions go to :class:`~pushforward.distributions.guided.Guided`, which answers by weighted draws from a guide, trained
in the same fit. :class:`~pushforward.TableDensity` calls the functions of this file with the user's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..distributions.guided import Guided
from ..distributions.learning_error import learning_error
from ..errors import InputError, listed
from ..models.train import Rows
from .given import check_known, refuse_unknown_categories
from .guide import spread_of
from .schema.cells import Cells

if TYPE_CHECKING:
    from .fitted import FittedTable

FEWEST, MOST = 32, 512  # draws from the guide per row
POINTS = 250_000  # draws for all rows of a question, as long as each gets at least FEWEST


def check_asked(model: FittedTable, frame: pl.DataFrame, given: Sequence[str]) -> None:
    """Refuses a question that the model cannot answer.

    Raises:
        InputError: ``given`` names a column that the model does not have, or one twice, or the model has no guide.
    """
    schema = model.schema
    twice = [name for name in dict.fromkeys(given) if list(given).count(name) > 1]
    if twice:
        raise InputError(f"--given: {twice[0]!r} is named twice")
    unknown = [name for name in given if name not in (*schema.names, *schema.given_names)]
    if unknown:
        raise InputError(f"--given {unknown[0]}: the model {model.called} has the columns {listed(schema.names)}")
    absent = [name for name in given if name not in frame.columns]
    if absent:
        raise InputError(f"--given {absent[0]}: the table has no such column; it has {listed(frame.columns)}")
    if given and not any(name in frame.columns and name not in given for name in schema.names):
        raise InputError(f"no column is left to ask for: the model has {listed(schema.names)}")
    if any(name in schema.names for name in given):
        guide_of(model, f"answers only for all columns{_on(schema.given_names)}")


def guide_of(model: FittedTable, instead: str) -> Guided:
    """The guide of a model.

    Raises:
        InputError: it has none; says what it does instead.
    """
    if model.guided is None:
        raise InputError(f"the model {model.called} {instead}: it was fitted without a guide; fit it with queries")
    return model.guided


def _on(given: Sequence[str]) -> str:
    return f" given {listed(given)}" if given else ""


def encode_partly(model: FittedTable, frame: pl.DataFrame, source: str, first: int = 0) -> Rows:
    """Rows of a table that may lack columns and cells: NaN for everything absent.

    Raises:
        InputError: the table has none of the columns, or a value is not one that the model knows.
    """
    schema = model.schema
    absent = [name for name in schema.names if name not in frame.columns]
    if len(absent) == len(schema.names):
        lacks = [*absent, *(name for name in schema.given_names if name not in frame.columns)]
        raise InputError(f"{source}: has no column {listed(map(repr, lacks))}, which the model needs")
    if absent:
        guide_of(model, f"needs the column {absent[0]!r}, which {source} lacks")
        frame = frame.with_columns(pl.lit(None).alias(name) for name in absent)
    x, context = schema.encode(frame, source, first)
    gone = schema.missingness.found(x)  # except what sums imply
    return Rows(x.masked_fill(schema.features_of(absent) & gone, torch.nan), context)


def with_relations(
    model: FittedTable, frame: pl.DataFrame, rows: Rows, value: np.ndarray, error: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The scores, -inf for rows that violate a relation between columns."""
    for broken in model.schema.broken(frame, rows.x.numpy()):
        value, error = np.where(broken, -np.inf, value), np.where(broken, 0.0, error)
    return value, error


def score(model: FittedTable, frame: pl.DataFrame, given: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The scores of a frame and their standard errors; NaN for rows about which nothing can be said.

    Raises:
        InputError: a column cannot be read, or a given category was not among the training rows.
    """
    return score_rows(model, frame, encode_partly(model, frame, "table"), given)


def score_rows(
    model: FittedTable, frame: pl.DataFrame, rows: Rows, given: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """:func:`score` of a frame whose rows are already encoded."""
    refuse_unknown_categories(model.schema, given, rows.x, frame)
    found = np.full((2, frame.height), np.nan)
    asked = ~model.schema.features_of(given)
    some = (~model.schema.missingness.unknown(rows.x) & asked).any(1)
    if some.any():
        found[:, some.numpy()] = answer(model, rows[some], given, model.samples, model.seed)
    return with_relations(model, frame, rows, found[0], found[1])


def answer(
    model: FittedTable, rows: Rows, given: Sequence[str], samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """log p(observed part of each row | the given columns) and standard errors, in nats.

    If columns of the model are given, it is the difference of two marginals.
    """
    modelled = [name for name in given if name in model.schema.names]
    if modelled:
        condition = rows.x.masked_fill(~model.schema.features_of(modelled), torch.nan)
        both, alone = (answer(model, part, (), samples, seed) for part in (rows, Rows(condition, rows.context)))
        return _log_ratio(both[0], alone[0]), np.hypot(both[1], alone[1])
    found = np.zeros((2, len(rows)))
    holed = model.schema.missingness.unknown(rows.x).any(1) & (model.guided is not None)
    whole = ~holed.numpy()
    if whole.any():
        found[:, whole] = model.log_density(rows[~holed], samples=samples, seed=seed)
    if holed.any():
        found[:, ~whole] = _marginal(model, rows[holed], samples, seed)
    context = None if rows.context is None else rows.context.to(model.device)
    learnt = learning_error(
        model.density, model.schema.seen(rows.x).to(model.device), context, model.training_size or np.inf
    )
    return found[0], np.hypot(found[1], learnt.cpu().numpy())


def _marginal(model: FittedTable, rows: Rows, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    guided = guide_of(model, "answers only for whole rows")
    context = None if rows.context is None else rows.context.to(model.device)
    draws, spread = max(samples, FEWEST), _spread(model)
    most = max(draws, _most(len(rows)))
    x = model.schema.seen(rows.x).to(model.device)
    found = guided.marginal(x, context, draws=draws, most=most, path=False, seed=seed, spread=spread)
    known = model.schema.log_of_unseen(rows.x) - model.schema.missingness.log_prob(rows.x)
    return (found.value + known).numpy(), found.error.numpy()


def cells_given_others(model: FittedTable, rows: Rows, samples: int, seed: int) -> np.ndarray:
    """log p(cell | the other cells) of every cell, ``(n, names)``, in nats; NaN if the others are impossible."""
    whole = answer(model, rows, (), samples, seed)[0]
    found = []
    for name in model.schema.names:
        others = Rows(rows.x.masked_fill(model.schema.features_of([name]), torch.nan), rows.context)
        found.append(_log_ratio(whole, answer(model, others, (), samples, seed)[0]))
    return np.stack(found, 1)


def _log_ratio(both: np.ndarray, given: np.ndarray) -> np.ndarray:
    """log p(a, b) - log p(b), NaN if b is impossible: 0 / 0."""
    with np.errstate(invalid="ignore"):
        return both - given


def fill(
    model: FittedTable, rows: Rows, draws: int, seed: int, limits: Sequence[int] = (), candidates: int = FEWEST
) -> Tensor:
    """``(draws, n, features)``: the rows with their NaN drawn, float64, on the CPU.

    Args:
        model: The model.
        rows: Encoded rows.
        draws: How many for each row.
        seed: Seed of the draws.
        limits: For every feature, how many codes are allowed; 0 for all. If empty, all are allowed.
        candidates: Draws from the guide for each row, from which these are resampled.
    """
    holes = rows.x.isnan()
    if not holes.any():
        return rows.x.expand(draws, *rows.x.shape)
    guided = guide_of(model, "cannot draw missing cells")
    context = None if rows.context is None else rows.context.to(model.device)
    below = torch.tensor([limit or np.inf for limit in limits], device=model.device)
    filled, _ = guided.fill(
        model.schema.seen(rows.x).to(model.device),
        context,
        draws=draws,
        path=False,
        seed=seed,
        candidates=candidates,
        most=_most(len(rows)),
        spread=_spread(model),
        allowed=(lambda x: (x < below).all(-1)) if limits else None,
    )
    return torch.where(holes, filled.cpu(), rows.x)


def draw_given(model: FittedTable, n: int, fixed: pl.DataFrame, seed: int) -> pl.DataFrame:
    """n rows for every row of ``fixed``, whose cells are kept; missing ones are drawn, as are all other columns.

    Raises:
        InputError: a column is unknown, a category was not among the training rows, or the model has no guide.
    """
    schema = model.schema
    check_known(model, fixed.columns)
    encoded = encode_partly(model, fixed, "given")
    refuse_unknown_categories(schema, fixed.columns, encoded.x, fixed)
    rows = Rows(schema.missingness.forgotten(encoded.x, torch.nan), encoded.context)
    drawn = fill(model, rows, n, seed, candidates=max(FEWEST, _most(fixed.height)))
    filled = schema.missingness.drawn(drawn, torch.Generator().manual_seed(seed))
    written = schema.decode(torch.where(rows.x.isnan(), filled, rows.x).transpose(0, 1).flatten(0, 1))
    given = [name for name in fixed.columns if name in schema.given_names]
    if not given:
        return written
    return pl.concat([fixed.select(given)[np.repeat(np.arange(fixed.height), n)], written], how="horizontal")


def _most(n: int) -> int:
    """Draws from the guide per row, in a question for n rows: 100,000 rows take minutes, and the errors reflect it."""
    return min(MOST, POINTS // max(n, 1))


def _spread(model: FittedTable) -> Any:
    return spread_of(Cells(model.schema).to(model.device))
