"""The sections that show rows: the least likely of the data, and new ones drawn from the flow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ... import plot
from ...diagnostics.repairs import POINTS, repairs, typical_values
from ..blocks import Blocks, Cell, Entry, Heading, Listing, section
from ..words import fixed, listing, number
from .evidence import RowEvidence

SHOWN_COLUMNS, UNLIKELY, DRAWN = 30, 12, 10


@section("unlikely", "The least likely rows", RowEvidence)
def unlikely_rows(e: RowEvidence) -> Blocks:
    """The least likely held-out rows, with the changes that would raise their density most."""
    order = e.log_prob.argsort(stable=True)[:UNLIKELY]
    rows, density = e.data[order], e.log_prob[order]
    reference = e.data if e.train is None else e.train.x
    gains, values = repairs(
        lambda x, c: e.model.log_prob(x, c, points=POINTS),
        rows,
        typical_values(reference, [column.typical for column in e.schema.columns]),
        None if e.context is None else e.context[order],
        e.schema.missingness.flags,
    )
    percentiles = e.percentile(density.numpy()).tolist()
    yield (
        "These held-out rows are the least dense. The percentile says how many in a hundred of "
        f"{e.others} are less dense still. The reason is found by trying: one column at a time is set to typical "
        "values, and the changes that raise the log-density most are named, with the gain in nats. If no single change "
        "helps, what lies far out is named."
    )
    body, numbers = [], []
    for i, index in enumerate(order.tolist()):
        row, reasons = e.names[index], _reasons(e, rows[i], gains[i], values[i], reference)
        reason = Entry(reasons, float(gains[i].max()))
        body.append([row, float(density[i]), percentiles[i], reason, *_cells(e, rows[i])])
        numbers.append({"row": row, "log_density": float(density[i]), "percentile": percentiles[i], "why": reasons})
    heads = [Heading("row", str), Heading("log-density", fixed), Heading("percentile", "{:.2f}".format)]
    heads.append(Heading("what makes it unlikely", str, prose=True))
    caption = f"Rows are counted from 1. The headings sort; reasons sort by their largest gain.{_left_out(e)}"
    yield Listing("unlikely-rows", caption, [*heads, *_heads(e)], body)
    yield {"rows": numbers}


def _reasons(e: RowEvidence, row: Tensor, gains: Tensor, values: Tensor, reference: Tensor) -> str:
    """The one or two columns whose change would raise the log-density most; else where the row lies far out."""
    names = [plot.short(name, 40) for name in e.schema.features]
    said = []
    for j in gains.argsort(descending=True).tolist()[:2]:
        if float(gains[j]) < 1:
            break
        now, then = _cell(e, row[j], j).text, _cell(e, values[j], j).text
        said.append(f"{names[j]} {then} instead of {now}: +{number(float(gains[j]), 3)} nats")
    if said:
        return "; ".join(said)
    below, above = (reference < row).double().mean(0), (reference > row).double().mean(0)
    outer = [j for j in torch.minimum(below, above).argsort().tolist() if j in e.schema.numbers][:2]
    far = [j for j in outer if min(below[j], above[j]) < 0.01]
    ends = [f"{names[j]} is among the {_end(below[j], above[j])}" for j in far]
    return f"several columns together: {listing(ends)}" if ends else "no single column: the combination is rare"


def _end(below: Tensor, above: Tensor) -> str:
    """``highest 0.1%``."""
    side, share = ("lowest", float(below)) if below < above else ("highest", float(above))
    return f"{side} {max(math.ceil(1000 * share) / 10, 0.1):g}%"


@section("samples", "Rows it invents", RowEvidence)
def sampled_rows(e: RowEvidence) -> Blocks:
    """The first few rows that the flow drew."""
    drawn = zip(e.own.data[:DRAWN], e.own.log_prob[:DRAWN].tolist(), strict=True)
    body = [[density, *_cells(e, row)] for row, density in drawn]
    given = "" if e.context is None else " Each was drawn for the context of a held-out row."
    yield f"The first {len(body)} rows that the flow drew from noise, not chosen.{given}"
    heads = [Heading("log-density", fixed), *_heads(e)]
    yield Listing("sampled-rows", f"Rows drawn from the flow.{_left_out(e)}", heads, body)


def _heads(e: RowEvidence) -> list[Heading]:
    names = enumerate(e.schema.features[:SHOWN_COLUMNS])
    return [Heading(plot.short(name, 40), number if j in e.schema.numbers else None) for j, name in names]


def _cells(e: RowEvidence, row: Tensor) -> list[Cell]:
    return [_cell(e, value, j) for j, value in enumerate(row[:SHOWN_COLUMNS])]


def _cell(e: RowEvidence, given: Tensor, j: int) -> Entry:
    """A value of a column as a cell of a table."""
    value, column, places = float(given), e.schema.columns[j], e.decimals[j]
    if column.classes:
        name = "(missing)" if math.isnan(value) else "(unknown)" if value < 0 else column.labels[int(value)]
        return Entry(name, name)
    plain = fixed(value, places) if abs(value) >= 10.0**-places or value == 0 else number(value, 3)
    return Entry(column.shown(value) if column.speaks else plain, value)


def _left_out(e: RowEvidence) -> str:
    left = len(e.schema.features) - SHOWN_COLUMNS
    return f" The last {left} columns are left out." if left > 0 else ""
