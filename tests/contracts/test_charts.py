"""Charts of matrices, spheres and polytopes: inverse, log-determinants by autodiff, known volumes, supports."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import LKJCholesky, Wishart, constraints

import pushforward as pf
from pushforward import transforms as T
from pushforward.saving.config import build, describe

TRIANGLE = ([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [5.0, 6.0, -3.0])  # a triangle of area 32
LOWER = {T.LowerCholesky: 0, T.PositiveDefinite: 0, T.UnitCholesky: -1, T.Correlation: -1}
CHARTS = {
    **{f"{kind.__name__} {n}": (lambda kind=kind, n=n: kind(n)) for kind in LOWER for n in (2, 3)},
    "LowerCholesky 1": lambda: T.LowerCholesky(1),
    "PositiveDefinite 1": lambda: T.PositiveDefinite(1),
    **{f"Sphere {n}": (lambda n=n: T.Sphere(n)) for n in (2, 3, 5)},
    **{f"Sphere {n} circle": (lambda n=n: T.Sphere(n, circle=True)) for n in (2, 4)},
    "Polytope": lambda: T.Polytope(*TRIANGLE),
}


def free(chart: T.Transform) -> int:
    return getattr(chart, "free", 2)


def coordinates(chart: T.Transform, x: Tensor) -> Tensor:
    """What the density is with respect to: the lower triangle of a matrix, all numbers elsewhere."""
    if type(chart) not in LOWER:
        return x
    rows, columns = torch.tril_indices(chart.n, chart.n, LOWER[type(chart)])
    return x.unflatten(-1, (chart.n, chart.n))[..., rows, columns]


@pytest.mark.parametrize("name", CHARTS)
def test_both_directions_and_log_determinants(name):
    torch.manual_seed(0)
    chart = CHARTS[name]().double()
    z = torch.randn(2, 3, free(chart), dtype=torch.float64)
    x, logdet = chart.inverse(z)
    back, opposite = chart(x)
    assert logdet.shape == opposite.shape == (2, 3)
    torch.testing.assert_close(back, z, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(opposite, -logdet, rtol=1e-9, atol=1e-9)
    rows = [torch.autograd.functional.jacobian(lambda v: coordinates(chart, chart.inverse(v)[0]), row) for row in
            z.view(6, -1)]  # fmt: skip
    jacobian = torch.stack(rows)
    volume = 0.5 * torch.linalg.slogdet(jacobian.mT @ jacobian).logabsdet  # of a surface, where x has more numbers
    torch.testing.assert_close(logdet.view(-1), volume, rtol=1e-9, atol=1e-9)
    twin = build(describe(chart)).double()
    assert torch.equal(twin.inverse(z)[0], x)


@pytest.mark.parametrize("name", CHARTS)
def test_single_precision_and_gradients(name):
    torch.manual_seed(0)
    chart = CHARTS[name]()
    z = torch.randn(200, free(chart)).clamp(-3, 3)  # an angle, of some
    z[0] = 0.0
    x, _ = chart.inverse(z)
    back, _ = chart(x.requires_grad_())
    assert float((back - z).detach().abs().max()) < 2e-3
    (gradient,) = torch.autograd.grad(sum(part.sum() for part in chart(x)), x)
    assert gradient.isfinite().all()
    supported = pf.Flow(chart, free(chart), event_shape=x.shape[1:]).support
    assert supported.check(x.detach()).all()
    assert not supported.check(-2 * x.detach() - 10.0).any()


VOLUMES = {
    "Sphere 2": (2 * math.pi, lambda x: torch.zeros(len(x))),
    "Sphere 3": (4 * math.pi, lambda x: torch.zeros(len(x))),
    "Sphere 5": (8 * math.pi**2 / 3, lambda x: torch.zeros(len(x))),
    "Polytope": (32.0, lambda x: torch.zeros(len(x))),
    "PositiveDefinite 2": (
        1.0,
        lambda x: Wishart(torch.tensor(4.0), torch.eye(2) / 4, validate_args=False).log_prob(x.view(-1, 2, 2)),
    ),
    "UnitCholesky 3": (1.0, lambda x: LKJCholesky(3, 2.0, validate_args=False).log_prob(x.view(-1, 3, 3))),
    "Correlation 2": (2.0, lambda x: torch.zeros(len(x))),
}


@pytest.mark.parametrize("name", VOLUMES)
def test_importance_weights_find_the_volume(name):
    volume, log_density = VOLUMES[name]
    chart = CHARTS[name]()
    flow = pf.Flow(T.Compose([chart, T.Diagonal(free(chart))]), free(chart), event_shape=chart.inverse(
        torch.zeros(free(chart)))[0].shape)  # fmt: skip
    torch.nn.init.constant_(flow.transform.transforms[1].log_scale, -0.2)  # a little wider than normal
    x, log_q = flow.rsample_and_log_prob((40_000,), generator=torch.Generator().manual_seed(0))
    weights = (log_density(x) - log_q).exp().detach()
    error = float(weights.std()) / len(weights) ** 0.5
    assert error < 0.02 * volume
    assert abs(float(weights.mean()) - volume) < 4 * error + 1e-4 * volume


@pytest.mark.slow
def test_two_dimensions_integrate_to_one():
    inner = pf.nsf(2, layers=1, hidden=(8,))
    flow = pf.constrain(inner.behind(T.Diagonal(2)), T.Polytope(*TRIANGLE)).double()
    pf.testing.randomize(flow, scale=0.1)
    torch.nn.init.constant_(flow.transform.transforms[1].log_scale, 0.5)  # 0 at the edges, where sums are poor
    line = torch.linspace(-4, 6, 1601, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line) + 1e-4
    inside = flow.support.check(grid)
    with torch.no_grad():
        total = flow.log_prob(grid[inside]).exp().sum() * float(line[1] - line[0]) ** 2
    assert abs(float(total) - 1) < 1e-3


def surfaces() -> dict[str, tuple[T.Transform, Tensor, Tensor]]:
    """Points of small supports, and how much of the measure each stands for."""
    angle = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000 * 2 * math.pi - math.pi
    height = (torch.arange(800, dtype=torch.float64) + 0.5) / 400 - 1
    both = torch.cartesian_prod(height, angle[::5])
    flat = (1 - both[:, 0].square()).sqrt()
    ball = torch.stack([both[:, 0], flat * both[:, 1].cos(), flat * both[:, 1].sin()], -1)
    half, u = torch.ones_like(height), torch.linspace(-12, 6, 4001, dtype=torch.float64)
    matrix = torch.stack([half, height, height, half], -1)
    factor = torch.stack([half, 0 * half, height, (1 - height.square()).sqrt()], -1)
    line = u.exp() * (u[1] - u[0])
    return {
        "Sphere 2": (
            T.Sphere(2),
            torch.stack([angle.cos(), angle.sin()], -1),
            torch.full((4000,), angle[1] - angle[0]),
        ),
        "Sphere 3": (T.Sphere(3), ball, torch.full((len(ball),), 4 * math.pi / len(ball))),
        "Correlation 2": (T.Correlation(2), matrix, half / 400),
        "UnitCholesky 2": (T.UnitCholesky(2), factor, half / 400),
        "PositiveDefinite 1": (T.PositiveDefinite(1), u.exp()[:, None], line),
        "LowerCholesky 1": (T.LowerCholesky(1), u.exp()[:, None], line),
    }


@pytest.mark.parametrize("name", surfaces())
def test_densities_on_small_supports_integrate_to_one(name):
    chart, x, weight = surfaces()[name]
    free_numbers = chart.free
    inner = pf.maf(free_numbers, layers=1, hidden=(8,)).behind(T.Diagonal(free_numbers))
    flow = pf.testing.randomize(pf.constrain(inner, chart).double(), scale=0.1)
    torch.nn.init.constant_(flow.transform.transforms[1].log_scale, 0.3)  # nearly 0 where the chart ends
    with torch.no_grad():
        total = (flow.log_prob(x).exp() * weight).sum()
    assert abs(float(total) - 1) < 1e-3


def test_charts_stand_beside_other_supports_in_one_row(tmp_path):
    blocks = [(constraints.positive_definite, 4), (T.Sphere(3), 3), (constraints.positive, 1), (T.Correlation(2), 4)]
    flow = pf.testing.randomize(pf.constrain(pf.nsf(7, layers=1, hidden=(8,)), *blocks))
    x = flow.sample((20,))
    assert x.shape == (20, 12)
    assert flow.support.check(x).all()
    pf.save(flow, tmp_path / "model")
    assert torch.equal(pf.load(tmp_path / "model").log_prob(x), flow.log_prob(x))


def test_a_matrix_that_is_none_harms_no_other_row():
    x = torch.tensor([[1.0, 2.0, 2.0, 1.0], [1.0, 0.5, 0.5, 1.0]])
    z, logdet = T.PositiveDefinite(2)(x)
    assert z[0].isnan().any()
    assert z[1].isfinite().all()
    assert logdet[1].isfinite()


BAD = {
    "size": (
        lambda: T.support((constraints.positive_definite, 5)),
        "a matrix of n rows has n.2 features, but the block",
    ),
    "sphere": (lambda: T.support((T.Sphere(3), 4)), r"Sphere\(3\) takes 3 features, but its block has 4"),
    "line": (lambda: T.Sphere(1), "n must be at least 2, got n=1"),
    "one correlation": (lambda: T.Correlation(1), "n must be at least 2, got n=1"),
    "open": (lambda: T.Polytope([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0]), "the polytope goes on to infinity"),
    "slab": (lambda: T.Polytope([[1.0, 0.0], [-1.0, 0.0]], [1.0, 1.0]), "the polytope goes on to infinity"),
    "empty": (lambda: T.Polytope([[1.0], [-1.0]], [0.0, -1.0]), "A and b leave nothing inside"),
    "shapes": (lambda: T.Polytope([[1.0]], [0.0, -1.0]), r"A must be \(faces, features\) and b \(faces,\)"),
    "circle": (lambda: T.Circle(3.0, 3.0), "low must be below high, got 3.0 and 3.0"),
    "angles": (
        lambda: T.AnglesFirst(T.Identity(), T.Identity(), [2], 2),
        r"places must name some of the features 0 to 1 once each, got \[2\]",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_told_in_a_sentence(name):
    make, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_circle_turns_and_stays_in_its_period():
    hours = T.Circle(0.0, 24.0)
    x = torch.tensor([[0.0], [6.0], [23.999], [24.0], [30.0]])
    z, logdet = hours(x)
    torch.testing.assert_close(z[0], z[3])
    torch.testing.assert_close(z[1], z[4])
    assert (z.abs() <= math.pi).all()
    back, opposite = hours.inverse(z + 4 * math.pi)
    torch.testing.assert_close(back, torch.tensor([[0.0], [6.0], [23.999], [0.0], [6.0]]), atol=1e-4, rtol=0)
    assert ((back >= 0) & (back < 24)).all()
    torch.testing.assert_close(opposite, -logdet)
    strict = T.Circle(0.0, 24.0, within=True)(x)[1]
    assert strict[:4].isfinite().all()
    assert strict[4] == -math.inf
