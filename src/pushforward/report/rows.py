"""The sections that show rows: the least likely of the data, and new ones drawn from the flow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import plot
from . import prose
from .blocks import Cell, Column, Section, Table, Text
from .reasons import POINTS, repairs, typical_values
from .subject import Subject
from .words import fixed, listing, number

SHOWN_COLUMNS = 30


def unlikely(s: Subject, most: int = 12) -> Section:
    """The least likely held-out rows, with the changes that would raise their density most."""
    order = s.evidence.log_prob.argsort(stable=True)[:most]
    rows, density = s.evidence.data[order], s.evidence.log_prob[order]
    reference = s.evidence.data if s.evidence.train is None else s.evidence.train
    gains, values = repairs(
        lambda x, c: s.model.log_prob(x, c, points=POINTS),
        rows,
        typical_values(s.model.schema, reference),
        None if s.context is None else s.context[order],
        s.holes,
    )
    percentiles, than = _percentiles(s, density)
    body, numbers = [], []
    for i, index in enumerate(order.tolist()):
        row, percentile = s.row_numbers[index], percentiles[i]
        reasons = _reasons(s, rows[i], gains[i], values[i], reference)
        cells = [Cell(str(row), row), Cell(fixed(float(density[i])), float(density[i]))]
        cells += [Cell(f"{percentile:.2f}", percentile), Cell(reasons, float(gains[i].max()))]
        body.append(cells + [s.cell(rows[i, j], j) for j in _shown(s)])
        numbers.append({"row": row, "log_density": float(density[i]), "percentile": percentile, "why": reasons})
    says = (
        "These held-out rows are the least dense. The percentile says how many in a hundred of "
        f"{than} are less dense still. {prose.REASONS}"
    )
    heads = [Column("row"), Column("log-density"), Column("percentile"), Column("what makes it unlikely", True, True)]
    heads += _heads(s)
    caption = f"Rows are counted from 0. The headings sort; reasons sort by their largest gain.{_left_out(s)}"
    blocks = [Text(says), Table("unlikely-rows", caption, heads, body)]
    return Section("unlikely", "The least likely rows", blocks, {"rows": numbers})


def _percentiles(s: Subject, density: Tensor) -> tuple[list[float], str]:
    """The percentile of each density, and the reference: the training rows if they are known."""
    if s.percentile is not None:
        return [float(p) for p in s.percentile(density.numpy())], "the training rows"
    known = s.evidence.train_log_prob
    ordered = (s.evidence.sample_log_prob if known is None else known).sort().values
    below = 100 * torch.searchsorted(ordered, density) / len(ordered)
    return below.tolist(), "the flow's own rows" if known is None else "the training rows"


def _reasons(s: Subject, row: Tensor, gains: Tensor, values: Tensor, reference: Tensor) -> str:
    """The one or two columns whose change would raise the log-density most; else where the row lies far out."""
    said = []
    for j in gains.argsort(descending=True).tolist()[:2]:
        if float(gains[j]) < 1:
            break
        now, then = s.cell(row[j], j).text, s.cell(values[j], j).text
        said.append(f"{plot.short(s.columns[j], 40)} {then} instead of {now}: +{number(float(gains[j]), 3)} nats")
    if said:
        return "; ".join(said)
    below, above = (reference < row).double().mean(0), (reference > row).double().mean(0)
    outer = [j for j in torch.minimum(below, above).argsort().tolist() if j in s.numbers][:2]
    far = [j for j in outer if min(below[j], above[j]) < 0.01]
    ends = [f"{plot.short(s.columns[j], 40)} is among the {_end(below[j], above[j])}" for j in far]
    return f"several columns together: {listing(ends)}" if ends else "no single column: the combination is rare"


def _end(below: Tensor, above: Tensor) -> str:
    """``highest 0.1%``."""
    side, share = ("lowest", float(below)) if below < above else ("highest", float(above))
    return f"{side} {max(math.ceil(1000 * share) / 10, 0.1):g}%"


def samples(s: Subject, most: int = 10) -> Section:
    """The first few rows that the flow drew."""
    heads = [Column("log-density"), *_heads(s)]
    body = []
    for row, density in zip(s.evidence.samples[:most], s.evidence.sample_log_prob[:most].tolist(), strict=True):
        body.append([Cell(fixed(density), density), *(s.cell(row[j], j) for j in _shown(s))])
    given = "" if s.context is None else " Each was drawn for the context of a held-out row."
    says = f"The first {len(body)} rows that the flow drew from noise, not chosen.{given}"
    caption = f"Rows drawn from the flow.{_left_out(s)}"
    return Section("samples", "Rows it invents", [Text(says), Table("sampled-rows", caption, heads, body)])


def _heads(s: Subject) -> list[Column]:
    return [Column(plot.short(s.columns[j], 40), j in s.numbers) for j in _shown(s)]


def _shown(s: Subject) -> range:
    return range(min(len(s.columns), SHOWN_COLUMNS))


def _left_out(s: Subject) -> str:
    left = len(s.columns) - SHOWN_COLUMNS
    return f" The last {left} columns are left out." if left > 0 else ""
