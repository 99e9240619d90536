"""Eight posteriors from Stan's posteriordb, written in PyTorch: priors and likelihoods as in their Stan programs.

Each builder takes the data (a dict of float64 tensors) and returns a :class:`Posterior`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.transforms import Blocks, Ordered, support

Data = dict[str, Tensor]


@dataclass(frozen=True)
class Posterior:
    """A log-density over rows, its support, and the quantities that the reference draws contain."""

    log_density: Callable[[Tensor], Tensor]
    support: Blocks
    outputs: Callable[[Tensor], dict[str, Tensor]]


def normal(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
    scale = torch.as_tensor(scale, dtype=x.dtype)
    return -0.5 * ((x - loc) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)


def half_cauchy(x: Tensor, scale: float) -> Tensor:
    return -torch.log1p((x / scale).square())


def numbered(name: str, columns: Tensor) -> dict[str, Tensor]:
    return {f"{name}[{j + 1}]": columns[:, j] for j in range(columns.shape[1])}


def regression(X: Tensor, y: Tensor, log_prior: Callable[[Tensor, Tensor], Tensor]) -> Posterior:
    """y ~ normal(X beta, sigma), over rows (beta, sigma)."""
    features = X.shape[1]

    def log_density(row: Tensor) -> Tensor:
        beta, sigma = row[:, :features], row[:, features]
        return normal(y, beta @ X.T, sigma[:, None]).sum(1) + log_prior(beta, sigma)

    return Posterior(
        log_density,
        support((constraints.real, features), (constraints.positive, 1)),
        lambda row: {**numbered("beta", row[:, :features]), "sigma": row[:, features]},
    )


def flat(beta: Tensor, sigma: Tensor) -> Tensor:
    return torch.zeros_like(sigma)


def kidscore_interaction(data: Data) -> Posterior:
    X = torch.stack(
        [torch.ones_like(data["mom_iq"]), data["mom_hs"], data["mom_iq"], data["mom_hs"] * data["mom_iq"]], 1
    )
    return regression(X, data["kid_score"], lambda beta, sigma: half_cauchy(sigma, 2.5))


def logearn_interaction(data: Data) -> Posterior:
    height, male = data["height"], data["male"]
    return regression(torch.stack([torch.ones_like(male), height, male, height * male], 1), data["earn"].log(), flat)


def logmesquite_logvas(data: Data) -> Posterior:
    wide, long = data["diam1"], data["diam2"]
    columns = [
        torch.ones_like(wide),
        (wide * long * data["canopy_height"]).log(),
        (wide * long).log(),
        (wide / long).log(),
        data["total_height"].log(),
        data["density"].log(),
        data["group"],
    ]
    return regression(torch.stack(columns, 1), data["weight"].log(), flat)


def nes(data: Data) -> Posterior:
    age = [(data["age_discrete"] == group).double() for group in (2, 3, 4)]
    columns = [data["real_ideo"], data["race_adj"], *age, data["educ1"], data["gender"], data["income"]]
    return regression(torch.stack([torch.ones_like(age[0]), *columns], 1), data["partyid7"], flat)


def blr(data: Data) -> Posterior:
    def log_prior(beta: Tensor, sigma: Tensor) -> Tensor:
        return normal(beta, 0, 10).sum(1) + normal(sigma, 0, 10)

    return regression(data["X"], data["y"], log_prior)


def ark(data: Data) -> Posterior:
    y, lags = data["y"], int(data["K"])
    X = torch.stack([torch.ones_like(y[lags:]), *(y[lags - k : len(y) - k] for k in range(1, lags + 1))], 1)

    def log_prior(beta: Tensor, sigma: Tensor) -> Tensor:
        return normal(beta, 0, 10).sum(1) + half_cauchy(sigma, 2.5)

    def outputs(row: Tensor) -> dict[str, Tensor]:
        return {"alpha": row[:, 0], **numbered("beta", row[:, 1:-1]), "sigma": row[:, -1]}

    plain = regression(X, y[lags:], log_prior)
    return Posterior(plain.log_density, plain.support, outputs)


def eight_schools_noncentered(data: Data) -> Posterior:
    y, sigma, schools = data["y"], data["sigma"], len(data["y"])

    def theta(row: Tensor) -> Tensor:
        return row[:, :schools] * row[:, -1:] + row[:, -2:-1]

    def log_density(row: Tensor) -> Tensor:
        prior = normal(row[:, :schools], 0, 1).sum(1) + normal(row[:, -2], 0, 5) + half_cauchy(row[:, -1], 5)
        return normal(y, theta(row), sigma).sum(1) + prior

    return Posterior(
        log_density,
        support((constraints.real, schools + 1), (constraints.positive, 1)),
        lambda row: {**numbered("theta", theta(row)), "mu": row[:, -2], "tau": row[:, -1]},
    )


def low_dim_gauss_mix(data: Data) -> Posterior:
    y = data["y"]

    def log_density(row: Tensor) -> Tensor:
        mu, sigma, theta = row[:, :2], row[:, 2:4], row[:, 4:]
        prior = normal(sigma, 0, 2).sum(1) + normal(mu, 0, 2).sum(1) + 4 * (theta.log() + (-theta).log1p()).sum(1)
        shares = torch.cat([theta, 1 - theta], 1).log()
        parts = normal(y[:, None], mu[:, None], sigma[:, None]) + shares[:, None]  # (n, N, 2)
        return torch.logaddexp(parts[..., 0], parts[..., 1]).sum(1) + prior

    return Posterior(
        log_density,
        support((Ordered(), 2), (constraints.positive, 2), (constraints.unit_interval, 1)),
        lambda row: {**numbered("mu", row[:, :2]), **numbered("sigma", row[:, 2:4]), "theta": row[:, 4]},
    )


POSTERIORS: dict[str, Callable[[Data], Posterior]] = {
    "arK-arK": ark,
    "earnings-logearn_interaction": logearn_interaction,
    "eight_schools-eight_schools_noncentered": eight_schools_noncentered,
    "kidiq-kidscore_interaction": kidscore_interaction,
    "low_dim_gauss_mix-low_dim_gauss_mix": low_dim_gauss_mix,
    "mesquite-logmesquite_logvas": logmesquite_logvas,
    "nes1996-nes": nes,
    "sblri-blr": blr,
}
