"""Flows carried to a constrained space, and the Laplace approximation that they start from."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.distributions import Gamma, constraints

import pushforward as pf
from pushforward import transforms as T
from pushforward.distributions import Product
from pushforward.objectives import from_numpy
from pushforward.testing import check_transform, randomize


def test_draws_obey_the_constraints_and_densities_integrate_to_one():
    flow = pf.constrain(pf.realnvp(3, layers=1), (constraints.positive, 1), (constraints.simplex, 3))
    x, log_q = flow.rsample_and_log_prob((100,))
    assert x.shape == (100, 4)
    assert (x > 0).all()
    torch.testing.assert_close(x[:, 1:].sum(1), torch.ones(100))
    torch.testing.assert_close(flow.log_prob(x), log_q, atol=1e-4, rtol=1e-4)


def test_the_constrained_flow_shares_its_parameters_and_can_be_saved(tmp_path):
    inner = pf.realnvp(2, layers=2, hidden=(8,))
    flow = pf.constrain(inner, (constraints.interval(-1.0, 1.0), 2))
    assert {id(p) for p in flow.parameters()} == {id(p) for p in inner.parameters()}
    pf.save(flow, tmp_path / "model")
    x = flow.sample((5,))
    assert torch.equal(pf.load(tmp_path / "model").log_prob(x), flow.log_prob(x))
    assert copy.deepcopy(flow).event_shape == flow.event_shape


def test_laplace_of_a_gaussian_is_exact():
    mean = torch.tensor([3.0, -2.0], dtype=torch.float64)
    covariance = torch.tensor([[2.0, 0.9], [0.9, 0.5]], dtype=torch.float64)
    target = torch.distributions.MultivariateNormal(mean, covariance).log_prob
    whiten = pf.laplace(target, 2, dtype=torch.float64)
    torch.testing.assert_close(whiten.loc, mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(whiten.factor @ whiten.factor.T, covariance, atol=1e-6, rtol=0)
    wide = pf.laplace(target, 2, dtype=torch.float64, widen=3.0)
    torch.testing.assert_close(wide.factor @ wide.factor.T, 9 * covariance, atol=1e-5, rtol=0)


def test_laplace_of_a_narrow_density_has_its_curvature_in_single_precision():
    student = torch.distributions.StudentT(3.0, 18.0, 0.005)
    start = pf.laplace(lambda x: student.log_prob(x).sum(-1), 1)
    torch.testing.assert_close(start.factor, torch.tensor([[0.005 * (3 / 4) ** 0.5]]), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("target", "scale"),
    [
        (lambda x: torch.logaddexp(-0.5 * x.square().sum(-1), -0.5 * (x - 60).square().sum(-1) - 1), 1.0),
        (lambda x: -0.5 * ((x - 1e4) / 1e3).square().sum(-1), 1e3),
        (lambda x: -0.5 * (x / 1e6).square().sum(-1), 1e6),
        (lambda x: -x.abs().sum(-1), 1.0),
        (lambda x: -x.pow(4).sum(-1), 0.7),
    ],
    ids=["NaN for its curvature", "far away", "wide", "kink", "plateau"],
)
def test_laplace_has_the_scale_of_the_target_whatever_its_curvature_says(target, scale):
    start = pf.laplace(target, 2, dtype=torch.float64)
    assert (start.factor.diagonal() / scale).log().abs().max() < 1.5


def test_laplace_from_values_alone_bears_a_large_constant():
    target = from_numpy(lambda x: -0.5 * np.einsum("ij,ij->i", x, x) - 1e6)
    start = pf.laplace(target, 1, dtype=torch.float64)
    torch.testing.assert_close(start.factor, torch.ones(1, 1, dtype=torch.float64), rtol=1e-3, atol=0)


def test_laplace_on_a_support_works_in_the_free_coordinates():
    gamma = Gamma(torch.tensor(5.0), torch.tensor(2.0), validate_args=False)
    supported = pf.transforms.support((constraints.positive, 2))
    start = pf.laplace(lambda x: gamma.log_prob(x).sum(-1), 2, supported)
    check_transform(start.double(), torch.rand(6, 2, dtype=torch.float64) + 0.5)
    x, _ = start.inverse(torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(x, torch.full((2,), 2.5, dtype=torch.float64), atol=1e-3, rtol=0)  # the mode of log x


def test_bad_input():
    with pytest.raises(ValueError, match=r"3 free features \(a simplex of K has K - 1\), but the flow has 4"):
        pf.constrain(pf.realnvp(4), (constraints.simplex, 4))
    with pytest.raises(ValueError, match="only rows can be constrained"):
        pf.constrain(pf.realnvp((1, 4, 4)), (constraints.positive, 4))
    with pytest.raises(ValueError, match="does not fall off"):
        pf.laplace(lambda x: 0 * x.sum(-1), 2)


def mixed_circles() -> pf.Flow:
    """Two angles and, given these, two free features, in the order angle, free, angle, free."""
    angles, others = pf.ncsf(2, layers=1, hidden=(8,)), pf.nsf(2, context=4, layers=1, hidden=(8,))
    transform = T.AnglesFirst(angles.transform, others.transform, [0, 2], 4)
    return randomize(pf.Flow(transform, Product([angles.base, others.base])))


def test_circles_beside_other_supports_in_one_row(tmp_path):
    blocks = [(T.Circle(0.0, 24.0), 1), (constraints.positive, 1), (T.Circle(), 1), (constraints.unit_interval, 1)]
    flow = pf.constrain(mixed_circles(), *blocks)
    x, log_prob = flow.rsample_and_log_prob((50,))
    assert flow.support.check(x).all()
    torch.testing.assert_close(flow.log_prob(x), log_prob, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(flow.log_prob(x + torch.tensor([24.0, 0.0, 0.0, 0.0])), log_prob, rtol=1e-3, atol=1e-3)
    pf.save(flow, tmp_path / "model")
    assert torch.equal(pf.load(tmp_path / "model").log_prob(x), flow.log_prob(x))


def test_on_the_torus_densities_integrate_to_one():
    flow = pf.constrain(randomize(pf.ncsf(2, layers=2, hidden=(8, 8)).double()), T.Circle(0.0, 24.0))
    line = torch.arange(0, 24, 0.1, dtype=torch.float64)
    total = flow.log_prob(torch.cartesian_prod(line, line)).detach().exp().sum() * 0.01
    assert abs(float(total) - 1) < 1e-3


def test_a_sphere_without_a_seam():
    """The recursive flow: the angle on a circle, then the height given it."""
    angle, height = pf.ncsf(1, layers=1, hidden=(8,)), pf.nsf(1, context=2, layers=1, hidden=(8,))
    transform = T.AnglesFirst(angle.transform, height.transform, [1], 2)
    rows = randomize(pf.Flow(transform, Product([angle.base, height.base])))
    flow = pf.constrain(rows, (T.Sphere(3, circle=True), 3))
    near = torch.tensor([[0.3, -0.9, 1e-5], [0.3, -0.9, -1e-5]])
    across = flow.log_prob(torch.nn.functional.normalize(near, dim=-1))
    torch.testing.assert_close(across[0], across[1], rtol=1e-3, atol=1e-3)
    assert flow.support.check(flow.sample((20,))).all()
    with pytest.raises(ValueError, match=r"features \[1\] of the flow are on circles"):
        pf.constrain(pf.nsf(2, layers=1, hidden=(8,)), (T.Sphere(3, circle=True), 3))


def test_a_flow_without_a_period_is_refused_on_a_circle():
    with pytest.raises(ValueError, match=r"features \[1\] of the flow are on circles, but its density has no period"):
        pf.constrain(pf.nsf(2, layers=1, hidden=(8,)), (constraints.real, 1), (T.Circle(0.0, 24.0), 1))
    conditional = pf.ncsf(1, context=2, layers=1, hidden=(8,))
    assert pf.constrain(conditional, T.Circle(0.0, 1.0)).event_shape == (1,)
