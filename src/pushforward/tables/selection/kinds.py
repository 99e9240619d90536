"""The kinds of density that are averaged for few rows: mixtures of Gaussians, the same behind a copula, and flows; all
given a context, or features of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from ...distributions.average import Average, GivenFeatures
from ...distributions.base import Density
from ...distributions.flow import Flow
from ...distributions.mixture import GaussianMixture
from ...numerics.kernel import smoothing
from ...training.batches import mix
from ...transforms.compose import Compose
from .members import MemberOptions, Points, others, train_members

SIZES = (1, 3, 8, 20, 40)  # components of the mixtures to try, if there are ROWS_EACH times as many rows
ROWS_EACH = 8
WIDE = 4  # rows per column below which one Gaussian may be shrunk to the columns' own variances by as many pseudo-rows
WORK = 2e8  # upper limit on components times cubed columns, the cost of an EM step
LATE, LONGER = 0.5, 4  # share of a training's steps, after which its best is still to come; how much longer the next is
PRIORS = (1.0, 0.1)  # pseudo-rows that shrink a component's covariance to the columns' own variances

Share = tuple[Points, Points]  # the rows of a fit, and those that it does not see


class MemberKind(ABC):
    """A kind of density, fitted to the rows of each share."""

    steps: Sequence[int] = ()  # number of steps for which each of its densities was trained, if that takes steps
    beats: str = ""  # name of the kind that it must be as good as to begin a ladder

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def cross_fit(self, shares: Sequence[Share], seed: int) -> list[Density]:
        """One density for each share, from the rows that are not held out from it."""

    def kept(self, rows: Points, fits: list[Density], seed: int) -> list[Density]:
        """What joins the average, in equal parts: the fits themselves, each stopped by the rows that it did not see."""
        return fits


@dataclass(frozen=True)
class MixtureMember(MemberKind):
    """A mixture of Gaussians; a single one is a Gaussian. It needs no rows to stop it: one more, of all, is kept."""

    size: int  # number of components
    prior: float  # pseudo-rows that shrink a component's covariance to the columns' own variances
    behind: bool = False  # whether it is a mixture of the rows after their Gaussian copula

    @property
    def name(self) -> str:
        return f"{'copula' if self.behind else 'mixture'} of {self.size}"

    def cross_fit(self, shares: Sequence[Share], seed: int) -> list[Density]:
        return [self.fit(train, seed) for train, _ in shares]

    def kept(self, rows: Points, fits: list[Density], seed: int) -> list[Density]:
        return [self.fit(rows, seed)]

    def fit(self, rows: Points, seed: int) -> Density:
        """The mixture that maximises the likelihood of all points of all rows."""
        points = rows.behind(rows.copula) if self.behind else rows
        x = points.x[: smoothing(len(rows))]
        mixture = GaussianMixture(rows.features, self.size, context=rows.given).to(x)
        mixture.fit(
            x.flatten(0, 1),
            None if rows.context is None else rows.context.repeat(len(x), 1),
            weight=rows.weight.repeat(len(x)),
            prior=self.prior * len(x),
            max_steps=60,
            tolerance=1e-3,
            seed=seed,
        )
        return Flow(rows.copula, mixture, context=rows.given) if self.behind else mixture


@dataclass(frozen=True)
class Flows(MemberKind):
    """Flows that start as the Gaussian copula of their rows: their layers, which start as the identity, learn the rest.

    Each stops where the rows that it does not see no longer improve, so it is never worse than its start by more than
    the noise of that evaluation. Each is trained on nearly all rows, so all are kept. If most of them still improve in
    the second half, as where a number nearly follows from others, they are trained again, from there and for longer.

    Reference:
        Loshchilov, Hutter (2017), SGDR: Stochastic gradient descent with warm restarts, arXiv:1608.03983.
    """

    make: Callable[[int], Flow]  # makes untrained layers from a seed
    options: MemberOptions  # how they are trained
    again: bool = False  # whether they may be
    steps: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "flow"

    def cross_fit(self, shares: Sequence[Share], seed: int) -> list[Density]:
        starts = [train.copula for train, _ in shares]
        train = [rows.behind(start) for (rows, _), start in zip(shares, starts, strict=True)]
        judged = [rows.behind(start) for (_, rows), start in zip(shares, starts, strict=True)]
        layers = [self.make(mix(seed, k, 4)) for k in range(len(shares))]
        steps = train_members(layers, train, judged, self.options, seed)
        if self.again and median(steps) > LATE * self.options.steps:
            longer = {name: LONGER * getattr(self.options, name) for name in ("steps", "patience")}
            more = train_members(layers, train, judged, replace(self.options, **longer), mix(seed, 7))
            steps = [first + second for first, second in zip(steps, more, strict=True)]
        self.steps.extend(steps)
        return [
            Flow(Compose([start, inner.transform]), inner.base, context=inner.context_features).eval()
            for start, inner in zip(starts, layers, strict=True)
        ]


@dataclass(frozen=True)
class Features:
    """Features of the contexts of some rows."""

    rows: Points  # the rows, with the features as their contexts
    folds: Sequence[Tensor]  # indices of the rows of each fold
    parts: Sequence[nn.Module]  # for each fold, the module that computes them without having seen it
    whole: nn.Module  # the module that computes them for other rows
    name: str  # how kinds of density that read them are called

    @classmethod
    def of_many_rows(cls, rows: Points, folds: Sequence[Tensor]) -> Features | None:
        """Those that many rows have, or the commonest, if there are others: what the names of many rows tell, a name
        for every few rows would hide."""
        if rows.context is None:
            return None
        counts = (rows.context != rows.context.median(0).values).sum(0)
        often = (counts >= counts.max().clamp_max(ROWS_EACH)).nonzero()[:, 0]
        if len(often) == rows.given:
            return None
        chosen = skip_init(nn.Linear, rows.given, len(often), bias=False).requires_grad_(False)
        chosen.weight.copy_(torch.eye(rows.given)[often])
        some = replace(rows, context=rows.context[:, often])
        return cls(some, folds, [chosen] * len(folds), chosen, "reading less")


@dataclass(frozen=True)
class OnFeatures(MemberKind):
    """A kind of density, given features of the context."""

    inner: MemberKind
    features: Features
    beats: str = ""

    @property
    def name(self) -> str:
        return f"{self.inner.name} {self.features.name}"

    @property
    def steps(self) -> Sequence[int]:  # type: ignore[override]
        return self.inner.steps

    def cross_fit(self, shares: Sequence[Share], seed: int) -> list[Density]:
        known = self.features
        own = [(known.rows[others(known.folds, k)], known.rows[fold]) for k, fold in enumerate(known.folds)]
        fits = self.inner.cross_fit(own[: len(shares)], seed)
        given = shares[0][0].given
        return [GivenFeatures(fit, part, context=given) for fit, part in zip(fits, known.parts, strict=False)]

    def kept(self, rows: Points, fits: list[Density], seed: int) -> list[Density]:
        inner = self.inner.kept(self.features.rows, [fit.density for fit in fits], seed)  # type: ignore[misc]
        density = inner[0] if len(inner) == 1 else Average(inner)
        return [GivenFeatures(density, self.features.whole, context=rows.given)]


def sizes_of_mixtures(
    rows: Points, sizes: Sequence[int], priors: Sequence[float], behind: bool
) -> list[list[MixtureMember]]:
    """The mixtures that there are enough rows and time for, the smaller ones first; each with every prior."""
    columns = rows.features + rows.given

    def fits(size: int) -> bool:
        return columns < len(rows) >= size * ROWS_EACH and size * columns**3 <= WORK

    alone = (0.0, float(columns)) if len(rows) < WIDE * columns else (0.0,)
    tried = [size for size in sizes if size == 1 or fits(size)]
    return [[MixtureMember(size, prior, behind) for prior in (priors if size > 1 else alone)] for size in tried]
