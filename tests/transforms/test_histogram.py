"""A histogram's distribution function as a map: what comes out is normal, and ends are where they were said."""

from __future__ import annotations

import pytest
import torch

from pushforward import transforms as T
from pushforward.testing import check_transform


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
