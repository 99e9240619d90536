"""Targets in JAX, Pyro, Stan and PyMC, each with the real library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pushforward as pf

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]  # the warnings are the libraries' own
FIT: dict[str, Any] = {"layers": 2, "hidden": (16,), "steps": 5, "draws": 500, "progress": False}
DATA = [1.2, 0.4, 2.1, 1.7]


def posterior_mean() -> tuple[float, float]:
    """Of mu ~ N(0, 4) given four measurements with errors of 1: mean and standard deviation."""
    precision = 1 / 4 + len(DATA)
    return sum(DATA) / precision, precision**-0.5


def check(draws: torch.Tensor) -> None:
    mean, sd = posterior_mean()
    assert float(draws.mean()) == pytest.approx(mean, abs=0.1)
    assert float(draws.std()) == pytest.approx(sd, rel=0.15)


def agrees(target, names: tuple[str, ...]) -> None:
    """Up to a constant, with mu and log tau where tau ~ Gamma(3, 2): values, gradients, and the way back."""

    def same(u):
        mu, log_tau = u.T
        errors = (torch.tensor(DATA).double() - mu[:, None]).square().sum(1)
        return -0.5 * errors - mu.square() / 8 + 3 * log_tau - 2 * log_tau.exp()

    u = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    gap = target(u) - same(u)
    assert target.features == 2
    assert float(gap.std()) < 1e-6
    ours, theirs = (torch.autograd.grad(f(u).sum(), u)[0] for f in (same, target))
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    places = [target.names.index(name) for name in names]
    torch.testing.assert_close(target.constrain(u)[:, places], torch.stack([u[:, 0], u[:, 1].exp()], 1).detach())
    assert not target(torch.full((1, 2), 1e6, dtype=torch.float64)).isfinite()


def test_jax_values_gradients_and_curvatures_are_those_of_pytorch():
    jax = pytest.importorskip("jax", reason="jax is not installed")
    from pushforward.interop.jax import from_jax

    target = from_jax(lambda x: -jax.numpy.sum(jax.numpy.cosh(x)) - 0.1 * x[0] * x[1] ** 2)

    def same(x):
        return -x.cosh().sum(-1) - 0.1 * x[:, 0] * x[:, 1] ** 2

    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(target(x), same(x))
    torch.testing.assert_close(
        torch.autograd.functional.hessian(lambda v: target(v).sum(), x),
        torch.autograd.functional.hessian(lambda v: same(v).sum(), x),
    )
    assert target(x.float()).dtype == torch.float32
    with pytest.raises(TypeError, match="log_density must be a function of a row, got int"):
        from_jax(3)  # type: ignore[arg-type]


@pytest.mark.slow
def test_jax_a_flow_is_fitted_to_a_posterior():
    jax = pytest.importorskip("jax", reason="jax is not installed")
    from pushforward.interop.jax import from_jax

    data = np.array(DATA)
    target = from_jax(lambda x: -0.5 * jax.numpy.sum((data - x[0]) ** 2) - x[0] ** 2 / 8)
    check(pf.fit_target(target, 1, **FIT).draws(2000, exact=True))


@pytest.mark.slow
def test_pyro_a_model_with_a_bounded_site():
    pyro = pytest.importorskip("pyro", reason="pyro-ppl is not installed")
    from pyro import distributions as dist

    from pushforward.interop.pyro import ModelTarget

    def model(data):
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
        pyro.sample("scale", dist.Gamma(torch.tensor([3.0, 8.0]), 2.0).to_event(1))
        with pyro.plate("rows", len(data)):
            pyro.sample("x", dist.Normal(mu, 1.0), obs=data)

    target = ModelTarget(model, torch.tensor(DATA))
    assert target.features == 3
    fitted = pf.fit_target(target, target.features, **FIT)
    sites = target.constrain(fitted.draws(4000, exact=True))
    check(sites["mu"])
    assert sites["scale"].shape == (4000, 2)
    torch.testing.assert_close(sites["scale"].mean(0), torch.tensor([1.5, 4.0]).double(), rtol=0.1, atol=0)


def test_pyro_models_without_a_continuous_latent_site():
    pyro = pytest.importorskip("pyro", reason="pyro-ppl is not installed")
    from pyro import distributions as dist

    from pushforward.interop.pyro import ModelTarget

    with pytest.raises(ValueError, match="only continuous latent sites, but k are discrete"):
        ModelTarget(lambda: pyro.sample("k", dist.Bernoulli(0.5)))
    with pytest.raises(ValueError, match="must have a latent site"):
        ModelTarget(lambda: pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0)))


def test_stan_a_model_through_bridgestan(tmp_path):
    bridgestan = pytest.importorskip("bridgestan", reason="bridgestan is not installed")
    from pushforward.interop.stan import from_stan

    program = tmp_path / "measurements.stan"
    program.write_text(
        "data { int n; vector[n] y; } parameters { real mu; real<lower=0> tau; } "
        "model { mu ~ normal(0, 2); tau ~ gamma(3, 2); y ~ normal(mu, 1); }"
    )
    try:
        model = bridgestan.StanModel(str(program), data=f'{{"n": 4, "y": {DATA}}}')
    except Exception as error:  # BridgeStan fetches its sources and calls a compiler
        pytest.skip(f"bridgestan cannot compile a model here: {error!s:.80}")
    agrees(from_stan(model), ("mu", "tau"))


def test_stan_what_a_compiled_model_is_asked():
    """Without a compiler: a stand-in with the methods of ``bridgestan.StanModel`` that are called."""
    from pushforward.interop.stan import from_stan

    class Model:
        def param_unc_num(self):
            return 2

        def param_names(self):
            return ["mu", "tau"]

        def param_constrain(self, row):
            return np.array([row[0], np.exp(row[1])])

        def log_density_gradient(self, row):
            if abs(row[0]) > 1e5:
                raise RuntimeError("Exception: normal_lpdf")
            residuals = np.array(DATA) - row[0]
            value = -0.5 * (residuals**2).sum() - row[0] ** 2 / 8 + 3 * row[1] - 2 * np.exp(row[1])
            return value, np.array([residuals.sum() - row[0] / 4, 3 - 2 * np.exp(row[1])])

    agrees(from_stan(Model()), ("mu", "tau"))


def test_pymc_a_model_with_a_bounded_variable():
    pymc = pytest.importorskip("pymc", reason="pymc is not installed")
    from pushforward.interop.stan import from_pymc

    with pymc.Model() as model:
        mu = pymc.Normal("mu", 0.0, 2.0)
        pymc.Gamma("tau", 3.0, 2.0)
        pymc.Normal("y", mu, 1.0, observed=np.array(DATA))
    agrees(from_pymc(model), ("mu", "tau"))
    with pymc.Model() as discrete:
        pymc.Bernoulli("k", 0.5)
    with pytest.raises(ValueError, match="only continuous variables, but k are discrete"):
        from_pymc(discrete)
