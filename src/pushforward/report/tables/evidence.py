"""What is measured of a density of rows: likelihoods, coverage, ranks, latents, a Gaussian to beat."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from ... import plot
from ...diagnostics import calibrated, local
from ...diagnostics.averages import rules_out
from ...diagnostics.calibrated import LEVELS, Calibration
from ...diagnostics.local import LocalTest
from ...diagnostics.ranks import rank
from ...distributions.base import Density, StandardNormal
from ...distributions.mixed import Mixed
from ...distributions.truncated import untruncated
from ...errors import counted
from ...numerics.partly_known import partly_known
from ...tables.schema.cells import Cells, LogProb
from ...tables.schema.schema import Schema
from ...training.batches import Rows
from ..blocks import Fact, Finding
from ..evidence import Drawn, Evidence, Lead, shuffled
from ..words import decimals_of, percent, step_decimals

BATCH = 2048
DRAWS = 99  # for each context
EQUAL = 1e-5  # nats, by which equal rows may differ, since batches round differently
PERMUTATIONS = 20  # of the local test


@dataclass(frozen=True)
class DrawnRows(Drawn):
    """Rows drawn from a model (m, features), for the held-out contexts if there are any."""

    # for held-out rows, the share of the model's own rows (of the same context) that are denser; uniform on [0, 1] if
    # the model is exact
    level: Tensor
    judged: Tensor | None = None  # with contexts, indices of the held-out rows that have draws of their own
    own: Tensor | None = None  # with contexts, these draws, (DRAWS, judged, features)
    denser: Tensor | None = None  # with contexts, how many of them are denser than each row, (judged,)


@dataclass(frozen=True)
class ReportedDrift:
    """How the rows of a report differ from others, which a model did not see at its fit."""

    verdict: str  # in a sentence
    others: Tensor  # these rows (m, features)
    # columns, the most moved first: name, p-value, divergence in nats, and the change in words
    moved: Sequence[tuple[str, float, float, str]]


@dataclass(frozen=True, kw_only=True)
class RowEvidence(Evidence):
    """A density of rows judged by held-out rows; float64 on the CPU."""

    noun: ClassVar[str] = "row"
    unit: ClassVar[str] = "nats per row"
    key: ClassVar[str] = "mean_log_likelihood"
    sign: ClassVar[int] = 1
    rival: ClassVar[str] = "a full-covariance Gaussian"
    trained: ClassVar[int] = 5000
    histogram: ClassVar[Callable[[Any, Any], Any]] = staticmethod(plot.densities)

    density: Density
    cells: Cells  # the cells that values stand for, with what fills missing ones
    schema: Schema  # what the rows consist of
    gaussian: LogProb  # log-densities of a Gaussian fitted to the training rows
    whole: Rows  # the held-out rows, with a draw in place of every cell that is known in part
    # maps rows to a frame: the column to blame in each, the value that would fit, and the gain in nats
    explain: Callable[[Rows], Any]
    samples: int = 4000  # how many rows are drawn
    # how they differ from the rows that were held out at the fit, if they are others
    drift: ReportedDrift | None = None

    @property
    def data(self) -> Tensor:
        return self.whole.x

    @property
    def told(self) -> bool:
        """Whether all cells are known, or were drawn where they are known in part, so that rows can be ranked."""
        return not bool(partly_known(self.data).any())

    @cached_property
    def decimals(self) -> list[int]:
        """The number of meaningful decimals of each feature, by its grid or its spread."""
        return [
            step_decimals(column.kind.step) if column.kind.step else decimals_of(float(seen(x).std(correction=0)))
            for column, x in zip(self.schema.columns, self.data.T, strict=True)
        ]

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.density.parameters())

    @torch.no_grad()
    def score(self, rows: Rows, points: int = 16, by: LogProb | None = None) -> Tensor:
        """Log-densities, or those by another density than the model's; -inf where it does not give a number.

        Of whole or rounded numbers, the average over each row's cell, at ``points`` points.
        """
        here = rows.to(self.density.device if by is None else rows.x.device)
        by = by or self.density.log_prob
        return self.cells.log_density(by, here.x, here.context, samples=points, seed=self.page.seed)[0]

    def measure(self, log_prob: Tensor) -> Tensor:
        return log_prob

    @property
    def own(self) -> DrawnRows:
        own = self.drawn[0]
        assert isinstance(own, DrawnRows)
        return own

    def draw(self) -> DrawnRows:
        generator = torch.Generator(self.density.device).manual_seed(self.page.seed)
        if self.context is not None:
            return self._draw_for_contexts(self.context, generator)
        drawn = sampled(self.density, self.cells.schema, self.samples, None, generator)
        log_prob, ours = self.score(Rows(drawn)), self.log_prob if self.whole is self.held else self.score(self.whole)
        return DrawnRows(drawn, log_prob, len(drawn), denser_share(log_prob, ours, self.page.seed))

    def _draw_for_contexts(self, context: Tensor, generator: torch.Generator) -> DrawnRows:
        """Drawn for the contexts of some rows, and the level of each of the rows among its own.

        The rank of an exact model's row among K draws is uniform on 0 … K: with K = 99, coverage at 10 %, 20 %, … is
        exact.
        """
        seed = self.page.seed
        rows = shuffled(len(context), seed)[: max(self.samples // 10, 20)]
        judged = self.whole[rows]
        repeated = context[rows].repeat_interleave(DRAWS, 0)  # (rows · DRAWS, context features)
        drawn = sampled(self.density, self.cells.schema, len(repeated), repeated, generator)
        theirs = self.score(Rows(drawn, repeated), points=4)
        ours = self.score(judged, points=4)  # the bias of few points affects both
        denser = rank(-ours, -theirs.view(len(rows), DRAWS).T, torch.Generator().manual_seed(seed))
        keep, own = shuffled(len(drawn), seed)[: self.samples], drawn.view(len(rows), DRAWS, -1).transpose(0, 1)
        level = (denser + 0.5) / (DRAWS + 1)
        return DrawnRows(drawn[keep], theirs[keep], len(drawn), level, rows, own, denser)

    @cached_property
    @torch.no_grad()
    def latent(self) -> Tensor | None:
        """z = f(x) of the held-out rows (n, dimensions), at a random point of each one's cell; None for a model without
        latents."""
        whole, x = untruncated(self.density), self.data
        inner = whole.numbers if isinstance(whole, Mixed) else whole
        transform = getattr(inner, "transform", None)
        if not self.told or transform is None or not isinstance(getattr(inner, "base", None), StandardNormal):
            return None
        u = torch.rand(x.shape, generator=torch.Generator().manual_seed(self.page.seed), dtype=x.dtype)
        points = Cells(self.cells.schema).weighted(x, u, holes=bool(x.isnan().any()))[0]

        def run(x: Tensor, c: Tensor | None = None) -> Tensor:
            x, c = self.density._check(x, c)
            if isinstance(whole, Mixed):
                _, x, c = whole.divide(x, c)
            return transform(x, c)[0].flatten(1).double().cpu()

        here = Rows(points, self.context).to(self.density.device)
        return torch.cat([run(*part) for part in here.chunks(BATCH)])

    @cached_property
    def baseline(self) -> Lead | None:
        """The lead over the Gaussian."""
        return self.lead_over(self.score(self.held, by=self.gaussian))

    @cached_property
    def coverage(self) -> dict[str, list[float]]:
        """Share of rows within the highest-density region of each nominal level, and its error if the flow were
        exact."""
        n, draws = len(self.own.level), math.inf if self.context is not None else self.own.count
        errors = [math.sqrt(level * (1 - level) * (1 / n + 1 / draws)) for level in LEVELS]
        return {"levels": list(LEVELS), "covered": calibrated.coverage(self.own.level), "error": errors}

    @cached_property
    def ranks(self) -> Calibration | None:
        """With contexts: the ranks of held-out rows among draws for their own context."""
        rows, own, denser = self.own.judged, self.own.own, self.own.denser
        if not self.told or rows is None or own is None or denser is None or len(rows) < calibrated.FEWEST:
            return None
        generator = torch.Generator().manual_seed(self.page.seed)
        return calibrated.judge(self.data[rows], own, denser, self.schema.features, generator)

    @cached_property
    def local(self) -> LocalTest | None:
        """With contexts, enough rows and scikit-learn: whether a classifier distinguishes held-out rows from draws."""
        rows, own = self.own.judged, self.own.own
        if rows is None or own is None or self.context is None or len(rows) < local.FEWEST:
            return None
        with contextlib.suppress(ImportError):
            contexts, seed = self.context[rows], self.page.seed
            return local.local_test(own, self.data[rows], contexts, permutations=PERMUTATIONS, seed=seed)
        return None

    @cached_property
    def normality(self) -> list[dict[str, float]]:
        """Mean, standard deviation and Kolmogorov-Smirnov distance to N(0, 1) of every latent dimension."""
        return [
            {"mean": float(z.mean()), "sd": float(z.std()) if len(z) > 1 else 0.0, "ks": ks_distance(z)}
            for z in (() if self.latent is None else self.latent.T)
        ]

    @property
    def findings(self) -> list[Finding]:
        if not self.told:
            return []
        ranked = [] if self.ranks is None else [Finding("good" if self.ranks.trusted else "fair", self.ranks.verdict)]
        return [confidence(self.coverage), *ranked, *noise(self.normality, len(self.data))]

    @property
    def introduction(self) -> str:
        n, columns = len(self.data), counted(len(self.schema.table_names), "column")
        whose = "that were held out" if self.drift is None else "of another table than the one that was fitted"
        return (
            f"A density was fitted to a table of {columns}: a formula that says "
            "how common or rare any row would be, and that can invent new ones. This page judges it on "
            f"{counted(n, 'row')} {whose}. On average such a row has a log-density of {self.held_out} nats "
            "(the mean and its standard error; higher is better, and the zero depends on the units of the columns)."
        )

    @property
    def facts(self) -> list[Fact]:
        n = len(self.data)
        found = [("Held-out log-likelihood", str(self.held_out), self.unit)]
        if self.baseline is not None:
            ruled_out = rules_out(self.baseline.theirs.error, self.held_out.error)
            lead = ("without meaning", "it rules rows out") if ruled_out else (str(self.baseline.lead), self.unit)
            found.append(("Above a Gaussian by", *lead))
        return [*found, ("Held-out rows", f"{n:,}", f"of {counted(len(self.schema.table_names), 'column')}")]

    @property
    def about_fit(self) -> str:
        given = "" if self.context is None else " Its mean follows the context linearly."
        if self.schema.labels:
            given += " Categories have their frequencies in it, independently; the mean of the numbers follows them."
        if self.whole is not self.held:
            given += " A row that knows part of a cell has that part's probability, and is likelier than drawn ones."
        return (
            f"The Gaussian is fitted to the training rows.{given} The lead is taken row by row, so that its error is "
            "that of the difference, not of the two means."
        )

    @property
    def losses(self) -> tuple[str, str, float]:
        if self.page.history and self.page.history[-1].get("objective") == "matching":
            return "The loss is the mean squared error of the field (flow matching)", "squared error per feature", 1.0
        return "The loss is the mean negative log-likelihood", self.unit, 1.0


@torch.no_grad()
def sampled(density: Density, schema: Schema, n: int, context: Tensor | None, generator: torch.Generator) -> Tensor:
    """Rows drawn from a density as the table can have them, with gaps, ``(n, features)``, float64 on the CPU; one for
    each context, if there are contexts."""
    shapes = [((min(BATCH, n - start),), None) for start in range(0, n, BATCH)]
    asked = shapes if context is None else [((), part) for part in context.to(density.device).split(BATCH)]
    drawn = torch.cat([density.sample(*each, generator=generator).double().cpu() for each in asked])
    return schema.snap(schema.missingness.drawn(drawn, generator))


def seen(values: Tensor) -> Tensor:
    """The values of a column that are not missing; a single NaN if all are."""
    there = values[~values.isnan()]
    return there if len(there) else values[:1]


def ks_distance(values: Tensor) -> float:
    """The largest gap between the empirical distribution function and that of N(0, 1)."""
    cdf = torch.special.ndtr(values.sort().values)
    n = len(values)
    step = torch.arange(n, dtype=cdf.dtype) / n
    return float(torch.maximum(cdf - step, step + 1 / n - cdf).max())


def denser_share(reference: Tensor, values: Tensor, seed: int = 0) -> Tensor:
    """For each value, the share of the reference that is larger, from its rank among them: ties, up to rounding, are
    broken at random, as rows that are equal would else all enter a region together."""
    u = torch.rand(values.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ordered = reference.sort().values
    above = len(ordered) - torch.searchsorted(ordered, values + EQUAL, right=True)
    ties = len(ordered) - torch.searchsorted(ordered, values - EQUAL) - above
    return (above + u * (ties + 1)) / (len(ordered) + 1)


def confidence(coverage: dict[str, list[float]]) -> Finding:
    """Judges the worst of nine levels, whose gap exceeds 2.8 standard errors about once in fifty times by chance."""
    gaps = [abs(a - b) for a, b in zip(coverage["covered"], coverage["levels"], strict=True)]
    worst = max(range(len(gaps)), key=lambda i: gaps[i])
    level, covered, error = (coverage[key][worst] for key in ("levels", "covered", "error"))
    words = f"the region that should hold {percent(level, 0)} of rows holds {percent(covered)} of the held-out ones"
    if gaps[worst] <= 2.8 * error:
        said = f"Its confidence is right: even where it is furthest off, {words}, which chance explains."
        return Finding("good", said)
    if gaps[worst] <= 0.02:
        return Finding("good", f"Its confidence is nearly right: where it is furthest off, {words}.")
    side = "larger" if covered > level else "smaller"
    grade = "fair" if gaps[worst] < 0.06 else "poor"
    return Finding(grade, f"Its confidence is not quite right: {words}, so the region is {side} than it should be.")


def noise(normality: Sequence[dict[str, float]], rows: int) -> list[Finding]:
    """Whether the latents of held-out rows are standard normal noise; nothing for a model without latents."""
    if not normality:
        return []
    distance, bound = max(z["ks"] for z in normality), ks_bound(rows, len(normality))
    of = counted(len(normality), "latent dimension")
    words = f"the distribution of the worst of {of} is off by {percent(distance)} at most"
    if distance <= bound:
        return [Finding("good", f"The latents look like standard normal noise: {words}, which chance explains.")]
    if distance < 0.1:
        return [Finding("fair", f"The latents are close to standard normal noise, not exactly so: {words}.")]
    return [Finding("poor", f"The latents are not standard normal noise: {words} (chance: {percent(bound)}).")]


def ks_bound(n: int, tests: int) -> float:
    """The distance below which the worst of several dimensions of true noise stays with probability 0.95.

    The asymptotic bound with a Bonferroni correction, sqrt(-log(alpha / 2) / 2n) for alpha = 0.05 / tests.
    """
    return math.sqrt(-0.5 * math.log(0.05 / tests / 2) / n)
