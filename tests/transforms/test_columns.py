"""Maps of columns: smooth where their own tails begin, exponential beyond; and histograms, which make rows normal."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward import transforms as T
from pushforward.testing import check_transform

LOG = T.Extended(T.Log(0), None, (5.0, 4.0, 2.0))
BOTH = T.Extended(T.Asinh(0), (-2.0, 1.5, 0.5), (3.0, 4.0, 2.0))


@pytest.mark.parametrize("f", [LOG, BOTH])
def test_value_and_slope_are_continuous_where_the_tails_begin_and_have_bent(f: T.Extended) -> None:
    for end in f.ends[f.ends.isfinite()]:
        x = end + torch.tensor([-1e-9, 1e-9], dtype=torch.float64)
        z, log_slope = f(x)
        assert abs(float(z.diff())) < 1e-8
        assert abs(float(log_slope.diff())) < 1e-6
    x = torch.linspace(5.0, 5.2, 20_001, dtype=torch.float64)
    assert float(LOG(x)[1].diff().abs().max()) < 1e-2


def test_the_excess_over_an_end_is_exponential_where_z_is_normal() -> None:
    f = T.Extended(T.Identity(0), None, (2.5, 3.0 * (2.5 + 1 / 2.5), 3.0))
    z = torch.randn(4_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = f.inverse(z)[0]
    excess = x[x > 2.5] - 2.5
    assert float(excess.mean()) == pytest.approx(3.0, rel=0.1)
    assert float(excess.std()) == pytest.approx(3.0, rel=0.1)


def test_densities_integrate_to_one() -> None:
    x = torch.linspace(-60, 120, 400_001, dtype=torch.float64)
    z, log_slope = BOTH(x)
    density = torch.exp(-0.5 * ((z - 0.1) / 0.8).square() + log_slope) / (0.8 * (2 * torch.pi) ** 0.5)
    assert float(torch.trapezoid(density, x)) == pytest.approx(1.0, abs=1e-4)


def test_values_far_out_keep_finite_log_densities_and_draws_stay_near() -> None:
    x = torch.tensor([1e-30, 1e3, 1e6, 1e9])
    z, log_slope = LOG(x)
    assert bool((-0.5 * z.square() + log_slope).isfinite().all())
    assert float(LOG.inverse(torch.tensor(6.0))[0]) < 50  # of a logarithm alone: 403
    assert float(LOG.inverse(torch.tensor(30.0))[0]) < 1000  # 1e13


def test_a_model_saves_its_tails(tmp_path) -> None:
    flow = pf.Flow(T.Columns([LOG, BOTH]), 2)
    pf.save(flow, tmp_path / "model")
    x = torch.tensor([[1.0, 0.0], [40.0, -9.0]])
    assert torch.equal(pf.load(tmp_path / "model")(x), flow(x))


@pytest.mark.parametrize(
    ("low", "high", "stretch"),
    [
        ((0.0, -1.0, 0.0), None, 1.0),
        (None, (1.0, 1.0, -1.0), 1.0),
        ((2.0, 1.0, 0.0), (1.0, 1.0, 0.0), 1.0),
        (None, None, 0.0),
    ],
)
def test_tails_that_make_no_sense_are_refused(low, high, stretch) -> None:
    with pytest.raises(ValueError):
        T.Extended(T.Identity(0), low, high, stretch=stretch)


def test_a_map_of_whole_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="event_dim"):
        T.Extended(T.Asinh(), None, (1.0, 1.0, 0.0))


def test_rows_of_the_histogram_come_out_normal() -> None:
    histogram = T.Histogram([-0.5, 0.5, 1.5, 9.5], [0.0, 0.4, 0.7, 1.0])
    u = torch.rand(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.where(u < 0.4, u / 0.4 - 0.5, torch.where(u < 0.7, 0.5 + (u - 0.4) / 0.3, 1.5 + 8 * (u - 0.7) / 0.3))
    z, log_slope = histogram(x)
    points = torch.linspace(-3, 3, 13, dtype=torch.float64)
    found = (z[:, None] <= points).double().mean(0)
    torch.testing.assert_close(found, torch.special.ndtr(points), atol=5e-3, rtol=0)
    density = torch.tensor([0.4, 0.3, 0.3 / 8], dtype=torch.float64)
    of_normal = -0.5 * z.square() - 0.918938533204673 + log_slope
    within = (z.abs() < 3) & (u < 0.4)
    torch.testing.assert_close(of_normal[within].mean(), density[0].log(), atol=5e-3, rtol=0)


def test_tails_go_on_and_closed_ends_do_not() -> None:
    both = T.Columns([T.Histogram([0.0, 1.0, 1.5], [0.01, 0.3, 0.98], tail=2.0)])
    check_transform(both, torch.linspace(-50, 50, 41, dtype=torch.float64)[:, None])
    closed = T.Histogram([0.0, 1.0, 2.0], [0.0, 0.5, 1.0])
    z, _ = closed(torch.tensor([-0.1, 0.0, 1.0, 2.0, 2.1], dtype=torch.float64))
    assert z.isnan().tolist() == [True, False, False, False, True]
    x, _ = closed.inverse(torch.tensor([-50.0, 50.0], dtype=torch.float64))
    assert x.tolist() == [0.0, 2.0]


@pytest.mark.parametrize(
    ("edges", "cumulative", "tail", "message"),
    [
        ([0, 1], [0.1], 1.0, "one length"),
        ([0, 0], [0.1, 0.2], 1.0, "must increase"),
        ([0, 1], [0.2, 0.2], 1.0, "must increase"),
        ([0, 1], [0.2, 1.2], 1.0, r"lie in \[0, 1\]"),
        ([0, 1], [0.2, 0.9], 0.0, "tail be positive"),
    ],
)
def test_what_is_no_histogram_is_refused(
    edges: list[float], cumulative: list[float], tail: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        T.Histogram(edges, cumulative, tail)


def test_periods_keep_their_ends_and_their_parts_hold_as_many_as_others() -> None:
    rhythm = T.PeriodicHistogram(-3.0, 7.0, [0.1, 0.2, 0.3, 0.4])
    ends = torch.tensor([-10.0, -3.0, 4.0, 1e9 * 7 - 3], dtype=torch.float64)
    torch.testing.assert_close(rhythm(ends)[0], ends, rtol=0, atol=1e-5)
    place = torch.tensor([1.5, 2.0], dtype=torch.float64)  # of four parts
    for turn in (0, -5, 300):
        z, log_slope = rhythm(-3 + 7 * (turn + place / 4))
        torch.testing.assert_close(z, -3 + 7 * (turn + torch.tensor([0.2, 0.3], dtype=torch.float64)))
        torch.testing.assert_close(log_slope.exp(), 4 * torch.tensor([0.2, 0.3], dtype=torch.float64))


@pytest.mark.parametrize(("period", "shares"), [(0.0, [0.5, 0.5]), (1.0, [0.0, 1.0]), (1.0, [0.2, 0.2])])
def test_what_is_no_period_is_refused(period: float, shares: list[float]) -> None:
    with pytest.raises(ValueError, match="period"):
        T.PeriodicHistogram(0.0, period, shares)
