"""One question about rows of a table: what some of their entries have given others, and draws of what they lack.

The joint density answers exactly the question it was fitted for: all columns, given those of its context. All other
questions go to :class:`~pushforward.distributions.guided.Guided`, which answers by weighted draws from a guide, trained
in the same fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...distributions.guided import Answer
from ...distributions.learning_error import learning_error
from ...errors import InputError, listed
from ...models.train import Rows
from ..guide import spread_of
from ..model import TableModel
from ..schema.cells import Cells
from .conditions import refuse_unknown_categories

FEWEST, MOST = 32, 512  # draws from the guide per row
POINTS = 250_000  # draws for all rows of a question, as long as each gets at least FEWEST


@dataclass(frozen=True)
class Query:
    r"""log p(the asked entries | the given ones, context) of rows; or draws of the entries that have no value.

    Entries that are NaN, and those that are neither asked for nor given, are integrated out.

    Args:
        rows: Encoded rows.
        asked: Which features are asked for, ``(features,)``.
        given: Which features are conditioned on, ``(features,)``.
        broken: Which rows violate a relation between columns, and so have density 0, ``(n,)``; None if none does.
    """

    rows: Rows
    asked: Tensor
    given: Tensor
    broken: Tensor | None = None

    @classmethod
    def of(
        cls, model: TableModel, frame: pl.DataFrame, given: Sequence[str] = (), source: str = "table", first: int = 0
    ) -> Query:
        """The density of all columns that a frame has, given some of them; what it lacks is integrated out.

        Args:
            model: The fitted table.
            frame: The rows.
            given: The columns to condition on.
            source: Where the rows come from, for error messages.
            first: The number of the first row there, from 0.

        Raises:
            InputError: the frame has none of the columns, or a value is not one that the model knows.
        """
        rows = encode_partly(model, frame, source, first)
        if given:
            refuse_unknown_categories(model.schema, given, rows.x, frame)
        conditions = model.schema.features_of(given)
        broken = [torch.from_numpy(some) for some in model.schema.broken(frame, rows.x.numpy())]
        return cls(rows, ~conditions, conditions, torch.stack(broken).any(0) if broken else None)

    @classmethod
    def holes(cls, rows: Rows) -> Query:
        """Everything that encoded rows lack, given what they have."""
        features = rows.x.shape[1]
        return cls(rows, torch.zeros(features, dtype=torch.bool), torch.ones(features, dtype=torch.bool))

    def answer(self, model: TableModel, *, samples: int | None = None, seed: int | None = None) -> Answer:
        """The log-densities in nats: NaN for rows without a value that is asked for, or given what cannot be.

        Args:
            model: The fitted table.
            samples: Points over which the cells of rounded values are averaged; by default the model's number.
            seed: Seed of these points, and of draws from the guide; by default the model's.
        """
        samples, seed = samples or model.samples, model.seed if seed is None else seed
        about = (self.asked & ~model.schema.missingness.unknown(self.rows.x)).any(1)
        rows = self._only(self.asked | self.given)
        found = marginal(model, rows if about.all() else rows[about], samples, seed)
        if self.given.any():
            condition = self._only(self.given)
            found = found.given(marginal(model, condition if about.all() else condition[about], samples, seed))
        return self._certain(found if about.all() else found.among(about))

    def draw(
        self,
        model: TableModel,
        draws: int,
        seed: int,
        *,
        limits: Sequence[int] = (),
        candidates: int = FEWEST,
    ) -> Tensor:
        """``(draws, n, features)``: the rows with their NaN drawn, float64, on the CPU.

        Args:
            model: The fitted table.
            draws: How many for each row.
            seed: Seed of the draws.
            limits: For every feature, how many codes are allowed; 0 for all. If empty, all are allowed.
            candidates: Draws from the guide for each row, from which these are resampled.

        Raises:
            InputError: something is to be drawn, and the model has no guide.
        """
        x, holes = self.rows.x, self.rows.x.isnan()
        if not holes.any():
            return x.expand(draws, *x.shape)
        below = torch.tensor([limit or np.inf for limit in limits], device=model.device)
        filled, _ = model.guide_for("cannot draw missing cells").fill(
            model.schema.seen(x).to(model.device),
            context_of(model, self.rows),
            draws=draws,
            path=False,
            seed=seed,
            candidates=candidates,
            most=most_draws(len(x)),
            spread=_spread(model),
            allowed=(lambda x: (x < below).all(-1)) if limits else None,
        )
        return torch.where(holes, filled.cpu(), x)

    def _only(self, features: Tensor) -> Rows:
        """The rows without the other features."""
        if features.all():
            return self.rows
        return Rows(self.rows.x.masked_fill(~features, math.nan), self.rows.context)

    def _certain(self, found: Answer) -> Answer:
        """The answer with density 0 for rows that violate a relation."""
        if self.broken is None:
            return found
        value, error = found.value.masked_fill(self.broken, -math.inf), found.error.masked_fill(self.broken, 0.0)
        return found._replace(value=value, error=error)


def marginal(model: TableModel, rows: Rows, samples: int, seed: int) -> Answer:
    """log p(the entries of each row that have a value | context): by the joint if none is unknown, or by the guide."""
    holed = model.schema.missingness.unknown(rows.x).any(1) & (model.guided is not None)
    if holed.all():
        found = _by_guide(model, rows, samples, seed)
    elif holed.any():
        whole = model.log_density(rows[~holed], samples=samples, seed=seed)
        found = _by_guide(model, rows[holed], samples, seed).among(holed, whole)
    else:
        found = model.log_density(rows, samples=samples, seed=seed)
    seen = model.schema.seen(rows.x).to(model.device)
    learnt = learning_error(model.density, seen, context_of(model, rows), model.training_size or math.inf)
    return found._replace(error=found.error.hypot(learnt.cpu()))


def _by_guide(model: TableModel, rows: Rows, samples: int, seed: int) -> Answer:
    draws = max(samples, FEWEST)
    found = model.guide_for("answers only for whole rows").marginal(
        model.schema.seen(rows.x).to(model.device),
        context_of(model, rows),
        draws=draws,
        most=max(draws, most_draws(len(rows))),
        path=False,
        seed=seed,
        spread=_spread(model),
    )
    known = model.schema.log_of_unseen(rows.x) - model.schema.missingness.log_prob(rows.x)
    return found._replace(value=found.value + known)


def encode_partly(model: TableModel, frame: pl.DataFrame, source: str, first: int = 0) -> Rows:
    """Rows of a table that may lack columns and cells: NaN for everything absent.

    Raises:
        InputError: the table has none of the columns, or a value is not one that the model knows.
    """
    schema = model.schema
    absent = [name for name in schema.names if name not in frame.columns]
    if not absent:
        return Rows(*schema.encode(frame, source, first))
    if len(absent) == len(schema.names):
        lacks = [*absent, *(name for name in schema.given_names if name not in frame.columns)]
        raise InputError(f"{source}: has no column {listed(map(repr, lacks))}, which the model needs")
    model.guide_for(f"needs the column {absent[0]!r}, which {source} lacks")
    x, context = schema.encode(frame.with_columns(pl.lit(None).alias(name) for name in absent), source, first)
    gone = schema.missingness.found(x)  # except what sums imply
    return Rows(x.masked_fill(schema.features_of(absent) & gone, torch.nan), context)


def most_draws(n: int) -> int:
    """Draws from the guide per row, in a question for n rows: 100,000 rows take minutes, and the errors reflect it."""
    return min(MOST, POINTS // max(n, 1))


def context_of(model: TableModel, rows: Rows) -> Tensor | None:
    """The context of rows, on the model's device."""
    return None if rows.context is None else rows.context.to(model.device)


def _spread(model: TableModel) -> Any:
    return spread_of(Cells(model.schema).to(model.device))
