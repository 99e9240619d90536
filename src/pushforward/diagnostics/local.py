"""A classifier that looks for contexts in which a conditional density is wrong. Needs scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from ..errors import at_least_one
from .calibrated import draws_for
from .ranks import normal_scores, rank

FEWEST = 100  # rows
ALPHA = 0.05
EVALUATED = 20  # draws of each context at which the classifier is evaluated

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LocalTest:
    r"""How well a classifier distinguishes true values from draws, context by context.

    Attributes:
        statistic: Of every context, ``(n,)``: the mean of :math:`(p - 1/2)^2` over draws there, with p the
            classifier's probability that a draw is a true value; 0 if it sees no difference.
        p_values: Of every context, ``(n,)``: how often classifiers trained on permuted labels have a larger statistic.
        p_value: Of all contexts together, from the mean of the statistic.
        trusted: Whether ``p_value`` is above 0.05.
        verdict: One sentence.

    Reference:
        Linhart, Gramfort, Rodrigues (2023), L-C2ST: local diagnostics for posterior approximations in
        simulation-based inference, arXiv:2306.03580.
    """

    statistic: Tensor
    p_values: Tensor
    p_value: float
    trusted: bool
    verdict: str

    def summary(self) -> dict[str, Any]:
        """The numbers and the sentence in a form that JSON can hold."""
        suspicious = float((self.p_values <= ALPHA).double().mean())
        said = {"p_value": self.p_value, "suspicious": suspicious, "trusted": self.trusted, "verdict": self.verdict}
        return {"n": len(self.p_values), **said}


@torch.no_grad()
def local_test(
    posterior: Any, x: Tensor, context: Tensor, *, draws: int = 99, permutations: int = 50, seed: int = 0
) -> LocalTest:
    """Tests whether a classifier that also sees the context can distinguish true values from draws of p(x | context).

    Points enter as normal scores of their ranks among the draws for their own context, so that the classifier need not
    learn where each context's values lie. It is scikit-learn's histogram-based gradient boosting. Its chance level is
    found from classifiers of the same kind trained on permuted labels.

    Args:
        posterior: A conditional density, or draws ``(K, n, features)`` from any other.
        x: True values ``(n, features)``, at least 100.
        context: Contexts ``(n, context features)``.
        draws: K, if a density is given.
        permutations: Number of classifiers trained on permuted labels; it limits the p-values.
        seed: Seed of draws, classifiers and permutations.

    Raises:
        ImportError: scikit-learn is missing.
        TypeError: ``posterior`` is neither a density nor draws.
        ValueError: shapes do not fit, or there are too few rows or draws.
    """
    if len(x) < FEWEST:
        raise ValueError(f"x must have at least {FEWEST} rows for a classifier, got {len(x)}")
    at_least_one(permutations=permutations)
    if not isinstance(context, Tensor) or context.dim() != 2 or len(context) != len(x):
        got = tuple(context.shape) if isinstance(context, Tensor) else type(context).__name__
        raise ValueError(f"context must have shape ({len(x)}, features), one row for each x, got {got}")
    generator = torch.Generator(x.device).manual_seed(seed)
    drawn = draws_for(posterior, x, context, draws, generator)
    if len(drawn) < EVALUATED + 2:
        raise ValueError(f"draws must be at least {EVALUATED + 2}, got {len(drawn)}")
    true, fake, asked = _scores(x.flatten(1), drawn, generator)
    given = context.double().cpu().numpy()
    observed, by_chance = _statistics(true, fake, asked, given, permutations, seed)
    p_values = (1 + (by_chance >= observed).sum(0)) / (permutations + 1)
    p_value = float((1 + (by_chance.mean(1) >= observed.mean()).sum()) / (permutations + 1))
    return LocalTest(
        torch.from_numpy(observed), torch.from_numpy(p_values), p_value, p_value > ALPHA, _verdict(p_value, p_values)
    )


def _scores(x: Tensor, drawn: Tensor, generator: torch.Generator) -> tuple[Numbers, Numbers, Numbers]:
    """Normal scores among all draws but one: of the truths, of that one draw, and of a few others, the last
    ``(EVALUATED, n, features)``."""

    def score(values: Tensor, among: Tensor) -> Numbers:
        return normal_scores(rank(values, among, generator), len(among)).cpu().numpy()

    fake, rest = drawn[0], drawn[1:]
    asked = [score(rest[i], torch.cat([rest[:i], rest[i + 1 :], fake[None]])) for i in range(EVALUATED)]
    return score(x, rest), score(fake, rest), np.stack(asked)


def _statistics(
    true: Numbers, fake: Numbers, asked: Numbers, context: Numbers, permutations: int, seed: int
) -> tuple[Numbers, Numbers]:
    """Statistics of the classifier and of those trained on permuted labels: (n,) and (permutations, n)."""
    n, random = len(true), np.random.default_rng(seed)
    pairs = np.stack([np.hstack([true, context]), np.hstack([fake, context])])  # (2, n, features)
    at = np.concatenate([np.hstack([points, context]) for points in asked])
    labels = np.repeat([1, 0], n)
    with threadpool_limits(1):  # small work
        observed = _statistic(pairs.reshape(2 * n, -1), labels, at, seed)
        by_chance = []
        for _ in range(permutations):
            swap = random.random(n) < 0.5  # within pairs of a context, which are exchangeable
            rows = np.where(swap[None, :, None], pairs[::-1], pairs).reshape(2 * n, -1)
            by_chance.append(_statistic(rows, labels, at, seed))
    return observed, np.stack(by_chance)


def _statistic(rows: Numbers, labels: Numbers, at: Numbers, seed: int) -> Numbers:
    """That of a classifier trained on labelled rows, from where it is evaluated, ``(EVALUATED * n, features)``."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    classifier = HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=8, l2_regularization=1.0, early_stopping=False, random_state=seed
    ).fit(rows, labels)
    chances: Numbers = classifier.predict_proba(at)[:, 1]
    return ((chances - 0.5) ** 2).reshape(EVALUATED, -1).mean(0)


def _verdict(p_value: float, p_values: Numbers) -> str:
    share = float((p_values <= ALPHA).mean())
    if p_value > ALPHA:
        return f"A classifier that sees the context cannot tell draws from true values (p = {p_value:.2g})."
    return (
        f"A classifier that sees the context tells draws from true values (p = {p_value:.2g}); it beats chance at "
        f"{share:.0%} of the contexts (by chance it would at 5%)."
    )
