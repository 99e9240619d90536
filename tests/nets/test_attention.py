"""The causal transformer: what sees what, sampling with the cache against passes, precisions, bad sizes."""

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.nets import CausalTransformer
from pushforward.testing import randomize
from pushforward.transforms import Affine, Autoregressive, Spline

SIZES = {"layers": 2, "width": 12, "heads": 3}


def transform(positions=7, size=2, *, context=0, inner=0, scalar=None, dtype=torch.float64, **options):
    torch.manual_seed(0)
    scalar = scalar or Affine()
    net = CausalTransformer(positions, scalar.num_params, size=size, context=context, inner=inner, **SIZES)
    return randomize(Autoregressive(net, scalar, **options)).to(dtype)


def by_passes(block: Autoregressive, z: Tensor, context: Tensor | None = None) -> Tensor:
    """x stage by stage, each by a whole pass of the network."""
    x = torch.zeros_like(z)
    for now in block.net.stages():
        found = block.scalar.inverse(z, block.net(x, context))[0]
        x = torch.where(now, found, x)
    return x


@pytest.mark.parametrize(("inner", "steps"), [(0, 7), (6, 14)])
def test_stages_are_positions_or_numbers_that_see_each_other(inner, steps):
    block = transform(inner=inner)
    assert block.net.stages().sum(0).tolist() == [1] * 14
    assert f"{steps} steps" in repr(block)


@pytest.mark.parametrize("inner", [0, 48])
def test_parameters_see_what_comes_before(inner):
    net = transform(4, 3, inner=inner).net
    jacobians = torch.func.vmap(torch.func.jacrev(net))(torch.randn(20, 12, dtype=torch.float64))  # units may be off
    seen = jacobians.abs().amax((0, 1)) > 0
    earlier = torch.ones(12, 12).tril(-1).bool()
    patches = torch.arange(12) // 3
    assert torch.equal(seen, earlier if inner else patches[:, None] > patches)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(
    "options", [{}, {"inversion": "jacobi"}, {"inversion": "blocks", "block": 3}], ids=["one", "jacobi", "blocks"]
)
@pytest.mark.parametrize("inner", [0, 6])
def test_the_cache_gives_what_passes_give(inner, options, dtype, tolerance, grad):
    block = transform(inner=inner, context=3, dtype=dtype, **options)
    z, context = torch.randn(5, 14, dtype=dtype), torch.randn(5, 3, dtype=dtype)
    with torch.set_grad_enabled(grad):
        x, logdet = block.inverse(z, context)
        torch.testing.assert_close(x, by_passes(block, z, context), atol=tolerance, rtol=tolerance)
        back, opposite = block(x, context)
    torch.testing.assert_close(back, z, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(opposite, -logdet, atol=1e-4, rtol=1e-4)


def test_passes_of_a_block_stop_by_tolerance_and_never_exceed_its_positions(monkeypatch):
    calls = []
    extend = CausalTransformer.extend
    monkeypatch.setattr(CausalTransformer, "extend", lambda *args: calls.append(1) or extend(*args))
    z = torch.randn(4, 14, dtype=torch.float64)
    counts = {}
    for tolerance in (0.0, 0.1):
        calls.clear()
        block = transform(inversion="blocks", block=7, tolerance=tolerance)
        with torch.no_grad():
            block.inverse(z)
        counts[tolerance] = len(calls)
    assert counts[0.1] < counts[0.0] <= 7


def test_the_inverse_is_differentiable():
    block = transform(4, 2, scalar=Spline(4))
    z = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: block.inverse(v), z)
    x, _ = block.inverse(z)
    x.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())


def test_gradients_of_gradients_with_the_plain_attention():
    block = transform(3, 2)
    x = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(lambda v: block(v), x)


@pytest.mark.parametrize("reversible", [False, True])
def test_mixed_precision_keeps_log_determinants_in_single(reversible):
    torch.manual_seed(0)
    flow = randomize(pf.tarflow((1, 4, 4), **SIZES, blocks=2, reversible=reversible), scale=0.1)
    x = torch.randn(8, 1, 4, 4)
    exact = flow(x)
    with torch.autocast("cpu", torch.bfloat16):
        z, logdet = flow.transform(x)
        loss = -flow(x).mean()
    assert z.dtype == logdet.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(loss, -exact.mean(), atol=0.05, rtol=0.05)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in flow.parameters())


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (2, 3)])
def test_any_batch(shape):
    block = transform(context=3)
    x, context = torch.randn(*shape, 14, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            z, logdet = block(x, context)
            assert (z.shape, logdet.shape) == (x.shape, torch.Size(shape))
            torch.testing.assert_close(block.inverse(z, context)[0], x)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"heads": 5}, "heads must divide width, got heads=5 and width=12"),
        ({"width": 0}, "width must be at least 1, got width=0"),
        ({"layers": 0}, "layers must be at least 1, got layers=0"),
        ({"size": 0}, "size must be at least 1, got size=0"),
        ({"context": -1}, "context must be at least 0, got context=-1"),
    ],
)
def test_sizes_that_do_not_fit(wrong, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        CausalTransformer(7, 2, **SIZES | wrong)


def test_blocks_are_of_positions():
    with pytest.raises(ValueError, match="inversion='blocks' is for networks over positions, but net is a MADE"):
        Autoregressive(pf.nets.MADE(3, 2), Affine(), inversion="blocks")
    with pytest.raises(ValueError, match="block must be at least 1, got block=0"):
        transform(inversion="blocks", block=0)
