"""Maps of single columns to standard normals: how close they come, in the middle and in the tails."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pushforward import transforms as T


def columns(n: int, seed: int = 0) -> Tensor:
    """A skewed, a two-humped and a heavy-tailed column."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    humps = torch.where(normal[:, 1] > 0, 4.0, -4.0) + torch.randn(n, generator=generator, dtype=torch.float64)
    return torch.stack([normal[:, 0].exp(), humps, normal[:, 2].sinh()], -1)


def test_other_rows_of_the_same_columns_come_out_standard_normal() -> None:
    marginals = T.Marginals(3).double()
    marginals.initialize(columns(2000))
    z, _ = marginals(columns(5000, seed=1))
    assert z.mean(0).abs().max() < 0.1
    assert (z.std(0) - 1).abs().max() < 0.1
    assert float((z.abs() < 1.96).double().mean()) == pytest.approx(0.95, abs=0.02)
    assert z.abs().max() < 8


def test_densities_of_columns_integrate_to_one_and_are_near_the_truth() -> None:
    marginals = T.Marginals(1).double()
    marginals.initialize(columns(3000)[:, 1:2])
    x = torch.linspace(-60, 60, 20001, dtype=torch.float64)[:, None]
    z, log_slope = marginals(x)
    density = (-0.5 * z[:, 0].square() + log_slope).exp() / (2 * torch.pi) ** 0.5
    assert abs(float(torch.trapezoid(density, x[:, 0])) - 1) < 1e-3
    truth = 0.5 * sum((-0.5 * (x[:, 0] - c).square()).exp() for c in (-4, 4)) / (2 * torch.pi) ** 0.5
    assert float((density - truth).abs().max()) < 0.03


@pytest.mark.parametrize("rows", [2, 3, 10])
def test_a_handful_of_rows_gives_a_sound_map(rows: int) -> None:
    marginals = T.Marginals(3).double()
    marginals.initialize(columns(rows))
    x = columns(200, seed=1) * 5
    z, log_slope = marginals(x)
    assert bool(z.isfinite().all())
    assert bool(log_slope.isfinite().all())
    assert torch.allclose(marginals.inverse(z)[0], x)


def test_a_constant_column_is_moved_and_no_more() -> None:
    marginals = T.Marginals(1)
    marginals.initialize(torch.full((20, 1), 7.0))
    assert torch.allclose(marginals(torch.tensor([[7.0], [8.0]]))[0], torch.tensor([[0.0], [1.0]]), atol=1e-5)


def test_repeated_values_and_points_of_their_cells() -> None:
    whole = torch.randint(0, 6, (400, 1), generator=torch.Generator().manual_seed(0)).double()
    copies = torch.stack([whole + torch.rand(whole.shape, dtype=torch.float64) for _ in range(4)])
    marginals = T.Marginals(1).double()
    marginals.initialize(copies)
    z, _ = marginals(copies[3])
    assert abs(float(z.mean())) < 0.1
    assert abs(float(z.std()) - 1) < 0.1


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="knots at least 4, got 2 and 3"):
        T.Marginals(2, knots=3)


@pytest.mark.filterwarnings("error")
def test_single_rows_under_vmap_are_as_all_rows_together() -> None:
    marginals = T.Marginals(3).double()
    marginals.initialize(columns(300))
    x = columns(20, seed=1)
    for ours, want in zip(torch.func.vmap(marginals)(x), marginals(x), strict=True):
        torch.testing.assert_close(ours, want)


def test_linear_tails_grow_with_the_spread_of_the_column_and_integrate_to_one() -> None:
    marginals = T.Marginals(1, linear=True).double()
    rows = columns(400)[:, :1]
    marginals.initialize(rows)
    x = torch.linspace(-80, 80, 40001, dtype=torch.float64)[:, None]
    z, log_slope = marginals(x)
    density = (-0.5 * z[:, 0].square() + log_slope).exp() / (2 * torch.pi) ** 0.5
    assert abs(float(torch.trapezoid(density, x[:, 0])) - 1) < 1e-3
    far = marginals.inverse(torch.tensor([[8.0], [9.0], [20.0]], dtype=torch.float64))[0][:, 0]
    assert float(far[1] - far[0]) == pytest.approx(float(rows.std()), rel=1e-6)
    assert float(far[2]) < float(rows.max() + 18 * rows.std())
