r"""The mixture of Gaussians that is tried as an alternative to a table's flow: how many components, on which scale.

Expectation maximisation that starts with as many components as there are clusters often ends with two of them sharing
one cluster while a third covers two. With more than enough components it seldom does. So it starts with ``MOST``,
which are merged pairwise, with some EM steps after each merge. The best sizes are then fitted to all training rows, and
the chosen one to the validation rows as well. A few held-out rows distinguish sizes poorly, so their mean log-density
is combined with an estimate of the same from the n training rows, their mean log-density with Akaike's correction for
the k fitted parameters:

.. math:: \frac1{n'} \sum_{\text{held out}} \log p(x) + \frac1n \Bigl(\sum_{\text{training}} \log p(x) - k\Bigr).

A mixture of Gaussians in a table's own units is no longer one after the transforms that a flow prefers to start with,
such as histograms for columns of two clusters. So both scales are tried.

Reference:
    Akaike (1973), Information theory and an extension of the maximum likelihood principle.
    Figueiredo, Jain (2002), Unsupervised learning of finite mixture models, section 3.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...diagnostics.averages import mean_and_error
from ...distributions.base import Density
from ...distributions.em import precision_factors
from ...distributions.flow import Flow
from ...distributions.mixed import Mixed
from ...distributions.mixture import GaussianMixture
from ...models.train import LONGER, Rows
from ...numerics.in_time import in_time
from ...training.verdict import Verdict
from ...transforms.compose import Compose
from ..schema.cells import Cells
from ..schema.preprocessing import preprocessing
from ..schema.schema import Schema
from ..splits import TableSplits
from .candidate import Candidate, Fitted, Task
from .kinds import PRIORS

MOST = 20  # components, from STARTS sets of centres and with each of PRIORS
STARTS, LARGE = 2, 27_000  # upper limit on entries of a covariance times components squared, the cost of a search
SCREENED, LEARNT = 5000, 200_000  # rows on which all sizes are tried, and to which the best ones are fitted
FINALISTS = 4  # sizes that are fitted to all rows
JUDGED = 5000  # held-out rows for the comparison
WIDEST = 60  # features plus indicators


class Trial(NamedTuple):
    """A mixture after first transforms, fitted with a prior."""

    first: Compose
    mixture: GaussianMixture
    prior: float

    @property
    def flow(self) -> Flow:
        return Flow(self.first, self.mixture, context=self.mixture.context_features)

    def judged(self, train: Rows, held_out: Rows) -> float:
        """The mean log-density of held-out rows, and that of the fitted rows less Akaike's correction."""
        means = [mean_log_prob(self.flow.log_prob(rows.x, rows.context), rows.weights) for rows in (train, held_out)]
        return sum(means) - self.numbers / len(train.x)

    @property
    def numbers(self) -> int:
        """Number of free parameters of the mixture, without those that the density of the context also has."""
        components, size = self.mixture.loc.shape
        given = self.mixture.context_features
        return components * (math.comb(size + 2, 2) - math.comb(given + 2, 2) + 1) - 1

    def fitted(self, rows: Rows) -> Trial:
        """The mixture fitted further, to other rows."""
        z = self.first(rows.x)[0]
        self.mixture.fit(z, rows.context, weight=rows.weights, prior=self.prior, max_steps=60, further=True)
        return self


class OneMixture(Candidate):
    """A mixture over a table's numbers, given the categories of the flow that it may replace."""

    def suits(self, task: Task, best: Fitted | None) -> bool:
        return bool(best and best.name == "flow" and may_be_mixture(task) and (task.mixture or task.left > 0))

    def fit(self, task: Task, best: Fitted | None) -> Fitted:
        assert best is not None
        flow, rows, trial = best.density, task.rows, task.mixture or sought(task)
        facts = best.facts | {"verdict": Verdict(**best.facts["training"]["verdict"]).with_advice(LONGER)}

        def fitted(trial: Trial, unseen: list[tuple[Density, np.ndarray]]) -> Fitted:
            name, density = f"mixture of {len(trial.mixture.logits)}", _whole(flow, rows, trial.flow)
            unseen = [*unseen, (density, rows.split[2] if unseen else rows.held_out)]
            return Fitted(name, f"a {name} Gaussians", density, "gmm", facts, best.history, unseen)

        @torch.no_grad()
        def for_good() -> Fitted:
            before = copy.deepcopy(trial)
            trial.flow.cpu()
            seen = _spread(rows.together, rows.schema, torch.Generator().manual_seed(task.seed))
            return fitted(trial.fitted(seen), [(_whole(flow, rows, before.flow), rows.split[1])])

        return replace(fitted(trial, []), for_good=for_good)


def may_be_mixture(task: Task) -> bool:
    """Whether one flow is compared with a mixture."""
    schema = task.rows.schema
    features = len(schema.numbers) + schema.context_features + sum(schema.classes)
    return task.chooses and bool(schema.numbers) and features <= WIDEST


@torch.no_grad()
def sought(task: Task) -> Trial:
    """The mixture after first transforms that is likely to be closest to the density of a table's numbers, of those
    that there is time to fit."""
    rows, generator = task.rows, torch.Generator().manual_seed(task.seed)
    train, judged = (_spread(part, rows.schema, generator) for part in (rows.train, rows.val[:JUDGED]))
    trials = (trial for scale in _scales(rows.schema.numeric) for trial in _screened(scale, train, task.seed))
    tried, best = in_time(trials, task.ends), dict[int, Trial]()  # the best of each size
    for trial in sorted(tried, key=lambda trial: trial.judged(train[:SCREENED], judged), reverse=True):
        best.setdefault(len(trial.mixture.logits), trial)
    finalists = [trial.fitted(train) if task.left > 0 else trial for trial in list(best.values())[:FINALISTS]]
    return max(finalists, key=lambda trial: trial.judged(train, judged))


def mean_log_prob(log_prob: Tensor, weight: Tensor | None) -> float:
    """The mean log-density of rows, in nats."""
    return mean_and_error(log_prob.detach().clamp_min(-1e6), weight)[0]  # one impossible row does not decide alone


def _whole(flow: Density, rows: TableSplits, numbers: Flow) -> Density:
    """The density of the table with the flow over its numbers replaced by another one."""
    density = Mixed(flow.categories, numbers, rows.schema.classes) if isinstance(flow, Mixed) else numbers
    return density.to(flow.device).eval()


def _spread(some: Rows, schema: Schema, generator: torch.Generator) -> Rows:
    """The numbers of some rows at one point of their cells, with their contexts."""
    some = some[torch.randperm(len(some), generator=generator)[:LEARNT]]
    x = Cells(schema)(some.x, torch.rand(some.x.shape, generator=generator, dtype=some.x.dtype))
    return Rows(x[:, schema.numbers], schema.before_numbers(x, some.context), some.weights)


def _scales(schema: Schema) -> list[Schema]:
    """The columns with their first transforms, and without those that do not keep a column within its bounds."""
    bare = schema.bare()
    return [schema] if bare == schema else [schema, bare]


def _screened(schema: Schema, train: Rows, seed: int) -> Iterator[Trial]:
    """Mixtures of every size, fitted to some rows."""
    first = Compose(preprocessing(schema, train.x))
    some = train[:SCREENED]
    x, context = first(some.x)[0], some.context
    features, given = x.shape[1], 0 if context is None else context.shape[1]
    affordable = math.isqrt(LARGE // math.comb(features + given + 2, 2))
    most = max(1, min(MOST, affordable, (len(x) - 1) // (2 * (features + given))))
    fit = partial(GaussianMixture.fit, x=x, context=context, weight=some.weights, tolerance=1e-3)
    for prior, start in product(PRIORS, range(STARTS if most == MOST else 1)):
        mixture = GaussianMixture(features, most, context=given)
        yield Trial(first, fit(mixture, prior=prior, max_steps=60, seed=seed + start), prior)
        for _ in range(most - 1):
            mixture = merged(mixture)
            yield Trial(first, fit(mixture, prior=prior, max_steps=20, further=True), prior)


@torch.no_grad()
def merged(mixture: GaussianMixture) -> GaussianMixture:
    r"""The mixture, of full covariances, with the two components merged that lose the least by it: as one of their
    weight, mean and covariance.

    The loss is an upper bound on the Kullback-Leibler divergence between the mixtures,

    .. math:: B_{ij} = \tfrac12 \bigl((w_i + w_j) \log\lvert\Sigma_{ij}\rvert - w_i \log\lvert\Sigma_i\rvert
              - w_j \log\lvert\Sigma_j\rvert\bigr).

    Reference:
        Runnalls (2007), Kullback-Leibler approach to Gaussian mixture reduction, equation 21.
    """
    w, mu, cov = mixture.logits.double().softmax(0), mixture.loc.double(), mixture.covariances().double()
    i, j = torch.triu_indices(len(w), len(w), 1, device=w.device)
    weight = w[i] + w[j]
    a, b = w[i] / weight, w[j] / weight
    between = mu[i] - mu[j]
    one, other = a[:, None, None], b[:, None, None]
    both = one * cov[i] + other * cov[j] + one * other * (between[:, :, None] * between[:, None, :])
    log_det = cov.logdet()
    best = (weight * both.logdet() - w[i] * log_det[i] - w[j] * log_det[j]).argmin()
    kept = torch.ones_like(w, dtype=torch.bool)
    kept[i[best]] = kept[j[best]] = False
    new = GaussianMixture(mixture.event_shape[0], len(w) - 1, context=mixture.context_features).to(mixture.loc)
    centre = a[best] * mu[i[best]] + b[best] * mu[j[best]]
    new.logits.copy_(torch.cat([w[kept], weight[best, None]]).log())
    new.loc.copy_(torch.cat([mu[kept], centre[None]]))
    new.factors.copy_(torch.cat([mixture.factors[kept], precision_factors(both[best, None]).to(mixture.loc)]))
    return new
