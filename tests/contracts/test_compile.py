"""``flow.compile()``: the same numbers and gradients in both directions, whatever is compiled together."""

import copy
import pickle

import pytest
import torch

import pushforward as pf
from pushforward.nets.mlp import MLP
from pushforward.testing import randomize

pytestmark = [pytest.mark.compiler, pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")]


def realnvp(layers):
    return pf.realnvp(5, layers=layers, hidden=(8,))


def around_a_continuous_one():
    """The middle one compiles itself, by doing nothing."""
    parts = [realnvp(1).transform, pf.ffjord(5, hidden=(8,)).transform, realnvp(1).transform]
    return pf.Flow(pf.transforms.Compose(parts), 5)


def residual():
    net = MLP(2, 3, 2, hidden=(8, 8, 8), residual=True)
    return pf.Flow(pf.transforms.Coupling(pf.transforms.Half(5), net, pf.transforms.Affine()), 5)


FLOWS = {
    "residual": residual,
    "realnvp": lambda: realnvp(3),
    "nsf-coupling": lambda: pf.nsf(5, layers=1, hidden=(8,), coupling=True, context=2),
    "maf": lambda: pf.maf(5, layers=2, hidden=(8,)),
    "iaf": lambda: pf.iaf(5, layers=2, hidden=(8,)),
    "around a continuous one": around_a_continuous_one,
}


@pytest.mark.parametrize("name", FLOWS)
def test_same_values_and_gradients(name, monkeypatch):
    torch.compiler.reset()
    if name == "realnvp":  # in two graphs
        monkeypatch.setattr("pushforward.fused.compiling._share", lambda transform: 0.5)
    torch.manual_seed(0)
    flow = randomize(FLOWS[name]()).double()
    x = torch.randn(7, 5, dtype=torch.float64)
    context = torch.randn(7, 2, dtype=torch.float64) if flow.context_features else None

    def results():
        flow.zero_grad()
        with torch.no_grad():
            inferred = flow.log_prob(x, context)
        loss = flow.log_prob(x, context).mean()
        loss.backward()
        drawn = flow.sample((1,), context, generator=torch.Generator().manual_seed(1))
        return (
            inferred,
            loss.detach(),
            drawn,
            *flow.transform.inverse(x, context),
            [p.grad.clone() for p in flow.parameters()],
        )

    eager = results()
    keys = list(flow.state_dict())
    backend = "aot_eager" if name == "residual" else "eager"  # which traces gradients as well, slowly
    assert flow.compile(backend=backend) is flow
    torch.testing.assert_close(results(), eager, rtol=1e-4, atol=1e-5)
    assert list(flow.state_dict()) == keys


def test_gradients_of_splines_are_traced():
    """In one direction only, as both take six seconds."""
    torch.compiler.reset()
    flow = randomize(pf.nsf(3, layers=1, hidden=(4,), bins=2, coupling=True)).double()
    x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    eager = torch.autograd.grad(flow.log_prob(x).sum(), [x, *flow.parameters()])
    traced = torch.autograd.grad(flow.compile(backend="aot_eager").log_prob(x).sum(), [x, *flow.parameters()])
    torch.testing.assert_close(traced, eager)


def test_copies_are_not_tied_to_compiled_code():
    torch.compiler.reset()
    flow = randomize(realnvp(3))
    x = torch.randn(3, 5)
    flow.compile(backend="eager")
    before = flow(x)
    twin, thawed = randomize(copy.deepcopy(flow)), pickle.loads(pickle.dumps(flow))
    assert not torch.allclose(twin(x), before)
    torch.testing.assert_close(thawed(x), before)


@pytest.mark.usefixtures("fast_room")
def test_neighbours_share_a_graph(monkeypatch):
    graphs = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: graphs.append(function) or function)
    realnvp(9).compile()
    assert len(graphs) == 2 * 3  # eight couplings and one, in three directions


@pytest.mark.usefixtures("fast_room")
def test_many_flows_of_a_process_are_compiled(monkeypatch):
    """PyTorch compiles one code eight times; then it runs it eagerly and writes a line into a log."""
    config = torch._dynamo.config
    name = next(n for n in ("fail_on_recompile_limit_hit", "fail_on_cache_limit_hit") if hasattr(config, n))
    torch.compiler.reset()
    with config.patch({name: True}):
        for features in range(2, 13):
            flow = pf.realnvp(features, layers=1, hidden=(4,)).compile(backend="eager")
            flow.log_prob(torch.randn(3, features)).sum().backward()


@pytest.mark.usefixtures("fast_room")
@pytest.mark.parametrize(("context", "mark", "most"), [(0, True, 1), (2, True, 1), (2, False, 2)])
def test_one_graph_for_batches_of_any_size(context, mark, most, monkeypatch):
    """Two where PyTorch cannot be told."""
    torch.compiler.reset()
    if not mark:
        monkeypatch.delattr(torch._dynamo, "maybe_mark_dynamic")
    graphs = []
    flow = randomize(pf.realnvp(3, layers=2, hidden=(4,), context=context))
    sizes = (5, 1, 64, 3, 1)
    batches = [(torch.randn(n, 3), torch.randn(n, context) if context else None) for n in sizes]
    with torch.no_grad():
        expected = [flow.log_prob(*batch) for batch in batches]
        flow.compile(backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
        found = [flow.log_prob(*batch) for batch in batches]
    torch.testing.assert_close(found, expected)
    assert len(graphs) == most
