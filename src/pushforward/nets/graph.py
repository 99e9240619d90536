"""A perceptron masked by a given graph: the parameters of a feature see exactly its parents and the context."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .made import Masked
from .mlp import has_context, of_context


class GraphMLP(Masked):
    r"""Maps ``(*batch, features)`` and a context to parameters ``(num_params, *batch, features)``, masked by a graph.

    Feature j reads its parents, the i with ``adjacency[j, i]``, and nothing else. Each hidden unit is assigned to one
    of the distinct parent sets, and reads the units whose sets are subsets of its own,

    .. math:: h = (W \circ M)\, x + b, \qquad M_{ik} = [S_k \subseteq S_i],

    so that no path leads from a feature that is not a parent. Context features are parents like any other; without
    columns of their own they are read by every feature. Starts at exactly zero.

    Args:
        adjacency: ``(features, features)`` of booleans, or 0 and 1: row j says which features feature j depends on. The
            diagonal is ignored. Or ``(features, features + context)``: then also which context features.
        num_params: Parameters for each feature.
        context: Features of the context.
        hidden: Widths of the hidden layers; each needs a unit for every parent set.
        residual: As for :class:`MADE`.
        activation: As for :class:`MADE`.

    Raises:
        ValueError: the graph has a cycle, which the message names, or the wrong shape; a size is below 1, or a hidden
            layer is too narrow for all parent sets.

    Reference:
        Wehenkel, Louppe (2021), Graphical normalizing flows, arXiv:2006.02548.
    """

    context_mask: Tensor
    order_of_solving: Tensor

    def __init__(
        self,
        adjacency: Tensor | Sequence[Sequence[bool]],
        num_params: int,
        *,
        context: int = 0,
        hidden: Sequence[int] = (128, 128),
        residual: bool | str = False,
        activation: str = "relu",
    ) -> None:
        features, hidden = len(adjacency), tuple(hidden)
        if features < 1 or num_params < 1:
            raise ValueError(f"adjacency and num_params must not be empty, got {features} features and {num_params}")
        graph = checked_graph(adjacency, features, int(has_context(context)) * context)
        masks = _masks(graph, num_params, hidden)
        widths = [features, *hidden, features * num_params]
        options: dict[str, Any] = {"context": context, "residual": residual, "activation": activation}
        super().__init__(widths, [masks[0][:, :features], *masks[1:]], features, num_params, **options)
        self.register_buffer("adjacency", graph, persistent=False)
        self.register_buffer("context_mask", masks[0][:, features:], persistent=False)
        self.register_buffer("order_of_solving", stages(graph[:, :features]), persistent=False)

    def of_context(self, context: Tensor | None) -> Tensor:
        return of_context(context, self.context_weight * self.context_mask)  # type: ignore[operator]

    def stages(self) -> Tensor:
        return self.order_of_solving

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "adjacency": self.get_buffer("adjacency")}


def _masks(graph: Tensor, num_params: int, hidden: Sequence[int]) -> list[Tensor]:
    """M of each layer. Hidden units are dealt out to the parent sets in turn; none to the empty set, whose units would
    be constant, unless it is the only set."""
    sets, own = graph.unique(dim=0, return_inverse=True)  # the distinct parent sets, and the one of each feature
    usable = sets.any(1).nonzero().flatten()
    if len(usable) == 0:
        usable = torch.arange(len(sets))
    if min(hidden, default=len(usable)) < len(usable):
        raise ValueError(
            f"hidden={tuple(hidden)} is too narrow: the graph has {len(usable)} different sets of parents, and every "
            "hidden layer needs a unit for each, or some edges would silently be ignored"
        )
    within = ~(sets[None] & ~sets[:, None]).any(-1)  # (i, k): set k is a subset of set i
    units = [*(usable[torch.arange(width) % len(usable)] for width in hidden), own.repeat_interleave(num_params)]
    return [sets[units[0]], *(within[writes][:, reads] for reads, writes in pairwise(units))]


def checked_graph(adjacency: Tensor | Sequence[Sequence[bool]], nodes: int, context: int = 0) -> Tensor:
    """The matrix as booleans with an empty diagonal, ``(nodes, nodes + context)``: by default every context is read.

    Raises:
        ValueError: the shape is wrong, an entry is neither 0 nor 1, or there is a cycle.
    """
    given = torch.as_tensor(adjacency)
    if given.shape not in ((nodes, nodes), (nodes, nodes + context)):
        wanted = f"({nodes}, {nodes})" + (f" or ({nodes}, {nodes + context})" if context else "")
        raise ValueError(f"adjacency must have shape {wanted}, got {tuple(given.shape)}")
    if not bool(((given == 0) | (given == 1)).all()):
        raise ValueError("adjacency must hold only 0 and 1 (or booleans): row i says which features feature i reads")
    graph = (given != 0) & ~torch.eye(*given.shape, dtype=torch.bool, device=given.device)
    stages(graph[:, :nodes])
    read = graph.new_ones(nodes, nodes + context - graph.shape[1])
    return torch.cat([graph, read], 1)


def stages(graph: Tensor) -> Tensor:
    """Which nodes can be solved together, ``(depth, nodes)``: each stage depends only on nodes of earlier stages.

    Raises:
        ValueError: the graph has a cycle; the message names one.
    """
    found, solved = [], torch.zeros(len(graph), dtype=torch.bool, device=graph.device)
    while not bool(solved.all()):
        now = ~solved & ~(graph & ~solved).any(1)
        if not bool(now.any()):
            path = " -> ".join(map(str, _cycle(graph, solved)))
            raise ValueError(f"adjacency must have no cycle, but it has {path} (each depends on the next)")
        found.append(now)
        solved = solved | now
    return torch.stack(found)


def _cycle(graph: Tensor, solved: Tensor) -> list[int]:
    """A cycle among the nodes that are not solved, each of which depends on another such node."""
    needs = (graph & ~solved).int().argmax(1).tolist()
    path = [int((~solved).int().argmax())]
    while path[-1] not in path[:-1]:
        path.append(needs[path[-1]])
    return path[path.index(path[-1]) :]
