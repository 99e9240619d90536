"""Affine couplings that follow each other as one function: against networks and maps one after the other."""

import gc
import weakref

import pytest
import torch
import torch.utils.checkpoint

from pushforward.nets.mlp import MLP
from pushforward.numerics import affine_chain as module
from pushforward.numerics.affine_chain import Chain, Link, affine_chain, plain_chain
from pushforward.numerics.layout import planes
from pushforward.testing import randomize
from pushforward.transforms import Affine

FEATURES, CONTEXT, BATCH = 5, 2, 6
HALVES, EQUAL = (slice(0, 2), slice(2, 5)), (slice(0, 2), slice(2, 4))
PARTS = {
    "halves": HALVES,
    "alternate": (slice(1, None, 2), slice(0, None, 2)),
    "nothing to read": (slice(0, 0), slice(0, 5)),
    "equal parts": EQUAL,  # networks of the two directions may take each other's memory
}
MOVED = {
    "one": [1],
    "in turns": [1, 0, 1, 0],
    "one part alone": [1, 1, 1],
    "some in a row": [1, 1, 0, 0, 0, 1, 0, 0, 1, 1],
}
CASES = [
    (parts, moved, inverse)
    for parts in PARTS
    for moved in MOVED
    for inverse in (False, True)
    if parts != "nothing to read" or 0 not in MOVED[moved]
]
every_case = pytest.mark.parametrize(("parts", "moved", "inverse"), CASES)


@pytest.fixture(autouse=True, params=[1, 2], ids=["whole", "in blocks"])
def count(request, monkeypatch):
    monkeypatch.setattr(module, "blocks", lambda like, multiplications, n: 1 if n % request.param else request.param)


def features(parts):
    return 4 if parts == "equal parts" else FEATURES


def chain_of(parts, moved="in turns", inverse=False, residual=False, context=0):
    """A chain with its networks, in double precision and away from the identity."""
    torch.manual_seed(0)
    sizes = [len(range(*part.indices(features(parts)))) for part in PARTS[parts]]
    hidden = (8, 8, 8) if residual else (8, 6)
    nets = [
        MLP(sizes[1 - side], sizes[side], 2, hidden=hidden, residual=residual, context=context) for side in MOVED[moved]
    ]
    for net in nets:
        randomize(net.double())
    links = [
        Link(net.layers, residual, 2.0 + k, side) for k, (net, side) in enumerate(zip(nets, MOVED[moved], strict=True))
    ]
    return torch.nn.ModuleList(nets), Chain(PARTS[parts], tuple(links), inverse)


def raw(nets, x, context=None):
    return [param for net in nets for param in net.raw(x.shape[:-1], context)]


def run(nets, chain, x, context=None):
    return affine_chain(planes(x), chain, raw(nets, x, context))


def one_by_one(nets, chain, x, context=None):
    """Each network, then its map."""
    total = 0
    for net, link in zip(nets, chain.links, strict=True):
        scalar, read, moved = Affine(link.limit), chain.parts[1 - link.moved], chain.parts[link.moved]
        scalar_map = scalar.inverse if chain.inverse else scalar.forward
        new, log_slope = scalar_map(x[:, moved], net(x[:, read], context))
        x = x.clone()
        x[:, moved] = new
        total = total + log_slope.sum(-1)
    return x.t(), total


def rows(parts, n=BATCH):
    return torch.randn(n, features(parts), dtype=torch.float64, requires_grad=True)


def trained(nets, *others):
    return [each for each in (*others, *nets.parameters()) if each is not None and each.numel()]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("context", [None, "one", "each"])
@every_case
def test_equals_networks_and_maps_one_after_the_other(parts, moved, inverse, context, residual):
    nets, chain = chain_of(parts, moved, inverse, residual, CONTEXT if context else 0)
    x = rows(parts)
    c = context and torch.randn(1 if context == "one" else BATCH, CONTEXT, dtype=torch.float64, requires_grad=True)
    inputs = trained(nets, x, c)
    got, expected = run(nets, chain, x, c), one_by_one(nets, chain, x, c)
    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got[0]), torch.randn_like(got[1])
    grads = [torch.autograd.grad(out, inputs, weights) for out in (got, expected)]
    torch.testing.assert_close(*grads)
    with torch.no_grad():
        torch.testing.assert_close(run(nets, chain, x, c), expected)


@pytest.mark.parametrize("context", [0, CONTEXT])
@every_case
def test_some_columns_at_a_time(monkeypatch, parts, moved, inverse, context):
    nets, chain = chain_of(parts, moved, inverse, context=context)
    x, c = rows(parts), torch.randn(BATCH, context, dtype=torch.float64) if context else None
    expected = one_by_one(nets, chain, x, c)
    monkeypatch.setattr(module, "_ACTIVATIONS", 3 * max(stairs.rows for stairs in nets[0].layers))
    with torch.no_grad():
        torch.testing.assert_close(run(nets, chain, x, c), expected)


@every_case
def test_second_derivatives(parts, moved, inverse):
    nets, chain = chain_of(parts, moved, inverse)
    x = rows(parts, 2)
    assert torch.autograd.gradgradcheck(lambda x: run(nets, chain, x), x)
    inputs = trained(nets, x)

    def second(z):
        first = torch.autograd.grad(z.square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), inputs, allow_unused=True)

    expected = second(one_by_one(nets, chain, x)[0])
    torch.testing.assert_close(second(run(nets, chain, x)[0]), expected)
    torch.testing.assert_close(second(plain_chain(planes(x), chain, raw(nets, x))[0]), expected)


@every_case
def test_no_rows_at_all(parts, moved, inverse):
    nets, chain = chain_of(parts, moved, inverse)
    x = rows(parts, 0)
    z, logdet = run(nets, chain, x)
    assert (z.shape, logdet.shape) == ((features(parts), 0), (0,))
    (z.sum() + logdet.sum()).backward()
    assert all((p.grad == 0).all() for p in nets.parameters())
    with torch.no_grad():
        assert run(nets, chain, x)[1].shape == (0,)


def test_the_way_back_can_be_gone_twice():
    """The memory of the first way back is lent to others meanwhile."""
    nets, chain = chain_of("halves")
    x, y = rows("halves"), rows("halves")
    z, logdet = run(nets, chain, x)
    loss = z.square().sum() + logdet.sum()
    once = torch.autograd.grad(loss, trained(nets, x), retain_graph=True)
    run(nets, chain, y)[0].sum().backward()
    torch.testing.assert_close(torch.autograd.grad(loss, trained(nets, x)), once)


def test_only_what_needs_a_gradient_gets_one():
    nets, chain = chain_of("halves")
    nets[1].weights[1].requires_grad_(False)
    z, logdet = run(nets, chain, rows("halves").detach())
    (z.sum() + logdet.sum()).backward()
    assert nets[1].weights[1].grad is None
    assert all(p.grad is not None for p in nets.parameters() if p.requires_grad)


def test_results_and_graphs_do_not_lie_in_memory_that_the_next_call_overwrites():
    nets, chain = chain_of("halves")
    x, y = rows("halves"), rows("halves")
    first = run(nets, chain, x)
    kept = [each.clone() for each in first]
    run(nets, chain, y)
    torch.testing.assert_close(list(first), kept)
    (alone,) = torch.autograd.grad(sum(each.sum() for each in run(nets, chain, x)), x)
    (late,) = torch.autograd.grad(sum(each.sum() for each in first), x)
    torch.testing.assert_close(late, alone)


def test_a_result_may_be_changed_in_place():
    """The way back does not read it."""
    nets, chain = chain_of("halves")
    x = rows("halves")
    z, logdet = run(nets, chain, x)
    expected = torch.autograd.grad(z.sum() + logdet.sum(), trained(nets, x))
    z, logdet = run(nets, chain, x)
    z.detach().mul_(2)
    torch.testing.assert_close(torch.autograd.grad(z.sum() + logdet.sum(), trained(nets, x)), expected)


def test_a_graph_goes_with_its_result():
    nets, chain = chain_of("halves")
    gc.disable()
    try:
        result = run(nets, chain, rows("halves"))
        node = weakref.ref(result[1].grad_fn)
        del result
        assert node() is None
    finally:
        gc.enable()


def test_with_saved_tensors_in_other_hands_no_graph_holds_a_workspace():
    """As torch.utils.checkpoint does, to save memory: the way back runs the couplings again."""
    nets, chain = chain_of("halves")
    x = rows("halves")

    def loss(x):
        z, logdet = run(nets, chain, x)
        return z.square().sum() + logdet.sum(), z.grad_fn

    expected = torch.autograd.grad(loss(x)[0], trained(nets, x))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        value, node = loss(x)
    assert node.memory is None
    torch.testing.assert_close(torch.autograd.grad(value, trained(nets, x)), expected)
    value, _ = torch.utils.checkpoint.checkpoint(loss, x, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(value, trained(nets, x)), expected)
