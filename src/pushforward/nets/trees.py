"""Boosted regression trees as a module: fixed features of a context, evaluated without the library that grew them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..saving.config import Configurable

BATCH = 4096  # rows that descend all trees at once


class Trees(Configurable):
    r"""Sums of regression trees, one for each output:

    .. math:: f_j(x) = b_j + \sum_{t \in T_j} v_t(\text{the leaf of } x \text{ in } t)

    A row goes left where its feature is at most the node's threshold. Nothing here is trained by gradients.

    Args:
        inputs: Features of a row.
        outputs: Number of sums.
        trees: Number of trees.
        nodes: Nodes of each tree, leaves included; smaller trees are padded.
        depth: Most steps from a root to a leaf.

    Reference:
        Friedman (2001), Greedy function approximation: a gradient boosting machine, Annals of Statistics 29.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    output: Tensor
    start: Tensor

    def __init__(self, inputs: int, outputs: int, trees: int, nodes: int, depth: int) -> None:
        super().__init__()
        self.inputs, self.outputs, self.trees, self.nodes, self.depth = inputs, outputs, trees, nodes, depth
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.zeros(trees, nodes, dtype=torch.int32))
        for name in ("threshold", "value"):
            self.register_buffer(name, torch.zeros(trees, nodes))
        self.register_buffer("output", torch.zeros(trees, dtype=torch.int32))
        self.register_buffer("start", torch.zeros(outputs))

    @classmethod
    def of(cls, inputs: int, sums: Sequence[tuple[float, Sequence[Any]]]) -> Trees:
        """The module of trees that were grown by scikit-learn's histogram boosting.

        Args:
            inputs: Features of a row, in float32.
            sums: For each output, b and the nodes of its trees, as structured arrays.
        """
        grown = [(j, nodes) for j, (_, trees) in enumerate(sums) for nodes in trees]
        most = max((len(nodes) for _, nodes in grown), default=1)
        depth = max((int(nodes["depth"].max()) for _, nodes in grown), default=0)
        built = cls(inputs, len(sums), len(grown), most, depth)
        built.start.copy_(torch.tensor([b for b, _ in sums]))
        for t, (j, nodes) in enumerate(grown):
            leaf, own, size = nodes["is_leaf"].astype(bool), np.arange(len(nodes)), len(nodes)
            built.output[t] = j
            built.feature[t, :size] = torch.from_numpy(np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32))
            built.threshold[t, :size] = torch.from_numpy(_rounded_down(nodes["num_threshold"]))
            for name in ("left", "right"):
                getattr(built, name)[t, :size] = torch.from_numpy(np.where(leaf, own, nodes[name]).astype(np.int32))
            built.value[t, :size] = torch.from_numpy(nodes["value"].astype(np.float32))
        return built

    @classmethod
    def mean(cls, parts: Sequence[Trees]) -> Trees:
        """The mean of several such modules, with all their trees."""
        shape = max(part.nodes for part in parts), max(part.depth for part in parts)
        built = cls(parts[0].inputs, parts[0].outputs, sum(part.trees for part in parts), *shape)
        start = 0
        for part in parts:
            some = slice(start, start + part.trees)
            for name in ("feature", "left", "right", "threshold", "value"):
                getattr(built, name)[some, : part.nodes] = getattr(part, name)
            built.output[some], start = part.output, start + part.trees
        built.value /= len(parts)
        built.start.copy_(torch.stack([part.start for part in parts]).mean(0))
        return built

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """The sums ``(*batch, outputs)`` of rows ``(*batch, inputs)``; equal neighbours are read once."""
        rows = x.reshape(-1, self.inputs)
        if x.dim() > 2 and x.stride(0) == 0:  # the same rows again and again
            return self(x[0]).expand(len(x), *x.shape[1:-1], self.outputs)
        rows, place = torch.unique_consecutive(rows, dim=0, return_inverse=True)
        sums = [self._sums(part) for part in rows.split(BATCH)] or [self.start.new_zeros(0, self.outputs)]
        return torch.cat(sums)[place].view(*x.shape[:-1], self.outputs)

    def _sums(self, x: Tensor) -> Tensor:
        first = torch.arange(self.trees, device=x.device) * self.nodes
        feature, threshold, left, right = (
            part.flatten() for part in (self.feature.long(), self.threshold, self.left.long(), self.right.long())
        )
        at = first.expand(len(x), -1)  # (rows, trees)
        for _ in range(self.depth):
            goes_left = x.gather(1, feature[at]) <= threshold[at]
            at = first + torch.where(goes_left, left[at], right[at])
        leaves = self.value.flatten()[at]
        sums = self.start.expand(len(x), -1).clone()
        return sums.index_add_(1, self.output.long(), leaves)


def _rounded_down(threshold: np.ndarray) -> np.ndarray:
    """Thresholds in float32: numbers of that precision are at most these where they are at most the original ones."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
