"""The numbers of the report: likelihoods, a Gaussian beside them, latents, coverage, reasons. No drawing, no words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .model import Model

LEVELS = tuple(level / 10 for level in range(1, 10))


@dataclass(frozen=True)
class Evidence:
    """The held-out rows, rows that the flow drew, and what the flow says about both; float64 on the CPU.

    Attributes:
        data: Held-out rows (n, features).
        log_prob: Their log-densities (n,), nats.
        samples: Rows drawn from the flow (m, features), for the held-out contexts where there are contexts.
        sample_log_prob: Their log-densities (m,), nats.
        level: For held-out rows, the share of the flow's own rows (of the same context) that are denser; uniform on
            [0, 1] if the flow is exact.
        draws: Draws that each level was measured against.
        train: Training rows, or None.
        train_log_prob: Log-densities of (at most 5000 of) them, or None.
        context, train_context: Their contexts, or None.
        latent: z = f(x) of the held-out rows (n, dimensions), or None for a model without latents.
    """

    data: Tensor
    log_prob: Tensor
    samples: Tensor
    sample_log_prob: Tensor
    level: Tensor
    draws: int
    context: Tensor | None
    train: Tensor | None
    train_context: Tensor | None
    train_log_prob: Tensor | None
    latent: Tensor | None


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
    """Runs the flow over the held-out rows, the training rows and rows of its own."""
    generator = torch.Generator(model.device).manual_seed(seed)
    log_prob = model.log_prob(data, context)
    drawn, drawn_log_prob, level, draws = _draw(model, context, log_prob, samples, generator)
    train_log_prob = None
    if train is not None and (train_context is None) == (context is None):
        train_log_prob = model.log_prob(train[:5000], None if train_context is None else train_context[:5000])
    return Evidence(
        data=data,
        log_prob=log_prob,
        samples=drawn,
        sample_log_prob=drawn_log_prob,
        level=level,
        draws=draws,
        context=context,
        train=train,
        train_context=train_context,
        train_log_prob=train_log_prob,
        latent=model.latent(data, context),
    )


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean and its standard error, sd / √n; NaN and 0 where there is nothing to average."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values))) if len(values) > 1 else 0.0


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


def compare_with_gaussian(model: Model, evidence: Evidence, seed: int = 0) -> Comparison | None:
    """Fits the Gaussian to the training rows, or to one half of the held-out rows and compares on the other half.

    Returns None where there are too few rows for a covariance, or a column does not vary.
    """
    test = torch.arange(len(evidence.data))
    fitted_to, given, words = evidence.train, evidence.train_context, "the training rows"
    if fitted_to is None:
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
        half, test = order[: len(test) // 2], order[len(test) // 2 :]
        fitted_to, given = evidence.data[half], None if evidence.context is None else evidence.context[half]
        words = "one half of the held-out rows and compared on the other half"
    context = None if given is None or evidence.context is None else evidence.context[test]
    given = None if context is None else given
    features = fitted_to.shape[1] + (0 if given is None else given.shape[1])
    if len(fitted_to) <= features + 1 or bool((fitted_to.std(0) == 0).any()):
        return None
    baseline = model.gaussian(fitted_to, given)(evidence.data[test], context)
    flow = evidence.log_prob[test]
    finite = flow.isfinite() & baseline.isfinite()
    if not bool(finite.any()):
        return None
    difference = mean_and_error((flow - baseline)[finite])
    return Comparison(int(finite.sum()), words, given is not None, *mean_and_error(baseline[finite]), *difference)


def coverage(level: Tensor, samples: int) -> dict[str, list[float]]:
    """Share of rows within the highest-density region of each nominal level, and its error if the flow were exact."""
    n = len(level)
    return {
        "levels": list(LEVELS),
        "covered": [float((level <= nominal).double().mean()) for nominal in LEVELS],
        "error": [math.sqrt(nominal * (1 - nominal) * (1 / n + 1 / samples)) for nominal in LEVELS],
    }


def normality(latent: Tensor) -> list[dict[str, float]]:
    """Mean, standard deviation and Kolmogorov-Smirnov distance to N(0, 1) of every latent dimension."""
    return [
        {"mean": float(z.mean()), "sd": float(z.std()) if len(z) > 1 else 0.0, "ks": ks_distance(z)} for z in latent.T
    ]


def ks_bound(n: int, tests: int) -> float:
    """The distance that the worst of several dimensions of true noise stays below nineteen times in twenty.

    The asymptotic bound with Bonferroni's correction, sqrt(-log(alpha / 2) / 2n) for alpha = 0.05 / tests.
    """
    return math.sqrt(-0.5 * math.log(0.05 / tests / 2) / n)


def ks_distance(values: Tensor) -> float:
    """The largest gap between the distribution function of the values and that of N(0, 1)."""
    cdf = torch.special.ndtr(values.sort().values)
    n = len(values)
    step = torch.arange(n, dtype=cdf.dtype) / n
    return float(torch.maximum(cdf - step, step + 1 / n - cdf).max())


def repairs(
    model: Model, rows: Tensor, reference: Tensor, context: Tensor | None = None, candidates: int = 33
) -> tuple[Tensor, Tensor]:
    """How much denser each row would be with one column changed: a plain reason why it is unlikely.

    For every column in turn the row's value is replaced by typical ones (``candidates`` quantiles of the reference
    rows); the best counts.

    Args:
        model: The density.
        rows: Rows (r, features) to explain.
        reference: Rows (n, features) whose values are typical.
        context: Contexts (r, context features) of the rows.
        candidates: Values tried per column.

    Returns:
        The gain in log-density, nats, and the value that gives it, both (r, features). A gain is at least 0.
    """
    context = None if context is None else context.repeat_interleave(candidates, 0)
    ranks = torch.linspace(0.01, 0.99, candidates, dtype=torch.float64).mul(len(reference) - 1).round().long()
    before = model.log_prob(rows, None if context is None else context[::candidates], points=4)
    gains, values = [], []
    for column in range(rows.shape[1]):
        tried = reference[:, column].sort().values[ranks]
        changed = rows.repeat_interleave(candidates, 0)  # row 1 with every candidate, then row 2, …
        changed[:, column] = tried.repeat(len(rows))
        after, best = model.log_prob(changed, context, points=4).view(len(rows), -1).max(1)
        gains.append((after - before).nan_to_num(nan=0.0, posinf=math.inf).clamp_min(0))
        values.append(tried[best])
    return torch.stack(gains, 1), torch.stack(values, 1)


def _draw(
    model: Model, context: Tensor | None, log_prob: Tensor, samples: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Rows of the flow, their log-densities, the level of each held-out row, and how many draws that rests on."""
    if context is None:
        drawn = model.sample(samples, None, generator)
        drawn_log_prob = model.log_prob(drawn)
        return drawn, drawn_log_prob, denser_share(drawn_log_prob, log_prob), samples
    # With contexts, every row is compared with draws for its own context: fewer rows, then.
    rows = min(len(context), 400)
    each = max(samples // rows, 50)
    repeated = context[:rows].repeat_interleave(each, 0)  # (rows · each, context features)
    drawn = model.sample(len(repeated), repeated, generator)
    drawn_log_prob = model.log_prob(drawn, repeated, points=4)
    level = [denser_share(own, at[None]) for own, at in zip(drawn_log_prob.view(rows, each), log_prob, strict=False)]
    keep = torch.randperm(len(drawn), generator=torch.Generator().manual_seed(0))[:samples]
    return drawn[keep], drawn_log_prob[keep], torch.cat(level), each * rows


def denser_share(reference: Tensor, values: Tensor) -> Tensor:
    """For each value, the share of the reference that is larger; ties count half."""
    ordered = reference.sort().values
    at_least = len(ordered) - torch.searchsorted(ordered, values)
    above = len(ordered) - torch.searchsorted(ordered, values, right=True)
    return (at_least + above) / (2 * len(ordered))
