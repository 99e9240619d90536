"""Upgrades of files in older formats: each version's changes to configs and to names and shapes of tensors.

Formats: 1 is that of version 0.1; 2 names the tensors of :class:`~pushforward.transforms.Reversible` like those of
:class:`~pushforward.transforms.Compose`, and holds the weights of masked networks as matrices ``(out, in)``, of which 1
held the entries that may differ from zero, flattened; 3 has a composition with a permutation and
:class:`~pushforward.transforms.LogTails` where an autoregressive transform of 2 had an ordering and tails of its own;
4 says the floor of every rational-quadratic spline.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

FLOOR = 0.01  # of splines up to format 3


def upgrade(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content of a file of any older format in the current one; the arguments are not modified.

    Args:
        config: All of ``config.json``: ``config["format"]``, ``config["model"]``, ``config["other_dtypes"]``.
        tensors: The tensors by their names in the model's state dict.
    """
    if config["format"] < 2:
        config, tensors = _without_chain(config, tensors)
    if config["format"] < 3:
        config = {**config, "model": _changed(config["model"], _composed)}
    if config["format"] < 4:
        config = {**config, "model": _changed(config["model"], _with_floor)}
    return {**config, "model": _changed(config["model"], _without_power)}, tensors


def _without_chain(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if '"Reversible"' not in json.dumps(config["model"]):
        return config, tensors

    def renamed(values: dict[str, Any]) -> dict[str, Any]:
        return {re.sub(r"(^|\.)chain\.transforms\.", r"\1transforms.", name): value for name, value in values.items()}

    return {**config, "other_dtypes": renamed(config["other_dtypes"])}, renamed(tensors)


def _changed(value: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A description with every part changed, the inner ones first."""
    if isinstance(value, list):
        return [_changed(item, change) for item in value]
    if not isinstance(value, dict):
        return value
    return change({key: _changed(item, change) for key, item in value.items()})


def _composed(value: dict[str, Any]) -> dict[str, Any]:
    """A part of format 2; where it was an autoregressive transform with an ordering or tails, these stand beside it."""
    if value.get("type") != "Autoregressive":
        return value
    kept = dict(value.get("arguments", {}))
    order, tails, far = (kept.pop(name, None) for name in ("ordering", "tails", "far"))
    shared = {key: item for key, item in value.items() if key not in ("type", "arguments")}
    parts = [{"type": "Autoregressive", "arguments": kept}]
    if tails is not None:
        parts.append({"type": "LogTails", "arguments": {"bound": tails, "far": far}})
    if order is not None:
        order = order["tensor"] if isinstance(order, dict) else order
        back = sorted(range(len(order)), key=order.__getitem__)
        before, after = ({"type": "Permutation", "arguments": {"order": places}} for places in (order, back))
        parts = [before, *parts, after]
    if len(parts) == 1:
        return {**parts[0], **shared}
    return {"type": "Compose", "arguments": {"transforms": parts}, **shared}


def _with_floor(value: dict[str, Any]) -> dict[str, Any]:
    """A part of format 3, with the floor that all splines had."""
    if value.get("type") in ("Spline", "FreeSpline", "CircularSpline"):
        value["arguments"] = {"floor": FLOOR, **value.get("arguments", {})}
    return value


def _without_power(value: dict[str, Any]) -> dict[str, Any]:
    """A part of any format, without the power that weights of a guide had at first."""
    if value.get("type") == "Guided":
        value["arguments"].pop("power", None)
    return value


def renamed(model: nn.Module, name: str) -> str:
    """The name of a tensor of format 2 in a model of format 3: that of an autoregressive transform may now be inside a
    composition."""
    module: Any = model
    parts: list[str] = []
    for part in name.split("."):
        inner = getattr(module, "transforms", None)
        if isinstance(inner, nn.ModuleList) and not hasattr(module, part):
            place = next((k for k, one in enumerate(inner) if hasattr(one, "net") and hasattr(one, "scalar")), 0)
            parts += ["transforms", str(place)]
            module = inner[place]
        parts.append(part)
        module = getattr(module, part, None)
    return ".".join(parts)


def present_names(model: nn.Module, config: dict[str, Any], tensors: Container[str]) -> dict[str, Any]:
    """What a config of format 2 says of single tensors, by their present names; some buffers are no more."""
    dtypes = {renamed(model, name): dtype for name, dtype in config["other_dtypes"].items()}
    frozen = [renamed(model, name) for name in config.get("frozen", ())]
    return {"other_dtypes": {name: dtype for name, dtype in dtypes.items() if name in tensors}, "frozen": frozen}


def with_orders(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file of format 2 by their present names, and the permutations that were arguments before."""
    found = {renamed(model, name): tensor for name, tensor in tensors.items()}
    moved = {new.rsplit(".transforms.", 1)[0] for name in tensors if (new := renamed(model, name)) != name}
    orders = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name.endswith((".order", ".back")) and name.rsplit(".transforms.", 1)[0] in moved
    }
    return {**orders, **found}


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
