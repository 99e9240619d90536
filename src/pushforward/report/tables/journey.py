"""From noise to data for flows of two columns: the same points, and the density, after every layer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ...distributions.base import StandardNormal
from ...distributions.flow import Flow
from ...transforms.base import Transform
from ...transforms.columns import Columns
from ...transforms.compose import Compose
from ...transforms.elementwise import Elementwise
from ...transforms.normalization import Standardize
from ...transforms.permutation import Permutation
from ...transforms.precision import Precision
from ..blocks import Animation, Blocks, section
from ..words import count
from .evidence import RowEvidence
from .model import RowModel

POINTS, GRID, MOST_FRAMES, TIMES = 700, 56, 24, 21
_UNITS = (Standardize, Columns, Elementwise, Precision)  # transforms that only change units


JOURNEY = (
    "Move the slider to carry points of plain noise through the flow until they are rows of the table. Nothing is torn "
    "or glued on the way: neighbours stay neighbours, which is why every step can be taken back, and why the density "
    "can be followed exactly."
)


@section("journey", "From noise to data", RowEvidence)
def journey(e: RowEvidence) -> Blocks:
    """For two columns: noise becomes data, layer by layer, under a slider."""
    data = frames(e.model, e.data, e.context, e.schema.features, e.page.seed)
    if data is None:
        return
    shade = "" if data["densities"] is None else " The shade behind them is the exact density at that moment."
    points = count(len(data["hues"]), "point")
    yield JOURNEY
    yield Animation(data, f"{points}, each in the colour of the sixth of the noise that it started in.{shade}")


@torch.no_grad()
def frames(
    model: RowModel, data: Tensor, context: Tensor | None, columns: Sequence[str], seed: int
) -> dict[str, Any] | None:
    """The data for the page's script, or None if the flow does not have two columns.

    Points and densities of all frames share one set of axes, in the data's units: layers that only change the units
    are applied to every frame.
    """
    flow = model.flow
    if not isinstance(flow, Flow) or tuple(flow.event_shape) != (2,) or not isinstance(flow.base, StandardNormal):
        return None
    generator = torch.Generator(model.device).manual_seed(seed)
    z = flow.base.sample((POINTS,), generator=generator)
    given = None if context is None else model.given(context[torch.arange(POINTS) % len(context)])
    stages = _on_the_way(flow)
    points = torch.stack([stage.inverse(z, given)[0].double().cpu() for _, stage in stages])  # (frames, POINTS, 2)
    low, high = _box(points, data)
    densities = None if context is not None else [_density(model, stage, low, high) for _, stage in stages]
    return {
        "labels": [label for label, _ in stages],
        "columns": list(columns),
        "ticks": [_ticks(float(a), float(b)) for a, b in zip(low, high, strict=True)],
        "points": ((points - low) / (high - low) * 1000).clamp(-500, 1500).round().int().flatten(1).tolist(),
        "hues": _sectors(z).tolist(),
        "grid": GRID,
        "densities": densities,
    }


def _on_the_way(flow: Flow) -> list[tuple[str, Transform]]:
    """Labels and the maps from p(x) on the way to the base, from all noise to all data."""
    try:
        times = np.linspace(0, 1, TIMES)
        return [(f"t = {t:.2f}", flow.transform.at(float(t))) for t in times]
    except ValueError:  # discrete: frames are layers
        return _after_each_layer(flow.transform)


def _after_each_layer(transform: Transform) -> list[tuple[str, Transform]]:
    parts = transform.flattened()
    first = next((i for i, part in enumerate(parts) if not isinstance(part, _UNITS)), len(parts))
    carries, order = [], torch.arange(2)  # which column of the data each coordinate after part k stands for
    for part in parts:
        carries.append(order)
        if isinstance(part, Permutation):
            order = order[part.order.cpu()]
    cuts = [k for k in range(first, len(parts)) if not (isinstance(parts[k], Permutation) or parts[k].entrywise)]
    stages = [Compose([*parts[:first], Permutation(order)])]
    stages += [Compose([*parts[:first], Permutation(carries[k]), *parts[k:]]) for k in reversed(cuts)]
    labels = ["noise", *(f"after {k} of {len(cuts)} layers" for k in range(1, len(cuts))), "data"]
    keep = np.unique(np.linspace(0, len(stages) - 1, min(len(stages), MOST_FRAMES)).round().astype(int))
    device = next((tensor.device for tensor in (*transform.parameters(), *transform.buffers())), "cpu")
    return [(labels[k], stages[k].to(device)) for k in keep]


@torch.no_grad()
def _density(model: RowModel, transform: Transform, low: Tensor, high: Tensor) -> str:
    """The square root of the density on a grid, scaled to 0 to 255, row by row from the top, in base64."""
    x, y = (torch.linspace(float(a), float(b), GRID, dtype=torch.float64) for a, b in zip(low, high, strict=True))
    rows = torch.stack(torch.meshgrid(x, y.flip(0), indexing="xy"), -1).reshape(-1, 2)
    z, logdet = transform(model.rows(rows))
    base: Any = model.flow.base
    log_density = (base.log_prob(z) + logdet).double().cpu().nan_to_num(nan=-torch.inf)
    height = (0.5 * (log_density - log_density.max())).exp().nan_to_num(nan=0.0)
    return base64.b64encode((255 * height).round().byte().numpy().tobytes()).decode()


def _box(points: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """Axes that hold the data and, unless they are far off, the points of every frame."""
    share = torch.tensor([0.01, 0.99], dtype=torch.float64)
    low, high = data.quantile(share, 0)
    room = (high - low).clamp_min(1e-9)
    reach = torch.stack([frame.quantile(share, 0) for frame in (points[0], *points)])  # (frames, 2, 2)
    low = torch.minimum(low, torch.maximum(reach[:, 0].min(0).values, low - room))
    high = torch.maximum(high, torch.minimum(reach[:, 1].max(0).values, high + room))
    return low - 0.12 * (high - low), high + 0.12 * (high - low)


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    places = [v for v in MaxNLocator(5).tick_values(low, high) if low < v < high]
    return [(round(1000 * (v - low) / (high - low)), f"{v:g}") for v in places]


def _sectors(z: Tensor) -> Tensor:
    """The sixth of the noise plane in which each point starts: it determines its colour in all frames."""
    angle = torch.atan2(z[:, 1], z[:, 0]) / (2 * torch.pi) + 0.5
    return (angle * 6).floor().clamp(0, 5).int().cpu()
