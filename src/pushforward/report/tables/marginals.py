"""The sections about columns: what they are, how they have changed, each alone, in pairs, and one given another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ... import plot
from ...errors import counted, in_shell, spelled
from ...plot.tables import bin_edges
from ...tables.schema.columns import Column
from ...training.batches import Rows
from ..blocks import Blocks, Entry, Figure, Heading, Listing, Menus, section
from ..evidence import shuffled
from ..svg import to_svg
from ..words import listing, number
from .evidence import RowEvidence, seen

SHOWN_MARGINALS, SHOWN_CORNER, SHOWN_MOVED = 32, 5, 8
SHOWN, BINS, GROUPS, NAMES = 10, 24, 5, 12  # columns; bins of a number; groups of the conditioning column; categories
SAYS = (
    "Choose a column, and a second one that is known: the bars show how the model spreads the first where the second "
    "lies in each fifth of its values, or takes each of its categories. Grey is the first column whatever the second."
)


@section("data", "The data", RowEvidence)
def columns(e: RowEvidence) -> Blocks:
    """The columns: what they are and where they lie."""
    says = f"{counted(len(e.data), 'held-out row')} of {counted(len(e.schema.table_names), 'column')}."
    if e.train is not None:
        says += f" The flow was trained on {counted(len(e.train), 'row')}."
    if e.context is not None:
        features = counted(e.context.shape[-1], "number")
        says += f" The flow is conditional: each row comes with a context of {features} that the flow is told."
    if e.schema.notes:
        says += f" What was decided about columns: {spelled('; '.join(e.schema.notes), in_shell)}."
    if e.whole is not e.held:
        says += " Cells that are known in part are shown, here and below, as draws from what is known of their rows."
    yield says
    statistics = ("minimum", "median", "maximum", "mean", "sd")
    numbers = [Heading(name, number) for name in statistics]
    heads = [Heading("column"), Heading("kind"), *numbers, Heading("first transform")]
    yield Listing(
        "columns", "The held-out rows by column.", heads, [_column(e, j) for j in range(len(e.schema.features))]
    )


def _column(e: RowEvidence, j: int) -> list[Any]:
    column = e.schema.columns[j]
    said, there = column.describe(), seen(e.data[:, j])
    quantiles = np.quantile(there.numpy(), [0.0, 0.5, 1.0]).tolist()
    values = [*quantiles, float(there.mean()), float(there.std(correction=0))]
    told: list[Any] = [Entry("", float("inf"))] * len(values) if column.classes else values
    if column.reading.moment and not column.classes:
        told[:4] = [Entry(column.shown(value), value) for value in values[:4]]
    return [column.name, said.kind, *told, said.first]


@section("drift", "Whether the table has changed", RowEvidence)
def drift(e: RowEvidence) -> Blocks:
    """The verdict, and the columns that have moved most: histograms of both, and figures."""
    if e.drift is None:
        return
    moved = [each for each in e.drift.moved if each[0] in e.schema.features][:SHOWN_MOVED]
    at = [e.schema.features.index(name) for name, *_ in moved]
    yield f"{e.drift.verdict[0].upper()}{e.drift.verdict[1:]}."
    yield {"verdict": e.drift.verdict, "columns": [name for name, *_ in moved]}
    figure = _histograms(e, at, e.drift.others, e.held.x, called=("held out", "these rows"))
    alt = f"Histograms of {counted(len(at), 'column')}: rows held out at the fit filled, these rows as outlines."
    yield Figure(to_svg(figure, "drift", alt), "Filled: rows held out at the fit. Outline: these rows.")
    heads = [Heading("column"), Heading("p-value", number), Heading("nats", number), Heading("change")]
    yield Listing("moved", "Columns, the most moved first; p-values are corrected for their number.", heads, moved)


def _histograms(e: RowEvidence, at: Sequence[int], first: Tensor, second: Tensor, **options: Any) -> Any:
    """The histograms of some columns in two sets of rows."""
    labels = {k: e.schema.labels[j] for k, j in enumerate(at) if j in e.schema.labels}
    return plot.marginals(first[:, list(at)], second[:, list(at)], labels=labels, **e.schema.drawn(at), **options)


@section("marginals", "Each column alone", RowEvidence)
def marginals(e: RowEvidence) -> Blocks:
    """Each column's histogram, data and flow."""
    shown = min(len(e.schema.features), SHOWN_MARGINALS)
    figure = _histograms(e, range(shown), e.data, e.own.data)
    left = len(e.schema.features) - shown
    note = f" The last {counted(left, 'column')} are left out." if left else ""
    bulk = f"The middle 99% of the values are shown{', of categories the commonest' if e.schema.labels else ''}."
    alt = f"Histograms of {counted(shown, 'column')}: held-out rows filled, rows of the flow as outlines."
    yield "Column by column, the rows that the flow invents should be spread like the real ones."
    yield Figure(
        to_svg(figure, "marginals", alt), f"Filled: held-out rows. Outline: rows drawn from the flow. {bulk}{note}"
    )


@section("remainders", "What formulas leave", RowEvidence)
def remainders(e: RowEvidence) -> Blocks:
    """The histogram of what each column is beside its formula of others, data and flow."""
    shown = e.schema.near[:SHOWN_MARGINALS]
    if not shown:
        return
    data, own = (torch.stack([each.left(x, e.schema.columns) for each in shown], 1) for x in (e.data, e.own.data))
    steps = {j: each.remainder.step for j, each in enumerate(shown) if each.remainder.step}
    figure = plot.marginals(data, own, columns=[each.name for each in shown], steps=steps)
    formulas = "; ".join(map(str, shown))
    alt = f"Histograms of {counted(len(shown), 'remainder')}: held-out rows filled, rows of the flow as outlines."
    yield "Some columns nearly follow from others by a formula; what is left of each should be as it is in real rows."
    yield Figure(
        to_svg(figure, "remainders", alt), f"Filled: held-out rows. Outline: rows drawn from the flow. {formulas}."
    )


@section("pairs", "Columns together", RowEvidence)
def pairs(e: RowEvidence) -> Blocks:
    """The corner plot of the first few columns."""
    numbers = e.schema.numbers
    if len(numbers) < 2:
        return
    shown = numbers[:SHOWN_CORNER]
    names = [plot.short(e.schema.features[j], 40) for j in numbers]
    exact = len(e.schema.features) == 2 and e.context is None
    figure = plot.corner(
        e.data[shuffled(len(e.data), e.page.seed)][:, shown],
        e.own.data[:, shown],
        **e.schema.drawn(shown),
        log_density=(lambda at: e.score(Rows(torch.from_numpy(at))).numpy()) if exact else None,
    )
    how = "computed exactly" if exact else "estimated from the flow's own rows"
    caption = (
        f"Dots: up to 500 held-out rows. Lines: the regions that hold 50% and 90% of the flow's probability, {how}. "
        "About one dot in ten should lie outside the outer line."
    )
    left = names[len(shown) :]
    if left:
        listed = listing(left if len(left) <= 12 else [*left[:12], f"{len(left) - 12} more"])
        caption += f" Shown are the first {len(shown)} columns of numbers; left out: {listed}."
    alt = f"Scatter plots of held-out rows for every pair of {listing(names[: len(shown)])}, with the flow's contours."
    yield "Pair by pair, the lines of the flow should follow the cloud of real rows: bends, gaps, ridges and all."
    yield Figure(to_svg(figure, "corner", alt), caption)


@section("conditionals", "One column given another", RowEvidence)
def conditionals(e: RowEvidence) -> Blocks:
    """Tables of shares of every column given every other, which the reader selects with two menus: from rows drawn from
    the model."""
    names = e.schema.features
    shown = range(min(len(names), SHOWN))
    if len(shown) < 2 or len(e.own.data) < 200:
        return
    x = e.own.data.numpy()
    axes = [_Axis.of(x[:, j], e.schema.columns[j]) for j in shown]
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
    note = "" if len(shown) == len(names) else f" The first {counted(len(shown), 'column')} are shown."
    yield SAYS
    yield Menus(data, f"From {counted(len(x), 'row')} that the model drew; each row of bars adds up to 1.{note}")


class _Axis:
    """The bins or names of a column: the bin of each row, and the labels below them."""

    def __init__(self, place: NDArray[np.int64], ticks: list[str], text: Any = None) -> None:
        self.place, self.ticks, self.size, self.text = place, ticks, len(ticks), text

    @staticmethod
    def of(values: NDArray[np.float64], column: Column) -> _Axis:
        if labels := column.labels:
            common = np.argsort(
                -np.bincount(values[values >= 0].astype(np.int64), minlength=len(labels)), kind="stable"
            )
            kept = sorted(common[:NAMES].tolist())
            place = np.full(len(values), -1)
            for at, code in enumerate(kept):
                place[values == code] = at
            return _Axis(place, [str(labels[code]) if code < len(labels) else "(missing)" for code in kept])
        values = np.where(np.isfinite(values), values, np.nanmedian(values))
        edges = bin_edges(values, step=column.kind.step, bins=BINS, most=BINS)
        place = np.searchsorted(edges, values, side="right") - 1
        text = column.shown if column.reading.moment else number
        ticks = [text(middle) for middle in 0.5 * (edges[1:] + edges[:-1])]
        return _Axis(np.where((place >= 0) & (place < len(ticks)), place, -1), ticks, text)


def _groups(values: NDArray[np.float64], axis: _Axis) -> tuple[list[str], list[NDArray[np.bool_]]]:
    """The groups into which a conditioning column is divided: its names, or fifths of its values."""
    if axis.text is None:
        return axis.ticks, [axis.place == at for at in range(axis.size)]
    edges = np.unique(np.nanquantile(values, np.linspace(0, 1, GROUPS + 1)))
    inner = edges[1:-1]
    part = np.searchsorted(inner, values, side="right")
    said = list(map(axis.text, edges))
    names = [f"{low} to {high}" for low, high in pairwise(said)] or said
    return names, [part == at for at in range(len(names))]


def _shares(place: NDArray[np.int64], size: int) -> list[float]:
    counts = np.bincount(place[place >= 0], minlength=size).astype(float)
    return np.round(counts / max(counts.sum(), 1.0), 4).tolist()
