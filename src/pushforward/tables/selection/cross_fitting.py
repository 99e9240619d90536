"""An average of densities of few rows: each kind is judged on rows that it did not see, and weighted accordingly.

The rows are divided into folds. Every kind of density is fitted to all folds but one and evaluated on that one, so that
each row has a log-density of each kind from a fit without it; the weights of the average are those that maximise the
likelihood of these (stacking). Gaussians and mixtures are then fitted once more, to all rows; the flows were each
trained on nearly all rows, and all are kept.

Reference:
    Smyth, Wolpert (1999), Linearly combining density estimators via stacking.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ...diagnostics.averages import mean_and_error
from ...distributions.average import Average
from ...distributions.base import Density
from ...distributions.flow import Flow
from ...errors import InputError
from ...numerics import threads
from ...recipes.by_name import flow_by_name, learning_rate
from .categories import ClassNetworks
from .groups import GroupMember, recurring
from .kinds import PRIORS, SIZES, Features, Flows, MemberKind, OnFeatures, Share, sizes_of_mixtures
from .members import WARM_UP, MemberOptions, Points, folds, others
from .trees import TreeFeatures

FEW_ROWS = 3000  # up to which "auto" averages several densities
MEMBERS = 5
LAYERS, BINS = 2, 5  # of the flows for few rows under "auto"
SMALL, RATE = 500, 1e-2  # rows from which the learning rate of these flows grows with the rows, and its maximum
BATCH = 128  # rows per batch
MOST_STEPS = 5000
MIXED, TRAINED = 0.3, 0.7  # of a time limit, until which mixtures are tried and flows are trained
JUDGED = 4  # points of a row's cell over which its density is averaged in the evaluation
DRAWS, FAR = 8000, 2.0  # of a density, to see where it draws; widths of the rows beyond them
LEAST, IMPOSSIBLE = 0.02, 1e3  # smallest weight of a kind that is kept, unless a row loses so many nats without it


@dataclass(frozen=True)
class AverageOptions:
    """What an average consists of, and how it is fitted."""

    # ``auto`` for flows, Gaussians and mixtures, each of the better of two priors, of the rows and behind a map of
    # each column; ``gmm`` for those of the rows themselves; or a recipe's name for its flows alone
    flow: str = "auto"
    members: int | str = "auto"  # number of folds of the rows, and of flows
    # the flows' layers and widths; if None, small ones for few rows under ``auto``, else the recipe's
    layers: int | None = None
    hidden: Sequence[int] | None = None
    # fields of :class:`~.members.MemberOptions`; those that are None are chosen by the number of rows
    training: Mapping[str, float | None] = field(default_factory=dict)
    epochs: int | None = None  # the number of steps, given as passes over the rows
    seconds: float | None = None  # time limit of all; the result then depends on the machine's speed
    small: bool = False  # whether ``auto`` uses small flows regardless of the number of rows
    quick: bool = False  # whether it uses no flows, which take longest
    classes: int = 0  # number of classes of the only column, whose networks are in place of the densities of ``flow``
    trees: bool = False  # whether boosted trees are tried, too; for one feature given a context
    seed: int = 0  # fixes the result

    def parts(self, rows: int) -> int:
        """Number of folds of so many rows."""
        return min(MEMBERS, max(rows // 2, 2)) if self.members == "auto" else max(int(self.members), 2)

    def flows(self, rows: Points, ends: float) -> Flows | None:
        """The flows of the average, if it has any."""
        name, features = "nsf" if self.flow == "auto" else self.flow, rows.features
        small = self.flow == "auto" and (self.small or len(rows) <= FEW_ROWS)
        if name == "gmm" or self.quick or (small and most_steps(len(rows), features) < WARM_UP):
            return None
        sizes: dict[str, Any] = {"layers": self.layers, "hidden": self.hidden}
        if small:
            wide = (max(32, features),) * 2
            sizes = {"layers": self.layers or LAYERS, "hidden": self.hidden or wide, "options": {"bins": BINS}}

        def make(seed: int) -> Flow:
            return flow_by_name(name, features, context=rows.given, **sizes, seed=seed)

        make(0)  # errors in names and sizes are raised before any work
        asked = {key: value for key, value in self.training.items() if value is not None}
        options = member_options(len(rows), features if small else None, learning_rate(name), {"ends": ends, **asked})
        if self.epochs is not None:
            options = MemberOptions(**{**vars(options), "steps": self.epochs * -(-len(rows) // options.batch_size)})
        again = features == 1 and self.epochs is None and "steps" not in asked  # steps of one number are quick
        return Flows(make, options, again)

    def ladders(self, rows: Points, ends: float) -> Iterator[Sequence[Sequence[MemberKind]]]:
        """Kinds of increasing size, each with its alternatives: mixtures, copulas, and flows, trained until a time."""
        parts = folds(len(rows), self.parts(len(rows)), self.seed)
        if self.classes:
            yield [[ClassNetworks(self.classes, ends)]]
            if self.trees:
                features = TreeFeatures.of_classes(rows, parts, self.classes, self.seed)
                yield [[OnFeatures(ClassNetworks(self.classes, ends), features)]]
            return
        if self.flow in ("auto", "gmm"):
            yield sizes_of_mixtures(rows, SIZES, PRIORS, behind=False)
        if self.flow == "auto":
            yield sizes_of_mixtures(rows, SIZES, PRIORS, behind=True)
        flows = self.flows(rows, ends)
        yield [[flows]] if flows else []
        if self.flow == "auto" and (less := Features.of_many_rows(rows, parts)):
            first, *larger = sizes_of_mixtures(less.rows, SIZES, PRIORS[:1], behind=True)
            flows = self.flows(less.rows, ends)
            rungs: list[Sequence[MemberKind]] = [first, *([[flows]] if flows else []), *larger]
            yield [[OnFeatures(kind, less, beats=kind.name) for kind in rung] for rung in rungs]
        if self.flow == "auto" and (inside := recurring(rows, self.seed)):
            left = None if self.seconds is None else max(ends - time.monotonic(), 0.1)
            yield [[GroupMember.of(rows, inside, lambda rest: cross_fit(rest, replace(self, seconds=left)))]]
        if self.trees:
            features = TreeFeatures.of_number(rows, parts, self.seed)
            sizes = sizes_of_mixtures(features.rows, SIZES[:3], PRIORS[:1], behind=True)
            yield [[OnFeatures(kind, features)] for (kind, *_) in sizes]
            flows = self.flows(features.rows, ends)
            yield [[OnFeatures(flows, features)]] if flows else []


@dataclass(frozen=True)
class CrossFitted:
    """The result of :func:`cross_fit`."""

    density: Average  # the average
    weights: dict[str, float]  # the weight of every kind that was tried
    # for every kind alone, and for the average: mean over rows that the fits did not see, in nats
    log_likelihood: dict[str, float]
    steps: list[int]  # number of steps for which each flow was trained
    folds: list[Tensor]  # indices of the rows of each fold
    without: list[Average]  # for each fold, the same average of the fits that did not see it


def wants_average(flow: str, members: int | str) -> bool:
    """Whether these names request an average regardless of the number of rows: ``gmm``, or more than one member."""
    if members != "auto" and (isinstance(members, bool) or not isinstance(members, int) or members < 1):
        raise InputError("expected a whole number of at least 1, or auto", "members", members)
    return flow == "gmm" or (isinstance(members, int) and members > 1)


def divided(rows: Points, options: AverageOptions) -> tuple[list[Tensor], list[Share]]:
    """The rows of each fold, and the other rows with those of each fold."""
    count = options.parts(len(rows))
    if len(rows) < 2 * count:
        raise ValueError(f"members={count} must be at least 2 and at most half of the rows, {len(rows)}")
    parts = folds(len(rows), count, options.seed)
    return parts, [(rows[others(parts, k)], rows[part]) for k, part in enumerate(parts)]


def cross_fit(rows: Points, options: AverageOptions) -> CrossFitted:
    """Fits every kind of density to rows of about mean 0 and variance 1, and averages them by how well they do on rows
    that they did not see."""
    parts, shares = divided(rows, options)
    tried: list[tuple[MemberKind, list[Density]]] = []
    held_out: dict[str, Tensor] = {}
    scores: dict[str, float] = {}
    started, seconds = time.monotonic(), options.seconds or math.inf
    with threads.using(1):  # small operators
        for ladder in list(filter(None, options.ladders(rows, started + TRAINED * seconds))):
            best = scores.get(ladder[0][0].beats, -math.inf)
            for rung, alternatives in enumerate(ladder):
                kind, fits = better(alternatives, shares, options.seed)
                log_prob = judge(fits, parts, shares)
                now = mean_and_error(log_prob, rows.weight)[0]
                if rung == 0 and now < best:
                    break
                tried.append((kind, fits))
                held_out[kind.name], scores[kind.name] = log_prob, now
                late = time.monotonic() - started > MIXED * seconds
                if late or now < best:  # larger ones are even worse
                    break
                best = now
        return _weighted(rows, parts, tried, held_out, scores, options.seed)


def _weighted(
    rows: Points,
    parts: list[Tensor],
    tried: list[tuple[MemberKind, list[Density]]],
    held_out: dict[str, Tensor],
    scores: dict[str, float],
    seed: int,
) -> CrossFitted:
    """The average of the kinds that get weight, each as it is kept."""
    logs = torch.stack([*held_out.values()])
    weights = stacked(logs, rows.weight)
    kept = {k: tried[k][0].kept(rows, tried[k][1], seed) for k in weights.nonzero()[:, 0].tolist()}
    used = sound(kept, rows, seed)
    weights = torch.zeros_like(weights).scatter(0, torch.tensor(list(used)), weights[list(used)])
    weights = weights / weights.sum()
    members = [(member, weights[k] / len(kept)) for k, kept in used.items() for member in kept]
    without = [Average([tried[k][1][fold] for k in used], weights[list(used)]) for fold in range(len(parts))]
    average = (logs + weights.log()[:, None]).logsumexp(0)
    scores = {**scores, "average": mean_and_error(average, rows.weight)[0]}
    steps = [step for kind, _ in tried for step in kind.steps]
    shares = dict(zip(held_out, weights.tolist(), strict=True))
    density = Average([member for member, _ in members], torch.stack([weight for _, weight in members]))
    return CrossFitted(density, shares, scores, steps, parts, without)


def sound(used: dict[int, list[Density]], rows: Points, seed: int) -> dict[int, list[Density]]:
    """The densities of each kind whose draws stay near the rows, whatever the context; all of them if none do.

    Where a context is unusual, a density that has learnt little of such may draw a value far from all others, which
    costs an average no likelihood.
    """
    near = {k: [each for each in kept if _farthest(each, rows, seed) < FAR] for k, kept in used.items()}
    return {k: kept for k, kept in near.items() if kept} or used


@torch.no_grad()
def _farthest(density: Density, rows: Points, seed: int) -> float:
    """How far draws, given the rows' contexts, are beyond all rows, in widths of these."""
    generator = torch.Generator().manual_seed(seed)
    at = torch.randint(len(rows), (DRAWS,), generator=generator).sort().values  # trees read equal neighbours once
    context = None if rows.context is None else rows.context[at]
    drawn = density.sample((DRAWS,) if context is None else (), context, generator=generator)
    low, high = rows.x.flatten(0, 1).aminmax(dim=0)
    beyond = torch.maximum(drawn - high, low - drawn) / (high - low).clamp_min(1e-6)
    return float(beyond.nan_to_num(nan=math.inf).max())


def stacked(log_prob: Tensor, weight: Tensor | None = None, prior: float = 1.0) -> Tensor:
    """Weights of an average that maximise the likelihood of held-out rows, by expectation maximisation.

    Args:
        log_prob: For every kind of density and row, ``(kinds, n)``, from fits that did not see the row.
        weight: The weight of each row.
        prior: Pseudo-rows given to every kind at the start. Kinds that end up below ``LEAST`` get 0, unless a row
            that the others hold for impossible has hardly any density without them.

    Returns:
        ``(kinds,)``, summing to 1.
    """
    count = torch.ones(log_prob.shape[1]) if weight is None else weight
    shares = torch.full((len(log_prob),), 1 / len(log_prob), dtype=log_prob.dtype)
    for _ in range(200):
        belongs = (log_prob + shares.log()[:, None]).softmax(0)
        counts = (belongs * count.to(log_prob)).sum(1) + prior
        shares = counts / counts.sum()
    kept = torch.where(shares < min(LEAST, float(shares.max())), 0.0, shares)
    loss = (log_prob + shares.log()[:, None]).logsumexp(0) - (log_prob + kept.log()[:, None]).logsumexp(0)
    return shares if bool((loss > IMPOSSIBLE).any()) else kept / kept.sum()


@torch.no_grad()
def share_of_medians(found: CrossFitted, rows: Points) -> float:
    """In which share of cases an average of one number is to be drawn as the median of three, by the likelihood of rows
    that its parts did not see: 0 unless that gains more than Akaike's price of a number that is learnt. An average is
    as wide as its parts at least; where these are too narrow, it may not be.
    """
    peaked = torch.empty(len(rows), dtype=torch.float64)  # the density of the median, divided by that of one draw
    for density, fold in zip(found.without, found.folds, strict=True):
        context = None if rows.context is None else rows.context[fold]
        below = torch.stack([density.cdf(x, context).double() for x in rows.x[:, fold]])
        peaked[fold] = (6 * below * (1 - below)).mean(0)
    logs = torch.stack([torch.zeros_like(peaked), peaked.log()])
    share = min(float(stacked(logs, rows.weight, prior=0.0)[1]), 1 - LEAST)
    gain = rows.weight.double() @ torch.log1p(share * (peaked - 1))
    return share if gain > 1 else 0.0


def better(alternatives: Sequence[MemberKind], shares: Sequence[Share], seed: int) -> tuple[MemberKind, list[Density]]:
    """Of kinds that differ in their prior, the one with the highest held-out likelihood, on one fold alone; and its
    fits to all shares."""
    if len(alternatives) == 1:
        return alternatives[0], alternatives[0].cross_fit(shares, seed)
    judged, tried = shares[0][1], [(kind, kind.cross_fit(shares[:1], seed)) for kind in alternatives]
    best, _ = max(tried, key=lambda pair: mean_and_error(_log_prob(pair[1][0], judged, 1), judged.weight)[0])
    return best, best.cross_fit(shares, seed)  # of the first shares, as features of their rows are by fold


def judge(fits: Sequence[Density], parts: Sequence[Tensor], shares: Sequence[Share], copies: int = JUDGED) -> Tensor:
    """Every row's log-density under the fit that did not see it, ``(n,)``."""
    logs = torch.empty(sum(map(len, parts)), dtype=torch.float64)
    for density, part, (_, judged) in zip(fits, parts, shares, strict=True):
        logs[part] = _log_prob(density, judged, copies)
    return logs


@torch.no_grad()
def _log_prob(density: Density, rows: Points, copies: int) -> Tensor:
    """The log-density of every row, averaged over some points of its cell."""
    logs = [density.log_prob(x, rows.context).double() for x in rows.x[:copies]]
    return torch.stack(logs).logsumexp(0).clamp_min(-1e6) - math.log(len(logs))


def most_steps(rows: int, features: int | None) -> float:
    """Steps of a flow; fewer for small flows with more features, which are slower, and for few rows."""
    return max(MemberOptions.steps, rows // 2) / max((features or 0) / 8, 1.0)


def member_options(rows: int, features: int | None, lr: float, asked: Mapping[str, float]) -> MemberOptions:
    """How members are trained; ``features`` is the number of features of small flows, None for others."""
    most, batch = most_steps(rows, features), {}
    if features is not None and "lr" not in asked:
        least, lr = lr, min(lr * max(rows / SMALL, 1.0), RATE)
        most, batch = most * math.sqrt(least / lr), {"batch_size": BATCH}  # larger steps, so fewer of them
    return MemberOptions(**{"steps": min(round(most), MOST_STEPS), "lr": lr, **batch, **asked})  # type: ignore[arg-type]
