"""Traces: exact by products with the basis, unbiased by probes, with an honest standard error."""

import math

import pytest
import torch

from pushforward.numerics import trace

M = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def field(z):
    return torch.tanh(z @ M.t()) @ M


def jacobian_traces(z):
    return torch.stack([torch.autograd.functional.jacobian(field, row).trace() for row in z])


Z = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_exact_is_the_trace_of_the_jacobian():
    torch.testing.assert_close(trace.exact(field, Z), jacobian_traces(Z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian", "orthogonal"])
def test_probes_have_unit_covariance_and_estimates_are_unbiased(kind):
    like = Z[:1].expand(20_000, 6)
    probes = trace.draw_probes(kind, 2, like, generator=torch.Generator().manual_seed(2))
    covariance = torch.einsum("kni,knj->ij", probes, probes) / probes[..., 0].numel()
    torch.testing.assert_close(covariance, torch.eye(6, dtype=torch.float64), rtol=0, atol=0.05)
    estimates = trace.quadratic_forms(field, like, probes)
    errors = estimates.mean(0) - jacobian_traces(Z[:1])
    assert abs(float(errors.mean())) < 4 * float(errors.std()) / math.sqrt(20_000)
    claimed = trace.standard_error(estimates, kind, 6).square().mean().sqrt()
    assert float(claimed / errors.square().mean().sqrt()) == pytest.approx(1, abs=0.03)


def test_a_full_orthogonal_frame_is_exact():
    probes = trace.draw_probes("orthogonal", 6, Z, generator=torch.Generator().manual_seed(3))
    estimates = trace.quadratic_forms(field, Z, probes)
    torch.testing.assert_close(estimates.mean(0), jacobian_traces(Z), rtol=1e-10, atol=1e-10)
    assert trace.standard_error(estimates, "orthogonal", 6).abs().max() == 0


def test_one_probe_knows_nothing_of_its_error():
    assert trace.standard_error(torch.ones(1, 3), "rademacher", 4).isnan().all()


def test_squared_products_give_the_frobenius_norm():
    like = Z[:1].expand(20_000, 6)
    probes = trace.draw_probes("rademacher", 1, like, generator=torch.Generator().manual_seed(4))
    norm = torch.autograd.functional.jacobian(field, Z[0]).square().sum()
    assert float(trace.squared_products(field, like, probes).mean()) == pytest.approx(float(norm), rel=0.02)


def test_chunks_change_nothing(monkeypatch):
    whole = trace.exact(field, Z)
    monkeypatch.setattr(trace, "CHUNK", 2 * Z.numel())
    torch.testing.assert_close(trace.exact(field, Z), whole)


def test_unknown_or_too_many_probes_are_refused():
    with pytest.raises(ValueError, match="noise must be"):
        trace.draw_probes("uniform", 1, Z)
    with pytest.raises(ValueError, match="at most 6 probes"):
        trace.draw_probes("orthogonal", 7, Z)
