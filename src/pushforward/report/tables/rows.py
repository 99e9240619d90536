"""The sections about rows: is the density right for them, is its noise noise, which are the least likely; new ones."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from torch import Tensor

from ... import plot
from ..blocks import Beside, Blocks, Cell, Entry, Figure, Heading, Listing, section
from ..svg import to_svg
from ..words import fixed, number, percent
from .evidence import RowEvidence, confidence, ks_bound, noise

SHOWN_COLUMNS, UNLIKELY, DRAWN = 30, 12, 10
COVERAGE = (
    "On the diagonal the flow's confidence is right. Below it the flow is overconfident (its regions are too small), "
    "above it underconfident. The band is what chance allows."
)


@section("calibration", "Is its confidence right?", RowEvidence)
def calibration(e: RowEvidence) -> Blocks:
    """Do the flow's regions of 10% to 90% hold that share of the held-out rows?"""
    if not e.told:
        return
    levels, covered, error = (e.coverage[key] for key in ("levels", "covered", "error"))
    given = "" if e.context is None else " Each row is compared with draws for its own context."
    yield (
        "The flow claims to know where, say, half of all rows are: in the smallest region that holds half of its "
        f"probability. Are half of the held-out rows there? {confidence(e.coverage).text}{given}"
    )
    holds = [f"{percent(a, 0)} region holds {percent(b)}" for a, b in zip(levels, covered, strict=True)]
    svg = to_svg(plot.coverage(levels, covered, error), "coverage", "Coverage: " + "; ".join(holds) + ".")
    heads = [
        Heading("region of", "{:.0%}".format),
        Heading("holds", percent),
        Heading("standard error", "± {:.1%}".format),
    ]
    rows = list(zip(levels, covered, error, strict=True))
    table = Listing("coverage-table", "Share of held-out rows per region.", heads, rows, sortable=False)
    yield Beside([Figure(svg, COVERAGE), table])
    yield e.coverage


@section("ranks", "Is it right for every context?", RowEvidence)
def ranks(e: RowEvidence) -> Blocks:
    """With contexts: do true values, by column and jointly, rank uniformly among draws for their own context?"""
    found = e.ranks
    if found is None:
        return
    yield (
        "Every held-out row is ranked among draws for its own context: column by column (simulation-based "
        "calibration), by the distance to a random point (TARP, all columns together), and by density, as above. Where "
        f"the flow is right, all ranks are equally frequent. {found.verdict}"
    )
    figures = found.figures()
    yield Figure(
        to_svg(figures["ranks"], "ranks", f"Ranks. {found.verdict}"),
        "Every curve is a column; those that leave the band are named. Above 0 on the left and below it on the right: "
        "the draws are too narrow for their contexts, the other way round too wide. Above 0 throughout: too high, "
        "below: too low.",
    )
    rows = [(name, t.shift, t.spread, t.p_value) for name, t in found.tests.items()]
    heads = [Heading("rank of"), Heading("too low by, sd (0)", fixed), Heading("spread of scores (1)", fixed)]
    heads.append(Heading("p", partial(number, digits=2)))
    caption = "Spread above 1: draws are too narrow. p: of uniform ranks, for each line alone."
    regions = Figure(to_svg(figures["coverage"], "tarp", "Coverage by density and by distance."), COVERAGE)
    yield Beside([regions, Listing("ranks-table", caption, heads, rows)])
    yield found.summary()
    if e.local is not None:
        yield e.local.verdict
        yield {"local": e.local.summary()}


@section("latents", "Is the noise really noise?", RowEvidence)
def latents(e: RowEvidence) -> Blocks:
    """Are the latents of the held-out rows standard normal?"""
    if not e.normality:
        return
    (verdict,) = noise(e.normality, len(e.data))
    what = "the numbers of a row, given its categories," if e.schema.labels else "the rows"
    yield (
        f"The flow was trained to turn {what} into independent standard normal noise, z = f(x). If it succeeded, "
        f"z tells nothing any more about the row it came from. {verdict.text}"
    )
    rows = [(Entry(f"z{j}", j), *(z[key] for key in ("mean", "sd", "ks"))) for j, z in enumerate(e.normality, 1)]
    titles = ("mean (0)", "sd (1)", "K-S distance (0)")
    heads = [Heading("latent"), *(Heading(title, partial(fixed, decimals=3)) for title in titles)]
    bound = ks_bound(len(e.data), 1)
    caption = f"K-S: Kolmogorov-Smirnov; by chance a dimension stays below {bound:.3f} nineteen times in twenty."
    alt = "Quantiles of the latents against those of the standard normal; on the dashed diagonal they agree."
    quantiles = (
        "A line that leaves the diagonal at its ends has tails that are too heavy (steeper) or too light (flatter). "
        "The table shows what each dimension has; in brackets, what N(0, 1) has."
    )
    figure = Figure(to_svg(plot.qq(e.latent), "qq", alt), quantiles)
    yield Beside([figure, Listing("latents-table", caption, heads, rows)])
    yield {"dimensions": e.normality}


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
