"""What is measured of a density of rows: likelihoods, coverage, ranks, latents, a Gaussian to beat."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from ... import plot
from ...diagnostics import calibrated, local
from ...diagnostics.calibrated import LEVELS, Calibration
from ...diagnostics.linear_gaussian import LinearGaussian
from ...diagnostics.local import LocalTest
from ...diagnostics.ranks import rank
from ...diagnostics.repairs import LogProb
from ..blocks import Fact, Finding
from ..evidence import Evidence, Lead, Page, shuffled
from ..words import count
from . import findings
from .columns import ReportedColumns
from .model import RowModel

DRAWS = 99  # for each context
TRAINING = 5000  # training rows that are scored
PERMUTATIONS = 20  # of the local test


@dataclass(frozen=True)
class ContextDraws:
    """With contexts: held-out rows beside draws for their own contexts.

    Attributes:
        rows: Indices of the held-out rows that have draws, (judged,).
        draws: The draws, (DRAWS, judged, features).
        denser: How many of them are denser than each row, (judged,).
    """

    rows: Tensor
    draws: Tensor
    denser: Tensor


@dataclass(frozen=True, kw_only=True)
class RowEvidence(Evidence):
    """A density of rows judged by held-out rows; float64 on the CPU.

    Args:
        model: The density.
        columns: What the rows consist of.
        data: Held-out rows (n, features).
        context: Their contexts, or None.
        train, train_context: Training rows and their contexts, or None.
        samples: Rows drawn from the model (m, features), for the held-out contexts if there are any.
        level: For held-out rows, the share of the model's own rows (of the same context) that are denser; uniform on
            [0, 1] if the model is exact.
        own: With contexts, the draws that these levels are taken from.
        latent: z = f(x) of the held-out rows (n, dimensions), or None for a model without latents.
        gaussian: Log-densities of a Gaussian fitted to the training rows, if these are no longer at hand.
        numbers: The rows' numbers in the user's file, from 1.
    """

    noun: ClassVar[str] = "row"
    unit: ClassVar[str] = "nats per row"
    key: ClassVar[str] = "mean_log_likelihood"
    sign: ClassVar[int] = 1
    rival: ClassVar[str] = "a full-covariance Gaussian"
    histogram: ClassVar[Callable[[Any, Any], Any]] = staticmethod(plot.densities)

    model: RowModel
    columns: ReportedColumns
    data: Tensor
    context: Tensor | None
    train_rows: Tensor | None
    train_context: Tensor | None
    samples: Tensor
    level: Tensor
    own_draws: ContextDraws | None
    latent: Tensor | None
    gaussian: LogProb | None
    numbers: Sequence[int]

    def measure(self, log_prob: Tensor) -> Tensor:
        return log_prob

    @property
    def drawn(self) -> int:
        return len(self.samples) if self.own_draws is None else len(self.level) * DRAWS

    @cached_property
    def baseline(self) -> Lead | None:
        """The lead over a Gaussian: the given one, or one fitted to the training rows, or to half of the held-out ones.

        In the last case the comparison is on the other half. None if there are too few rows for a covariance, or a
        column does not vary.
        """
        gaussian, test = self.gaussian, torch.arange(len(self.data))
        if gaussian is None:
            fitted, given = self.train_rows, self.train_context
            if fitted is None:
                half, test = self._halves
                fitted, given = self.data[half], None if self.context is None else self.context[half]
            gaussian = self._fit_gaussian(fitted, given)
        if gaussian is None:
            return None
        context = self.context[test] if self.sees_context and self.context is not None else None
        return self.lead_over(self.model.score(gaussian, self.data[test], context), test)

    @property
    def sees_context(self) -> bool:
        """Whether the Gaussian's mean follows the context."""
        known = self.gaussian is not None or self.train_rows is None or self.train_context is not None
        return self.context is not None and known

    @property
    def _halves(self) -> tuple[Tensor, Tensor]:
        order = shuffled(len(self.data), self.page.seed)
        return order[: len(order) // 2], order[len(order) // 2 :]

    def _fit_gaussian(self, rows: Tensor, context: Tensor | None) -> LogProb | None:
        context = context if self.sees_context else None
        features = rows.shape[1] + sum(self.columns.classes) + (0 if context is None else context.shape[1])
        if len(rows) <= features + 1 or bool((rows[:, self.columns.numbers].std(0) == 0).any()):
            return None
        return LinearGaussian(self.model.spread(rows), context, self.columns.classes)

    @cached_property
    def coverage(self) -> dict[str, list[float]]:
        """Share of rows within the highest-density region of each nominal level, and its error if the flow were
        exact."""
        n, draws = len(self.level), math.inf if self.own_draws is not None else len(self.samples)
        errors = [math.sqrt(level * (1 - level) * (1 / n + 1 / draws)) for level in LEVELS]
        return {"levels": list(LEVELS), "covered": calibrated.coverage(self.level), "error": errors}

    @cached_property
    def ranks(self) -> Calibration | None:
        """With contexts: the ranks of held-out rows among draws for their own context."""
        own = self.own_draws
        if own is None or len(own.rows) < calibrated.FEWEST:
            return None
        generator = torch.Generator().manual_seed(self.page.seed)
        return calibrated.judge(self.data[own.rows], own.draws, own.denser, self.columns.names, generator)

    @cached_property
    def local(self) -> LocalTest | None:
        """With contexts, enough rows and scikit-learn: whether a classifier distinguishes held-out rows from draws."""
        own = self.own_draws
        if own is None or self.context is None or len(own.rows) < local.FEWEST:
            return None
        with contextlib.suppress(ImportError):
            rows, contexts = self.data[own.rows], self.context[own.rows]
            return local.local_test(own.draws, rows, contexts, permutations=PERMUTATIONS, seed=self.page.seed)
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
        found = [findings.calibrated(self.coverage), findings.ranked(self.ranks)]
        found.append(findings.normal(self.normality, len(self.data)))
        return [verdict for verdict in found if verdict is not None]

    @property
    def introduction(self) -> str:
        n, d = self.data.shape
        return (
            f"A normalizing flow was fitted to a table of {count(d, 'column')}: a formula that says how common or rare "
            f"any row would be, and that can invent new ones. This page judges it on {count(n, 'row')} that were held "
            f"out. On average such a row has a log-density of {self.held_out} nats (the mean and its standard error; "
            "higher is better, and the zero depends on the units of the columns)."
        )

    @property
    def facts(self) -> list[Fact]:
        n, d = self.data.shape
        found = [("Held-out log-likelihood", str(self.held_out), self.unit)]
        if self.baseline is not None:
            found.append(("Above a Gaussian by", str(self.baseline.lead), self.unit))
        return [*found, ("Held-out rows", f"{n:,}", f"of {count(d, 'column')}")]

    @property
    def about_fit(self) -> str:
        if self.baseline is None:
            return ""
        seen = "the training rows"
        if self.gaussian is None and self.train_rows is None:
            seen = "one half of the held-out rows and compared on the other half"
        given = ""
        if self.context is not None:
            given = " Its mean follows the context linearly." if self.sees_context else " It does not see the context."
        if self.columns.labels:
            given += (
                " Categories have their frequencies in it, independently, and the mean of the numbers follows them."
            )
        return (
            f"The Gaussian is fitted to {seen}.{given} The lead is taken row by row, so that its error is that of the "
            "difference, not of the two means."
        )

    @property
    def losses(self) -> tuple[str, str, float]:
        if self.page.history and self.page.history[-1].get("objective") == "matching":
            return "The loss is the mean squared error of the field (flow matching)", "squared error per feature", 1.0
        return "The loss is the mean negative log-likelihood", self.unit, 1.0


def row_evidence(
    model: RowModel,
    columns: ReportedColumns,
    data: Tensor,
    page: Page,
    *,
    context: Tensor | None = None,
    train: Tensor | None = None,
    train_context: Tensor | None = None,
    numbers: Sequence[int] | None = None,
    samples: int = 4000,
    gaussian: LogProb | None = None,
    percentile: Callable[[Any], Any] | None = None,
) -> RowEvidence:
    """Evaluates the model on held-out rows, on training rows and on rows that it draws itself.

    The arguments are those of :class:`RowEvidence`; ``samples`` is how many rows are drawn.
    """
    generator = torch.Generator(model.device).manual_seed(page.seed)
    started = time.perf_counter()
    log_prob = model.log_prob(data, context)
    scored = time.perf_counter()
    own = None
    if context is None:
        drawn = model.sample(samples, None, generator)
        drawn_log_prob = model.log_prob(drawn)
        level = denser_share(drawn_log_prob, log_prob)
    else:
        drawn, drawn_log_prob, level, own = _for_each_context(model, data, context, samples, page.seed, generator)
    ended = time.perf_counter()
    trained = None
    if train is not None and (context is None) == (train_context is None):
        some = shuffled(len(train), page.seed)[:TRAINING]
        trained = model.log_prob(train[some], None if train_context is None else train_context[some])
    return RowEvidence(
        page=page,
        flow=model.flow,
        log_prob=log_prob,
        own_log_prob=drawn_log_prob,
        train_log_prob=trained,
        percentile=percentile,
        seconds=(scored - started, ended - scored),
        model=model,
        columns=columns,
        data=data,
        context=context,
        train_rows=train,
        train_context=train_context,
        samples=drawn,
        level=level,
        own_draws=own,
        latent=model.latent(data, context),
        gaussian=gaussian,
        numbers=range(1, len(data) + 1) if numbers is None else numbers,
    )


def _for_each_context(
    model: RowModel, data: Tensor, context: Tensor, samples: int, seed: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, ContextDraws]:
    """Draws for the contexts of some rows, their log-densities, and the level of each of the rows among its own.

    The rank of an exact model's row among K draws is uniform on 0 … K: with K = 99, coverage at 10 %, 20 %, … is exact.
    """
    rows = shuffled(len(context), seed)[: max(samples // 10, 20)]
    repeated = context[rows].repeat_interleave(DRAWS, 0)  # (rows · DRAWS, context features)
    drawn = model.sample(len(repeated), repeated, generator)
    drawn_log_prob = model.log_prob(drawn, repeated, points=4)
    log_prob = model.log_prob(data[rows], context[rows], points=4)  # the bias of few points affects both alike
    denser = rank(-log_prob, -drawn_log_prob.view(len(rows), DRAWS).T, torch.Generator().manual_seed(seed))
    keep = shuffled(len(drawn), seed)[:samples]
    own = ContextDraws(rows, drawn.view(len(rows), DRAWS, -1).transpose(0, 1), denser)
    return drawn[keep], drawn_log_prob[keep], (denser + 0.5) / (DRAWS + 1), own


def ks_distance(values: Tensor) -> float:
    """The largest gap between the empirical distribution function and that of N(0, 1)."""
    cdf = torch.special.ndtr(values.sort().values)
    n = len(values)
    step = torch.arange(n, dtype=cdf.dtype) / n
    return float(torch.maximum(cdf - step, step + 1 / n - cdf).max())


def denser_share(reference: Tensor, values: Tensor) -> Tensor:
    """For each value, the share of the reference that is larger, from its rank among them: ties count half."""
    ordered = reference.sort().values
    at_least = len(ordered) - torch.searchsorted(ordered, values)
    above = len(ordered) - torch.searchsorted(ordered, values, right=True)
    return (0.5 * (at_least + above) + 0.5) / (len(ordered) + 1)
