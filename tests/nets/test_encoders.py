"""Encoders: contexts of any shape as features, trained with the flow, saved with it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import pushforward as pf
from pushforward import nets
from pushforward.testing import randomize

SMALL = (8,)
ENCODERS = {
    "deep set": (lambda: nets.DeepSet(3, 4, hidden=SMALL), (5, 3)),
    "attention": (lambda: nets.SetAttention(3, 4, width=8, heads=2, layers=1), (5, 3)),
    "series": (lambda: nets.SeriesConv(3, 4, hidden=(6, 6), kernel=3), (5, 3)),
    "recurrent": (lambda: nets.Recurrent(3, 4, width=8), (5, 3)),
    "image": (lambda: nets.ImageEncoder(2, 4, hidden=(4, 4)), (2, 6, 5)),
    "mixed row": (lambda: nets.MixedRow([None, 3, None], 4, hidden=SMALL), (3,)),
    "layers of torch.nn": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(15, 8, bias=False), nn.Tanh(), nn.Linear(8, 4)),
        (5, 3),
    ),
    "unusual layers of torch.nn": (
        lambda: nn.Sequential(
            nn.MaxPool1d(2, ceil_mode=True), nn.LayerNorm(2, bias=False), nn.Flatten(), nn.Linear(10, 4)
        ),
        (5, 3),
    ),
}
PADDED = ("deep set", "attention", "series", "recurrent")
RECIPES = {
    "maf": lambda e: pf.maf(2, context=4, layers=2, hidden=SMALL, encoder=e),
    "iaf": lambda e: pf.iaf(2, context=4, layers=2, hidden=SMALL, encoder=e),
    "realnvp": lambda e: pf.realnvp(2, context=4, layers=2, hidden=SMALL, encoder=e),
    "nsf": lambda e: pf.nsf(2, context=4, layers=2, hidden=SMALL, encoder=e),
    "ffjord": lambda e: pf.ffjord(2, context=4, hidden=SMALL, encoder=e),
    "made": lambda e: pf.made(2, context=4, hidden=SMALL, encoder=e),
    "anyorder": lambda e: pf.anyorder(2, context=4, hidden=SMALL, encoder=e),
    "glow": lambda e: pf.glow((1, 4, 4), context=4, levels=1, steps=1, hidden=4, encoder=e),
    "realnvp images": lambda e: pf.realnvp((1, 4, 4), context=4, layers=2, hidden=(4,), encoder=e),
    "pixelcnn": lambda e: pf.pixelcnn((1, 2, 2), levels=3, hidden=4, layers=1, context=4, encoder=e),
}


def contexts(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ENCODERS)
def test_density_samples_and_saving(name, dtype, tmp_path):
    make, shape = ENCODERS[name]
    flow = randomize(pf.nsf(2, context=4, layers=2, hidden=SMALL, encoder=make()).to(dtype))
    x, context = contexts(6, 2).to(dtype), contexts(6, *shape).to(dtype)
    log_prob = flow.log_prob(x, context)
    assert log_prob.shape == (6,)
    assert flow.sample((3,), context).shape == (3, 6, 2)
    assert flow.condition(context).sample((3,)).shape == (3, 6, 2)
    torch.testing.assert_close(flow.condition(context).log_prob(x), log_prob)
    torch.testing.assert_close(flow.log_prob(x.expand(2, 6, 2), context)[1], log_prob)
    assert (flow.log_prob(x, context.flip(0)) != log_prob).any()
    drawn, own = flow.rsample_and_log_prob((), context)
    torch.testing.assert_close(flow.log_prob(drawn, context), own, rtol=1e-4, atol=1e-4)
    pf.save(flow, tmp_path / "model")
    assert torch.equal(pf.load(tmp_path / "model").log_prob(x, context), log_prob)
    assert torch.equal(copy.deepcopy(flow).log_prob(x, context), log_prob)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_takes_one(name):
    flow = randomize(RECIPES[name](nets.DeepSet(3, 4, hidden=SMALL)))
    x = torch.rand(3, *flow.event_shape)
    x = x.round() if name == "pixelcnn" else x
    flow.log_prob(x, contexts(3, 5, 3)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in flow.encoder.parameters())
    assert flow.sample((2,), contexts(3, 5, 3)).shape == (2, 3, *flow.event_shape)


@pytest.mark.parametrize("name", [name for name in ENCODERS if "torch.nn" not in name])
def test_any_batch_shape(name):
    make, shape = ENCODERS[name]
    flow = pf.maf(2, layers=1, hidden=SMALL, encoder=make())  # takes the number of features from the encoder
    context = contexts(2, 3, *shape)
    rows = flow.encode(context)
    assert rows.shape == (2, 3, 4)
    torch.testing.assert_close(flow.encode(context[1, 2]), rows[1, 2])
    assert flow.encode(context[:0]).shape == (0, 3, 4)


@pytest.mark.parametrize("name", PADDED)
def test_padding_changes_nothing_and_has_no_gradient(name):
    encoder = randomize(ENCODERS[name][0]().double())
    items = [contexts(2, 3).double(), contexts(4, 3).double() + 1]
    alone = torch.cat([encoder(item[None]) for item in items])
    batch = nets.padded(items, length=7).requires_grad_()
    torch.testing.assert_close(encoder(batch), alone)
    (gradient,) = torch.autograd.grad(encoder(batch).sum(), batch)
    assert gradient.isfinite().all()
    assert (gradient[0, 2:] == 0).all()
    assert encoder(torch.full((1, 4, 3), torch.nan, dtype=torch.float64)).isfinite().all()  # an empty set


@pytest.mark.parametrize("name", ["deep set", "attention"])
def test_sets_have_no_order(name):
    encoder, items = randomize(ENCODERS[name][0]().double()), contexts(2, 5, 3).double()
    torch.testing.assert_close(encoder(items[:, [3, 0, 4, 1, 2]]), encoder(items))


@pytest.mark.slow
def test_a_fit_learns_the_encoder():
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(2, 6, (600,), generator=generator)
    sets = [torch.randn(int(n), 1, generator=generator) for n in sizes]
    x = torch.stack([item.mean(0) for item in sets]) + 0.05 * torch.randn(600, 1, generator=generator)
    torch.manual_seed(0)
    flow = pf.realnvp(1, layers=2, hidden=(16,), encoder=nets.DeepSet(1, 4, hidden=(16,)))
    result = pf.fit(flow, x, nets.padded(sets), steps=200, lr=1e-2, progress=False)
    assert result.best_validation_loss < 0.2  # the entropy of x alone is 0.7, given its set -1.6


class Mine(nets.Encoder):
    features, context_dim = 2, 1

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, context: Tensor) -> Tensor:
        return context.abs().pow(self.power)


class Plain(nn.Module):
    def forward(self, context: Tensor) -> Tensor:
        return context.flatten(1)[:, :2]


def test_an_encoder_of_ones_own_is_saved_if_it_derives_from_encoder(tmp_path):
    flow = randomize(pf.maf(2, layers=1, hidden=SMALL, encoder=Mine(0.5)))
    pf.save(flow, tmp_path / "model")
    x, context = contexts(3, 2), contexts(3, 2)
    assert torch.equal(pf.load(tmp_path / "model").log_prob(x, context), flow.log_prob(x, context))
    plain = pf.maf(2, context=2, layers=1, hidden=SMALL, encoder=Plain())
    pf.fit(plain, contexts(50, 2), contexts(50, 3, 3), steps=2, progress=False)
    with pytest.raises(
        TypeError, match=r"Plain cannot be saved: derive it .* an encoder from pushforward.nets.Encoder"
    ):
        pf.save(plain, tmp_path / "other")


def test_bad_encoders_are_told_in_a_sentence():
    with pytest.raises(ValueError, match="context must be the number of features that the encoder Plain gives"):
        pf.maf(2, encoder=Plain())
    with pytest.raises(ValueError, match="context=3, but the encoder gives 4 features"):
        pf.nsf(2, context=3, encoder=nets.DeepSet(3, 4))
    flow = pf.maf(2, context=3, layers=1, hidden=SMALL, encoder=Plain())
    wrong = r"the encoder turns contexts of shape \(2, 3, 3\) into \(2, 2\), but the flow was built with context=3"
    with pytest.raises(ValueError, match=wrong):
        pf.fit(flow, contexts(50, 2), contexts(50, 3, 3), steps=2, progress=False)
    with pytest.raises(ValueError, match="takes contexts of 2 dimensions"):
        pf.maf(2, layers=1, hidden=SMALL, encoder=nets.DeepSet(3, 4)).log_prob(contexts(2), contexts(3))
    holed = torch.where(torch.arange(5) > 0, 1.0, torch.nan).view(5, 1, 1, 1)
    with pytest.raises(ValueError, match="context has 1 rows with NaN or infinite"):
        pf.fit(pf.maf(2, encoder=nets.ImageEncoder(1, 4)), contexts(5, 2), holed, steps=1)


def test_the_estimator_takes_contexts_of_any_shape_and_trains_a_copy():
    encoder = nets.DeepSet(1, 3, hidden=SMALL)
    before = copy.deepcopy(encoder.state_dict())
    X = nets.padded([contexts(2 + i % 3, 1) for i in range(60)]).numpy()
    y = contexts(60).numpy()
    model = pf.ConditionalFlowDensity("maf", layers=1, hidden=SMALL, steps=5, encoder=encoder).fit(X, y)
    assert model.score_samples(X, y).shape == (60,)
    assert model.sample(X[:4], n=2).shape == (2, 4)
    assert all(torch.equal(value, encoder.state_dict()[key]) for key, value in before.items())
    with pytest.raises(ValueError, match="encoder is for a density given X: use ConditionalFlowDensity"):
        pf.FlowDensity("maf", steps=1, encoder=encoder).fit(contexts(20, 2).numpy())
    with pytest.raises(ValueError, match="encoder goes with one flow, got flow='maf' and members=2"):
        pf.ConditionalFlowDensity("maf", steps=1, members=2, encoder=encoder).fit(X, y)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: nets.DeepSet(0, 4), "inputs must be at least 1"),
        (lambda: nets.SetAttention(3, 4, width=10, heads=4), "width must be a multiple of heads"),
        (lambda: nets.SeriesConv(3, 4, kernel=4), "kernel must be odd"),
        (lambda: nets.Recurrent(3, 4, width=0), "width must be at least 1"),
        (lambda: nets.ImageEncoder(0, 4), "channels must be at least 1"),
        (lambda: nets.MixedRow([], 4), "columns must be at least 1"),
        (lambda: nets.padded([]), "items holds 0 tensors"),
        (lambda: nets.padded([contexts(4, 1)], length=3), "the longest of 4 rows, but length is 3"),
    ],
)
def test_bad_sizes(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
