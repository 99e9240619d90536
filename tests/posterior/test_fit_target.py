"""From a log-density to a trusted sampler in one call."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor
from torch.distributions import Gamma, constraints

import pushforward as pf
from pushforward.testing import targets


@pytest.mark.slow
def test_a_posterior_is_fitted_in_its_own_space():
    gamma = Gamma(torch.tensor([3.0, 8.0]).double(), torch.tensor([1.0, 2.0]).double(), validate_args=False)
    blocks = [(constraints.positive, 2)]
    fitted = pf.fit_target(lambda x: gamma.log_prob(x).sum(-1), 2, blocks=blocks, layers=4, steps=300, progress=False)
    found = fitted.importance
    assert found.trusted
    assert abs(found.log_z) < 4 * found.log_z_se + 1e-6
    assert (found.draws > 0).all()
    torch.testing.assert_close(found.resample(5000).mean(0), gamma.mean, rtol=0.05, atol=0)


@pytest.mark.slow
def test_log_z_of_the_banana():
    fitted = pf.fit_target(targets.banana, 2, layers=4, steps=150, batch_size=128, progress=False)
    assert abs(fitted.importance.log_z) < 4 * fitted.importance.log_z_se
    assert fitted.importance.log_z_se < 0.02


@pytest.mark.slow
@pytest.mark.usefixtures("whole_climbs")
def test_a_mode_that_is_missed_is_seen():
    """The start at one of two modes far apart ends there: the weights alone look fine, and the verdict does not."""
    fitted = pf.fit_target(targets.separated, 2, layers=2, steps=50, progress=False)
    assert not fitted.importance.trusted
    assert fitted.importance.khat < 0.7
    assert fitted.importance.missed == pytest.approx(0.5, abs=0.1)


def test_bad_arguments():
    with pytest.raises(ValueError, match='start must be "laplace" or "normal"'):
        pf.fit_target(targets.banana, 2, start="map")
    with pytest.raises(ValueError, match="the blocks have 3 features, but features=2"):
        pf.fit_target(targets.banana, 2, blocks=[(constraints.positive, 3)])


def test_a_budget_is_of_everything_for_a_slow_target_too() -> None:
    def slow(x: Tensor) -> Tensor:
        time.sleep(0.02)
        return -0.5 * (x - 3).square().sum(-1)

    started = time.monotonic()
    fitted = pf.fit_target(slow, 2, budget="2s", draws=500, progress=False)
    assert time.monotonic() - started < 8  # 700 climbs alone, and their gradients, would take 14
    assert fitted.importance.trusted
    with pytest.raises(ValueError, match="budget"):
        pf.fit_target(slow, 2, budget=-1.0, progress=False)
