"""The sections that show rows: the least likely of the data, and new ones drawn from the flow."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ... import plot
from ..blocks import Blocks, Cell, Entry, Heading, Listing, section
from ..words import fixed, number
from .evidence import RowEvidence

SHOWN_COLUMNS, UNLIKELY, DRAWN = 30, 12, 10


@section("unlikely", "The least likely rows", RowEvidence)
def unlikely_rows(e: RowEvidence) -> Blocks:
    """The least likely held-out rows, each with the column to blame and the value that would fit."""
    order = e.log_prob.argsort(stable=True)[:UNLIKELY]
    rows, density = e.held[order], e.log_prob[order]
    why, percentiles = e.explain(rows).to_dicts(), e.percentile(density.numpy()).tolist()
    yield (
        "These held-out rows are the least dense. The percentile says how many in a hundred of "
        f"{e.others} are less dense still. To blame is the column without which a row is least odd; the value that "
        "would fit there is named, with the gain in nats."
    )
    body, numbers = [], []
    for i, index in enumerate(order.tolist()):
        row, reason = e.names[index], _reason(e, rows.x[i], why[i])
        body.append([row, float(density[i]), percentiles[i], Entry(reason, why[i]["gain"]), *_cells(e, rows.x[i])])
        numbers.append({"row": row, "log_density": float(density[i]), "percentile": percentiles[i], "why": reason})
    heads = [Heading("row", str), Heading("log-density", fixed), Heading("percentile", "{:.2f}".format)]
    heads.append(Heading("what makes it unlikely", str, prose=True))
    caption = f"Rows are counted from 1. The headings sort; reasons sort by their gain.{_left_out(e)}"
    yield Listing("unlikely-rows", caption, [*heads, *_heads(e)], body)
    yield {"rows": numbers}


def _reason(e: RowEvidence, row: Tensor, found: dict[str, Any]) -> str:
    """The column to blame and the value that would fit, if the row is a nat less odd without it; and further ones."""
    name, fits, also, gain = (found[key] for key in ("unlikely_because", "would_fit", "also_unlikely", "gain"))
    if not gain >= 1:
        return "no single column: the combination is rare"
    j = e.schema.features.index(name)
    column = e.schema.columns[j]
    then = fits if column.classes or column.speaks else _plain(float(fits), e.decimals[j])
    said = f"{plot.short(name, 40)} {then} instead of {_cell(e, row[j], j).text}: +{number(gain, 3)} nats"
    return f"{said}; also {also}" if also else said


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
    return Entry(column.shown(value) if column.speaks else _plain(value, places), value)


def _plain(value: float, places: int) -> str:
    return fixed(value, places) if abs(value) >= 10.0**-places or value == 0 else number(value, 3)


def _left_out(e: RowEvidence) -> str:
    left = len(e.schema.features) - SHOWN_COLUMNS
    return f" The last {left} columns are left out." if left > 0 else ""
