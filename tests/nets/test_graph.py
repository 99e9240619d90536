"""Networks masked by a graph: the zeros of the Jacobian are exactly the graph's, and cycles are named."""

from __future__ import annotations

import pytest
import torch

import pushforward as pf
from pushforward.nets import GraphMLP
from pushforward.nets.graph import checked_graph, stages
from pushforward.testing import randomize
from pushforward.transforms import Affine, Autoregressive, ScalarChain


def random_graph(nodes: int, share: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    graph = (torch.rand(nodes, nodes, generator=generator) < share).tril(-1)
    order = torch.randperm(nodes, generator=generator)
    return graph[order][:, order]


@pytest.mark.parametrize("residual", [False, True, "linear"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_zeros_of_the_jacobian_are_the_graphs(share: float, residual: bool | str) -> None:
    graph = random_graph(10, share, seed=1)
    net = GraphMLP(graph, 2, hidden=(40, 40, 40), residual=residual, activation="tanh")
    transform = randomize(Autoregressive(net, Affine()).double(), scale=2.0)
    jacobian = sum(
        torch.autograd.functional.jacobian(lambda v: transform(v)[0], torch.randn(10, dtype=torch.float64)).abs()
        for _ in range(5)
    )
    assert torch.equal(jacobian > 0, graph | torch.eye(10, dtype=torch.bool))


@pytest.mark.parametrize(("recipe", "steps"), [(pf.maf, 150), pytest.param(pf.nsf, 50, marks=pytest.mark.slow)])
def test_a_linear_gaussian_model_of_ten_nodes_is_learnt_along_its_graph(recipe, steps: int) -> None:
    torch.manual_seed(0)
    graph = random_graph(10, 0.3, seed=3)
    weights = 0.5 * graph * torch.randn(10, 10, dtype=torch.float64)
    mixing = torch.linalg.inv(torch.eye(10, dtype=torch.float64) - weights)  # x = W x + noise
    noise = torch.randn(4000, 10, dtype=torch.float64)
    x = noise @ mixing.mT
    flow = recipe(10, layers=2, hidden=(64,), adjacency=graph).double()
    pf.fit(flow, x[:3000], steps=steps, batch_size=500, lr=1e-2, progress=False)
    exact = torch.distributions.Normal(0.0, 1.0).log_prob(noise[3000:]).sum(-1).mean()  # det(I - W) = 1
    assert float(flow.log_prob(x[3000:]).detach().mean()) > float(exact) - 0.6
    jacobian = sum(torch.autograd.functional.jacobian(lambda v: flow.transform(v)[0], row).abs() for row in x[:30])
    assert torch.equal(jacobian > 0, graph | torch.eye(10, dtype=torch.bool))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pf.maf(3, adjacency=[[0, 0, 1], [1, 0, 0], [0, 1, 0]]), "no cycle, but it has 0 -> 2 -> 1 -> 0"),
        (lambda: pf.nsf(2, adjacency=torch.zeros(3, 3)), r"adjacency must have shape \(2, 2\), got \(3, 3\)"),
        (lambda: pf.maf(2, adjacency=torch.zeros(2, 2), linear=True), "mixing='rotation' would mix features"),
        (lambda: pf.nsf(2, adjacency=torch.zeros(2, 2), coupling=True), "leave coupling=True out"),
        (lambda: ScalarChain([]), "scalars is empty"),
    ],
)
def test_what_does_not_fit_a_graph_is_named(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_context_reaches_every_feature() -> None:
    net = randomize(GraphMLP([[0, 0], [1, 0]], 3, context=2, hidden=(6,)))
    moved = net(torch.zeros(2), torch.ones(2)) - net(torch.zeros(2), torch.zeros(2))
    assert bool((moved.abs() > 0).all())


@pytest.mark.parametrize("hidden", [(), (12,), (12, 12, 12)])
def test_a_graph_may_say_which_contexts_reach_which_feature(hidden: tuple[int, ...], tmp_path) -> None:
    graph = torch.tensor([[0, 0, 0, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]])
    flow = randomize(pf.maf(3, context=2, hidden=hidden, adjacency=graph), scale=2.0)
    slopes = sum(
        torch.autograd.functional.jacobian(lambda c: flow.transform(torch.randn(3), c)[0], torch.randn(2)).abs()
        for _ in range(10)
    )
    assert torch.equal(slopes > 0, graph[:, 3:] > 0)
    pf.save(flow, tmp_path / "flow")
    x, context = torch.randn(4, 3), torch.randn(4, 2)
    assert torch.equal(pf.load(tmp_path / "flow").log_prob(x, context), flow.log_prob(x, context))
    with pytest.raises(ValueError, match=r"shape \(3, 3\) or \(3, 5\), got \(3, 4\)"):
        pf.maf(3, context=2, adjacency=graph[:, :4])


def test_the_inverse_takes_as_many_passes_as_the_graph_is_deep() -> None:
    graph = torch.zeros(50, 50)
    graph[25:, :25] = 1  # two generations
    transform = randomize(Autoregressive(GraphMLP(graph, 2, hidden=(8,)), Affine()))
    passes: list[int] = []
    transform.net.register_forward_hook(lambda *given: passes.append(1))
    z = torch.randn(4, 50)
    x = transform.inverse(z)[0]
    assert len(passes) == 2
    torch.testing.assert_close(transform(x)[0], z)
    assert "2 steps: inverse" in repr(transform)


def test_stages_of_a_chain() -> None:
    chain = torch.diag(torch.ones(3), -1).bool()
    assert torch.equal(stages(chain), torch.eye(4, dtype=torch.bool))


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], "no cycle, but it has 0 -> 2 -> 1 -> 0"),
        ([[0, 0, 0, 0], [1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 0, 0]], "no cycle, but it has 1 -> 3 -> 1"),
        ([[0, 1]], r"adjacency must have shape \(1, 1\), got \(1, 2\)"),
        ([[0, 0.5], [0, 0]], "adjacency must hold only 0 and 1"),
    ],
)
def test_what_is_no_graph_is_named(graph: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        checked_graph(graph, len(graph))


def test_too_few_units_are_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden=\(8, 3\) is too narrow: the graph has 4 different sets of parents"):
        GraphMLP(torch.ones(5, 5).tril(-1), 2, hidden=(8, 3))
    with pytest.raises(ValueError, match="must not be empty, got 0 features"):
        GraphMLP([], 2)
