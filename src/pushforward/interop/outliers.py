"""Outliers by density, as a scikit-learn outlier detector. An extra: ``pushforward[sklearn]``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ..distributions.average import Average
from ..distributions.base import StandardNormal
from ..distributions.flow import Flow
from ..numerics import threads
from ..recipes.by_name import learning_rate
from ..tables.selection.cross_fitting import FEW_ROWS, MEMBERS, AverageOptions, better, divided, judge
from ..tables.selection.kinds import PRIORS, MemberKind, sizes_of_mixtures
from ..tables.selection.members import Points, folds

MIXTURES = (1, 3, 8, 20)  # numbers of components
CLOSE = 1e-3  # standard deviations; anything nearer is the row itself
COPIES = 8  # of each row: the original, and noisy ones
NEAR_ROWS = 20_000  # searched for the nearest ones
LEAST_ROWS = 4
NEIGHBOUR = 2  # the nearest is the first
LEAST = -1e30  # log-density, in nats, of rows too far away to be represented


@dataclass(eq=False, repr=False)
class OutlierOptions:
    """The parameters of a detector; see :class:`FlowOutlier`."""

    contamination: float = 0.1
    _: KW_ONLY
    flow: str = "auto"
    members: int | str = "auto"
    noise: float = 0.05
    steps: int | None = 200
    random_state: Any = 0
    trim: float = 0.0


@dataclass(eq=False, repr=False)
class FlowOutlier(OutlierMixin, OutlierOptions, BaseEstimator):
    r"""Detects unlikely rows, with p-values from rows that the density did not see.

    Four views of the log-density find anomalies that the others miss: mixtures of 3 to 20 Gaussians capture clusters; a
    Gaussian copula, and flows that start as one, capture how columns of any shape depend on each other; and a near
    neighbour captures local structure, by :math:`-d \log r` with r the distance to the second closest of the rows in d
    columns. It is the second, because an outlier among the training rows would vouch alone for all rows like it. Within
    a view the members' *log*-densities are averaged, not their densities, so that a member that overrates rounded
    values or a few copies cannot vouch for a row alone. All are fitted to rows with a little noise.

    A nat says more in one view than in another. So each view v gives a row a tail probability: the share of rows,
    unseen by its fits, that are as unlikely, continued exponentially below the lowest tenth of these. The score is the
    logarithm of their harmonic mean, in which the neighbour has half of the weight:

    .. math:: s(x) = -\log\Big(\tfrac16 \big(p_{\text{mixtures}}(x)^{-1} + p_{\text{copula}}(x)^{-1}
              + p_{\text{flows}}(x)^{-1}\big) + \tfrac12\, p_{\text{neighbour}}(x)^{-1}\Big)

    A row is odd if one view finds it very odd, or several do. A low density alone is no verdict (``docs/limits.md``).

    Args:
        contamination: The fraction of the training rows that :meth:`predict` calls outliers, above 0 and at most 0.5.
        flow: ``auto``, ``gmm`` or a recipe's name, as for :class:`~pushforward.FlowDensity`.
        members: How many flows are averaged.
        noise: Standard deviation of the noise, in units of the columns' standard deviations.
        steps: Maximum number of batches on which each flow is trained.
        random_state: Fixes the result.
        trim: The fraction of the rows to leave out of the fit, at least 0 and below 0.5: those least likely under a
            Gaussian copula of the other half of the rows (a trimmed likelihood). The score is then by a copula of the
            rest alone, without flows, mixtures or neighbour, which learn anomalies that lie close together; so it
            captures how columns rise and fall together, but no clusters. For rows that are known to hold outliers, use
            0.15 if these may be 5 %; without outliers it has a cost (``docs/tutorials/outliers.md``). Ranks and
            p-values do not depend on ``contamination``, which only sets the threshold of :meth:`predict`.

    Attributes:
        density_: The mixtures, the copula and the flows, each an :class:`~pushforward.distributions.average.Average`
            of standardised rows in float64, or the copula alone, as an average.
        neighbours_: Finds the closest rows.
        decision_scores_: The score of every training row, from fits that did not see it; lower is more unusual.
        held_out_: The same, sorted.
        offset_: The score below which a row is an outlier: that which a share of ``contamination`` of fresh rows has
            (of n ranks, a fresh row takes each of n + 1 places equally often).
        n_features_in_: Number of columns of X.

    Reference:
        Wilson (2019), The harmonic mean p-value for combining dependent tests, PNAS 116.
        Pickands (1975), Statistical inference using extreme order statistics, Annals of Statistics 3.
        Bates, Candès, Lei, Romano, Sesia (2023), Testing for outliers with conformal p-values, arXiv:2104.08279.
        Loftsgaarden, Quesenberry (1965), A nonparametric estimate of a multivariate density function.
        Neykov, Filzmoser, Dimova, Neytchev (2007), Robust fitting of mixtures using the trimmed likelihood estimator.

    Example:
        >>> import numpy as np, pushforward as pf
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> detector = pf.FlowOutlier(flow="gmm").fit(X)
        >>> detector.predict([[0.0, 0.0], [9.0, 9.0]])
        array([ 1, -1])
        >>> bool(detector.p_values([[9.0, 9.0]])[0] < 0.01)
        True
    """

    def fit(self, X: ArrayLike, y: Any = None) -> FlowOutlier:
        """Learns from the rows of X what is ordinary; y is ignored. If there are many rows, the densities are fitted to
        3,000 random ones, and the neighbours are among 20,000.

        Raises:
            ValueError: X is no finite table with at least 4 different rows, or a parameter does not fit.
        """
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=LEAST_ROWS)
        if not 0 < self.contamination <= 0.5:
            raise ValueError(f"contamination must be above 0 and at most 0.5, got {self.contamination}")
        if not self.noise >= 0:
            raise ValueError(f"noise must be at least 0, got noise={self.noise}")
        if not 0 <= self.trim < 0.5:
            raise ValueError(f"trim must be at least 0 and below 0.5, got trim={self.trim}")
        self.loc_, scale = rows.mean(0), rows.std(0)
        if not (scale > 1e-12 * np.abs(self.loc_).clip(1e-300)).any():
            raise ValueError("all rows of X are alike, so none is odd")
        self.scale_ = np.where(scale > 0, scale, 1.0)
        random = check_random_state(self.random_state)
        order = random.permutation(len(rows))
        z = self._standardised(rows[order])
        scores = [self._fit_trimmed(z[:NEAR_ROWS], int(random.randint(2**31 - 1))), self._score(z[NEAR_ROWS:])]
        self.decision_scores_ = np.concatenate(scores)[order.argsort()]
        self.held_out_ = np.sort(self.decision_scores_)
        self.offset_ = float(np.quantile(self.held_out_, self.contamination, method="weibull"))
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """The score of every row, the logarithm of a probability; lower is more unusual. ``(n,)``.

        A training row has its score from fits that did not see it, so that it is judged like any other row.
        """
        check_is_fitted(self)
        z = self._standardised(validate_data(self, X, dtype=np.float64, reset=False))
        near, which = self.neighbours_.kneighbors(z.numpy(), n_neighbors=1)
        return np.where(near[:, 0] > CLOSE, self._score(z), self._unseen[which[:, 0]])

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """How far the score of every row is above the threshold; negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """-1 for outliers and 1 for all others."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X: ArrayLike) -> NDArray[np.float64]:
        """How unusual every row is: the share of ordinary rows, not seen by the fit, that are as unusual. Of ordinary
        rows, about 5 in 100 have a p-value of at most 0.05."""
        scores = self.score_samples(X)
        return (1 + np.searchsorted(self.held_out_, scores, side="right")) / (1 + len(self.held_out_))

    def _fit_trimmed(self, z: Tensor, seed: int) -> NDArray[np.float64]:
        """Leaves out the rows that are least likely under a copula of the other half, then fits the others; returns
        every row's score from fits that did not see it."""
        dropped = min(int(self.trim * len(z)), len(z) - LEAST_ROWS)
        self.trimmed_ = dropped > 0
        order = self._likeliness(z, seed).argsort(stable=True) if self.trimmed_ else torch.arange(len(z))
        scores, left, kept = np.empty(len(z)), order[:dropped].numpy(), order[dropped:].sort().values.numpy()
        scores[kept] = self._unseen = self._learn(z[kept], seed)
        scores[left] = self._score(z[left])
        return scores

    @torch.no_grad()
    def _likeliness(self, z: Tensor, seed: int) -> Tensor:
        """Every row's rank within its half, from 0 to 1, under a copula of the other half, ``(n,)``."""
        halves, ranks = folds(len(z), 2, seed), torch.empty(len(z))
        for half, other in (halves, halves[::-1]):
            start = Points.of(self._copies(z[other], seed)).copula
            log_p = Flow(start, StandardNormal((z.shape[1],))).double().log_prob(z[half])
            ranks[half] = log_p.argsort().argsort() / len(half)
        return ranks

    def _learn(self, z: Tensor, seed: int) -> NDArray[np.float64]:
        """Fits all views to rows, or the copula alone; returns every row's score from fits that did not see it."""
        self.neighbours_ = NearestNeighbors(n_neighbors=NEIGHBOUR + 1).fit(z.numpy())
        rows = Points.of(self._copies(z, seed))
        members = self.members if self.members != "auto" else min(MEMBERS, len(rows) // 2)
        training = {"steps": self.steps, "lr": learning_rate("nsf") if self.flow == "auto" else None}
        options = AverageOptions(flow=self.flow, members=members, training=training, seed=seed)
        (parts, shares), views, unseen = divided(rows, options), [], []
        with threads.using(1):
            for view in self._views(rows, options):
                fits = [better(alternatives, shares, seed) for alternatives in view]
                unseen.append(torch.stack([judge(found, parts, shares, 1) for _, found in fits]).mean(0))
                views.append(Average([each for kind, found in fits for each in kind.kept(rows, found, seed)]))
        self.density_ = Average(views).double().eval()
        values = self._by_view(z)
        values[: len(views), : len(rows)] = torch.stack(unseen)
        self._usual = np.sort(values[:, : len(rows)])
        return self._joined(values)

    def _copies(self, z: Tensor, seed: int) -> Tensor:
        """The rows, at most FEW_ROWS of them, unchanged and with noise, ``(copies, n, d)``."""
        few, generator = z[:FEW_ROWS].float(), torch.Generator().manual_seed(seed)
        noisy = [few + self.noise * torch.randn(few.shape, generator=generator) for _ in range(COPIES - 1)]
        return torch.stack([few, *noisy])

    def _views(self, rows: Points, options: AverageOptions) -> list[Sequence[Sequence[MemberKind]]]:
        """Mixtures, a copula, and flows; a single Gaussian only if there is no larger mixture: the copula captures the
        same, and better."""
        copula = sizes_of_mixtures(rows, (1,), PRIORS[:1], behind=True)
        if self.trimmed_:
            return [copula]
        mixtures = sizes_of_mixtures(rows, MIXTURES, PRIORS[:1], behind=False)
        views: list[Sequence[Sequence[MemberKind]]] = []
        if self.flow in ("auto", "gmm"):
            views.append(mixtures[1:] or mixtures)
        if self.flow == "auto":
            views.append(copula)
        if flows := options.flows(rows, math.inf):
            views.append([[flows]])
        return views

    def _score(self, z: Tensor) -> NDArray[np.float64]:
        return self._joined(self._by_view(z)) if len(z) else np.zeros(0)

    @torch.no_grad()
    def _by_view(self, z: Tensor) -> NDArray[np.float64]:
        """The mean log-density of each view, and then of the neighbour, unless rows were trimmed, ``(views, n)``."""
        parts = [[mean_log_prob(view, part) for view in self.density_.members] for part in z.split(8192)]
        found = np.hstack([torch.stack(part).numpy() for part in parts])
        return found if self.trimmed_ else np.vstack([found, self._local(z.numpy())])

    def _joined(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logarithm of the harmonic mean of the views' tail probabilities; that of the neighbour weighs half."""
        views = len(self.density_.members)
        share = np.array([1 / views] * views + [1.0] * (not self.trimmed_))
        tails = np.stack([log_tail(own, usual) for own, usual in zip(values, self._usual, strict=True)])
        return -np.logaddexp.reduce(np.log(share / share.sum())[:, None] - tails)  # type: ignore[no-any-return]

    def _local(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """The log-density by a near neighbour, up to a constant."""
        near = self.neighbours_.kneighbors(z, n_neighbors=NEIGHBOUR + 1)[0]
        r = np.where(near[:, 0] > CLOSE, near[:, NEIGHBOUR - 1], near[:, NEIGHBOUR])
        return -z.shape[1] * np.log(r + CLOSE)  # type: ignore[no-any-return]

    def _standardised(self, rows: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy((rows - self.loc_) / self.scale_)


def mean_log_prob(view: Average, x: Tensor) -> Tensor:
    """The mean of the members' log-densities, ``(n,)``."""
    logs = torch.stack([each.log_prob(x) for each in view.members])
    return logs.nan_to_num(nan=LEAST, neginf=LEAST).clamp_min(LEAST).mean(0)


def log_tail(value: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """log P(as low as a value), from sorted usual ones: by their ranks, and exponential below their lowest tenth."""
    n, few = len(usual), max(len(usual) // 10, 1)
    start, scale = usual[few], max((usual[few] - usual[:few]).mean(), 1e-3)
    inside = np.log(np.interp(value, usual, np.arange(1, n + 1) / (n + 1)))
    return np.where(value < start, np.log((few + 1) / (n + 1)) + (value - start) / scale, inside)
