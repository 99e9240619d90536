"""Upgrades of files in older formats: each version's changes to configs and to names and shapes of tensors.

Formats: 1 is that of version 0.1; 2 names the tensors of :class:`~pushforward.transforms.Reversible` like those of
:class:`~pushforward.transforms.Compose`, and holds the weights of masked networks as matrices ``(out, in)``, of which 1
held the entries that may differ from zero, flattened.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn


def upgrade(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content of a file of any older format in the current one; the arguments are not modified.

    Args:
        config: All of ``config.json``: ``config["format"]``, ``config["model"]``, ``config["other_dtypes"]``.
        tensors: The tensors by their names in the model's state dict.
    """
    if config["format"] < 2:
        config, tensors = _without_chain(config, tensors)
    return config, tensors


def _without_chain(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if '"Reversible"' not in json.dumps(config["model"]):
        return config, tensors

    def renamed(values: dict[str, Any]) -> dict[str, Any]:
        return {re.sub(r"(^|\.)chain\.transforms\.", r"\1transforms.", name): value for name, value in values.items()}

    return {**config, "other_dtypes": renamed(config["other_dtypes"])}, renamed(tensors)


def unpack(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file of format 1, with the weights of masked networks as matrices."""
    found = dict(tensors)
    for name, module in model.named_modules():
        degrees = getattr(module, "degrees", ())
        for k, (columns, rows) in enumerate(pairwise(degrees)):
            key = f"{name}.weights.{k}" if name else f"weights.{k}"
            if key in found and found[key].dim() == 1:
                found[key] = _matrix(found[key], rows, columns)
    return found


def _matrix(flat: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    matrix, start = flat.new_zeros(len(rows), len(columns)), 0
    for first, last, count in _steps(rows, columns):
        stop = start + (last - first) * count
        matrix[first:last, :count] = flat[start:stop].view(last - first, count)
        start = stop
    if start != len(flat):
        raise ValueError(f"a masked weight holds {len(flat)} numbers, expected {start}")
    return matrix


def _steps(rows: Sequence[int], columns: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """How format 1 cut a masked weight: into steps of at least 96 rows, first to last (exclusive), that read the same
    number of columns; a step ends where that saves at least 4,096 zeros; degrees are sorted."""
    first = 0
    for row in range(1, len(rows) + 1):
        ends = row == len(rows) or rows[row] != rows[row - 1]
        count = bisect_right(columns, rows[row - 1]) if ends else 0
        wide = row - first >= 96 and len(rows) - row >= 96
        if row == len(rows) or (ends and wide and (row - first) * (len(columns) - count) >= 4096):
            yield first, row, count
            first = row
