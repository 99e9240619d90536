"""Mixtures of Gaussians, fitted by expectation maximisation: exact densities, marginals and conditionals."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MixtureSameFamily, MultivariateNormal

from ..errors import one_of
from ..numerics.logs import log_sum_exp
from ..numerics.matrices import triangle, with_log_diagonal
from ..numerics.quadrature import NODES, NODES_OF_MANY, normal_nodes
from ..numerics.roots import quantile_between
from .base import Density, Generator
from .conditional import draw_index
from .em import maximise, nearest, spread_centres

COVARIANCES: dict[str, Callable[[int, int], tuple[int, ...]]] = {  # the shape of their factors
    "full": lambda components, size: (components, size, size),
    "tied": lambda components, size: (1, size, size),
    "diagonal": lambda components, size: (components, size),
    "spherical": lambda components, size: (components, 1),
}
PART = 2048  # rows whose distances to all components are held at once, without gradients


class GaussianMixture(Density):
    r"""A mixture of Gaussians, conditioned exactly on a context.

    .. math:: p(y) = \sum_k w_k N(y;\, \mu_k, \Sigma_k),\quad \Sigma_k^{-1} = A_k^\top A_k,\quad
              p(x \mid c) = p(c, x) / p(c) \text{ with } y = (c, x)

    The A_k are lower triangular with a positive diagonal, stored as logarithms, so that :math:`z = A_k (y - \mu_k)` is
    white, and its first entries are those of the marginal of c. :meth:`fit` finds all parameters by expectation
    maximisation; they can also be trained by gradients like any others. A new mixture is standard normal, with its
    centres slightly apart.

    Args:
        features: Features of a row.
        components: Gaussians, at least 1.
        covariance: ``"full"``; ``"tied"``, one for all components; ``"diagonal"`` for independent features within each
            component; or ``"spherical"``, with one variance for all features of a component (context and x).
        context: Features of the context, 0 for none.

    Raises:
        ValueError: a size is not positive, or ``covariance`` is unknown.

    Reference:
        Dempster, Laird, Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.
    """

    def __init__(self, features: int, components: int = 8, *, covariance: str = "full", context: int = 0) -> None:
        super().__init__()
        if features < 1 or components < 1 or context < 0:
            raise ValueError(
                "features and components must be at least 1 and context at least 0, "
                f"got features={features}, components={components} and context={context}"
            )
        one_of(COVARIANCES, covariance=covariance)
        self.event_shape, self.context_features = torch.Size((features,)), context
        self.covariance, size = covariance, context + features
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(0.1 * torch.randn(components, size))
        shape = COVARIANCES[covariance](components, size)
        self.factors = nn.Parameter(torch.zeros(shape))  # A, with log A_jj on its diagonal, or log A_jj alone

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, context = self._check(x, context)
        if context is None:
            return log_sum_exp(self.joint(x), -1)
        return self._given_context(torch.cat([context.expand(*x.shape[:-1], -1), x], -1))

    def exact(self, x: Tensor) -> Tensor:
        """All rows have a marginal in closed form, ``(*batch,)``."""
        return torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)

    @torch.no_grad()
    def log_marginal(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(the entries that are not NaN | context) in nats, of shape ``(*batch,)``, without gradients."""
        x, context = self._check(x, context)
        batch, value = x.shape[:-1], x.new_zeros(x.shape[:-1].numel())
        for rows, part, y in self.by_pattern(x, context):
            value[rows] = part._given_context(y)
        return value.view(batch)

    def by_pattern(self, x: Tensor, context: Tensor | None) -> Iterator[tuple[Tensor, GaussianMixture, Tensor]]:
        """Per pattern of observed entries: its rows, bool; the mixture of these; and (context, these entries)."""
        y = x if context is None else torch.cat([context.expand(*x.shape[:-1], -1), x], -1)
        y = y.reshape(-1, y.shape[-1])
        patterns, which = (~y.isnan()).unique(dim=0, return_inverse=True)
        for k, seen in enumerate(patterns):
            columns, rows = seen.nonzero()[:, 0], which == k
            if len(columns) > self.context_features:
                yield rows, self.among(columns.tolist(), self.context_features), y[rows][:, columns]

    def cdf(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """P(X <= x | context), ``(*batch,)``, of events of one number."""
        x, context = self._check(x, context)
        y = x if context is None else torch.cat([context.expand(*x.shape[:-1], -1), x], -1)
        return (self._shares(y) * torch.special.ndtr(self.white(y)[..., -1])).sum(-1)

    def icdf(self, q: Tensor, context: Tensor | None = None) -> Tensor:
        """The quantiles ``(*batch, 1)``, searched between those of the components."""
        _, context = self._check(None, context)
        away = self.white(self._origin(context).expand(*q.shape, -1))[..., -1]
        ends = (torch.special.ndtri(q)[..., None] - away) / self.scale_logs()[:, -1].exp()
        return quantile_between(lambda x: self.cdf(x[..., None], context), q, ends.amin(-1), ends.amax(-1))[..., None]

    def quadrature(self, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The nodes of all components, weighted."""
        _, context = self._check(None, context)
        y = self._origin(context)
        batch = y.shape[:-1]
        z, weight = normal_nodes(self.loc, NODES if len(self.logits) == 1 else NODES_OF_MANY)
        x = (z.view(-1, *[1] * len(batch), 1) - self.white(y)[..., -1]) / self.scale_logs()[:, -1].exp()
        share = weight.view(-1, *[1] * len(batch), 1) * self._shares(y)
        return x.movedim(-1, 0).flatten(0, 1)[..., None], share.movedim(-1, 0).flatten(0, 1)

    def _origin(self, context: Tensor | None) -> Tensor:
        """(context, x) at x = 0."""
        x = self.loc.new_zeros(self.event_shape)
        return x if context is None else torch.cat([context, x.expand(*context.shape[:-1], -1)], -1)

    def _shares(self, y: Tensor) -> Tensor:
        """The components' weights given the context of y = (context, x), ``(*batch, components)``."""
        return self._log_shares(y).exp()

    def _log_shares(self, y: Tensor) -> Tensor:
        """Their logarithms; of a context so far away that its density is 0 in every component, all are equal."""
        return self.joint(y, self.context_features).clamp_min(torch.finfo(y.dtype).min).log_softmax(-1)

    def _given_context(self, y: Tensor) -> Tensor:
        """log p(x | context) of y = (context, x), ``(*batch,)``, without the difference of two large numbers."""
        return log_sum_exp(self._log_shares(y) + self._log_normal(y, self.context_features, self.loc.shape[1]), -1)

    def joint(self, y: Tensor, columns: int | None = None) -> Tensor:
        """log w_k + log N_k of the first ``columns`` of (context, x), all by default: ``(*batch, components)``."""
        return self.logits.log_softmax(0) + self._log_normal(y, 0, self.loc.shape[1] if columns is None else columns)

    def _log_normal(self, y: Tensor, first: int, last: int) -> Tensor:
        """log N_k of columns of (context, x) given those before them, ``(*batch, components)``."""
        free = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if free and y.shape[:-1].numel() > PART:  # faster in parts, which stay in the processor's cache
            parts = y.flatten(0, -2).split(PART)
            return torch.cat([self._log_normal(part, first, last) for part in parts]).unflatten(0, y.shape[:-1])
        white = self.white(y, last)[..., first:]  # (*batch, K, last - first)
        scale = self.scale_logs()[:, first:last].sum(-1) - 0.5 * (last - first) * math.log(2 * math.pi)
        return scale - 0.5 * white.square().sum(-1)

    def scale_logs(self) -> Tensor:
        """log A_jj of every component, ``(components, features)``."""
        factors = self.factors if self.independent else self.factors.diagonal(dim1=-2, dim2=-1)
        return factors.expand_as(self.loc)

    def precision_factors(self) -> Tensor:
        """A of every component, ``(components, features, features)``."""
        if self.independent:
            return self.scale_logs().exp().diag_embed()
        return triangle(self.factors, lower=True).expand(len(self.loc), -1, -1)

    @property
    def independent(self) -> bool:
        """Whether features are independent within each component."""
        return self.factors.dim() == 2

    def covariances(self) -> Tensor:
        r""":math:`\Sigma_k` of (context, x), ``(components, features, features)``."""
        A = self.precision_factors()
        L = torch.linalg.solve_triangular(A, torch.eye(A.shape[-1], dtype=A.dtype, device=A.device), upper=False)
        return L @ L.mT

    def closed_form(self, context: Tensor | None = None) -> Distribution:
        """The mixture as one of PyTorch's; a context changes the means and the weights of its components."""
        y, known = self._origin(self._check(None, context)[1]), self.context_features
        A = self.precision_factors()[:, known:, known:]
        inverse = torch.linalg.solve_triangular(A, torch.eye(A.shape[-1]).to(A), upper=False)
        loc = -(inverse @ self.white(y)[..., known:, None])[..., 0]
        weights = torch.distributions.Categorical(probs=self._shares(y))
        return MixtureSameFamily(weights, MultivariateNormal(loc, scale_tril=inverse))

    def _generate(self, batch: torch.Size, context: Tensor | None, generator: Generator, temperature: float) -> Tensor:
        """``temperature`` scales each component's spread."""
        known = self.context_features
        log_weight = self.logits.log_softmax(0).expand(*batch, -1)
        if context is not None:
            log_weight = self.joint(context, known).expand(*batch, -1)
        which = draw_index(log_weight.movedim(-1, 0), generator)  # (*batch,)
        noise = torch.randn(*batch, self.loc.shape[1] - known, generator=generator, dtype=self.loc.dtype,
                            device=self.loc.device) * temperature  # fmt: skip
        A = self.precision_factors()[:, known:]
        if context is not None:
            away = torch.einsum("kij,...kj->...ki", A[..., :known], context[..., None, :] - self.loc[:, :known])
            away = away.expand(*batch, -1, -1)
            noise = noise - away.gather(-2, which[..., None, None].expand(*batch, 1, noise.shape[-1]))[..., 0, :]
        x = torch.linalg.solve_triangular(A[which][..., known:], noise[..., None], upper=False)[..., 0]
        return x + self.loc[which][..., known:]

    def marginal(self, columns: Sequence[int]) -> GaussianMixture:
        """The density of some features, in the order given; without a context.

        Raises:
            ValueError: the mixture has a context, or ``columns`` does not name some of its features once each.
        """
        return self.among(self._named(columns), 0)

    def conditional(self, given: Sequence[int]) -> GaussianMixture:
        """The density of all other features with those in ``given`` as its context.

        Raises:
            ValueError: the mixture has a context, or ``given`` does not name some, not all, of its features once each.
        """
        others = [j for j in range(self.event_shape[0]) if j not in set(given)]
        if not others:
            raise ValueError(f"given={list(given)} leaves none of the {self.event_shape[0]} features")
        return self.among(self._named([*given, *others]), len(given))

    @torch.no_grad()
    def fit(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        weight: Tensor | None = None,
        prior: float = 0.0,
        tolerance: float = 1e-4,
        max_steps: int = 200,
        further: bool = False,
        seed: int = 0,
    ) -> GaussianMixture:
        r"""Expectation maximisation from well-separated centres (k-means++), in float64.

        With a prior of strength nu, each covariance is pulled towards the variances of all rows, shrunk to a
        component's share: :math:`\Sigma_k = (S_k + \nu K^{-2/m} D) / (n_k + \nu)`, which keeps components with few rows
        from collapsing.

        Args:
            x: Rows, ``(n, features)``.
            context: Their contexts, ``(n, context features)``.
            weight: Weight of each row, ``(n,)``; 1 by default.
            prior: nu, in rows.
            tolerance: Stops when a step gains less than this, in nats per row.
            max_steps: Maximal number of steps.
            further: Continue from the current mixture instead of from new centres.
            seed: Seed of the centres.

        Returns:
            The mixture itself.

        Raises:
            ValueError: shapes do not fit, there are fewer rows than components, or values are not finite.

        Reference:
            Fraley, Raftery (2007), Bayesian regularization for normal mixture estimation and model-based clustering.
        """
        twin = copy.deepcopy(self).double()
        x, context = twin._check(x, context)
        y = x if context is None else torch.cat([context.expand(*x.shape[:-1], -1), x], -1)
        y = y.reshape(-1, y.shape[-1])
        weight = torch.ones(len(y)) if weight is None else torch.as_tensor(weight)
        weight = weight.reshape(-1).to(y)
        self._check_rows(y, weight)
        loc, scale = _moments(y, weight)
        if self.covariance == "spherical":
            scale = scale.square().mean().sqrt()
        twin = GaussianMixture(y.shape[1], len(self.logits), covariance=self.covariance).to(y)
        z = (y - loc) / scale
        if further:
            shares = self.joint(y.to(self.loc)).softmax(-1).to(y)
        else:
            centres = spread_centres(z, weight, len(self.logits), torch.Generator().manual_seed(seed))
            shares = nearest(z, centres)
        maximise(twin, z, weight, prior=prior, tolerance=tolerance, max_steps=max_steps, shares=shares)
        self.logits.copy_(twin.logits)
        self.loc.copy_(twin.loc * scale + loc)
        self.factors.copy_(_per_unit(twin, scale))
        return self

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """A few steps of :meth:`fit`, as a start for training by gradients."""
        self.fit(x, context, prior=1.0, max_steps=20)

    def white(self, y: Tensor, columns: int | None = None) -> Tensor:
        """A_k (y - mu_k) of the first ``columns`` of (context, x), or all: ``(*batch, components, columns)``."""
        columns = self.loc.shape[1] if columns is None else columns
        away = y[..., None, :columns] - self.loc[:, :columns]
        if self.independent:
            return away * self.scale_logs()[:, :columns].exp()
        A = self.precision_factors()[:, :columns, :columns]
        return torch.einsum("kij,...kj->...ki", A, away)

    def _check_rows(self, y: Tensor, weight: Tensor) -> None:
        if len(y) < len(self.logits):
            raise ValueError(f"x has {len(y)} rows, too few for {len(self.logits)} components")
        if len(weight) != len(y) or not bool((weight >= 0).all() and weight.sum() > 0):
            raise ValueError(
                f"weight must hold a number of at least 0 for each of the {len(y)} rows, not all of them 0"
            )
        if not bool(y.isfinite().all()):
            raise ValueError("x or context holds values that are not finite")

    def _named(self, columns: Sequence[int]) -> list[int]:
        order, features = [int(j) for j in columns], self.event_shape[0]
        if self.context_features:
            raise ValueError("a mixture with a context has no marginals or conditionals of its own")
        if not order or len(set(order)) < len(order) or not set(order) <= set(range(features)):
            raise ValueError(f"columns must name some of the features 0 to {features - 1} once each, got {order}")
        return order

    def among(self, order: list[int], context: int) -> GaussianMixture:
        """The mixture of some columns of (context, x), the first of which are the new mixture's context."""
        new = GaussianMixture(len(order) - context, len(self.logits), covariance=self.covariance, context=context)
        new = new.to(self.loc)
        with torch.no_grad():
            new.logits.copy_(self.logits)
            new.loc.copy_(self.loc[:, order])
            if self.independent:
                new.factors.copy_(self.scale_logs()[:, order][:, : new.factors.shape[1]])
                return new
            A = triangle(self.factors, lower=True).double()
            L = torch.linalg.solve_triangular(A, torch.eye(A.shape[-1]).to(A), upper=False)[:, order]
            R = torch.linalg.qr(L.mT).R  # of the columns' covariance L L', without forming it, so no digits are lost
            R = R * R.diagonal(dim1=-2, dim2=-1).sign()[..., None]
            A = torch.linalg.solve_triangular(R.mT, torch.eye(len(order)).to(R), upper=False)
            new.factors.copy_(with_log_diagonal(A.tril()))
        return new


def _moments(y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations; 1 for constant columns."""
    share = (weight / weight.sum())[:, None]
    loc = (y * share).sum(0)
    scale = ((y - loc).square() * share).sum(0).sqrt()
    return loc, torch.where(scale > 0, scale, 1.0)


def _per_unit(mixture: GaussianMixture, scale: Tensor) -> Tensor:
    """Converts the factors for standardised rows to those for rows in their own units."""
    if mixture.independent:
        return mixture.factors - scale.log()
    return with_log_diagonal(triangle(mixture.factors, lower=True) / scale)
