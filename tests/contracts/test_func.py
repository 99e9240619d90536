"""``torch.func`` on every recipe, in both directions: jacobians, directional derivatives, vmap, ensembles."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap

import pushforward as pf
from pushforward.nets import MLPField
from pushforward.testing import randomize
from pushforward.transforms import Continuous

# One layer is mapped as another; of two recipes there are two, one after the other.
FLOWS: dict[str, Callable[[], pf.Flow]] = {
    "maf": lambda: pf.maf(4, layers=2, hidden=(8, 8)),
    "maf linear": lambda: pf.maf(4, layers=1, hidden=(8, 8), linear=True),
    "iaf": lambda: pf.iaf(4, layers=1, hidden=(8, 8)),
    "realnvp": lambda: pf.realnvp(4, layers=2, hidden=(8, 8)),
    "nsf": lambda: pf.nsf(4, layers=1, hidden=(8, 8), bins=4),
    "nsf coupling": lambda: pf.nsf(4, layers=1, hidden=(8, 8), bins=4, coupling=True),
    "naf": lambda: pf.naf(2, layers=1, hidden=(8, 8), units=4),
    "sospf": lambda: pf.sospf(2, layers=1, hidden=(8, 8), degree=2),
    "gf": lambda: pf.gf(3, layers=1, components=3),
    "realnvp of images": lambda: pf.realnvp((1, 2, 2), layers=2, hidden=(4,)),
    "glow": lambda: pf.glow((1, 2, 2), levels=1, steps=2, hidden=4),
    "tarflow": lambda: pf.tarflow((1, 2, 4), blocks=2, layers=1, width=8, heads=2),
    "bnaf": lambda: pf.bnaf(2, layers=1, hidden=(8, 8)),
    "residual": lambda: pf.residual(4, layers=1, hidden=(8, 8)),
    "planar": lambda: pf.planar(4, layers=1),
    "sylvester": lambda: pf.sylvester(3, layers=1),
    "triangular_spline": lambda: pf.triangular_spline(4, layers=1, bins=4),
    "ffjord with steps": lambda: pf.Flow(Continuous(MLPField(4, hidden=(8, 8)), solver="rk4", steps=4), 4),
}
DIRECTIONS = ("forward", "inverse")


def made(name: str, seed: int = 0) -> pf.Flow:
    torch.manual_seed(seed)
    return randomize(FLOWS[name]()).double().eval()


def events(flow: pf.Flow, direction: str, n: int = 3) -> Tensor:
    shape = flow.event_shape if direction == "forward" else flow.base.event_shape
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def flat(flow: pf.Flow, direction: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """One direction of one event, from and to vectors."""
    move = flow.transform.forward if direction == "forward" else flow.transform.inverse
    shape = flow.event_shape if direction == "forward" else flow.base.event_shape

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = move(x.view(shape))
        return z.flatten(), logdet

    return function


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", FLOWS)
def test_vmap_and_jacobians_of_single_events(name, direction):
    flow = made(name)
    x = events(flow, direction).flatten(1)
    function = flat(flow, direction)
    z, logdet = vmap(function)(x)
    whole = flow.transform(x.view(-1, *flow.event_shape)) if direction == "forward" else flow.transform.inverse(x)
    torch.testing.assert_close((z, logdet), (whole[0].flatten(1), whole[1]))
    for jacobian in (jacrev, jacfwd):
        matrices = vmap(jacobian(lambda v: function(v)[0]))(x)
        torch.testing.assert_close(torch.linalg.slogdet(matrices).logabsdet, logdet, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", FLOWS)
def test_jvp_and_vjp_agree(name):
    """Of one direction each: the maps' derivatives by either mode are compared in both directions above."""
    direction = DIRECTIONS[list(FLOWS).index(name) % 2]
    flow = made(name)
    x = events(flow, direction)
    move = flow.transform.forward if direction == "forward" else flow.transform.inverse
    tangent = events(flow, direction).flip(0)
    (_, _), (moved, slopes) = jvp(lambda v: move(v), (x,), (tangent,))
    (z, logdet), back = vjp(lambda v: move(v), x)
    one, two = torch.randn_like(z), torch.randn_like(logdet)
    (gradient,) = back((one, two))
    torch.testing.assert_close((gradient * tangent).sum(), (one * moved).sum() + (two * slopes).sum())


@pytest.mark.parametrize("name", FLOWS)
def test_an_ensemble_is_one_call(name):
    flows = [made(name, seed) for seed in range(3)]
    params, buffers = stack_module_state(flows)
    skeleton = copy.deepcopy(flows[0]).to("meta")
    x = events(flows[0], "forward")
    found = vmap(lambda p, b: functional_call(skeleton, (p, b), (x,)))(params, buffers)
    torch.testing.assert_close(found, torch.stack([flow(x) for flow in flows]))


@pytest.mark.parametrize("name", FLOWS)
def test_curvatures_and_gradients_of_single_rows(name):
    flow = made(name)
    x = events(flow, "forward")
    curvature = vmap(hessian(flow.log_prob))(x).flatten(1, flow.transform.event_dim).flatten(2)
    torch.testing.assert_close(curvature, curvature.mT, atol=1e-6, rtol=1e-5)
    params = dict(flow.named_parameters())

    def log_prob(params: dict[str, Tensor], row: Tensor) -> Tensor:
        return functional_call(flow, params, (row,))

    if name == "glow":  # PyTorch's own convolution has no such gradient in float64
        flow, x, params = flow.float(), x.float(), dict(flow.float().named_parameters())
    each = vmap(torch.func.grad(log_prob), (None, 0))(params, x)
    flow.log_prob(x).sum().backward()
    for name, parameter in flow.named_parameters():
        torch.testing.assert_close(each[name].sum(0), parameter.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("conditional", ["gaussian", "mixture"])
def test_autoregressive_models(conditional):
    torch.manual_seed(0)
    model = randomize(pf.made(4, hidden=(8, 8), conditional=conditional)).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(vmap(lambda row: model.log_prob(row))(x), model.log_prob(x))
    assert vmap(hessian(model.log_prob))(x).shape == (3, 4, 4)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_adaptive_steps_have_derivatives(direction, grad):
    torch.manual_seed(0)
    flow = randomize(pf.ffjord(3, hidden=(8, 8))).double()
    x = events(flow, direction)
    move = flow.transform.forward if direction == "forward" else flow.transform.inverse
    wanted = torch.autograd.functional.jacobian(lambda v: move(v)[0].sum(0), x).transpose(0, 1)
    gradient = torch.autograd.functional.jacobian(lambda v: move(v)[1].sum(), x)
    with torch.set_grad_enabled(grad):
        _, (moved, slopes) = jvp(move, (x,), (torch.ones_like(x),))
        torch.testing.assert_close((moved, slopes), (wanted.sum(-1), gradient.sum(-1)))
        for jacobian in (jacrev, jacfwd):
            torch.testing.assert_close(jacobian(lambda v: move(v)[0])(x[0]), wanted[0])
        params = dict(flow.named_parameters())
        found = torch.func.grad(lambda p: functional_call(flow, p, (x,)).sum())(params)
    flow.log_prob(x).sum().backward()
    for name, parameter in flow.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


def test_adaptive_steps_ask_vmap_for_fixed_ones():
    flows = [randomize(pf.ffjord(3, hidden=(8, 8))) for _ in range(2)]
    params, _ = stack_module_state(flows)
    x = torch.randn(4, 3)
    for call in (
        lambda: vmap(flows[0].log_prob)(x),
        lambda: vmap(lambda p: functional_call(flows[0], p, (x,)))(params),
    ):
        with pytest.raises(RuntimeError, match="steps=") as caught:
            call()
        assert "\n" not in str(caught.value)
