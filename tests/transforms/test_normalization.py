"""Batch normalisation: statistics move where that is asked for, and nowhere else."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.testing import randomize
from pushforward.transforms import BatchNorm, Compose, running_statistics


def test_a_density_does_not_depend_on_the_other_rows_nor_on_the_mode() -> None:
    norm = BatchNorm(3)
    norm.initialize(torch.randn(50, 3) * 4 + 2)
    x = torch.randn(20, 3)
    z, logdet = norm.train()(x)
    torch.testing.assert_close(norm.eval()(x[:1])[0], z[:1])
    torch.testing.assert_close(logdet, -norm.std.log().sum().expand(20))


@pytest.mark.parametrize("event_dim", [1, 3])
def test_statistics_move_towards_those_of_a_batch(event_dim: int) -> None:
    norm = BatchNorm(2, event_dim)
    x = torch.randn(400, 2, *[3, 5][: event_dim - 1]) * 3 + 1
    norm.initialize(x)
    z = norm(x)[0].transpose(0, 1).flatten(1)
    torch.testing.assert_close(z.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std(1, correction=0), torch.ones(2))
    before, variance = norm.mean.clone(), norm.std.square()
    with running_statistics(Compose([norm]), momentum=0.25):
        Compose([norm])(x + 4)
    torch.testing.assert_close(norm.mean, before + 1)
    torch.testing.assert_close(norm.std.square(), variance)
    norm(x + 4)
    torch.testing.assert_close(norm.mean, before + 1)


def test_fit_keeps_running_statistics() -> None:
    torch.manual_seed(0)
    x = torch.randn(600, 2) * torch.tensor([3.0, 0.1]) + 5
    parts = [BatchNorm(2), *pf.maf(2, layers=1, hidden=(8,)).transform, BatchNorm(2)]
    flow = pf.Flow(Compose(parts), 2)
    pf.fit(flow, x, steps=60, batch_size=64, progress=False)
    first = flow.transform[0]
    torch.testing.assert_close(first.mean, x.mean(0), atol=0.5, rtol=0)
    assert float(flow.log_prob(x).detach().mean()) > -2.5  # a standard normal has about -27


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="features must be at least 1 and event_dim 1 or 3, got 0 and 1"):
        BatchNorm(0)
    with (
        pytest.raises(ValueError, match=r"momentum must be above 0 and at most 1, got momentum=0"),
        running_statistics(randomize(BatchNorm(2)), 0),
    ):
        pass
