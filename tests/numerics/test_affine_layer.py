"""A masked network and its affine map as one function: against the two by themselves."""

import pytest
import torch
import torch.utils.checkpoint

from pushforward.nets.made import MADE
from pushforward.numerics.affine_layer import Layer, Order, affine_layer, plain_layer
from pushforward.numerics.layout import planes
from pushforward.numerics.tails import tame
from pushforward.testing import randomize
from pushforward.transforms import Affine

FEATURES = 5
ORDER = torch.tensor([3, 0, 4, 1, 2])


def layer_of(residual=False, context=0):
    """A layer with its network, in double precision and away from the identity."""
    torch.manual_seed(0)
    net = MADE(FEATURES, 2, hidden=(8, 8, 8) if residual else (8, 8), residual=residual, context=context)
    randomize(net.double())
    return net, Layer(net.layers, residual, 3.0)


def run(net, layer, x, context=None):
    return affine_layer(planes(x), layer, net.raw(x.shape[:-1], context), net.masks())


def two_functions(net, layer, x, context=None):
    """The network, then the map."""
    z, log_slope = Affine(layer.limit)(x, net(x, context))
    return z.t(), log_slope.sum(-1)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("context", [0, 2])
def test_equals_the_network_and_then_the_map(context, residual):
    net, layer = layer_of(residual, context)
    x = torch.randn(7, FEATURES, dtype=torch.float64, requires_grad=True)
    c = torch.randn(7, context, dtype=torch.float64, requires_grad=True) if context else None
    inputs = [x, *net.parameters(), *([c] if context else [])]
    inputs = [each for each in inputs if each.numel()]
    got, expected = run(net, layer, x, c), two_functions(net, layer, x, c)
    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got[0]), torch.randn_like(got[1])
    grads = [torch.autograd.grad(out, inputs, weights) for out in (got, expected)]
    torch.testing.assert_close(*grads)
    with torch.no_grad():
        torch.testing.assert_close(run(net, layer, x, c), expected)


@pytest.mark.parametrize("tails", [None, 0.7])
def test_an_order_of_the_rows(tails):
    net, layer = layer_of()
    layer = layer._replace(tails=tails)
    x = torch.randn(7, FEATURES, dtype=torch.float64, requires_grad=True)
    order = Order(ORDER, ORDER.argsort())
    inputs = [x, *net.parameters()]

    def ordered(x, grad=True):
        with torch.set_grad_enabled(grad):
            return affine_layer(planes(x), layer, net.raw(x.shape[:-1], None), net.masks(), order)

    z, logdet = run(net, layer, x[:, ORDER])
    expected = z[order.back], logdet
    weights = torch.randn_like(z), torch.randn_like(logdet)
    torch.testing.assert_close(ordered(x), expected)
    torch.testing.assert_close(ordered(x, grad=False), expected)
    grads = [torch.autograd.grad(out, inputs, weights) for out in (ordered(x), expected)]
    torch.testing.assert_close(*grads)
    assert torch.autograd.gradgradcheck(ordered, x)


def test_second_derivatives():
    net, layer = layer_of()
    x = torch.randn(3, FEATURES, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: run(net, layer, x), x)
    params = [p for p in net.parameters() if p.numel()]
    first = torch.autograd.grad(run(net, layer, x)[0].square().sum(), [x, *params], create_graph=True)
    second = torch.autograd.grad(sum(each.square().sum() for each in first), params, allow_unused=True)
    plain = plain_layer(planes(x), layer, net.raw(x.shape[:-1], None), net.masks())[0]
    first = torch.autograd.grad(plain.square().sum(), [x, *params], create_graph=True)
    torch.testing.assert_close(
        second, torch.autograd.grad(sum(each.square().sum() for each in first), params, allow_unused=True)
    )


def test_no_rows_at_all():
    net, layer = layer_of()
    x = torch.empty(0, FEATURES, dtype=torch.float64, requires_grad=True)
    z, logdet = run(net, layer, x)
    assert z.shape == (FEATURES, 0)
    assert logdet.shape == (0,)
    (z.sum() + logdet.sum()).backward()
    assert all((p.grad == 0).all() for p in net.parameters())
    with torch.no_grad():
        assert run(net, layer, x)[1].shape == (0,)


def test_the_way_back_can_be_gone_twice():
    """The memory of the first way back is lent to others meanwhile."""
    net, layer = layer_of()
    x, y = torch.randn(2, 4, FEATURES, dtype=torch.float64, requires_grad=True).unbind()
    z, logdet = run(net, layer, x)
    loss = z.square().sum() + logdet.sum()
    once = torch.autograd.grad(loss, [x, *net.parameters()], retain_graph=True)
    run(net, layer, y)[0].sum().backward()
    torch.testing.assert_close(torch.autograd.grad(loss, [x, *net.parameters()]), once)


def test_tails_after_the_map():
    net, layer = layer_of()
    x = torch.randn(7, FEATURES, dtype=torch.float64, requires_grad=True)
    inputs = [x, *net.parameters()]

    def apart():
        z, logdet = run(net, layer, x)
        z, log_slope = tame(z, 0.7)
        return z, logdet + log_slope.sum(0)

    expected, got = apart(), run(net, layer._replace(tails=0.7), x)
    assert (got[0].abs() > 0.7).any()
    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got[0]), torch.randn_like(got[1])
    torch.testing.assert_close(*(torch.autograd.grad(out, inputs, weights) for out in (got, expected)))
    with torch.no_grad():
        torch.testing.assert_close(run(net, layer._replace(tails=0.7), x), expected)
    assert torch.autograd.gradgradcheck(lambda x: run(net, layer._replace(tails=0.7), x), x)


def test_only_what_needs_a_gradient_gets_one():
    net, layer = layer_of()
    net.weights[1].requires_grad_(False)
    z, logdet = run(net, layer, torch.randn(4, FEATURES, dtype=torch.float64))
    (z.sum() + logdet.sum()).backward()
    assert net.weights[1].grad is None
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


def test_results_and_graphs_do_not_lie_in_memory_that_the_next_call_overwrites():
    net, layer = layer_of()
    x, y = torch.randn(2, 4, FEATURES, dtype=torch.float64, requires_grad=True).unbind()
    first = run(net, layer, x)
    kept = [each.clone() for each in first]
    run(net, layer, y)
    torch.testing.assert_close(list(first), kept)
    (alone,) = torch.autograd.grad(sum(each.sum() for each in run(net, layer, x)), x)
    (late,) = torch.autograd.grad(sum(each.sum() for each in first), x)
    torch.testing.assert_close(late, alone)


def test_with_saved_tensors_in_other_hands_no_graph_holds_a_workspace():
    """As torch.utils.checkpoint does, to save memory: the way back runs the network again."""
    net, layer = layer_of()
    x = torch.randn(7, FEATURES, dtype=torch.float64, requires_grad=True)
    inputs = [x, *net.parameters()]

    def loss(x):
        z, logdet = run(net, layer, x)
        return z.square().sum() + logdet.sum(), z.grad_fn

    expected = torch.autograd.grad(loss(x)[0], inputs)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        value, node = loss(x)
    assert node.space is None
    torch.testing.assert_close(torch.autograd.grad(value, inputs), expected)
    value, _ = torch.utils.checkpoint.checkpoint(loss, x, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(value, inputs), expected)


@pytest.mark.parametrize("order", [None, Order(ORDER, ORDER.argsort())])
def test_tails_that_nothing_reaches(order):
    net, layer = layer_of()
    x = torch.randn(7, FEATURES, dtype=torch.float64, requires_grad=True)
    inputs = [x, *net.parameters()]

    def with_tails(bound):
        return affine_layer(planes(x), layer._replace(tails=bound), net.raw(x.shape[:-1], None), net.masks(), order)

    expected, got = with_tails(None), with_tails(1e3)
    assert expected[0].abs().max() < 1e3
    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got[0]), torch.randn_like(got[1])
    torch.testing.assert_close(*(torch.autograd.grad(out, inputs, weights) for out in (got, expected)))
    with torch.no_grad():
        torch.testing.assert_close(with_tails(1e3), expected)
        x[0, 0] = torch.nan
        assert with_tails(1e3)[0].isnan().any()
    y = torch.randn(3, FEATURES, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda y: run(net, layer._replace(tails=1e3), y), y)
