"""The guide of a table: built alongside the joint density, trained on the observed values, and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..distributions.guided import AnyOrder, Guided, as_if_seen
from ..distributions.guided.normal_conditionals import NormalConditionals
from ..distributions.guided.one_dimensional import TAILS
from ..models.console import Console
from ..models.options import TrainingOptions
from ..models.train import Rows, train_on
from ..numerics import affine
from ..numerics.in_time import in_time
from ..objectives.anyorder import AnyOrderLikelihood
from ..recipes.by_name import seeded
from ..recipes.models import anyorder
from ..transforms.base import Transform
from .schema.cells import Cells, MarginalFill
from .schema.columns import Column
from .schema.schema import Schema
from .splits import TableSplits

WIDE, WIDTH = 64, 128  # inputs from which the guide's network is twice as wide
COMPLETE, HOLED = 128, 64  # columns whose normal conditionals are affordable; only complete rows share factors
SOME = 20_000  # rows used to decide which columns are more linear without their map
FAR = 10.0  # spreads of a column
LEARNING_RATE, FEW_STEPS_RATE = 4e-3, 8e-3  # the second for a short training
ASKED, PART = 200, 50  # held-out rows for test questions, and how many at a time


class DequantisedAnyOrder(AnyOrderLikelihood):
    """The any-order likelihood of rows spread over their cells, with fresh noise in every batch; of rows with holes,
    that of the observed values (``seen``), or of draws of what is missing."""

    def __init__(self, flow: AnyOrder, schema: Schema, seen: bool = False) -> None:
        super().__init__(flow)
        self.cells, self.seen = Cells(schema), seen

    def held_out(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """An unbiased estimate of every row's loss at one point of its cell, ``(*batch,)``, in nats."""
        u = torch.rand_like(x)
        return super().held_out(self.cells.spread(x, u) if self.seen else self.cells(x, u), context)


class GuideFill:
    """Draws missing numbers from the guide, given the observed part of their row, as if no column flagged the gaps.

    The far tails of a guide that has learnt little overflow. A row with a draw beyond its column's bounds, or more than
    FAR spreads away from the observed values, is filled from the columns' own values instead.
    """

    def __init__(self, guide: AnyOrder, schema: Schema) -> None:
        self.guide, self.tell, self.plainly = guide, tuple(schema.missingness.flags.items()), MarginalFill(schema)
        self.ends = torch.tensor([column.kind.limits(FAR) for column in schema.columns], dtype=torch.float64).T
        windows = [(j, *circle) for j, c in enumerate(schema.columns) if (circle := c.kind.circle)]
        self.circles = [(j, low, high - low) for j, low, high in windows]

    @torch.no_grad()
    def __call__(self, x: Tensor, u: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x with every NaN replaced by a draw computed from u, and -log q of the draws, summed over the row."""
        z = torch.special.ndtri(u.clamp(1e-7, 1 - 1e-7)).to(self.guide.loc)
        filled, log_q = self.guide.fill(as_if_seen(x, self.tell), z, context)
        low, high = self.ends.to(filled)
        far = (x.isnan() & ~((low <= filled) & (filled <= high))).any(-1) | ~log_q.isfinite()
        if bool(far.any()):
            plain, weight = self.plainly.to(x.device)(x, u)
            filled, log_q = torch.where(far[..., None], plain.to(filled), filled), torch.where(far, -weight, log_q)
        for place, low, turn in self.circles:  # draws beyond one end of the period wrap round to the other
            filled[..., place] = low + (filled[..., place] - low).remainder(turn)
        for _, told in self.tell:
            filled[..., told] = torch.where(x[..., told].isnan(), filled[..., told], x[..., told])
        return filled, -log_q.to(x.dtype)


def build_guide(schema: Schema, x: Tensor, weights: Tensor | None, seed: int) -> AnyOrder:
    """An untrained guide in the units of the table."""
    if weights is not None:
        x = x[torch.multinomial(weights, len(x), replacement=True, generator=torch.Generator().manual_seed(seed))]
    width = WIDTH if sum(size or 2 for size in schema.classes) < WIDE else 2 * WIDTH
    narrow = x.shape[1] <= (HOLED if bool(x.isnan().any()) else COMPLETE)
    first = _first_maps(schema.columns, x, narrow)
    with seeded(seed):
        guide = anyorder(
            len(schema.columns),
            context=schema.context_features,
            hidden=(width, width),
            classes=schema.classes,
            first=first,
            normal=narrow,
        )
    guide.initialize(x)
    return guide


def _first_maps(columns: Sequence[Column], x: Tensor, narrow: bool) -> list[Transform | None]:
    """The columns' own maps, except those that only shorten heavy tails (asinh) if more is linear without them."""
    maps, untailed = [c.kind.first_map() for c in columns], [c.kind.without("asinh") for c in columns]
    plain = [f if kind == c.kind else kind.first_map() for kind, c, f in zip(untailed, columns, maps, strict=True)]
    if plain == maps or not narrow:
        return maps
    numbers = [j for j, column in enumerate(columns) if not column.classes]
    linear, behind = (_linear([found[j] for j in numbers], x[:SOME, numbers]) for found in (plain, maps))
    return plain if linear > behind else maps


def _linear(maps: Sequence[Transform | None], x: Tensor) -> float:
    """How much of the dependence between numbers is linear after the maps: -0.5 log det of their correlations."""
    t = torch.stack([v if f is None else f(v)[0] for f, v in zip(maps, x.double().t(), strict=True)])
    normal = NormalConditionals(len(t)).double()
    normal.initialize(t, rounds=0)
    standard = (t - normal.mean[:, None]) / normal.covariance.diagonal().sqrt()[:, None]
    normal.initialize(affine.log_tails(standard, TAILS)[0], rounds=0)
    return -0.5 * float(normal.covariance.logdet() - normal.covariance.diagonal().log().sum())


def train_guide(
    guide: AnyOrder,
    rows: TableSplits,
    options: TrainingOptions,
    console: Console,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    fresh: bool = True,
    seen: bool = False,
    lr: float = LEARNING_RATE,
    most: int | None = None,
) -> dict[str, Any]:
    """Trains a guide for as many steps as the joint density took, or for as long; returns its facts for the summary.

    If the joint density is yet to be trained, the guide is trained by the same options.

    Args:
        guide: The guide, trained in place; a new one gets its mean and covariance from more rows than a batch.
        options: How the joint was trained.
        steps, seconds: What the joint density's training took; None if it is yet to come.
        fresh: Whether the guide is untrained.
        seen: Whether it learns from observed values alone.
        lr: The peak learning rate of a network that is not wide; one of twice the width learns at half of it.
        most: Steps at most, if training ends by itself.
    """
    place = options.checkpoint and options.checkpoint.with_name(options.checkpoint.name + ".guide")
    own = dataclasses.replace(options, lr=None, compile=False, metrics=None, checkpoint=place)
    if seconds is not None and (options.limit is not None or options.budget is not None):
        own = dataclasses.replace(own, limit=None, steps=None, epochs=None, patience=None, budget=max(seconds, 1.0))
    elif steps is not None:
        own = dataclasses.replace(own, steps=steps, epochs=None, patience=None)
    objective, quiet = DequantisedAnyOrder(guide, rows.schema, seen), Console(quiet=True)  # not the density's verdict
    console.say("training the guide, which answers questions about some of the columns")
    lr *= WIDTH / len(guide.net.weights[0])
    choices: dict[str, Any] = {"batch_size": 512, "lr": lr, "fresh": fresh, "initialize": False, "most": most}
    result = train_on(objective, rows.train_source, rows.val, own, quiet, **choices)
    return {
        "parameters": sum(p.numel() for p in guide.parameters()),
        "steps": result.steps,
        "seconds": result.seconds,
        "likelihood_bound": None if result.best_validation_loss is None else -result.best_validation_loss,
    }


def measure_guide(guided: Guided, schema: Schema, rows: Rows, seed: int, ends: float) -> dict[str, Any]:
    """How well questions are answered: on some held-out rows, fewer if the time is over by :func:`time.monotonic`, the
    density of a random half of their columns.

    Returns:
        Over the rows: the median effective sample size, the share of rows where it is below 10, the mean standard
        error, and the mean number of nats by which two orders of the guide disagree about a row.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = rows[torch.randperm(len(rows), generator=generator)[:ASKED]].to(guided.device)
    if not len(rows):
        return {}
    x = rows.x
    half = (torch.rand(x.shape, generator=generator).argsort(-1) < x.shape[1] // 2).to(x.device)
    asked = dataclasses.replace(rows, x=x.masked_fill(half, torch.nan))
    parts = (asked[part] for part in torch.arange(len(rows)).split(PART))
    answers = [guided.marginal(part.x, part.context, most=32, seed=seed)[1:] for part in in_time(parts, ends)]
    error, effective = map(torch.cat, zip(*answers, strict=True))
    points = Cells(schema).spread(x, torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device))
    with torch.no_grad():
        one = guided.guide.log_prob(points, rows.context)
        other = guided.guide.log_prob(points, rows.context, order=range(x.shape[1] - 1, -1, -1))
    return {
        "effective_draws": float(effective.median()),
        "few_effective": float((effective < 10).double().mean()),
        "standard_error": float(error.mean()),
        "orders_disagree": float((one - other).abs().nan_to_num(nan=0.0, posinf=0.0).mean()),
    }
