"""The fused perceptron against plain operations: values, gradients, second derivatives, chunks."""

from itertools import pairwise

import pytest
import torch

import pushforward as pf
from pushforward.numerics import perceptron as module
from pushforward.numerics.masked_linear import mask, staircase
from pushforward.numerics.perceptron import perceptron


def network(hidden, per_row_bias=False, rows=7):
    torch.manual_seed(0)
    degrees = [[1, 2, 3], *[[i * 3 // hidden[0] for i in range(h)] for h in hidden], [0, 0, 1, 1, 2, 2]]
    layers, params = [], []
    for inputs, outputs in pairwise(degrees):
        stairs = staircase(outputs, inputs, 2)
        layers.append(stairs)
        params.append(torch.randn(stairs.size, dtype=torch.float64) * mask(stairs, outputs, inputs))
        params.append(torch.randn(stairs.rows, dtype=torch.float64))
    if per_row_bias:
        params[1] = torch.randn(layers[0].rows, rows, dtype=torch.float64)
    x = torch.randn(3, rows, dtype=torch.float64)
    return [v.requires_grad_() for v in [x, *params]], tuple(layers)


@pytest.mark.parametrize("per_row_bias", [False, True])
@pytest.mark.parametrize(("hidden", "residual"), [((), False), ((9,), False), ((9, 9), False), ((9,) * 5, True)])
def test_fused_equals_plain(hidden, residual, per_row_bias):
    (x, *params), layers = network(hidden, per_row_bias)
    fused = perceptron(x, layers, params, residual)
    plain = module.plain_perceptron(x, layers, params, residual)
    torch.testing.assert_close(fused, plain)
    weights = torch.randn_like(plain)
    got = torch.autograd.grad((fused * weights).sum(), [x, *params])
    expected = torch.autograd.grad((plain * weights).sum(), [x, *params])
    torch.testing.assert_close(got, expected)
    with torch.no_grad():
        torch.testing.assert_close(perceptron(x, layers, params, residual), plain)


def test_second_derivatives():
    (x, *params), layers = network((9, 9))
    assert torch.autograd.gradgradcheck(lambda *p: perceptron(x, layers, list(p)).square(), params, atol=1e-6)


def test_the_way_back_can_be_gone_twice():
    """The memory of the first way back is lent to others meanwhile."""
    (x, *params), layers = network((9, 9))
    loss = perceptron(x, layers, params).square().sum()
    once = torch.autograd.grad(loss, [x, *params], retain_graph=True)
    perceptron(x + 1, layers, params).sum().backward()
    torch.testing.assert_close(torch.autograd.grad(loss, [x, *params]), once)


def test_chunks_without_gradients(monkeypatch):
    (x, *params), layers = network((9, 9), per_row_bias=True)
    with torch.no_grad():
        whole = perceptron(x, layers, params)
        monkeypatch.setattr(module, "_ACTIVATIONS", 3 * layers[0].rows)
        torch.testing.assert_close(perceptron(x, layers, params), whole)


def test_results_do_not_lie_in_scratch_memory():
    (x, *params), layers = network((9, 9))
    with torch.no_grad():
        first = perceptron(x, layers, params)
        kept = first.clone()
        perceptron(x + 1, layers, params)
    torch.testing.assert_close(first, kept, rtol=0, atol=0)


def test_torch_func_sees_plain_operations():
    (x, *params), layers = network((9,))
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: perceptron(row[:, None], layers, params)[:, 0]))(x.t())
    assert jacobian.shape == (7, 6, 3)
    assert jacobian[:, :2].abs().max() == 0  # the first feature's parameters see no feature
    assert jacobian[:, 4:, :2].abs().max() > 0


def test_inference_mode_leaves_nothing_behind():
    flow, x = pf.maf(5, layers=2, hidden=(37, 37)), torch.randn(11, 5)  # sizes of its own: fresh scratch memory
    with torch.inference_mode():
        before = flow.log_prob(x)
        flow.sample((11,))
    with torch.no_grad():
        assert torch.equal(flow.log_prob(x), before)
        assert flow.sample((11,)).shape == (11, 5)
