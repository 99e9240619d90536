"""Constrained supports: against torch.distributions' own bijections, and densities that integrate to one."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Dirichlet, biject_to, constraints
from torch.distributions.transforms import StickBreakingTransform

import pushforward as pf
from pushforward import transforms as T


def test_stick_breaking_equals_that_of_torch():
    z = torch.randn(7, 3, dtype=torch.float64)
    x, logdet = T.StickBreaking().inverse(z)
    reference = StickBreakingTransform()
    torch.testing.assert_close(x, reference(z))
    torch.testing.assert_close(logdet, reference.log_abs_det_jacobian(z, reference(z)))
    back, back_logdet = T.StickBreaking()(x)
    torch.testing.assert_close(back, z)
    torch.testing.assert_close(back_logdet, -logdet)


def test_stick_breaking_far_out():
    z = torch.tensor([[-40.0, 3.0, 40.0], [30.0, -90.0, 0.0]])
    x, logdet = T.StickBreaking().inverse(z)
    assert x.isfinite().all()
    assert logdet.isfinite().all()
    torch.testing.assert_close(x.sum(-1), torch.ones(2))


@pytest.mark.parametrize(
    ("constraint", "size"),
    [
        (constraints.real, 2),
        (constraints.positive, 2),
        (constraints.nonnegative, 2),
        (constraints.greater_than(-2.0), 2),
        (constraints.less_than(3.0), 2),
        (constraints.interval(-1.0, 4.0), 2),
        (constraints.unit_interval, 2),
        (constraints.simplex, 4),
        (constraints.independent(constraints.positive, 1), 3),
    ],
    ids=lambda value: str(value)[:40],
)
def test_supports_obey_their_constraint(constraint, size):
    supported = T.support((constraint, size))
    z = torch.randn(50, supported.noise_sizes[0], dtype=torch.float64)
    x, _ = supported.inverse(z)
    assert x.shape == (50, size)
    assert constraint.check(x).all()
    torch.testing.assert_close(supported(x)[0], z)
    if not isinstance(supported.maps[0], T.Below | T.Between):  # torch's maps fall, or are logistic
        torch.testing.assert_close(x, biject_to(constraint)(z))


def test_ordered_rows_increase():
    x, logdet = T.Ordered().inverse(torch.randn(20, 4))
    assert (x.diff(dim=-1) > 0).all()
    assert logdet.shape == (20,)


def test_blocks_join_their_parts_in_order():
    supported = T.support((T.Ordered(), 2), (constraints.simplex, 3), (constraints.positive, 1))
    z = torch.randn(4, 5, dtype=torch.float64)
    x, logdet = supported.inverse(z)
    parts = [T.Ordered().inverse(z[:, :2]), T.StickBreaking().inverse(z[:, 2:4]), T.Log().inverse(z[:, 4:])]
    torch.testing.assert_close(x, torch.cat([value for value, _ in parts], -1))
    torch.testing.assert_close(logdet, sum(ld for _, ld in parts))


def test_a_dirichlet_on_the_simplex_has_the_density_that_torch_gives_it():
    """Importance weights of a flow on the simplex against a Dirichlet: log Z must be 0."""
    torch.manual_seed(0)
    flow = pf.constrain(pf.realnvp(2, layers=1), (constraints.simplex, 3))
    result = pf.diagnostics.importance(flow, Dirichlet(torch.tensor([2.0, 3.0, 4.0]), validate_args=False).log_prob)
    assert abs(result.log_z) < 4 * result.log_z_se
    assert result.log_z_se < 0.05


def test_normal_noise_is_uniform_between_two_bounds():
    flow = pf.Flow(T.Between(-4.0, 4.0), 2)
    x = flow.sample((100,), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(flow.log_prob(x), torch.full((100,), -2 * torch.tensor(8.0).log().item()))


def test_bad_input():
    with pytest.raises(ValueError, match="no map to the constraint"):
        T.support((constraints.symmetric, 4))
    with pytest.raises(ValueError, match="no map to the constraint"):
        T.support((constraints.integer_interval(0, 3), 4))
    with pytest.raises(ValueError, match="low must be below high"):
        T.Between(2.0, 1.0)
    with pytest.raises(ValueError, match="2 maps for 1 sizes"):
        T.Blocks([T.Exp(), T.Exp()], [1])
    with pytest.raises(ValueError, match="positive size"):
        T.support((constraints.simplex, 1))
