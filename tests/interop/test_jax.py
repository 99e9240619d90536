"""Densities as functions in JAX: values and gradients are those of PyTorch, compiled, for one row and for many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.distributions import constraints

import pushforward as pf
from pushforward.testing import randomize

pytest.importorskip("jax", reason="jax is not installed")
import jax

from pushforward.interop.jax import OPERATORS, to_jax

D, SIZES = pf.distributions, {"layers": 1, "hidden": (8,)}
DENSITIES = {
    "context": lambda: pf.maf(3, context=2, linear=True, **SIZES),
    "nsf": lambda: pf.nsf(2, bins=4, **SIZES),
    "realnvp": lambda: pf.realnvp(3, **SIZES),
    "circles": lambda: pf.ncsf(2, bins=4, **SIZES),
    "made": lambda: pf.made(3, hidden=(8,), conditional="mixture"),
    "simplex": lambda: pf.constrain(pf.maf(2, **SIZES), (constraints.simplex, 3)),
    "average": lambda: D.Average([pf.Flow(pf.maf(3, **SIZES).transform, D.StudentT(3)), pf.gmm(3)]),
}


@pytest.mark.parametrize(
    "name", [name if name == "realnvp" else pytest.param(name, marks=pytest.mark.slow) for name in DENSITIES]
)
def test_values_and_gradients_are_those_of_pytorch(name: str) -> None:
    torch.manual_seed(0)
    density = randomize(DENSITIES[name](), scale=0.5)
    context = (torch.randn(5, 2),) if density.context_features else ()
    x = density.sample(() if context else (5,), *context).requires_grad_()
    expected = density.log_prob(x, *context)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    log_p = to_jax(density)
    rows = [jax.numpy.asarray(value.detach().numpy()) for value in (x, *context)]
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(log_p)))(*rows)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, slope.numpy(), rtol=1e-3, atol=1e-4)
    assert jax.eval_shape(log_p, *(row[0] for row in rows)).shape == ()


def test_a_reduction_is_over_the_dimension_that_is_named() -> None:
    x = torch.arange(6.0).view(2, 3)
    for dim in (0, -1, [1], (0, 1), None):
        np.testing.assert_allclose(OPERATORS["sum"](jax.numpy.asarray(x.numpy()), dim), x.sum(dim))


def test_double_precision_is_kept() -> None:
    flow = randomize(DENSITIES["nsf"]()).double()
    x = flow.sample()
    with jax.enable_x64(True):
        assert float(to_jax(flow)(jax.numpy.asarray(x.numpy()))) == pytest.approx(flow.log_prob(x).item(), abs=1e-12)


@pytest.mark.slow
def test_threads_may_call_at_once() -> None:
    flow, x = randomize(DENSITIES["nsf"]()), torch.randn(8, 2)
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(to_jax(flow), x.numpy()))
    np.testing.assert_allclose(np.array(values), flow.log_prob(x).detach().numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_what_has_no_counterpart_is_named() -> None:
    with pytest.raises(ValueError, match="many steps"):
        to_jax(pf.iaf(2, **SIZES))
    with pytest.raises(ValueError, match="convolution"):
        to_jax(pf.glow((1, 4, 4), levels=1, steps=1, hidden=4))
    with pytest.raises(TypeError, match="density must be"):
        to_jax(torch.nn.Linear(1, 1))
