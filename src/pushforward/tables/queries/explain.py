r"""What makes a row unlikely: how odd its cells are, each given all the others, and which one is to blame.

A density rewards repeated values: earnings of which many are the same to the cent have a probability in tiny cells, and
so 20 nats more than their neighbours, which hides an age of 150. A tail probability does not depend on the cells:

.. math:: s(x) = \sum_j \log t_j,\qquad t_j = 2 \min\{F_j(x_j \mid x_{-j}),\; 1 - F_j(x_j \mid x_{-j})\}

by the guide's one-dimensional conditionals F, at the middle of the row's cells; for a category, t is the probability of
all that are no likelier. The row's oddness is Fisher's combination, and the cell to blame is the one without which the
row is least odd. (All cells of a broken relation have small t given the others, but without the one that breaks it the
others agree.) A row that violates an exact relation has density 0 however usual its cells are, and is explained by the
relation: an input that is odd in itself is to blame, or else the column that follows.

Few rows teach a guide tails that are too light: of rows of 24 small tables that no fit saw, 18 times as many cells as
said have t < 1e-4. That changes no order, and p-values are conformal; but a gain of 30 nats is a claim. So gains are
as rare as tails that are as heavy as those of unseen rows (:func:`~pushforward.numerics.tails.log_predictive`).

Reference:
    Fisher (1932), Statistical methods for research workers, section 21.1.
    Pickands (1975), Statistical inference using extreme order statistics, Annals of Statistics 3.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ...distributions.guided import as_if_seen
from ...models.train import Rows
from ...numerics.tails import log_predictive
from ..model import TableModel
from ..schema.cells import LogProb
from ..schema.columns import Column
from ..schema.schema import Encoded, Schema
from .query import Query, marginal

Cell = tuple[Column, float]  # and an encoded value that would fit
LEAST = -1e4  # log tail probability, in nats, of what cannot be
ODD = 0.01  # the share of usual rows that are odder, or of which any cell fits as little
STARTS = 6  # cells to begin with
TOGETHER = 4096  # rows, each with one set of cells or another left out
COLD = 1e-6  # a temperature at which a category is drawn as its likeliest value
POINTS = 4  # points of each cell: only whole nats matter for gains without a guide
CANDIDATES = 33  # values tried for each column of numbers
TRIED = 65_536  # changed rows scored at once


def explain(
    model: TableModel, rows: Rows, chosen: np.ndarray, seed: int = 0, encoded: Encoded | None = None
) -> pl.DataFrame:
    """For the chosen rows: the column to blame, the value that would fit, and gains.

    With a guide, a gain is by how much less odd the row is without a cell, and a value that would fit is one
    near the middle given the others. Without, it is that in the log-density by the best typical value. With the rows as
    they were ``encoded``, those that violate a relation are explained by it.

    Returns:
        One row per row, null for those that are not explained. The value is text if the model has categories, and a
        number otherwise; further cells to blame, with what would fit, are text.
    """
    kinds, some = explained_columns(model.schema), rows[chosen]
    if not len(chosen):
        return at_places(pl.DataFrame(schema=kinds), chosen, len(rows))
    if model.guided is None:
        gains, fits = _repaired(model, some, rows.x, seed)
        gain, top = gains.max(1)
        blamed = torch.zeros_like(gains, dtype=torch.bool).scatter(1, top[:, None], True)
    else:
        blamed, gains, gain = blame(model, some)
        fits = _expected(model, some, blamed)
    order = gains.masked_fill(~blamed, -math.inf).argsort(dim=1, descending=True, stable=True)
    told = [
        [(model.schema.fields[j], float(row[j])) for j in places[:count]]
        for places, row, count in zip(order.tolist(), fits, blamed.sum(1).tolist(), strict=True)
    ]
    if encoded is not None and model.schema.dependencies:
        for row, cells in _contradictions(model, encoded, chosen, told, gain.tolist()):
            told[row], gain[row] = cells, math.inf
    first = [each[0] for each in told]
    number = kinds["would_fit"] == pl.Float64
    found = {
        "unlikely_because": [column.name for column, _ in first],
        "would_fit": [float(c.kind.amounts(np.array([v]))[0]) if number else _shown(c, v) for c, v in first],
        "also_unlikely": [", ".join(f"{c.name}: {_shown(c, v)}" for c, v in each[1:]) or None for each in told],
        "gain": gain.tolist(),
    }
    found |= {f"gain_{name}": each.tolist() for name, each in zip(model.schema.names, gains.T, strict=True)}
    return at_places(pl.DataFrame(found, schema=kinds), chosen, len(rows))


def _shown(column: Column, value: float) -> str | None:
    return None if math.isnan(value) else column.shown(value)


def _contradictions(
    model: TableModel, encoded: Encoded, chosen: np.ndarray, told: list[list[Cell]], gain: list[float]
) -> Iterator[tuple[int, list[Cell]]]:
    """The rows that violate relations, with the cells to blame: those that are odd in themselves, and those of
    :meth:`Dependencies.culprits` if some that is violated does not follow from them. A value that would fit is what the
    others imply, if they tell."""
    dependencies, values = model.schema.dependencies, model.schema.dated(encoded.x[chosen])
    follow = {name: each[chosen] for name, each in encoded.follow.items()}
    broken = dependencies.broken(values, follow, len(chosen))
    fits, alike = dict[int, dict[str, float]](), defaultdict[frozenset[str], list[int]](list)
    for row in np.flatnonzero(broken.any(0)).tolist():
        violated = [each for each, odd in zip(dependencies, broken[:, row], strict=True) if odd]
        fits[row] = {column.name: value for column, value in told[row]} if gain[row] > -math.log(ODD) else {}
        if not all(dependencies.sources[each.column.name] & fits[row].keys() for each in violated):
            fits[row] = dict.fromkeys(dependencies.culprits(violated), math.nan) | fits[row]
        alike[frozenset(fits[row])].append(row)
    for names, rows in alike.items():
        here, beside = ({name: each[rows] for name, each in part.items()} for part in (values, follow))
        for name, implied in dependencies.implied(names, here, beside).items():
            for row, value in zip(rows, implied.tolist(), strict=True):
                fits[row][name] = fits[row][name] if math.isnan(value) else value
    for row, cells in fits.items():
        yield row, [(dependencies.known[name], value) for name, value in cells.items()]


def at_places(found: pl.DataFrame, places: np.ndarray, n: int) -> pl.DataFrame:
    """The rows of a table at some places among n; null elsewhere."""
    which = np.full(n, np.nan)
    which[places] = np.arange(len(places))
    return found.select(pl.all().gather(pl.Series(which, nan_to_null=True).cast(pl.UInt32)))


def _expected(model: TableModel, rows: Rows, blamed: Tensor) -> Tensor:
    """The values that would fit in the cells to blame, given all other cells, ``(n, names)``; NaN elsewhere."""
    fits, rest = torch.full(blamed.shape, math.nan, dtype=torch.float64), _without(rows, _features(model, blamed))
    for j in blamed.any(0).nonzero()[:, 0].tolist():
        fits[blamed[:, j], j] = expected(model, rest[blamed[:, j]], j)
    return fits


def _repaired(model: TableModel, rows: Rows, reference: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    r"""By how many nats rows could be likelier with another value in each single column, and that value, ``(n, names)``
    each; at least 0, and infinite if a row that has density 0 would have one.

    .. math:: \mathrm{gain}_j(x) = \max_v \log p(x_{-j}, x_j = v) - \log p(x)

    A large gain means that the other columns are plausible and this one does not fit them. Gains are differences of
    log-densities in the same units, so they compare across columns; of several columns that are odd together, no single
    gain is large.
    """
    schema = model.schema

    def log_prob(x: Tensor, context: Tensor | None) -> Tensor:
        some = Rows(x, context).to(model.device)
        return model.cells.log_density(model.density, some.x, some.context, samples=POINTS, seed=seed)[0]

    before, found = log_prob(rows.x, rows.context), []
    for j, column in enumerate(schema.fields):
        found.append(_best(log_prob, rows, j, _tried(column, reference[:, j]), schema.missingness.flags.get(j)))
    gains = [(after - before).nan_to_num(nan=0.0, posinf=math.inf).clamp_min(0) for after, _ in found]
    return torch.stack(gains, 1), torch.stack([values for _, values in found], 1)


def _best(log_prob: LogProb, rows: Rows, j: int, values: Tensor, flag: int | None) -> tuple[Tensor, Tensor]:
    """The largest log-density over some values of a column, and the value that attains it, both ``(n,)``; ``flag`` is
    the column that flags its missing values, if there is one."""
    scores = []
    for part in torch.arange(len(rows)).split(max(TRIED // len(values), 1)):
        some = rows[part.repeat_interleave(len(values))]  # row 1 with every value, then row 2, …
        some.x[:, j] = values.repeat(len(part))
        if flag is not None:
            some.x[:, flag] = 0.0
        scores.append(log_prob(some.x, some.context).view(len(part), -1))
    best, place = torch.cat(scores).max(1)
    return best, values[place]


def _tried(column: Column, reference: Tensor) -> Tensor:
    """The values to try: typical ones, or evenly spaced quantiles of reference rows ``(n,)``."""
    if column.typical:
        return torch.tensor(column.typical, dtype=torch.float64).unique()
    ranks = torch.linspace(0.01, 0.99, CANDIDATES, dtype=torch.float64).mul(len(reference) - 1).round().long()
    return reference.sort().values[ranks].unique()


def cells_given_others(model: TableModel, rows: Rows) -> pl.DataFrame:
    """log p(cell | the other cells) of every cell, in nats; NaN if the others are impossible."""
    found, whole = {}, marginal(model, rows, model.samples, model.seed)
    for column, own in zip(model.schema.fields, _cells(model), strict=True):
        if column.classes:
            value = Query(rows, ~own).answer(model).value
        else:
            rest = marginal(model, _without(rows, own), model.samples, model.seed)
            there = (own & ~model.schema.missingness.unknown(rows.x)).any(1)
            value = whole.given(rest).value.masked_fill(~there, math.nan)
        found[f"log_p_{column.name}"] = value.numpy()
    return pl.DataFrame(found)


def explained_columns(schema: Schema) -> dict[str, type[pl.DataType]]:
    """Names and kinds of the columns that :func:`explain` returns."""
    speaks = any(column.speaks for column in schema.dependencies.known.values())
    value = pl.String if speaks else pl.Float64
    gains = {f"gain_{name}": pl.Float64 for name in schema.names}
    return {"unlikely_because": pl.String, "would_fit": value, "also_unlikely": pl.String, "gain": pl.Float64, **gains}


def log_tails(model: TableModel, rows: Rows, without: Tensor | None = None) -> Tensor:
    """log t of every entry, ``(n, features)``, for a model with a guide; 0 where there is no value. With sets of
    features, ``(sets, features)``, that of each as if these had not been observed, ``(sets, n, features)``."""
    guide, rows = model.guide_for("has no conditionals").guide, rows.to(model.device)
    some = torch.arange(len(rows)).split(max(TOGETHER // (1 if without is None else len(without)), 1))
    parts = (rows[part] for part in some)
    return torch.cat([guide.tails(_middles(model, part), part.context, without).cpu() for part in parts], -2)


def blame(model: TableModel, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Which cells of every row are to blame, ``(n, names)``; by how much less odd it is without the cell of each column
    alone, and without all that are to blame, ``(n,)``, in nats, infinite if the row could then be.

    It is the cell that gains most, if the rest is then as usual as all but ODD of the rows that the guide did not see,
    or if no few cells explain the row; otherwise all of :func:`_misfits`. Whether a cell is missing counts as well."""
    whole, rest = log_tails(model, rows), log_tails(model, rows, _cells(model))
    gains = _gains(model, whole, rest).t()
    gain, top = gains.max(1)
    blamed = torch.zeros_like(gains, dtype=torch.bool).scatter(1, top[:, None], True)
    usual, weight = unseen(model, "log_tails")
    least = usual[np.searchsorted(weight.cumsum(), ODD * weight.sum())] if len(usual) else -math.inf
    odd = (rest.clamp_min(LEAST).sum(2).amax(0) < least).nonzero()[:, 0]
    for some in odd.split(TOGETHER // STARTS) if len(odd) else ():
        wrong = _misfits(model, rows[some], whole[some], least)
        some, wrong = some[wrong.any(1)], wrong[wrong.any(1)]
        after = log_tails(model, _without(rows[some], _features(model, wrong)))
        blamed[some], gain[some] = wrong, _gains(model, whole[some], after)
    return blamed, gains, gain


def unseen(model: TableModel, score: str) -> tuple[np.ndarray, np.ndarray]:
    """``log_density``, or ``log_tails``, the sums of log tail probabilities, of rows that a model did not see, sorted,
    and their weights, 1 on average: those of the fit, or of a model of an earlier version, of its held-out rows."""
    told = model.facts.get("unseen" if score == "log_density" else "unseen_by_guide")
    if told is None:
        held, by_guide = model.saved_held_out().rows, score == "log_tails"
        found = log_tails(model, held).sum(1) if by_guide else marginal(model, held, model.samples, model.seed).value
        told = {score: found.sort().values, "weights": None}
    scores = np.asarray(told[score], dtype=float)
    return scores, np.ones(len(scores)) if told["weights"] is None else np.asarray(told["weights"])


def _gains(model: TableModel, before: Tensor, after: Tensor) -> Tensor:
    """By how much less odd rows are, from log tails ``(*batch, features)``, as far as unseen rows bear it out."""
    gains = after.clamp_min(LEAST).sum(-1) - before.clamp_min(LEAST).sum(-1)
    gains = torch.where(gains > 0, -_as_rare(model, -gains.clamp_min(0)), gains)
    return gains.masked_fill(before.isneginf().any(-1) & ~after.isneginf().any(-1), math.inf)


def _misfits(model: TableModel, rows: Rows, tails: Tensor, least: float) -> Tensor:
    """Cells that are wrong together, ``(n, names)``; none where no half of the cells or fewer is.

    Such cells vouch for each other, so that none of them gains much alone. But cells that are trusted one by one, the
    most usual given those before first, from one of the most usual of all on, are in the end joined by all except those
    that do not fit. Of the sets that are left over so, it is the smallest without which the row is usual.

    Reference:
        Atkinson, Riani, Cerioli (2004), Exploring multivariate data with the forward search.
    """
    guide, here, names = model.guide_for("has no conditionals").guide, rows.to(model.device), len(model.schema.names)
    cells = _cells(model).double().t()
    starts = (tails.clamp_min(LEAST) @ cells).topk(min(STARTS, names), 1).indices
    trusted = torch.nn.functional.one_hot(starts, names).bool().flatten(0, 1)
    here = here[torch.arange(len(rows)).repeat_interleave(starts.shape[1])]
    x = _middles(model, here)
    for _ in range(names):
        each = guide.tails_given(x, _features(model, trusted).to(x.device), here.context).cpu().clamp_min(LEAST) @ cells
        best, at = _as_rare(model, each.masked_fill(trusted, -math.inf)).max(1)
        if not (fits := best > math.log(ODD / names)).any():
            break
        trusted |= torch.nn.functional.one_hot(at, names).bool() & fits[:, None]
    rest = log_tails(model, _without(here, _features(model, ~trusted))).clamp_min(LEAST).sum(1)
    count = (~trusted).sum(1)
    order = count + rest / (LEAST * x.shape[1])  # of sets of one size, that without which the row is least odd
    best, at = order.masked_fill((rest < least) | (count > names / 2), math.inf).view(starts.shape).min(1)
    return ~trusted.view(*starts.shape, names)[torch.arange(len(rows)), at] & best.isfinite()[:, None]


def _cells(model: TableModel) -> Tensor:
    """The features of every column's cell, ``(names, features)``."""
    return torch.stack([model.schema.features_of([name]) for name in model.schema.names])


def _features(model: TableModel, cells: Tensor) -> Tensor:
    """The features of some cells, ``(n, names)``, as ``(n, features)``."""
    return (cells[..., None] & _cells(model)).any(1)


def _without(rows: Rows, features: Tensor) -> Rows:
    """The rows as if some features had not been observed, of all rows or of each."""
    return dataclasses.replace(rows, x=rows.x.masked_fill(features.to(rows.x.device), math.nan))


def _as_rare(model: TableModel, log_t: Tensor) -> Tensor:
    """Log tail probabilities as those of unseen rows bear them out; as they are, of a model of an earlier version."""
    shapes = model.facts.get("unseen_by_guide", {}).get("shapes")
    return log_predictive(log_t, torch.tensor(shapes)) if shapes else log_t


def expected(model: TableModel, rows: Rows, j: int) -> Tensor:
    """A value of column j that rows like these have, encoded, ``(n,)``: a typical one near its median given the others,
    if it lies within the central half, or else the median itself; of a category, the likeliest."""
    guided, kind = model.guide_for("has no conditionals"), model.schema.columns[j].kind
    rows = rows.to(model.device)
    x, context = _middles(model, rows), rows.context
    x[:, j] = math.nan
    x = as_if_seen(x, guided.tell)
    z = torch.zeros_like(x, dtype=guided.guide.loc.dtype)
    middle = guided.guide.fill(x, z, context, order=[j], temperature=COLD)[0][:, j].double().cpu()
    found = torch.from_numpy(kind.snap(middle.numpy()))
    if not (kind.typical and not kind.classes):
        return found
    typical = torch.tensor(kind.typical, dtype=torch.float64)
    near = typical[(middle[:, None] - typical).abs().argmin(1)]
    x[:, j] = near.to(x.device)
    central = guided.guide.tails(x, context)[:, j].cpu() >= math.log(0.5)
    return torch.where(central, near, found)


def _middles(model: TableModel, rows: Rows) -> Tensor:
    """The middle of every row's cell."""
    x = model.schema.seen(rows.x)
    return model.cells.spread(x, torch.full_like(x, 0.5)).clone()
