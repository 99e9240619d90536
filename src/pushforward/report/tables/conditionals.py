"""The model's conditionals of one column given another: tables of shares that the reader selects with two menus."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..blocks import Blocks, Menus, section
from ..words import count
from .evidence import RowEvidence

SHOWN, BINS, GROUPS, NAMES = 10, 24, 5, 12  # columns; bins of a number; groups of the conditioning column; categories
SAYS = (
    "Choose a column, and a second one that is known: the bars show how the model spreads the first where the second "
    "lies in each fifth of its values, or takes each of its categories. Grey is the first column whatever the second."
)


@section("conditionals", "One column given another", RowEvidence)
def conditionals(e: RowEvidence) -> Blocks:
    """Shares of every column given every other, from rows drawn from the model."""
    names = e.schema.features
    shown = range(min(len(names), SHOWN))
    if len(shown) < 2 or len(e.own.data) < 200:
        return
    x = e.own.data.numpy()
    axes = [_Axis.of(x[:, j], e.schema.labels.get(j), e.schema.steps.get(j, 0.0)) for j in shown]
    groups = [_groups(x[:, j], axes[j]) for j in shown]
    data = {
        "columns": list(names[: len(shown)]),
        "ticks": [axis.ticks for axis in axes],
        "groups": [names for names, _ in groups],
        "alone": [_shares(axis.place, axis.size) for axis in axes],
        "given": [
            [None if j == k else [_shares(axes[j].place[part], axes[j].size) for part in groups[k][1]] for k in shown]
            for j in shown
        ],
    }
    note = "" if len(shown) == len(names) else f" The first {count(len(shown), 'column')} are shown."
    yield SAYS
    yield Menus(data, f"From {count(len(x), 'row')} that the model drew; each row of bars adds up to 1.{note}")


class _Axis:
    """The bins or names of a column: the bin of each row, and the labels below them."""

    def __init__(self, place: NDArray[np.int64], ticks: list[str], names: bool) -> None:
        self.place, self.ticks, self.size, self.names = place, ticks, len(ticks), names

    @staticmethod
    def of(values: NDArray[np.float64], labels: Any, step: float) -> _Axis:
        if labels:
            common = np.argsort(
                -np.bincount(values[values >= 0].astype(np.int64), minlength=len(labels)), kind="stable"
            )
            kept = sorted(common[:NAMES].tolist())
            place = np.full(len(values), -1)
            for at, code in enumerate(kept):
                place[values == code] = at
            return _Axis(place, [str(labels[code]) if code < len(labels) else "(missing)" for code in kept], True)
        values = np.where(np.isfinite(values), values, np.nanmedian(values))
        low, high = np.quantile(values, [0.005, 0.995])
        width = max((high - low) / BINS, 1e-12)
        if step:  # the same number of grid values in every bin
            width, low = step * max(np.ceil(width / step), 1.0), low - 0.5 * step
        bins = max(int(np.ceil((high - low) / width)), 1)
        place = np.floor((values - low) / width).astype(np.int64)
        ticks = [f"{low + (at + 0.5) * width:.4g}" for at in range(bins)]
        return _Axis(np.where((place >= 0) & (place < bins), place, -1), ticks, False)


def _groups(values: NDArray[np.float64], axis: _Axis) -> tuple[list[str], list[NDArray[np.bool_]]]:
    """The groups into which a conditioning column is divided: its names, or fifths of its values."""
    if axis.names:
        return axis.ticks, [axis.place == at for at in range(axis.size)]
    edges = np.unique(np.nanquantile(values, np.linspace(0, 1, GROUPS + 1)))
    inner = edges[1:-1]
    part = np.searchsorted(inner, values, side="right")
    names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)] or [f"{edges[0]:.4g}"]
    return names, [part == at for at in range(len(names))]


def _shares(place: NDArray[np.int64], size: int) -> list[float]:
    counts = np.bincount(place[place >= 0], minlength=size).astype(float)
    return np.round(counts / max(counts.sum(), 1.0), 4).tolist()
