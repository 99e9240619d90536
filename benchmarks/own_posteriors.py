"""Five posteriors as people write them, on simulated data: one raises, two are recursions, one lies far from 0.

Their reference draws come from importance sampling from a Student-t around the mode, with checked weights.
"""

from __future__ import annotations

import itertools
import math

import torch
from posterior_models import Posterior, normal, numbered
from torch import Tensor
from torch.distributions import constraints

import pushforward as pf
from pushforward.numerics.tails import khat
from pushforward.transforms import support


def gaussian_process() -> Posterior:
    """Length scale and amplitude of a noise-free Gaussian process: for long lengths there is no Cholesky factor."""
    x = torch.linspace(0, 1, 12, dtype=torch.float64)
    y = torch.sin(5 * x)
    square = (x[:, None] - x).square()

    def log_density(row: Tensor) -> Tensor:
        rho, alpha = row[:, 0, None, None], row[:, 1, None, None]
        cov = alpha.square() * ((-0.5 * square / rho.square()).exp() + 1e-9 * torch.eye(len(x), dtype=row.dtype))
        L = torch.linalg.cholesky(cov)  # raises for the whole batch
        white = torch.linalg.solve_triangular(L, y[:, None].expand(len(row), -1, 1), upper=False)[..., 0]
        fit = -0.5 * white.square().sum(1) - L.diagonal(dim1=1, dim2=2).log().sum(1)
        return fit + 3 * row[:, 0].log() - 10 * row[:, 0] + normal(row[:, 1], 0, 2)

    return Posterior(log_density, support((constraints.positive, 2)), lambda row: numbered("p", row))


def garch() -> Posterior:
    """GARCH(1, 1): mu, alpha0, alpha1, and beta1 as a share of what alpha1 leaves."""
    generator, y, variance = torch.Generator().manual_seed(1), [], 1.0
    for _ in range(500):
        y.append(5.0 + variance**0.5 * float(torch.randn((), generator=generator)))
        variance = 0.5 + 0.4 * (y[-1] - 5.0) ** 2 + 0.4 * variance

    def log_density(row: Tensor) -> Tensor:
        mu, alpha0, alpha1, share = row.unbind(1)
        beta1, sigma2, total = share * (1 - alpha1), torch.ones_like(mu), torch.zeros_like(mu)
        for value in y:
            total = total + normal(torch.as_tensor(value).to(mu), mu, sigma2.sqrt())
            sigma2 = alpha0 + alpha1 * (value - mu).square() + beta1 * sigma2
        return total + normal(mu, 0, 10) - alpha0 / 5 + (1 - alpha1).log()

    blocks = support((constraints.real, 1), (constraints.positive, 1), (constraints.unit_interval, 2))
    return Posterior(log_density, blocks, lambda row: numbered("p", row))


def arma() -> Posterior:
    """ARMA(1, 1): mu, phi, theta, sigma."""
    generator, y, error = torch.Generator().manual_seed(2), [0.0], 0.0
    for _ in range(200):
        new = 0.3 * float(torch.randn((), generator=generator))
        y.append(0.5 + 0.8 * y[-1] + 0.4 * error + new)
        error = new

    def log_density(row: Tensor) -> Tensor:
        mu, phi, theta, sigma = row.unbind(1)
        error, total = torch.zeros_like(mu), torch.zeros_like(mu)
        for before, value in itertools.pairwise(y):
            error = value - (mu + phi * before + theta * error)
            total = total + normal(error, 0, sigma)
        prior = normal(mu, 0, 10) + normal(phi, 0, 2) + normal(theta, 0, 2) - (sigma / 2.5).square().log1p()
        return total + prior

    return Posterior(
        log_density, support((constraints.real, 3), (constraints.positive, 1)), lambda row: numbered("p", row)
    )


def far_regression() -> Posterior:
    """Temperatures against years: intercept and slope are nearly collinear, thousands of their scales from 0."""
    generator = torch.Generator().manual_seed(3)
    year = torch.arange(1952, 2014, dtype=torch.float64)
    y = 9.0 + 0.02 * (year - 1980) + torch.randn(len(year), generator=generator, dtype=torch.float64)

    def log_density(row: Tensor) -> Tensor:
        alpha, beta, sigma = row[:, :1], row[:, 1:2], row[:, 2:]
        prior = normal(alpha, 0, 1000) + normal(beta, 0, 10)
        return normal(y, alpha + beta * year, sigma).sum(1) + prior[:, 0]

    return Posterior(
        log_density, support((constraints.real, 2), (constraints.positive, 1)), lambda row: numbered("p", row)
    )


def logistic() -> Posterior:
    """Logistic regression on three features."""
    generator = torch.Generator().manual_seed(4)
    X = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    X[:, 0] = 1.0
    chance = torch.sigmoid(X @ torch.tensor([0.5, 2.0, -1.0, 0.0], dtype=torch.float64))
    y = torch.rand(60, generator=generator, dtype=torch.float64) < chance

    def log_density(row: Tensor) -> Tensor:
        signed = torch.where(y, 1.0, -1.0) * (row @ X.T)
        return torch.nn.functional.logsigmoid(signed).sum(1) + normal(row, 0, 2.5).sum(1)

    return Posterior(log_density, support((constraints.real, 4)), lambda row: numbered("p", row))


OWN = {
    "Gaussian process (raises)": gaussian_process,
    "GARCH(1, 1)": garch,
    "ARMA(1, 1)": arma,
    "far regression": far_regression,
    "logistic regression": logistic,
}


@torch.no_grad()
def reference(posterior: Posterior, n: int = 40_000, rounds: int = 4) -> dict[str, Tensor]:
    """Quantities of draws of a posterior, by importance weights of Student-t draws (5 degrees) in the free parameters.

    The t starts around the mode, and takes the weighted draws' mean and twice their covariance after each round: a
    skewed posterior is not where its mode and its curvature there suggest.
    """
    from pushforward.objectives.user_target import UserTarget

    target, d = UserTarget(posterior.log_density), sum(posterior.support.noise_sizes)
    generator = torch.Generator().manual_seed(5)
    with torch.enable_grad():
        start = pf.laplace(target, sum(posterior.support.sizes), posterior.support, widen=2.0, dtype=torch.float64)
    around = start.inverse(torch.randn(10_000, d, generator=generator, dtype=torch.float64))[0]
    u = posterior.support(around)[0]
    weight = torch.full((len(u),), 1 / len(u), dtype=torch.float64)
    for round_ in range(rounds):
        loc = weight @ u
        factor = torch.linalg.cholesky(2 * torch.cov(u.T, aweights=weight).reshape(d, d))
        count = n if round_ == rounds - 1 else n // 4
        mixing = (torch.randn(count, 5, generator=generator, dtype=torch.float64).square().mean(1)).sqrt()
        z = torch.randn(count, d, generator=generator, dtype=torch.float64) / mixing[:, None]
        log_t = -0.5 * (5 + d) * torch.log1p(z.square().sum(1) / 5)
        u = loc + z @ factor.T
        x, logdet = posterior.support.inverse(u)
        log_w = torch.cat([target(part) for part in x.split(5000)]) + logdet - log_t
        weight = log_w.nan_to_num(-math.inf, -math.inf, -math.inf).softmax(0)
    assert khat(log_w) < 0.5, f"the reference has k-hat {khat(log_w):.2f}"
    places = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    draws = x[torch.searchsorted(weight.cumsum(0), places).clamp(max=n - 1)]
    assert math.isfinite(float(draws.sum()))
    return posterior.outputs(draws)
