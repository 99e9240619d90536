"""The numbers of the report: likelihoods, a Gaussian baseline, latents, coverage, reasons. No drawing, no words."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diagnostics import calibrated
from ..diagnostics.averages import mean_and_error
from ..diagnostics.calibrated import LEVELS
from ..diagnostics.ranks import rank
from ..tables.baselines import Gaussian
from .model import LogProb, Model

DRAWS = 99  # per context


@dataclass(frozen=True)
class Evidence:
    """The held-out rows, rows drawn from the flow, and the flow's densities of both; float64 on the CPU.

    Attributes:
        data: Held-out rows (n, features).
        log_prob: Their log-densities (n,), nats.
        samples: Rows drawn from the flow (m, features), for the held-out contexts if there are any.
        sample_log_prob: Their log-densities (m,), nats.
        level: For held-out rows, the share of the flow's own rows (of the same context) that are denser; uniform on
            [0, 1] if the flow is exact.
        draws: Number of draws that the levels share; infinite if every row has its own.
        train: Training rows, or None.
        train_log_prob: Log-densities of (at most 5000 of) them, or None.
        context, train_context: Their contexts, or None.
        judged: With contexts: indices of the held-out rows that have their own draws, (judged,).
        own: Likewise these draws, (DRAWS, judged, features).
        denser: Likewise how many of them are denser than each row, (judged,).
        latent: z = f(x) of the held-out rows (n, dimensions), or None for a model without latents.
        seconds: Time taken to score the held-out rows, and to draw and score the flow's own.
    """

    data: Tensor
    log_prob: Tensor
    samples: Tensor
    sample_log_prob: Tensor
    level: Tensor
    draws: float
    context: Tensor | None
    train: Tensor | None
    train_context: Tensor | None
    train_log_prob: Tensor | None
    latent: Tensor | None
    seconds: tuple[float, float]
    judged: Tensor | None = None
    own: Tensor | None = None
    denser: Tensor | None = None


def gather(
    model: Model,
    data: Tensor,
    *,
    train: Tensor | None = None,
    context: Tensor | None = None,
    train_context: Tensor | None = None,
    samples: int = 4000,
    seed: int = 0,
) -> Evidence:
    """Evaluates the flow on the held-out rows, the training rows and rows it draws itself."""
    generator = torch.Generator(model.device).manual_seed(seed)
    started = time.perf_counter()
    log_prob = model.log_prob(data, context)
    scored = time.perf_counter()
    own: dict[str, Tensor] = {}
    if context is None:
        drawn, drawn_log_prob, level = _against_own_rows(model, log_prob, samples, generator)
    else:
        drawn, drawn_log_prob, level, own = _against_own_context(model, data, context, samples, seed, generator)
    drawn_at = time.perf_counter()
    return Evidence(
        data=data,
        log_prob=log_prob,
        samples=drawn,
        sample_log_prob=drawn_log_prob,
        level=level,
        draws=math.inf if context is not None else len(drawn),
        context=context,
        train=train,
        train_context=train_context,
        train_log_prob=_training_log_prob(model, train, train_context, context is None, seed),
        latent=model.latent(data, context),
        seconds=(scored - started, drawn_at - scored),
        **own,
    )


def _training_log_prob(
    model: Model, train: Tensor | None, context: Tensor | None, unconditional: bool, seed: int
) -> Tensor | None:
    if train is None or (context is None) != unconditional:
        return None
    some = shuffled(len(train), seed)[:5000]
    return model.log_prob(train[some], None if context is None else context[some])


def shuffled(n: int, seed: int) -> Tensor:
    """The numbers below n in seeded random order: files may be sorted, so the first few rows are not typical."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Comparison:
    """The flow and a Gaussian on the same held-out rows: means, paired difference, standard errors; nats per row."""

    rows: int
    fitted_to: str
    conditional: bool
    gaussian: float
    gaussian_error: float
    difference: float
    difference_error: float
    better: float  # share of rows that are denser under the flow


def compare_with_gaussian(
    model: Model, evidence: Evidence, seed: int = 0, gaussian: LogProb | None = None
) -> Comparison | None:
    """Compares with a given Gaussian, or one fitted to the training rows, or to one half of the held-out rows.

    In the last case the comparison is on the other half. Returns None if there are too few rows for a covariance, or
    a column does not vary.
    """
    test = torch.arange(len(evidence.data))
    fitted_to, given, words = evidence.train, evidence.train_context, "the training rows"
    if gaussian is None and fitted_to is None:
        order = shuffled(len(test), seed)
        half, test = order[: len(test) // 2], order[len(test) // 2 :]
        fitted_to, given = evidence.data[half], None if evidence.context is None else evidence.context[half]
        words = "one half of the held-out rows and compared on the other half"
    conditional = evidence.context is not None and (gaussian is not None or given is not None)
    if gaussian is None and fitted_to is not None:
        gaussian = _fit_gaussian(model, fitted_to, given if conditional else None)
    if gaussian is None:
        return None
    context = evidence.context[test] if conditional and evidence.context is not None else None
    baseline, flow = model.score(gaussian, evidence.data[test], context), evidence.log_prob[test]
    finite = flow.isfinite() & baseline.isfinite()
    if not bool(finite.any()):
        return None
    gain = (flow - baseline)[finite]
    better = float((gain > 0).double().mean())
    return Comparison(len(gain), words, conditional, *mean_and_error(baseline[finite]), *mean_and_error(gain), better)


def compare_with(evidence: Evidence, theirs: Tensor) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Mean and error of another model's log-densities of the held-out rows, and of ours minus theirs, paired by row."""
    finite = evidence.log_prob.isfinite() & theirs.isfinite()
    if not bool(finite.any()):
        return None
    return mean_and_error(theirs[finite]), mean_and_error((evidence.log_prob - theirs)[finite])


def _fit_gaussian(model: Model, rows: Tensor, context: Tensor | None) -> LogProb | None:
    features = rows.shape[1] + sum(model.classes) + (0 if context is None else context.shape[1])
    numbers = rows[:, [j for j in range(rows.shape[1]) if not model.classes or not model.classes[j]]]
    if len(rows) <= features + 1 or bool((numbers.std(0) == 0).any()):
        return None
    return Gaussian(model.spread(rows), context, model.classes)


def coverage(level: Tensor, samples: float) -> dict[str, list[float]]:
    """Share of rows within the highest-density region of each nominal level, and its error if the flow were exact."""
    n = len(level)
    return {
        "levels": list(LEVELS),
        "covered": calibrated.coverage(level),
        "error": [math.sqrt(nominal * (1 - nominal) * (1 / n + 1 / samples)) for nominal in LEVELS],
    }


def normality(latent: Tensor) -> list[dict[str, float]]:
    """Mean, standard deviation and Kolmogorov-Smirnov distance to N(0, 1) of every latent dimension."""
    return [
        {"mean": float(z.mean()), "sd": float(z.std()) if len(z) > 1 else 0.0, "ks": ks_distance(z)} for z in latent.T
    ]


def ks_bound(n: int, tests: int) -> float:
    """The distance below which the worst of several dimensions of true noise stays with probability 0.95.

    The asymptotic bound with a Bonferroni correction, sqrt(-log(alpha / 2) / 2n) for alpha = 0.05 / tests.
    """
    return math.sqrt(-0.5 * math.log(0.05 / tests / 2) / n)


def ks_distance(values: Tensor) -> float:
    """The largest gap between the empirical distribution function and that of N(0, 1)."""
    cdf = torch.special.ndtr(values.sort().values)
    n = len(values)
    step = torch.arange(n, dtype=cdf.dtype) / n
    return float(torch.maximum(cdf - step, step + 1 / n - cdf).max())


def _against_own_rows(
    model: Model, log_prob: Tensor, samples: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of the flow, their log-densities, and the level of each held-out row among them."""
    drawn = model.sample(samples, None, generator)
    drawn_log_prob = model.log_prob(drawn)
    return drawn, drawn_log_prob, denser_share(drawn_log_prob, log_prob)


def _against_own_context(
    model: Model, data: Tensor, context: Tensor, samples: int, seed: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """The same with contexts, and the underlying draws: some rows, each compared with draws for its own context.

    The rank of an exact model's row among K draws is uniform on 0 … K: with K = 99, coverage at 10 %, 20 %, … is exact.
    """
    rows = shuffled(len(context), seed)[: max(samples // 10, 20)]
    repeated = context[rows].repeat_interleave(DRAWS, 0)  # (rows · DRAWS, context features)
    drawn = model.sample(len(repeated), repeated, generator)
    drawn_log_prob = model.log_prob(drawn, repeated, points=4)
    log_prob = model.log_prob(data[rows], context[rows], points=4)  # the bias of few points affects both alike
    denser = rank(-log_prob, -drawn_log_prob.view(len(rows), DRAWS).T, torch.Generator().manual_seed(seed))
    keep = shuffled(len(drawn), seed)[:samples]
    own = {"judged": rows, "own": drawn.view(len(rows), DRAWS, -1).transpose(0, 1), "denser": denser}
    return drawn[keep], drawn_log_prob[keep], (denser + 0.5) / (DRAWS + 1), own


def denser_share(reference: Tensor, values: Tensor) -> Tensor:
    """For each value, the share of the reference that is larger, from its rank among them: ties count half."""
    ordered = reference.sort().values
    at_least = len(ordered) - torch.searchsorted(ordered, values)
    above = len(ordered) - torch.searchsorted(ordered, values, right=True)
    return (0.5 * (at_least + above) + 0.5) / (len(ordered) + 1)
