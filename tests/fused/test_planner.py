"""What runs in place of the formulas gives what they give, of every flow as it is at that moment."""

import copy
import pickle

import pytest
import torch
from flows import PARTS, RECIPES, coupling, flow_of, masked
from torch.utils.checkpoint import checkpoint

import pushforward as pf
from pushforward.fused import compiling, planner
from pushforward.testing import randomize
from pushforward.transforms import Affine, Alternate, Compose, Half, Inverse, Permutation, Scalar, Spline

CASES = [(name, context) for name in PARTS for context in (0, 2)] + [(name, 0) for name in RECIPES]


def everything(flow, x, context):
    """Both directions with all gradients, with and without a graph, and draws."""
    x = x.detach().requires_grad_()
    given = None if context is None else context.detach().requires_grad_()
    inputs = [v for v in (x, given, *flow.parameters()) if v is not None]
    with torch.no_grad():
        alone = flow.log_prob(x, given), flow.sample((3,), given, generator=torch.Generator().manual_seed(1))
    z, logdet = flow.transform(x, given)
    there = torch.autograd.grad(z.sin().sum() + logdet.square().sum(), inputs, materialize_grads=True)
    z = z.detach().requires_grad_()
    back, minus = flow.transform.inverse(z, given)
    here = torch.autograd.grad(back.sin().sum() + minus.square().sum(), [z, *inputs[1:]], materialize_grads=True)
    with torch.no_grad():
        again = flow.transform.inverse(z, given), flow.transform.generate(z, given)
    return alone, z, logdet, there, back, minus, here, again


@pytest.mark.parametrize(("name", "context"), CASES)
@pytest.mark.parametrize("batch", [(6,), (), (2, 3), (0,)])
def test_the_same_as_the_formulas(name, context, batch):
    flow = flow_of(name, context)
    x = 1.5 * torch.randn(*batch, *flow.event_shape, dtype=torch.float64)
    c = torch.randn(*batch, context, dtype=torch.float64) if context else None
    fused = everything(flow, x, c)
    with pf.plain():
        expected = everything(flow, x, c)
    torch.testing.assert_close(fused, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("shape", [(2,), (1, 2), (6, 2)])
def test_contexts_that_broadcast(shape):
    flow, x, c = flow_of("masked", 2), torch.randn(6, 5).double(), torch.randn(*shape).double()
    with pf.plain():
        expected = everything(flow, x, c)
    torch.testing.assert_close(everything(flow, x, c), expected, rtol=1e-8, atol=1e-9)


def kinds(*transforms):
    """What is run, and for how many transforms each."""
    found = planner.plan(transforms, torch.zeros(2, 5))
    return [(type(each).__name__, len(getattr(each, "nets", getattr(each, "transforms", [0])))) for each in found]


def test_what_is_run_together():
    half, other = Half(5), Half(5, swap=True)
    assert kinds(coupling(half), Compose([coupling(other), coupling(half, Spline(3))])) == [("Couplings", 3)]
    assert kinds(coupling(half), Permutation(range(5)), coupling(half)) == [
        ("Couplings", 1),
        ("Permutation", 1),
        ("Couplings", 1),
    ]
    assert kinds(coupling(half), coupling(Alternate(5))) == [("Couplings", 1), ("Couplings", 1)]
    assert kinds(masked(5), Inverse(masked(5))) == [("MaskedRows", 1), ("Turned", 1)]
    assert kinds(coupling(half, activation="tanh")) == [("Coupling", 1)]


class Doubled(Scalar):
    """z = 2 x + shift: a map that nobody knows of."""

    num_params = 1

    def forward(self, x, params):
        return 2 * x + params[0], torch.full_like(x, 2.0).log()

    def inverse(self, z, params):
        return (z - params[0]) / 2, torch.full_like(z, 0.5).log()


def test_maps_that_nobody_knows_of():
    torch.manual_seed(0)
    flow = randomize(pf.Flow(Compose([coupling(Half(5), Doubled()), masked(5, Doubled())]), 5).double())
    x = torch.randn(6, 5).double()
    with pf.plain():
        expected = everything(flow, x, None)
    torch.testing.assert_close(everything(flow, x, None), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "edit",
    [
        lambda t: setattr(t[0].scalar, "limit", 0.5),
        lambda t: setattr(t[0], "scalar", Affine(0.3)),
        lambda t: setattr(t[1], "net", randomize(copy.deepcopy(t[1].net))),
        lambda t: setattr(t[2].net, "residual", False),
        lambda t: t.transforms.append(randomize(coupling(Half(5)).double())),
        lambda t: t.transforms.insert(1, Inverse(t[0])),
        lambda t: t.transforms.pop(0),
        lambda t: setattr(t[1].scalar, "bound", 2.0),
    ],
)
def test_an_edited_flow_runs_as_it_was_edited(edit):
    flow, x = flow_of("couplings"), torch.randn(6, 5).double()
    before = flow.log_prob(x)
    edit(flow.transform)
    after = flow.log_prob(x)
    assert not torch.allclose(after, before)
    with pf.plain():
        torch.testing.assert_close(after, flow.log_prob(x))


@pytest.mark.parametrize(("name", "shape"), [("couplings", (5,)), ("masked", (5,)), ("images", (1, 4, 6))])
def test_hooks_of_any_part_are_called(name, shape):
    flow, x, seen = flow_of(name), torch.randn(2, *shape).double(), []
    alone = flow.log_prob(x)
    modules = [
        m for m in flow.transform.modules() if type(m).__name__ in ("Coupling", "Autoregressive", "MLP", "Conv1x1")
    ]
    inverses = [m.transform for m in flow.transform.modules() if isinstance(m, pf.transforms.Inverse)]
    inverted = {part for one in inverses for part in one.flattened()}
    for module in modules:
        handle = module.register_forward_hook(lambda module, args, out: seen.append(module))
        torch.testing.assert_close(flow.log_prob(x), alone)
        assert seen.count(module) == (0 if module in inverted else 1)
        handle.remove()
        seen.clear()


def test_parametrised_weights_count():
    flow, x = flow_of("couplings"), torch.randn(6, 5).double()
    before = flow.log_prob(x)
    torch.nn.utils.parametrizations.spectral_norm(flow.transform[0].net.weights, "0")
    after = flow.log_prob(x)
    assert not torch.allclose(after, before)


@pytest.mark.parametrize("name", PARTS)
def test_derivatives_of_second_order(name):
    flow = flow_of(name)
    x = torch.randn(3, *flow.event_shape, dtype=torch.float64, requires_grad=True)
    parameter = next(flow.parameters())

    def twice():
        grad = torch.autograd.grad(flow.log_prob(x).sum(), x, create_graph=True)[0]
        return torch.autograd.grad(grad.square().sum(), (x, parameter), materialize_grads=True)

    found = twice()
    with pf.plain():
        torch.testing.assert_close(found, twice(), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", PARTS)
def test_one_graph_may_be_walked_twice_and_checkpointed(name):
    flow = flow_of(name)
    x = torch.randn(3, *flow.event_shape, dtype=torch.float64)
    parameters = list(flow.parameters())
    loss = flow.log_prob(x).sum()
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    flow.log_prob(2 * x).sum().backward()  # takes the memory that the first walk gave back
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), first)
    again = checkpoint(flow.log_prob, x, use_reentrant=False).sum()
    torch.testing.assert_close(torch.autograd.grad(again, parameters), first)


def test_graphs_that_overlap_do_not_share_memory():
    flow, x, y = flow_of("couplings"), torch.randn(3, 5).double(), torch.randn(3, 5).double()
    parameters = list(flow.parameters())
    expected = [torch.autograd.grad(flow.log_prob(v).sum(), parameters) for v in (x, y)]
    losses = [flow.log_prob(v).sum() for v in (x, y)]
    torch.testing.assert_close([torch.autograd.grad(loss, parameters) for loss in losses], expected)


def test_frozen_parameters_get_no_gradients():
    flow, x = flow_of("masked"), torch.randn(3, 5).double()
    flow.transform[0][0].net.requires_grad_(False)
    flow.log_prob(x).sum().backward()
    assert all((p.grad is None) == (not p.requires_grad) for p in flow.parameters())


def test_a_nan_stays_in_its_own_event():
    for name in ("couplings", "masked"):
        flow, x = flow_of(name), torch.randn(6, 5).double()
        clean = flow.log_prob(x)
        x[2, 1] = torch.nan
        dirty = flow.log_prob(x)
        rest = torch.arange(6) != 2
        assert dirty[2].isnan()
        torch.testing.assert_close(dirty[rest], clean[rest])


LONG = [(name, contexts, False) for name in PARTS for contexts in (None, (), (1,), (10,))]
COMPILED = [pytest.param(name, (10,), True, marks=pytest.mark.compiler) for name in ("couplings", "masked")]


@pytest.mark.parametrize(("name", "contexts", "compiled"), [*LONG, *COMPILED])
def test_long_batches_go_in_parts(name, contexts, compiled, monkeypatch):
    flow = flow_of(name, 0 if contexts is None else 2)
    x = torch.randn(10, *flow.event_shape, dtype=torch.float64)
    c = None if contexts is None else torch.randn(*contexts, 2, dtype=torch.float64)
    with torch.no_grad():
        z, logdet = flow.transform(x, c)
        expected = z, logdet, flow.transform.inverse(z, c), flow.transform.generate(z, c)
        if compiled:
            torch.compiler.reset()
            flow.compile(backend="eager")
        for module in (planner, compiling):
            monkeypatch.setattr(module, "EAGER_PART", 4)
        monkeypatch.setattr(compiling, "COMPILED_PART", 3)
        assert compiled or type(planner.plan(flow.transform.transforms, x)[0]) is planner.InParts
        found = *flow.transform(x, c), flow.transform.inverse(z, c), flow.transform.generate(z, c)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("context", [None, (2,), (5, 2)])
def test_densities_of_transformers_go_some_events_at_a_time(context, monkeypatch):
    flow = randomize(pf.tarflow((1, 4, 4), blocks=2, layers=1, width=8, heads=2, context=2 * bool(context))).double()
    x, c = torch.randn(5, 1, 4, 4).double(), None if context is None else torch.randn(context).double()
    expected = flow.transform(x, c)
    monkeypatch.setattr(planner, "UNITS", 2 * 4 * 8 * 4)  # two events
    with torch.no_grad():
        maps = planner.plan(flow.transform.transforms, x)
        assert [m.events for m in maps if isinstance(m, planner.PositionsInParts)] == [2, 2]
        torch.testing.assert_close(flow.transform(x, c), expected)
        torch.testing.assert_close(flow.transform.inverse(expected[0], c), (x, -expected[1]))


def test_the_formulas_run_inside_plain_and_under_autocast():
    flow, x = flow_of("couplings").float(), torch.randn(6, 5)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = flow.log_prob(x)
    torch.testing.assert_close(low.float(), flow.log_prob(x).detach(), rtol=0.3, atol=1.0)
    transforms = flow.transform.transforms
    with torch.autocast("cpu", torch.bfloat16):
        assert planner.plan(transforms, x) is transforms
    with pf.plain():
        assert flow.transform(x)[0].grad_fn.name() != "_StackBackward"


def test_copies_have_plans_of_their_own():
    flow, x = flow_of("masked"), torch.randn(3, 5).double()
    before = flow.log_prob(x)
    twin, thawed = randomize(copy.deepcopy(flow)), pickle.loads(pickle.dumps(flow))
    assert not torch.allclose(twin.log_prob(x), before)
    torch.testing.assert_close(thawed.log_prob(x), before)
