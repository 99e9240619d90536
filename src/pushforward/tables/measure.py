"""How good a fitted table is on rows that it did not see, how likely these are, and the facts that are saved with it.

Percentiles and p-values of fresh rows stand beside log-densities of a table's own rows under densities that did not see
them. Training rows under the density itself would be no measure, since it has learnt them. An average has a score for
every row: its members are fitted to all parts of the rows but one, for each of the parts, and the average without a
part judges the rows of that part, through histograms of columns that do not count them. A single flow has its
validation and test rows, of which the first have only told it when to stop.

Reference:
    Vovk (2015), Cross-conformal predictors, arXiv:1208.0806.
    Barber, Candès, Ramdas, Tibshirani (2021), Predictive inference with the jackknife+, arXiv:1905.02928.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..diagnostics.averages import mean_and_error, quantiles
from ..diagnostics.linear_gaussian import LinearGaussian
from ..diagnostics.sampling_quality import SamplingQuality, sampling_quality
from ..distributions.base import Density
from ..distributions.guided import Guided
from ..models.base import PERCENTS
from ..models.compare import beside_gaussian
from ..models.train import Rows
from ..numerics.in_time import in_time
from ..numerics.partly_known import partly_known
from ..numerics.tails import shapes_learnt
from .io.table import Table
from .model import TableModel
from .options import TableOptions
from .queries.column_distribution import has_one_column, only_column
from .queries.explain import log_tails
from .queries.query import completed, marginal
from .schema.cells import Cells, Fill
from .schema.schema import Schema
from .selection.candidate import Fitted
from .splits import RECOGNISED, TableSplits, fingerprint, keys_of

DRAWN = 1_000  # draws, and held-out rows beside them
TRAINING = 20_000  # rows beside these
SEEN = 2_000  # training rows that are scored, to tell overfitting
KEPT_ROWS = 1000  # held-out rows that are saved with the model, for reports without the data
MOST, MOST_HOLED = 10_000, 1_000  # rows whose densities are kept; of those whose marginals take draws
PART = 1_000  # of the rows that a guide scores, which are fewer if the time is over


def measured(
    fitted: Fitted, gaussian: LinearGaussian, rows: TableSplits, options: TableOptions, fill: Fill | None
) -> dict[str, Any]:
    """The summary's facts on a density."""
    return {
        "training_rows": rows.training_rows,
        "validation_rows": len(rows.val),
        "columns": rows.schema.names,
        "given": rows.schema.given_names,
        **({} if options.weights is None else {"weights": options.weights}),
        "flow": fitted.flow,
        "objective": options.objective,
        "parameters": sum(map(torch.numel, fitted.density.parameters())),
        "held_out": _held_out(fitted.density, gaussian, rows, options, fill),
    }


def facts_of(table: Table, rows: TableSplits, history: list[dict[str, Any]], options: TableOptions) -> dict[str, Any]:
    """What is saved with a density, apart from its calibration."""
    learnt = np.concatenate(rows.split[:2])
    return {
        "kind": "table",
        "schema": rows.schema,
        "history": [{**row, "objective": options.objective} for row in history],
        "data": table.path.name,
        "unused": rows.schema.extra_names(table.frame.columns),
        "decimal": table.decimal,
        "seed": options.training.seed,
        "validation": options.validation,
        "samples": options.samples,
        "held_out": _kept(rows.test, rows.test_numbers, KEPT_ROWS, options.training.seed),
        **({"kept": _kept(rows.together, learnt, options.keep, options.training.seed)} if options.keep else {}),
        "keep": options.keep,
        "said": {name: getattr(options, name) for name in ("bounds", "relations", "layers", "hidden")},
        "drop_missing": options.drop_missing,
        "weighted": rows.train.weights is not None,
        "rows": len(rows.rows) if rows.complete else None,
        "fingerprint": fingerprint(rows.rows) if rows.complete else None,
        "learnt": keys_of(rows.together) if len(rows.together) <= RECOGNISED and rows.stream is None else [],
        "torch": torch.__version__,
    }


@torch.no_grad()
def drawn_beside_held_out(density: Density, rows: TableSplits, seed: int, seconds: float) -> SamplingQuality | None:
    """As many rows as there are held-out ones, drawn given their contexts, and compared in the table's own units, in
    all columns but those whose cells may be known in part; None if there are no others. After these seconds, no fold of
    the classifier begins.

    If rows have weights, held-out and training rows are resampled by them.
    """
    if all(column.holes.in_part for column in rows.schema.columns):
        return None
    held = _resampled(rows.test, DRAWN, seed)
    generator, given = torch.Generator(density.device).manual_seed(seed), held.to(density.device).context
    x = density.sample((len(held),) if given is None else (), given, generator=generator)
    x = rows.schema.missingness.drawn(x, generator)
    tables = (_resampled(rows.train, TRAINING, seed), held, Rows(x, held.context))
    return sampling_quality(*[_frame(rows.schema, each) for each in tables], seed=seed, seconds=seconds)


def scored(rows: TableSplits) -> int:
    """The number of rows that figures score."""
    return len(rows.test) + min(len(rows.train), SEEN) + min(len(rows.held_out), MOST)


def _held_out(
    density: Density, gaussian: LinearGaussian, rows: TableSplits, options: TableOptions, fill: Fill | None
) -> dict[str, Any]:
    """Held-out log-likelihood of the density and of a Gaussian, at the same points of the same cells."""
    test, cells = rows.test, Cells(rows.schema, fill)
    here, some = test.to(density.device), rows.train[:: max(len(rows.train) // SEEN, 1)].to(density.device)
    choices: dict[str, Any] = {"samples": options.samples, "seed": options.training.seed}
    ours, error = cells.log_density(density, here.x, here.context, **choices)
    theirs, _ = cells.log_density(gaussian, test.x, test.context, **choices)
    seen, seen_error = mean_and_error(cells.log_density(density, some.x, some.context, **choices)[0], some.weights)
    averaged = rows.schema.has_cells
    return {
        **beside_gaussian(ours, theirs, test.weights),
        "training_log_likelihood": seen if math.isfinite(seen) else None,
        "training_standard_error": seen_error,
        "cell_samples": options.samples if averaged else None,
        "cell_error": float(error.mean()) if averaged else None,
    }


def _kept(rows: Rows, numbers: np.ndarray, most: int, seed: int) -> dict[str, Any]:
    """Some rows to save: a random selection, because files may be sorted."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])
    return saved(rows[chosen], numbers[chosen])


def saved(rows: Rows, numbers: np.ndarray) -> dict[str, Any]:
    """Rows as facts of a model, with their positions in the table; and the bits of cells that are known in part, which
    JSON has no number for."""
    context, partly = None if rows.context is None else rows.context.tolist(), partly_known(rows.x)
    bits = torch.cat([partly.nonzero(), rows.x.view(torch.int64)[partly, None]], 1).tolist()
    return {"x": rows.x.tolist(), "context": context, "numbers": numbers.tolist(), "bits": bits}


def _resampled(rows: Rows, most: int, seed: int) -> Rows:
    """At most this many of the rows at random, by their weights if they have any."""
    generator = torch.Generator().manual_seed(seed)
    if rows.weights is None:
        return rows[torch.randperm(len(rows), generator=generator)[:most]]
    return rows[torch.multinomial(rows.weights, min(most, len(rows)), replacement=True, generator=generator)]


def _frame(schema: Schema, rows: Rows) -> pl.DataFrame:
    """Rows in the table's own units, together with the numeric columns of their contexts."""
    partly = [column.name for column in schema.columns if column.holes.in_part]
    partly += [name for each in schema.in_part for name in each.aside]
    frame = schema.amounts(schema.decode(rows.x)).drop(partly, strict=False)
    if rows.context is None:
        return frame
    return frame.with_columns(**{f"given {j}": c for j, c in enumerate(rows.context.double().cpu().numpy().T)})


def calibrated(model: TableModel, rows: TableSplits, fitted: Fitted, ends: float) -> dict[str, Any]:
    """The facts on rows that a model did not see: their log-densities, sorted, and the quantiles of these; for a guide,
    of fewer rows if the fit is to be over, by :func:`time.monotonic`."""
    pairs = fitted.unseen
    holed = bool(rows.schema.missingness.hidden(rows.rows.x).any()) and model.guided is not None
    share = min(1.0, (MOST_HOLED if holed else MOST) / sum(len(at) for _, at in pairs))
    random, scores, weights, central = np.random.default_rng(model.seed), [], [], []
    for density, at in pairs:
        some = rows.rows[np.sort(random.permutation(at)[: max(round(share * len(at)), 1)])]
        held, fresh = _holding(model, density), replace(some, x=rows.schema.as_new(some.x))
        scores.append(marginal(held, fresh, model.samples, model.seed).value)
        central += [_central(held, some)] if has_one_column(model) else []
        weights.append(torch.ones(len(some)) if some.weights is None else some.weights)
    weighted = rows.rows.weights is not None
    unseen = _sorted("log_density", torch.cat(scores), torch.cat(weights) if weighted else None)
    counts = np.array(unseen["weights"]) if weighted else None
    facts: dict[str, Any] = {
        "quantiles": quantiles(np.array(unseen["log_density"]), PERCENTS / 100, counts).tolist(),
        "unseen": unseen,
    }
    if has_one_column(model):  # an average is wider than its part for a fold: by far, where a number nearly follows
        own, every = central[-1], torch.cat(central)
        facts["unseen"]["central"] = (own if apart(own, every) else every).sort().values.tolist()
    if model.guided is not None:
        some = rows.rows[random.permutation(np.concatenate(rows.split[1:]))[:MOST]]
        fresh, parts = replace(some, x=rows.schema.as_new(some.x)), torch.arange(len(some)).split(PART)
        tails = torch.cat([log_tails(model, fresh[part]) for part in in_time(parts, ends)])
        some = some[: len(tails)]
        shapes = shapes_learnt(tails, some.weights).tolist()
        facts["unseen_by_guide"] = _sorted("log_tails", tails.sum(1), some.weights) | {"shapes": shapes}
    return facts


def _sorted(name: str, score: Tensor, weight: Tensor | None) -> dict[str, Any]:
    """Finite scores in their order, and their weights, 1 on average, or None."""
    order = score.argsort(stable=True)
    counts = None if weight is None else (weight[order] / weight.double().mean()).tolist()
    return {name: score[order].double().clamp_min(-1e30).tolist(), "weights": counts}


def _central(model: TableModel, rows: Rows) -> Tensor:
    """What calibrates the intervals of a model of one column of amounts: see :meth:`ColumnDistribution.central`."""
    column, some = model.schema.columns[0], completed(model, rows[~model.schema.missingness.found(rows.x)[:, 0]])
    if not len(some) or np.isnan(column.kind.amounts(some.x[:, 0].numpy())).any():
        return torch.empty(0, dtype=torch.float64)
    return only_column(model, some.context).central(some.x[:, 0])


def apart(some: Tensor, others: Tensor) -> bool:
    """Whether two samples differ in their distribution, as those of one do by chance in one of a hundred cases.

    Reference:
        Smirnov (1939), On the estimation of the discrepancy between empirical curves of distribution.
    """
    if not len(some):
        return False
    below = [torch.searchsorted(part.sort().values, others, right=True) / len(part) for part in (some, others)]
    return float((below[0] - below[1]).abs().max()) > 1.63 * math.sqrt(1 / len(some) + 1 / len(others))


def _holding(model: TableModel, density: Any) -> TableModel:
    """The model with another density of whole rows, and the same guide."""
    if density is model.density:
        return model
    other = copy.copy(model)
    if model.guided is not None:
        guided = model.guided
        density = Guided(density, guided.guide, guided.tell)
    other._hold(density, model.facts)
    return other
