"""Importance diagnostics: known normalising constants, verdicts, missed modes, resampling."""

from __future__ import annotations

import math

import pytest
import torch

import pushforward as pf
from pushforward.transforms import Compose, Standardize


def normal(loc, scale, features=2):
    """A flow that is exactly N(loc, scale^2 I)."""
    transform = Standardize(torch.full((features,), float(loc)), torch.full((features,), float(scale)))
    return pf.Flow(transform, features)


def mixture(x):
    """Two separated Gaussians at 0 and 12 with weights 0.4 and 0.6, times e^3."""
    parts = [normal(0, 1).log_prob(x) + math.log(0.4), normal(12, 1).log_prob(x) + math.log(0.6)]
    return torch.stack(parts).logsumexp(0) + 3.0


def importance(flow, target, n=2000, **options):
    return pf.diagnostics.importance(flow, target, n, generator=torch.Generator().manual_seed(0), **options)


@pytest.mark.slow
def test_a_perfect_flow_is_trusted_and_knows_log_z():
    result = importance(normal(1, 2), lambda x: normal(1, 2).log_prob(x) + 1.5)
    assert result.trusted
    assert result.verdict.startswith("The flow is close to the target: 2000 effective draws")
    assert result.log_z == pytest.approx(1.5, abs=1e-5)
    assert result.ess == pytest.approx(2000, rel=1e-4)
    assert result.kl == pytest.approx(0, abs=1e-5)
    assert result.missed < 1e-6


def test_log_z_lies_within_its_standard_error():
    errors = [
        (result.log_z - 1.5) / result.log_z_se
        for seed in range(30)
        for result in [
            pf.diagnostics.importance(
                normal(0.3, 1.3),
                lambda x: normal(0, 1).log_prob(x) + 1.5,
                500,
                starts=0,
                generator=torch.Generator().manual_seed(seed),
            )
        ]
    ]
    spread = torch.tensor(errors).square().mean().sqrt()
    assert 0.6 < spread < 1.5


def test_a_narrow_flow_is_not_trusted():
    result = importance(normal(0, 0.3), normal(0, 1).log_prob)
    assert not result.trusted
    assert result.khat > 0.7
    assert "a mode or a tail is missed" in result.verdict
    assert "too heavy" in importance(normal(0, 0.3), normal(0, 1).log_prob, starts=0).verdict


@pytest.mark.usefixtures("whole_climbs")
def test_a_missed_mode_is_seen_although_the_weights_look_fine():
    result = importance(normal(0, 1), mixture)
    assert result.khat < 0.7
    assert result.ess > 1900
    assert not result.trusted
    assert result.missed == pytest.approx(0.6, abs=0.1)
    assert "a mode or a tail is missed" in result.verdict


@pytest.mark.usefixtures("whole_climbs")
def test_mass_in_tails_without_a_peak_is_missed():
    """The draws of N(0, 1) reach to 4.6 or so; beyond are 14 % of a Cauchy's mass, and k-hat knows nothing of them."""
    cauchy = torch.distributions.StudentT(1.0)
    found = importance(normal(0, 1, 1).double(), lambda x: cauchy.log_prob(x)[:, 0], 4000)
    assert found.missed == pytest.approx(0.14, abs=0.03)
    assert "a mode or a tail is missed" in found.verdict


def test_a_narrow_mode_beside_a_wide_one_is_found():
    def target(x):
        return torch.logaddexp(normal(0, 1).double().log_prob(x), normal(10, 0.1).double().log_prob(x))

    assert importance(normal(0, 1).double(), target).missed == pytest.approx(0.5, abs=0.1)


def test_nothing_is_missed_where_the_noise_ends():
    flow = pf.ncsf(2, layers=1, hidden=(4,)).double()
    found = importance(flow, flow.log_prob)
    assert found.missed == 0
    assert found.trusted


def test_a_few_heavy_draws_are_not_trusted():
    """Ten of 2000 draws have all the weight, so their tail looks harmless."""

    def target(x):
        top = x[:, 0] >= x[:, 0].topk(10).values[-1]
        return normal(0, 1).log_prob(x) + torch.where(top, 20.0, 0.0)

    result = importance(normal(0, 1), target, starts=0)
    assert not result.trusted


def test_references_show_a_missed_region_without_a_search():
    references = normal(12, 1).sample((50,))
    result = importance(normal(0, 1), mixture, starts=0, references=references)
    assert not result.trusted
    assert "100% of the reference points" in result.verdict
    assert importance(normal(0, 1), mixture, starts=0, references=normal(0, 1).sample((50,))).trusted


def test_a_target_without_a_gradient_is_weighed_but_not_searched():
    def target(x):
        return torch.from_numpy(normal(0, 1).log_prob(x).detach().numpy())

    result = importance(normal(0, 1.1), target)
    assert result.trusted
    assert math.isnan(result.missed)
    assert "not searched" in result.verdict


def test_draws_outside_of_the_support_have_no_weight():
    def half(x):
        return normal(0, 1).log_prob(x).masked_fill(x[:, 0] < 0, -math.inf)

    result = importance(normal(0, 1), half)
    assert result.log_z == pytest.approx(math.log(0.5), abs=4 * result.log_z_se)
    assert result.resample()[:, 0].min() >= 0
    nothing = importance(normal(0, 1), lambda x: torch.full((len(x),), -math.inf))
    assert nothing.ess == 0
    assert not nothing.trusted
    assert "zero at every draw" in nothing.verdict


def test_resampled_draws_follow_the_target():
    result = importance(normal(0, 2), normal(1, 1).log_prob, n=20_000)
    draws = result.resample(5000, generator=torch.Generator().manual_seed(1))
    assert draws.shape == (5000, 2)
    torch.testing.assert_close(draws.mean(0), torch.ones(2), atol=0.08, rtol=0)
    torch.testing.assert_close(draws.std(0), torch.ones(2), atol=0.08, rtol=0)
    assert len(result.resample()) == round(result.ess)


def test_pieces_of_any_size_and_a_summary_that_json_can_hold():
    result = importance(normal(0, 2), normal(1, 1).log_prob, n=1000, chunk=300)
    assert result.draws.shape == (1000, 2)
    assert result.summary()["n"] == 1000
    assert set(result.summary()) >= {"ess", "khat", "log_z", "log_z_se", "missed", "trusted", "verdict"}


def test_bad_input():
    with pytest.raises(ValueError, match="n must be at least 1"):
        importance(normal(0, 1), mixture, n=0)
    with pytest.raises(ValueError, match=r"log_density is not finite for 10.. of 2000 draws, as at x"):
        importance(normal(0, 1), lambda x: x[:, 0].log())
    with pytest.raises(ValueError, match=r"gives shape \(1, 2\) for 1 row"):
        importance(normal(0, 1), lambda x: x)


def test_images_work_too():
    flow = pf.Flow(Compose([Standardize(torch.zeros(1, 2, 2), torch.ones(1, 2, 2))]), (1, 2, 2))
    result = importance(flow, lambda x: -0.5 * (x - 9).square().flatten(1).sum(1), n=500)
    assert "a mode or a tail is missed" in result.verdict


def test_bits_per_dim_of_uniform_images_is_the_logarithm_of_the_levels():
    density = torch.zeros(3)  # uniform on [0, 1]^16
    torch.testing.assert_close(pf.diagnostics.bits_per_dim(density, (1, 4, 4)), torch.full((3,), 8.0))
    probability = torch.tensor([-16 * math.log(256)])
    torch.testing.assert_close(pf.diagnostics.bits_per_dim(probability, (1, 4, 4), levels=1), torch.tensor([8.0]))
    with pytest.raises(ValueError, match="levels"):
        pf.diagnostics.bits_per_dim(density, (1, 4, 4), levels=0)
