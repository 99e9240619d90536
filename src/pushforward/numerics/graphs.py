"""Directed graphs given as matrices: ``adjacency[i, j]`` says that i depends on j. Cycles, and the solution order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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
