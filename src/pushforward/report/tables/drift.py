"""The section about new rows: how they differ from those that were held out at the fit."""

from __future__ import annotations

from ... import plot
from ..blocks import Entry, Figure, Heading, Listing, Text
from ..section import Blocks, Numbers, section
from ..svg import to_svg
from ..words import count, number
from .evidence import RowEvidence

SHOWN = 8  # columns


@section("drift", "Whether the table has changed", RowEvidence)
def drift(e: RowEvidence) -> Blocks:
    """The verdict, and the columns that have moved most: histograms of both, and figures."""
    if e.drift is None:
        return
    moved = [each for each in e.drift.moved if each[0] in e.columns.names][:SHOWN]
    at = [e.columns.names.index(name) for name, *_ in moved]
    yield Text(f"{e.drift.verdict[0].upper()}{e.drift.verdict[1:]}.")
    yield Numbers({"verdict": e.drift.verdict, "columns": [name for name, *_ in moved]})
    figure = plot.marginals(
        e.drift.others[:, at],
        e.data[:, at],
        columns=[name for name, *_ in moved],
        steps={place: e.columns.steps[j] for place, j in enumerate(at) if j in e.columns.steps},
        labels={place: e.columns.labels[j] for place, j in enumerate(at) if j in e.columns.labels},
    )
    alt = f"Histograms of {count(len(at), 'column')}: rows held out at the fit filled, these rows as outlines."
    yield Figure(to_svg(figure, "drift", alt), "Filled: rows held out at the fit. Outline: these rows.")
    heads = [Heading("column", False), Heading("p-value"), Heading("nats"), Heading("change", False)]
    rows = [
        [Entry(name, name), Entry(number(p), p), Entry(number(nats), nats), Entry(change, change)]
        for name, p, nats, change in moved
    ]
    yield Listing("moved", "Columns, the most moved first; p-values are corrected for their number.", heads, rows)
