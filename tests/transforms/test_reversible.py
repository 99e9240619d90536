"""Recomputed activations: the same gradients, and memory that does not grow with depth."""

import pytest
import torch

import pushforward as pf
from pushforward.nets.conv import ConvNet
from pushforward.nets.mlp import MLP
from pushforward.testing import randomize


def pair(**options):
    flows = []
    for reversible in (False, True):
        torch.manual_seed(0)
        flows.append(randomize(pf.glow((3, 8, 8), hidden=8, reversible=reversible, **options)).double())
    return flows


@pytest.mark.parametrize("context", [0, 2])
def test_gradients_equal_those_of_stored_activations(context):
    flows = pair(levels=2, steps=3, context=context)
    x = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    given = torch.randn(4, 2, dtype=torch.float64) if context else None
    gradients = []
    for flow in flows:
        inputs = [v.clone().requires_grad_() for v in (x, given) if v is not None]
        log_prob = flow(*inputs)
        weights = torch.arange(1.0, 5.0, dtype=torch.float64)
        gradients.append(torch.autograd.grad((log_prob * weights).sum(), [*inputs, *flow.parameters()]))
    for stored, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, stored, rtol=1e-7, atol=1e-9)


def test_a_coupling_of_circles_reads_their_cosines_and_sines_again_in_the_backward_pass():
    torch.manual_seed(0)
    T, scalar = pf.transforms, pf.transforms.CircularSpline(4)
    parts = [T.Half(3), T.Half(3, swap=True)]
    couplings = [T.Coupling(s, MLP(2 * s.kept, s.moved, scalar.num_params, hidden=(8,)), scalar) for s in parts]
    stored, recomputed = T.Compose(couplings), T.Reversible(couplings)
    randomize(stored).double()
    x = torch.rand(6, 3, dtype=torch.float64) * 6 - 3
    gradients = []
    for transform in (stored, recomputed):
        angles = x.clone().requires_grad_()
        z, logdet = transform(angles)
        loss = (z.square().sum(-1) + logdet).sum()
        gradients.append(torch.autograd.grad(loss, [angles, *transform.parameters()]))
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(second, first, rtol=1e-7, atol=1e-9)


def saved_bytes(flow, x):
    """Bytes of the activations that autograd keeps between forward and backward."""
    storages = {}
    own = {p.untyped_storage().data_ptr() for p in flow.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = flow(x).mean()
    loss.backward()
    return sum(storages.values())


def test_memory_does_not_grow_with_the_steps():
    x = torch.rand(16, 3, 8, 8)
    few, many = (pf.glow((3, 8, 8), levels=2, steps=s, hidden=8, reversible=True) for s in (2, 16))
    assert saved_bytes(many, x) <= 1.3 * saved_bytes(few, x)
    stored = pf.glow((3, 8, 8), levels=2, steps=16, hidden=8)
    assert saved_bytes(many, x) < 0.1 * saved_bytes(stored, x)


def test_a_coupling_is_recomputed_with_one_network_pass(monkeypatch):
    calls = []
    forward = ConvNet.forward
    monkeypatch.setattr(ConvNet, "forward", lambda self, *a: calls.append(1) or forward(self, *a))
    flow = pf.glow((3, 8, 8), levels=1, steps=4, hidden=8, reversible=True)
    flow(torch.rand(2, 3, 8, 8)).sum().backward()
    assert len(calls) == 2 * 4


def test_frozen_parameters_get_no_gradient():
    flow = pf.glow((3, 8, 8), levels=1, steps=1, hidden=8, reversible=True)
    frozen, *free = flow.parameters()
    frozen.requires_grad_(False)
    flow(torch.rand(2, 3, 8, 8)).sum().backward()
    assert frozen.grad is None
    assert all(p.grad is not None for p in free)
