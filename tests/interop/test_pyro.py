"""A flow as a Pyro distribution and as a Pyro guide, with the real library."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf

pyro = pytest.importorskip("pyro", reason="pyro-ppl is not installed")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]  # the warnings are the library's own


@pytest.fixture(autouse=True)
def _clean():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


def test_a_flow_is_trained_inside_a_model_as_a_distribution():
    from pushforward.interop.pyro import PyroDensity

    x = torch.randn(256, 2) * 0.5 + 3.0
    flow = pf.realnvp(2, layers=2, hidden=(16,))

    def model(x):
        pyro.module("flow", flow)
        with pyro.plate("rows", len(x)):
            pyro.sample("x", PyroDensity(flow), obs=x)

    svi = pyro.infer.SVI(model, lambda x: None, pyro.optim.Adam({"lr": 0.02}), pyro.infer.Trace_ELBO())
    losses = [svi.step(x) / len(x) for _ in range(150)]
    assert losses[-1] < losses[0] - 5
    assert losses[-1] == pytest.approx(-flow.log_prob(x).mean().item(), abs=0.1)


def test_a_conditional_flow_is_a_batch_of_distributions():
    from pushforward.interop.pyro import PyroDensity

    flow, context = pf.realnvp(2, context=1, layers=2, hidden=(8,)), torch.randn(5, 1)
    with pyro.poutine.trace() as trace, pyro.plate("rows", 5):
        x = pyro.sample("x", PyroDensity(flow, context))
    assert x.shape == (5, 2)
    trace.trace.compute_log_prob()
    torch.testing.assert_close(trace.trace.nodes["x"]["log_prob"], flow.log_prob(x, context))


@pytest.mark.slow
def test_a_flow_guide_finds_a_posterior_on_its_support():
    """Gamma prior, Poisson counts: the posterior of the rate is a Gamma, and log Z is known through the ELBO."""
    from pushforward.interop.pyro import FlowGuide

    counts = torch.tensor([3.0, 5.0, 4.0, 6.0])

    def model():
        rate = pyro.sample("rate", pyro.distributions.Gamma(2.0, 1.0))
        loc = pyro.sample("loc", pyro.distributions.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("counts", 4):
            pyro.sample("count", pyro.distributions.Poisson(rate), obs=counts)
        return loc

    positive, real = torch.distributions.constraints.positive, torch.distributions.constraints.real
    flow = pf.constrain(pf.realnvp(3, layers=2, hidden=(16,)), (positive, 1), (real, 2))
    guide = FlowGuide(flow, {"rate": (), "loc": (2,)})
    elbo = pyro.infer.Trace_ELBO(num_particles=32, vectorize_particles=True, max_plate_nesting=1)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), elbo)
    for _ in range(200):
        svi.step()
    rate = flow.sample((4000,))[:, 0]
    assert rate.mean().item() == pytest.approx(20 / 5, rel=0.05)  # Gamma(2 + 18, 1 + 4)
    assert rate.std().item() == pytest.approx(20**0.5 / 5, rel=0.1)
    drawn = guide()
    assert drawn["rate"].shape == ()
    assert drawn["loc"].shape == (2,)


def test_sites_that_do_not_fit():
    from pushforward.interop.pyro import FlowGuide

    with pytest.raises(ValueError, match="the sites have 3 numbers, but the flow has"):
        FlowGuide(pf.realnvp(2, layers=1), {"a": (), "b": (2,)})
