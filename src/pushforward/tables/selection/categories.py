"""The categories of a table, trained separately.

They share no weights with the flow over the numbers, and each of the two stops at its own time: if the flow overfits
early, categories that stopped with it would not yet have learnt how they depend on each other.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...distributions.base import Density
from ...distributions.mixed import Categories, Mixed
from ...models.console import Console
from ...models.options import TrainingOptions
from ...models.train import Rows, train_on
from ...numerics import threads
from ...objectives.divergences import ForwardKL
from ...recipes.by_name import categories_by_size
from ...training.batches import mix
from ..splits import TableSplits
from .kinds import MemberKind, Share
from .members import MemberOptions, Points, others, train_members

RATE = 3e-3  # as good on held-out rows as 1e-3, in half the steps
SHARE = 0.1  # of the time budget, at most


def categories_first(flow: Density, rows: TableSplits, training: TrainingOptions) -> TrainingOptions:
    """Trains a table's categories before its flow; returns the options for the flow, with the remaining time.

    Categories that have converged are held fixed, see :func:`release`; the others continue to train with the flow. If
    codes are missing, or rows are read in pieces or divided between processes, all of them are trained with the flow.
    """
    if not isinstance(flow, Mixed) or rows.stream is not None or training.shard:
        return training
    train, val = (_codes(flow, part) for part in (rows.train, rows.val))
    if bool(train.x.isnan().any() or val.x.isnan().any()):
        return training
    objective, own = ForwardKL(flow.categories), _alone(training)
    result = train_on(objective, train, val, own, Console(quiet=True), batch_size=512, lr=RATE)
    if result.verdict.kind in ("converged", "overfitting"):
        flow.categories.requires_grad_(False)
    budget, limit = (time and max(time - result.seconds, time / 2) for time in (training.budget, training.limit))
    return replace(training, budget=budget, limit=limit)  # at least half: even the shortest training takes a moment


def release(flow: Density) -> None:
    """Makes the categories trainable again."""
    if isinstance(flow, Mixed):
        flow.categories.requires_grad_(True)


def start_categories(density: Density, x: Tensor, weights: Tensor | None) -> None:
    """Starts a table's categories at their frequencies in all its encoded training rows: a single batch, from which
    training would start them otherwise, says too little about columns of many categories."""
    categories = density.categories if isinstance(density, Mixed) else density
    if isinstance(categories, Categories):
        codes = (x[:, density.names_at] if isinstance(density, Mixed) else x).float()
        given = categories.context_features  # the frequencies do not depend on it
        categories.initialize(codes, codes.new_zeros(len(codes), given) if given else None, weights)


def crossed_categories(
    folds: Sequence[Tensor], sizes: list[int], codes: Tensor, whole: Rows, training: TrainingOptions
) -> list[Categories]:
    """The trained density of the categories of some rows, by their codes ``(n, columns)``, and for each fold of them
    that of the others: all for as many steps as suit the folds together. One fold alone has too few rows to tell: a
    column of many categories is overfitted before the others are learnt."""
    ends = time.monotonic() + SHARE * (training.budget or math.inf)
    steps = MemberOptions.steps if training.steps is None else training.steps
    options = MemberOptions(steps=steps, lr=RATE, decay=0.0, ends=ends, together=True)
    rows = Points.of(codes.float(), None if whole.context is None else whole.context.float(), whole.weights)
    shares = [(rows, rows), *((rows[others(folds, k)], rows[fold]) for k, fold in enumerate(folds))]
    with threads.using(1):
        return side_by_side(sizes, shares, options, training.seed)[0]


@dataclass(frozen=True)
class ClassNetworks(MemberKind):
    """Networks that read the given columns, each stopped by the rows that it does not see, or at a time."""

    classes: int
    ends: float = math.inf
    steps: list[int] = field(default_factory=list)
    name: str = "network"  # type: ignore[misc]

    def cross_fit(self, shares: Sequence[Share], seed: int) -> list[Density]:
        options = MemberOptions(lr=RATE, decay=0.0, ends=self.ends)
        members, steps = side_by_side([self.classes], shares, options, seed)
        self.steps.extend(steps)
        return list(members)


def side_by_side(
    sizes: list[int], shares: Sequence[tuple[Points, Points]], options: MemberOptions, seed: int
) -> tuple[list[Categories], list[int]]:
    """For each share of rows, the trained density of their categories, stopped by those that it does not see or at a
    time; and the best step of each. Trained together, columns that only overfit keep their frequencies."""
    train, judged = ([share[k] for share in shares] for k in (0, 1))
    members = [categories_by_size(sizes, context=rows.given, seed=mix(seed, k, 6)) for k, rows in enumerate(train)]
    for member, rows in zip(members, train, strict=True):
        start_categories(member, rows.x[0], rows.weight)
    before = copy.deepcopy(members)
    steps = train_members(members, train, judged, options, seed)
    if options.together:
        gained = [_gained(*each) for each in zip(before, members, judged, strict=True)]
        vain = torch.stack(gained[1:]).sum(0) <= 0
        for member, first in zip(members, before, strict=True):
            for own, old in zip(_logits(member), _logits(first), strict=True):
                own[vain] = old[vain]
    return members, steps


@torch.no_grad()
def _gained(old: Categories, new: Categories, rows: Points) -> Tensor:
    """By how much likelier each column of some rows is, in nats."""
    columns = [density.log_prob(rows.x[0], rows.context, by_column=True) for density in (old, new)]
    return rows.weight @ (columns[1] - columns[0])


def _logits(density: Categories) -> list[Tensor]:
    """Weights and biases of the logits of each column."""
    net, columns = density.net, len(density.classes)
    return [part[-1].data.unflatten(0, (columns, -1)) for part in (net.weights, net.biases)]


def _codes(flow: Mixed, rows: Rows) -> Rows:
    context = None if rows.context is None else rows.context.float()
    return Rows(rows.x[:, flow.names_at.to(rows.x.device)].float(), context, rows.weights)


def _alone(training: TrainingOptions) -> TrainingOptions:
    """The options for a training that stops by itself within its share of the time, with its own checkpoints."""
    place = training.checkpoint and training.checkpoint.with_name(training.checkpoint.name + ".categories")
    own = replace(training, checkpoint=place, metrics=None, compile=False, shard=False)
    lengths = (training.steps, training.epochs, training.budget, training.limit)
    time = training.budget or training.limit
    if time is None or sum(length is not None for length in lengths) > 1:  # which the training refuses
        return own
    return replace(own, budget=None, limit=SHARE * time)
