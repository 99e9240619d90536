"""Draws led by their context, and draws without the noise that was learnt; the recipe's sentences; training without
some contexts."""

import math

import pytest
import torch

import pushforward as pf
from pushforward.distributions import with_guidance
from pushforward.testing import randomize
from pushforward.transforms import Compose, Coupling, GaussianNoise

SIZES = {"blocks": 2, "layers": 1, "width": 8, "heads": 2}


def flow(**options):
    torch.manual_seed(0)
    return randomize(pf.tarflow((1, 4, 4), **SIZES, **options)).double()


def drawn(flow, context, **choices):
    return flow.sample((2,), context, generator=torch.Generator().manual_seed(0), **choices)


CONDITIONAL = {
    "tarflow": lambda: flow(context=3),
    "tarflow inner": lambda: flow(context=3, inner=6, bins=4),
    "tarflow reversible": lambda: flow(context=3, reversible=True),
    "glow": lambda: randomize(pf.glow((1, 4, 4), context=3, levels=1, steps=2, hidden=4)).double(),
    "maf": lambda: randomize(pf.maf(4, context=3, layers=2, hidden=(8,))).double(),
    "nsf coupling": lambda: randomize(pf.nsf(4, context=3, layers=2, hidden=(8,), coupling=True)).double(),
}


@pytest.mark.parametrize("name", CONDITIONAL)
def test_a_guided_flow_is_a_flow(name):
    model, context = CONDITIONAL[name](), torch.eye(3, dtype=torch.float64)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    guided = with_guidance(model.transform, 1.5)
    z = torch.randn(3, *model.base.event_shape, dtype=torch.float64)
    x, logdet = guided.inverse(z, context)
    back, opposite = guided(x, context)
    torch.testing.assert_close((back, opposite), (z, -logdet))
    assert not torch.allclose(drawn(model, context), drawn(model, context, guidance=1.5))
    same = with_guidance(model.transform, 0.0)
    torch.testing.assert_close(same.inverse(z, context), model.transform.inverse(z, context))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    torch.testing.assert_close(drawn(model, context * 0, guidance=2.0), drawn(model, context * 0))


def test_a_layer_that_stands_twice_is_guided_twice():
    model, context = CONDITIONAL["nsf coupling"](), torch.eye(3, dtype=torch.float64)
    layer = next(part for part in model.transform if isinstance(part, Coupling))
    once, twice = with_guidance(layer, 1.5), with_guidance(Compose([layer, layer]), 1.5)
    x = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(twice(x, context)[0], once(once(x, context)[0], context)[0])


def test_modules_that_cannot_be_copied_deeply_are_guided(monkeypatch):
    """As those are that FSDP2 has divided."""
    model, context = CONDITIONAL["tarflow"](), torch.eye(3, dtype=torch.float64)[:2]
    wanted = drawn(model, context, guidance=1.5)
    monkeypatch.setattr(torch.nn.Module, "__deepcopy__", lambda *_: pytest.fail("copied deeply"), raising=False)
    torch.testing.assert_close(drawn(model, context, guidance=1.5), wanted)


def test_denoised_draws_are_posterior_means():
    """Of a flow whose density is N(0, 1 + sigma^2): E[x | y] = y / (1 + sigma^2)."""
    model = pf.tarflow((1, 2, 2), patch=1, noise=0.5, width=8).double()
    with torch.no_grad():
        for block in list(model.transform[1])[1:2]:  # a single scale for all numbers
            block.net.exit.bias[1] = math.log(1.25**0.5) / (1 - math.log(1.25**0.5) / block.scalar.limit)
    noisy = drawn(model, None)
    torch.testing.assert_close(drawn(model, None, denoise=True), noisy / 1.25)


@pytest.mark.slow
def test_noise_on_levels_bounds_the_log_probability():
    """Averages of the bound's exponential over the noise are probabilities of images, which sum to 1."""
    torch.manual_seed(0)
    model = randomize(
        pf.pixels(pf.tarflow((1, 1, 2), patch=1, noise=1.0, blocks=2, layers=1, width=8), levels=3), scale=0.2
    ).double()
    images = torch.cartesian_prod(torch.arange(3), torch.arange(3)).view(9, 1, 1, 2)
    with torch.no_grad():
        many = model.log_prob(images.expand(10_000, 9, 1, 1, 2))
    total = many.exp().mean(0).sum()
    assert abs(float(total) - 1) < 0.05
    assert float(many.mean(0).exp().sum()) < float(total)
    samples = model.sample((50,), denoise=True)
    assert set(samples.unique().tolist()) <= {0.0, 1.0, 2.0}


def test_noise_that_is_not():
    for noise in (-0.1, math.nan):
        with pytest.raises(ValueError, match=f"noise must be at least 0, got noise={noise}"):
            pf.tarflow((1, 4, 4), noise=noise)
    with pytest.raises(ValueError, match="noise must be positive, got noise=0"):
        GaussianNoise(0)
    with pytest.raises(ValueError, match="levels must be at least 2, got levels=1"):
        GaussianNoise(0.1, levels=1)


def test_what_cannot_be_asked():
    with pytest.raises(ValueError, match=r"guidance=1\.0 needs a context, but the flow was built with context=0"):
        flow().sample((1,), guidance=1.0)
    with pytest.raises(ValueError, match="denoise=True, but the flow was built without Gaussian noise"):
        flow().sample((1,), denoise=True)
    with pytest.raises(ValueError, match="patch=3 does not divide the image's height and width, 4 x 4"):
        pf.tarflow((1, 4, 4), patch=3)
    with pytest.raises(ValueError, match=r"shape must be \(channels, height, width\), got \(4, 4\)"):
        pf.tarflow((4, 4))
    with pytest.raises(ValueError, match="blocks=0: expected a whole number"):
        pf.tarflow((1, 4, 4), blocks=0)


def test_contexts_are_dropped_in_training_alone():
    model = flow(context=3)
    objective = pf.ForwardKL(model, drop=0.5)
    x, context = torch.randn(400, 1, 4, 4).double(), torch.ones(400, 3).double()
    given, free = pf.ForwardKL(model)(x, context), pf.ForwardKL(model)(x, context * 0)
    torch.testing.assert_close(objective(x, context), (given + free) / 2, rtol=0.05, atol=0.0)
    torch.testing.assert_close(objective.held_out(x, context).mean(), given)
    with pytest.raises(ValueError, match=r"drop must be in \[0, 1\), got drop=1.0"):
        pf.ForwardKL(model, drop=1.0)
    with pytest.raises(ValueError, match=r"drop=0\.1 needs a context, but the flow was built with context=0"):
        pf.ForwardKL(flow(), drop=0.1)


@pytest.mark.parametrize("options", [{}, {"noise": 0.1}, {"bins": 4, "inner": 6, "reversible": True}])
def test_saved_and_loaded(tmp_path, options):
    model = pf.pixels(flow(context=2, **options), levels=8).double()
    pf.save(model, tmp_path / "model")
    twin = pf.load(tmp_path / "model")
    context = torch.eye(2, dtype=torch.float64)
    assert torch.equal(drawn(model, context, guidance=1.0), drawn(twin, context, guidance=1.0))


def test_activations_are_not_kept():
    def saved(blocks, reversible):
        torch.manual_seed(0)
        model = pf.tarflow((1, 8, 8), width=16, heads=2, blocks=blocks, reversible=reversible)
        kept, own = {}, {p.untyped_storage().data_ptr() for p in model.parameters()}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.rand(16, 1, 8, 8)).mean()
        return sum(kept.values())

    assert saved(8, True) < 0.1 * saved(8, False)
    one_event = 16 * 64 * 4
    assert saved(8, True) - saved(2, True) <= 6 * one_event


@pytest.mark.compiler
def test_a_compiled_flow_learns_and_draws():
    torch.compiler.reset()
    model = pf.tarflow((1, 4, 4), **SIZES, context=2)
    x, context = torch.randn(6, 1, 4, 4), torch.eye(2).repeat(3, 1)
    before = model(x, context)
    model.compile(backend="aot_eager")
    torch.testing.assert_close(model(x, context), before)
    (-model(x, context).mean()).backward()
    assert drawn(model, context, guidance=1.0).isfinite().all()


def test_noise_stands_first():
    noisy = pf.pixels(flow(noise=0.1), levels=4)
    assert isinstance(noisy.transform, Compose)
    assert (noisy.transform[0].noise, noisy.transform[0].levels) == (0.1, 4)
    assert noisy.support.check(torch.tensor([[[0.0, 5.0]]])).all() == False  # noqa: E712
