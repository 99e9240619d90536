"""One question about rows of a table: what some of their entries have given others, and draws of what they lack.

The joint density answers exactly the question it was fitted for: all columns, given those of its context. All other
questions go to :class:`~pushforward.distributions.guided.Guided`, which answers by weighted draws from a guide, trained
in the same fit.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...distributions.guided import Answer
from ...distributions.guided.density import BATCH, FEW
from ...distributions.guided.holes import pieces
from ...distributions.guided.region import Region
from ...distributions.learning_error import learning_error
from ...errors import ColumnError, InputError, listed
from ...models.train import Rows
from ...numerics.partly_known import partly_known
from ..io.table import Piece
from ..model import TableModel
from ..schema.kinds.few_values import is_unseen
from ..schema.notes import Note
from ..schema.numbers import missing
from ..schema.schema import Encoded, Schema
from .told import Told
from .where import Where

FEWEST, MOST = 32, 512  # draws from the guide per row
POINTS = 250_000  # draws for all rows of a question, as long as each gets at least FEWEST
HOLED = 4  # times as many points of rows with holes where values of a category are compared


@dataclass(frozen=True)
class Query:
    r"""log p(the other entries | the given ones, context) of rows.

    Entries that are NaN are integrated out."""

    rows: Rows
    given: Tensor  # which features are conditioned on, ``(features,)``
    broken: np.ndarray | None = None  # which rows violate each relation, and so have density 0, ``(relations, n)``
    encoded: Encoded | None = None  # the rows before anything was conditioned on, if they come from a table
    notes: tuple[Note, ...] = ()  # what was decided about given values
    sure: Tensor | None = None  # log-probability, 0 or -inf, of what is asked and follows from the given; NaN without

    @classmethod
    def of(cls, model: TableModel, piece: Piece, given: Sequence[str] = (), drop_missing: bool = False) -> Query:
        """The density of all columns that rows have, given some of them; what they lack is integrated out, unless
        nothing is asked about those with missing values."""
        encoded = encode_partly(model, piece.frame, piece.source, piece.first)
        if drop_missing:
            gone = ~torch.from_numpy(model.schema.usable(piece.frame))
            x = encoded.x.masked_fill(gone[:, None], math.nan)
            encoded = dataclasses.replace(encoded, x=x, strange=encoded.strange | gone)
        broken = model.schema.broken(encoded) & ~encoded.strange.numpy() if model.schema.relations else None
        conditions = model.schema.features_of(given)
        if not given:
            return cls(Rows(encoded.x, encoded.context), conditions, broken, encoded, encoded.notes)
        for name in {*given} & {*model.schema.follow_names}:
            if lacks := sorted(model.schema.dependencies.sources[name] - {*given}):
                said = f"{name!r} follows from {listed(lacks)}, and is no condition on a density without; give these"
                raise InputError(f"{said} as well, or ask for a probability", "given", name)
        x, strange, notes = condition_on(model, encoded, given, piece.frame, piece.source, piece.first)
        sure = None
        for week in model.schema.weeks:
            if week.date in given and week.weekday not in given:
                day = model.schema.features_of([week.weekday])
                conditions, told = conditions | day, x[:, day].sum(1)
                if week.weekday in piece.frame.columns:
                    never = strange | torch.from_numpy(missing(piece.frame[week.weekday]))
                    sure = torch.where(told < 0, -math.inf, 0.0).double().masked_fill(never, math.nan)
                    dated = piece.frame.drop(week.weekday)
                    x = x.where(~day, encode_partly(model, dated, piece.source, piece.first).x)
        rows = Rows(x.masked_fill(strange[:, None], math.nan), encoded.context)
        return cls(rows, conditions, broken, encoded, notes, sure)

    def answer(self, model: TableModel, *, samples: int | None = None, seed: int | None = None) -> Answer:
        """The log-densities in nats: NaN for rows without a value that is asked for, or given what cannot be.

        Args:
            samples: Points over which the cells of rounded values are averaged; by default the model's number.
            seed: Seed of these points, and of draws from the guide; by default the model's.
        """
        samples, seed = samples or model.samples, model.seed if seed is None else seed
        rows = self.rows
        about = (~self.given & ~_among_holes(rows.x, model.schema.missingness.unknown)).any(1)
        if not about.any():
            return self._certain(Answer.joined(len(about), []), about)
        some = rows if about.all() else rows[about]
        if self.given.any():
            found = conditional(model, some, self.given, samples, seed)
        else:
            found = marginal(model, some, samples, seed)
        return self._certain(found if about.all() else Answer.joined(len(rows), [(about, found)]), about)

    def _certain(self, found: Answer, about: Tensor) -> Answer:
        """The answer with what is sure beside it, and with density 0 for rows that violate a relation."""
        if self.sure is not None:
            beside = [torch.where(about, each, 0.0) for each in found[:2]]
            value, error = (torch.where(self.sure.isnan(), old, new) for old, new in zip(found, beside, strict=False))
            found = found._replace(value=value + self.sure.nan_to_num(neginf=-math.inf), error=error)
        if self.broken is None:
            return found
        broken = torch.from_numpy(self.broken.any(0))
        value, error = found.value.masked_fill(broken, -math.inf), found.error.masked_fill(broken, 0.0)
        return found._replace(value=value, error=error)


def fill(
    model: TableModel,
    rows: Rows,
    told: Told,
    draws: int,
    seed: int,
    *,
    missing: bool = False,
    region: Region | None = None,
    where: Where | None = None,
    candidates: int = FEWEST,
) -> Tensor:
    """``(draws, n, features)``: rows with their NaN drawn, float64, on the CPU; all NaN in rows of which no draw agrees
    with what is told.

    Args:
        rows: Encoded rows.
        told: What they say of columns that follow from others.
        draws: How many for each row.
        seed: Seed of the draws.
        missing: Whether the class of missing values, where a column has one, may be drawn.
        region: Where what is drawn may lie; None for anywhere.
        where: What else holds of the filled rows; None for nothing.
        candidates: Draws from the guide for each row, from which these are resampled.
    """
    x, holes = rows.x, rows.x.isnan()
    if not holes.any():
        return x.expand(draws, *x.shape)
    allowed = _allowed(model, missing, where)
    bound = told.bears_on(x)
    filled, _ = model.guide_for("cannot draw missing cells").fill(
        model.schema.seen(x.masked_fill(bound[:, None] & holes, 0.0)),
        rows.context,
        draws=draws,
        seed=seed,
        candidates=candidates,
        most=most_draws(len(x)),
        allowed=allowed,
        region=region,
    )
    filled = torch.where(holes, filled.cpu(), x).masked_fill(bound[:, None], math.nan)
    sizes = (min(times * max(FEWEST // 2, draws), BATCH) for times in (4, 16, 128))
    for most in dict.fromkeys(sizes):  # more where few of them agree
        for some in pieces(bound, BATCH // most):
            own = seed + int(some[0])
            for at, part in zip(range(0, draws, BATCH // 4), filled.split(BATCH // 4), strict=True):
                drawn, count = told[some].drawn(model, rows[some], len(part), own + at, most, allowed)
                part[:, some] = torch.where((count > 0)[:, None], drawn, part[:, some])  # more may find none
            bound[some] = count < max(FEW, draws)
    return filled


def completed(model: TableModel, rows: Rows) -> Rows:
    """The rows with a draw in place of every number that is known in part, given what else is known of its row; as they
    are without a guide."""
    if model.guided is None or not (part := partly_known(rows.x)).any():
        return rows
    drawn = fill(model, rows, Told(model.schema, {}), 1, model.seed)[0]
    return dataclasses.replace(rows, x=torch.where(part, drawn, rows.x))


def near(schema: Schema, x: Tensor, free: Tensor) -> Tensor:
    """Which filled rows ``(K, n, features)`` are drawn: those whose numbers are not far from the training rows, where
    these are ``free``, ``(n, features)``: neither known nor in a range that was asked for."""
    return ~schema.far(x.masked_fill(~free.to(x.device), math.nan)).to(x.device)


def _allowed(model: TableModel, missing: bool, where: Where | None) -> Callable[[Tensor, Tensor], Tensor]:
    """Which filled rows may be drawn: those near the training rows, whose codes stand for values, unless these may be
    missing, and whose columns are in order."""
    schema, in_order = model.schema, model.schema.in_order(True, False)
    sizes = [column.classes if missing else column.kind.classes for column in schema.columns]
    classes = torch.tensor([size or np.inf for size in sizes], device=model.device)

    def allowed(x: Tensor, free: Tensor) -> Tensor:
        kept = (x < classes).all(-1) & near(schema, x, free)
        kept = kept if in_order is None else kept & in_order(x)
        if where is None or not where.rest:
            return kept
        return kept & torch.from_numpy(where.counts(schema.decode(x.flatten(0, 1)))).view(kept.shape).to(x.device)

    return allowed


def conditional(model: TableModel, rows: Rows, given: Tensor, samples: int, seed: int) -> Answer:
    """log p(the other entries of each row that have a value | the given ones, context).

    Where one entry is asked for and its column has a probability for each value, all values are scored, so that the
    probabilities sum to 1; otherwise it is the difference of two marginals.
    """
    asked = ~given & ~model.schema.missingness.unknown(rows.x)
    alone = asked & (asked.sum(1, keepdim=True) == 1) & (torch.tensor(model.schema.classes) > 0)
    holed, parts = rows.x.isnan().any(1), []
    for j, times in itertools.product(alone.any(0).nonzero()[:, 0].tolist(), (1, HOLED)):
        if (some := alone[:, j] & (holed == (times == HOLED))).any():
            parts.append((some, _among_values(model, rows[some], j, samples * times, seed)))
    rest = ~alone.any(1)
    if rest.any():
        both = rows[rest]
        condition = dataclasses.replace(both, x=both.x.masked_fill(~given, math.nan))
        found = marginal(model, both, samples, seed).given(marginal(model, condition, samples, seed))
        parts.append((rest, found))
    return Answer.joined(len(rows), parts)


def _among_values(model: TableModel, rows: Rows, j: int, samples: int, seed: int) -> Answer:
    """log p(entry j | the other entries) for a column with a probability for each value, normalised over those that
    were seen; any other value has the share of them that it has in whole rows."""
    schema, column, code = model.schema, model.schema.columns[j], rows.x[:, j]
    kind, given_holes = column.kind, column.holes.at_random  # log-densities are then conditioned on which are missing
    values = torch.arange(kind.classes if given_holes else column.classes, dtype=torch.float64)
    x = rows.x.repeat(len(values), 1, 1)
    x[..., j] = values[:, None]
    context = None if rows.context is None else rows.context.repeat(len(values), 1)
    each = marginal(model, Rows(x.flatten(0, 1), context), samples, seed, alike=j)
    unseen = torch.as_tensor(schema.log_of_unseen(x))  # what a value keeps beside the unseen ones that it stands for
    log_p = (each.value.view(len(values), -1) - unseen).log_softmax(0)
    own = (schema.seen(rows.x)[:, j] == values[:, None]).double()
    value = torch.where(own.bool(), log_p, -math.inf).amax(0) + torch.where(
        is_unseen(code), torch.as_tensor(kind.log_unseen(code)), 0.0
    )
    if kind.stands_in:
        shares = torch.tensor(kind.stands_in, dtype=torch.float64).log()[:, None]
        value = torch.where(code < 0, (log_p[: len(shares)] + shares).logsumexp(0), value)
    error = ((own - log_p.exp()) * each.error.view(len(values), -1)).square().sum(0).sqrt()
    return Answer(value, error, each.effective.view(len(values), -1).amin(0))


def _among_holes(x: Tensor, which: Callable[[Tensor], Tensor]) -> Tensor:
    """Which entries without a value are so; where all have one, none is asked about."""
    holes = x.isnan()
    return which(x) if holes.any() else holes


def marginal(model: TableModel, rows: Rows, samples: int, seed: int, alike: int | None = None) -> Answer:
    """log p(the entries of each row that have a value | context): by the joint if none is unknown, or by the guide."""
    holed, device = _among_holes(rows.x, model.schema.missingness.hidden).any(1), model.density.device
    rows = rows if rows.x.device == device else rows.to(device)
    if model.guided is None or not holed.any():
        found = _by_joint(model, rows, samples, seed, alike)
    else:
        parts = [(holed, _by_guide(model, rows[holed], samples, seed))]
        if not holed.all():
            parts.append((~holed, _by_joint(model, rows[~holed], samples, seed, alike)))
        found = Answer.joined(len(rows), parts)
    learnt = learning_error(model.density, model.schema.seen(rows.x), rows.context, model.training_size or math.inf)
    return found._replace(error=found.error.hypot(learnt.cpu()))


def _by_joint(model: TableModel, rows: Rows, samples: int, seed: int, alike: int | None) -> Answer:
    found = model.cells.log_density(model.density, rows.x, rows.context, samples=samples, seed=seed, alike=alike)
    return Answer.exact(*found)


def _by_guide(model: TableModel, rows: Rows, samples: int, seed: int) -> Answer:
    draws = max(samples, FEWEST)
    guided, most = model.guide_for("answers only for whole rows"), max(draws, most_draws(len(rows)))
    seen = model.schema.seen(rows.x)
    found = guided.marginal(seen, rows.context, draws=draws, most=most, seed=seed)
    x = rows.x.cpu()
    known = model.schema.log_of_unseen(x) - model.schema.missingness.log_prob(x)
    return found._replace(value=found.value + known)


def encode_partly(model: TableModel, frame: pl.DataFrame, source: str, first: int = 0) -> Encoded:
    """Rows of a table that may lack columns and cells: NaN for everything absent, and for what cannot be read."""
    schema, frame = model.schema, model.schema.joined(frame, source)
    guessed = [(column, frame[column.name]) for column in schema.lenient if column.name in frame.columns]
    unread = [note for column, cells in guessed for note in column.unread(cells, source, first)]
    absent = [name for name in schema.names if name not in frame.columns]
    if not absent:
        rows = schema.encode(frame, source, first)
        return dataclasses.replace(rows, notes=(*rows.notes, *unread)) if unread else rows
    if len(absent) == len(schema.names):
        lacks = [*absent, *(name for name in schema.given_names if name not in frame.columns)]
        raise ColumnError(f"{source}: has no column {listed(map(repr, lacks))}, which the model needs")
    model.guide_for(f"needs the column {absent[0]!r}, which {source} lacks")
    rows = schema.encode(frame.with_columns(pl.lit(None).alias(name) for name in absent), source, first)
    gone = schema.missingness.found(rows.x)  # except what sums imply
    x = rows.x.masked_fill(schema.features_of(absent) & gone, torch.nan)
    return dataclasses.replace(rows, x=x, notes=(*rows.notes, *unread))


def condition_on(
    model: TableModel, rows: Encoded, names: Sequence[str], frame: pl.DataFrame, source: str, first: int
) -> tuple[Tensor, Tensor, tuple[Note, ...]]:
    """The rows as far as they can be conditioned on, which cannot, ``(n,)``, and notes on these: a category that no
    training row had, or a number without density. One that none of few was is taken for the nearest.
    """
    x, strange, notes = rows.x.clone(), rows.strange.clone(), list(rows.notes)
    for j, column in enumerate(model.schema.columns):
        if column.name not in names or column.name not in frame.columns:
            continue
        cells = frame[column.name]
        there = torch.from_numpy(~missing(cells))
        if column.classes:
            x[:, j] = torch.where(there & (x[:, j] < 0), torch.tensor(column.nearest(cells)), x[:, j])
        odd = there & ~column.possible(x[:, j])
        if odd.any():
            notes.append(column.strange_in(cells, odd, source, first))
        strange |= odd
    return x, strange, tuple(notes)


def most_draws(n: int, fewest: int = FEWEST, most: int = MOST, points: int = POINTS) -> int:
    """Draws from the guide per row, in a question for n rows: 100,000 rows take minutes, and the errors reflect it."""
    return max(fewest, min(most, points // max(n, 1)))
