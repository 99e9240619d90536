"""Dequantisation and the unit logit."""

import math

import pytest
import torch

import pushforward as pf
from pushforward.testing import check_transform, randomize
from pushforward.transforms import Dequantise, UnitLogit, VariationalDequantise


def test_uniform_noise_stays_in_the_cell_and_comes_back_as_the_level():
    x = torch.randint(0, 7, (50, 2, 3, 3), dtype=torch.uint8)
    transform = Dequantise(levels=7)
    z, logdet = transform(x)
    assert torch.equal((z * 7).floor(), x.float())
    assert torch.equal(transform.inverse(z)[0], x.float())
    torch.testing.assert_close(logdet, torch.full((50,), -18 * math.log(7)))


@torch.no_grad()
def test_learnt_noise_has_the_density_that_it_reports():
    # E_q[1 / q(u); u in A] is the volume of A, whatever q; log(1 / q) is the log-determinant plus D log K
    transform = randomize(VariationalDequantise((1, 1, 2), levels=4, hidden=4), scale=0.2)
    x = torch.randint(0, 4, (1, 1, 2)).expand(40_000, 1, 1, 2)
    z, logdet = transform(x)
    assert torch.equal(transform.inverse(z)[0], x.float())
    u = z * 4 - x
    inside = ((u > 0.1) & (u < 0.9)).flatten(1).all(1)
    assert ((logdet + 2 * math.log(4)).exp() * inside).mean() == pytest.approx(0.64, abs=0.02)


@torch.no_grad()
def test_learnt_noise_starts_close_to_uniform():
    transform = VariationalDequantise((1, 2, 2), levels=4)
    u = transform(torch.zeros(2000, 1, 2, 2))[0] * 4
    assert u.mean() == pytest.approx(0.5, abs=0.02)
    assert u.std() == pytest.approx(12**-0.5, abs=0.02)


def test_the_unit_logit_is_a_bijection_that_reaches_both_ends():
    transform = UnitLogit(0.05)
    assert transform(torch.tensor([0.0, 1.0]).view(1, 1, 2))[0].isfinite().all()
    check_transform(transform, torch.rand(6, 1, 2, 2, dtype=torch.float64))


@pytest.mark.parametrize("dequantise", ["uniform", "variational"])
def test_a_flow_of_pixels_takes_bytes_and_gives_whole_numbers(dequantise):
    flow = pf.pixels(pf.glow((1, 4, 4), levels=1, steps=1, hidden=4), levels=16, dequantise=dequantise)
    x = torch.randint(0, 16, (8, 1, 4, 4), dtype=torch.uint8)
    flow.initialize(x)
    loss = -flow(x).mean()
    loss.backward()
    assert all(p.grad is not None for p in flow.parameters())
    samples = flow.sample((5,))
    assert torch.equal(samples, samples.floor().clamp(0, 15))


def test_bits_per_dim_of_a_uniform_model_is_the_logarithm_of_the_levels():
    class Uniform(torch.nn.Module):
        event_shape = (1, 2, 2)

        def log_prob(self, z):
            return torch.zeros(len(z))

    flow = pf.Flow(Dequantise(16), Uniform())
    log_prob = flow(torch.zeros(3, 1, 2, 2, dtype=torch.uint8))
    torch.testing.assert_close(pf.diagnostics.bits_per_dim(log_prob, (1, 2, 2), levels=1), torch.full((3,), 4.0))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="levels=1"):
        Dequantise(1)
    with pytest.raises(ValueError, match="levels=0"):
        VariationalDequantise((1, 2, 2), levels=0)
    with pytest.raises(ValueError, match="levels=None"):
        Dequantise(None)
    with pytest.raises(ValueError, match=r"alpha=0\.5"):
        UnitLogit(0.5)
    with pytest.raises(ValueError, match="dequantise='none'"):
        pf.pixels(pf.glow((1, 4, 4), levels=1, steps=1, hidden=4), dequantise="none")
