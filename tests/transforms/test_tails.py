"""The tail layer: tails in and out at any distance, estimated and trained indices, and what it refuses."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward import transforms as T
from pushforward.numerics import tails


@pytest.mark.parametrize(("dtype", "reach", "tolerance"), [(torch.float32, 9.0, 2e-6), (torch.float64, 26.0, 1e-14)])
@pytest.mark.parametrize("index", [0.8, 2.0, 50.0])
def test_the_two_directions_are_inverse_far_out(dtype, reach, tolerance, index):
    z = torch.cat([torch.tensor([0.0, 1e-6]), torch.linspace(0.1, reach, 300)]).to(dtype)
    weight = torch.tensor(1 / index, dtype=dtype)
    y, log_slope = tails.weigh_down(z, weight)
    back, opposite = tails.lighten(y, weight)
    assert float(((back - z) / (1 + z)).abs().max()) < tolerance
    assert float(((log_slope + opposite) / (1 + log_slope.abs())).abs().max()) < 100 * tolerance


def test_draws_have_the_tails_that_the_index_says():
    index = torch.tensor([[1.0, 3.0], [2.0, 30.0]])
    flow = pf.Flow(T.HeavyTails(2, index=index), 2)
    found = pf.diagnostics.tail_index(flow.sample((200_000,), generator=torch.Generator().manual_seed(0)), 1000)
    torch.testing.assert_close(found[:, 0], index[:, 0], rtol=0.1, atol=0)
    assert 2.5 < float(found[0, 1]) < 3.5
    assert float(found[1, 1]) > 4  # light


def test_a_batch_initialises_it():
    x = torch.distributions.StudentT(2.0).sample((5000, 1)) * 3 + 10
    layer = T.HeavyTails(1)
    z = layer.initialize(x)
    assert (layer.index() - 2).abs().max() < 0.6
    assert abs(float(z.median())) < 0.05
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor([0.75, 0.975]))
    found = z.abs().quantile(torch.tensor([0.5, 0.95]))
    assert (found / normal - 1).abs().max() < 0.2  # middle and tails are those of a normal
    known = T.HeavyTails(1, index=5.0, trainable=False)
    known.initialize(x)
    torch.testing.assert_close(known.index(), torch.full((2, 1), 5.0))
    assert not known.log_index.requires_grad
    assert T.HeavyTails(2).initialize(torch.zeros(3, 2)).shape == (3, 2)  # too few rows to say anything


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: T.HeavyTails(0), "features must be at least 1"),
        (lambda: T.HeavyTails(2, index=0.0), "index must be positive, got 0: it is the tails' degrees of freedom"),
        (lambda: T.HeavyTails(2, index=[1.0, -2.0]), "index must be positive, got -2"),
        (lambda: T.HeavyTails(2, index=[1.0, 2.0, 3.0]), r"index must be one number, 2, or \(2, 2\), got shape \(3,\)"),
        (lambda: pf.diagnostics.tail_index(torch.zeros(5, 2)), "x must be rows"),
        (lambda: pf.diagnostics.tail_index(torch.zeros(50, 2), 50), "tail must be from 1 to 49, got tail=50"),
    ],
)
def test_bad_arguments_are_told_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_draws_of_a_fitted_flow_have_the_tails_of_its_rows_with_the_layer_alone():
    torch.manual_seed(0)
    scale = torch.distributions.Gamma(1.0, 1.0).sample((4000, 1)).rsqrt()
    x = torch.randn(4000, 2) * scale  # a Student-t of two degrees of freedom in two dimensions
    layer = T.HeavyTails(2, pf.diagnostics.tail_index(x))
    plain, inner = (pf.nsf(2, layers=2, hidden=(16,), mixing="reverse") for _ in range(2))
    for flow, heavy in ((plain, False), (inner.behind(layer), True)):
        pf.fit(flow, x, steps=40, lr=5e-3, progress=False)
        drawn = flow.sample((100_000,), generator=torch.Generator().manual_seed(1))
        index = pf.diagnostics.tail_index(drawn, 1000)
        assert (abs(float(index.mean()) - 2) < 0.4) == heavy
