"""The sections of the report, one function each: sentences for everybody, figures and tables for specialists."""

from __future__ import annotations

import math

import numpy as np
import torch

from .. import plot
from ..errors import in_shell, spelled
from . import checks, common, findings, prose, rows
from .animation import frames
from .blocks import Animation, Cell, Column, Details, Facts, Figure, Section, Table, Text
from .conditionals import conditionals
from .cost import cost_section
from .figures import to_svg
from .measure import DRAWS, shuffled
from .model import seen
from .subject import Subject
from .words import count, listing, number, plain, plus_minus, seconds

SHOWN_MARGINALS, SHOWN_CORNER = 32, 5


def all_sections(s: Subject) -> list[Section]:
    """Every section that applies to this flow and this data, in reading order."""
    makers = (
        overview,
        table,
        training,
        checks.likelihood,
        marginals,
        pairs,
        conditionals,
        checks.calibration,
        checks.simulations,
        checks.latents,
        rows.unlikely,
        rows.samples,
        journey,
        cost,
        limits,
    )
    return [section for section in (make(s) for make in makers) if section is not None]


def overview(s: Subject) -> Section:
    """What was fitted and how well, in plain sentences."""
    (mean, error, missing), (n, d) = s.held_out, s.evidence.data.shape
    says = (
        f"A normalizing flow was fitted to a table of {count(d, 'column')}: a formula that says how common or rare any "
        "row would be, and that can invent new ones. This page judges it on "
        f"{count(n, 'row')} that were held out. On average such a row has a log-density of {plus_minus(mean, error)} "
        "nats (the mean and its standard error; higher is better, and the zero depends on the units of the columns)."
    )
    facts = [("Held-out log-likelihood", plus_minus(mean, error), "nats per row")]
    if s.comparison is not None:
        c = s.comparison
        facts.append(("Above a Gaussian by", plus_minus(c.difference, c.difference_error), "nats per row"))
    facts.append(("Held-out rows", f"{n:,}", f"of {count(d, 'column')}"))
    facts += [(label, plain(value), "") for label, value in s.summary.items()]
    primer = Details("What is a flow, and what is a nat?", [Text(text) for text in prose.PRIMER])
    numbers = {"rows": n, "columns": list(s.columns), "mean_log_likelihood": mean}
    numbers |= {"standard_error": error, "not_finite": missing}
    return Section("overview", "In short", [Text(says), Facts(facts), findings.all_findings(s), primer], numbers)


def table(s: Subject) -> Section:
    """The columns: what they are and where they lie."""
    data, known = s.evidence.data, {str(column.get("name")): column for column in s.schema}
    statistics = ("minimum", "median", "maximum", "mean", "sd")
    extra = list(
        dict.fromkeys(key for column in s.schema for key in column if key not in (*statistics, "name", "kind", "step"))
    )
    blank = [Cell("", math.inf)] * len(statistics)
    body = []
    for j, name in enumerate(s.columns):
        said = known.get(name, {})
        kind = str(said.get("kind", "integer" if j in s.steps else "continuous"))
        there = seen(data[:, j])
        quantiles = np.quantile(there.numpy(), [0.0, 0.5, 1.0]).tolist()
        values = [*quantiles, float(there.mean()), float(there.std(correction=0))]
        cells = [Cell(name, name), Cell(kind, kind)]
        cells += blank if j in s.labels else [Cell(number(v), v) for v in values]
        body.append(cells + [Cell(plain(said.get(key)), str(said.get(key))) for key in extra])
    heads = [Column("column", False), Column("kind", False), *map(Column, statistics)]
    heads += [Column(str(key).replace("_", " "), False) for key in extra]
    says = f"{count(len(data), 'held-out row')} of {count(len(s.columns), 'column')}."
    if s.evidence.train is not None:
        says += f" The flow was trained on {count(len(s.evidence.train), 'row')}."
    if s.context is not None:
        features = count(s.context.shape[-1], "number")
        says += f" The flow is conditional: each row comes with a context of {features} that the flow is told."
    if s.model.schema is not None and s.model.schema.notes:
        says += f" What was decided about columns: {spelled('; '.join(s.model.schema.notes), in_shell)}."
    return Section("data", "The data", [Text(says), Table("columns", "The held-out rows by column.", heads, body)])


def training(s: Subject) -> Section | None:
    """The curves, with the best epoch."""
    matching = bool(s.history) and s.history[-1].get("objective") == "matching"
    loss = "squared error of the field (flow matching)" if matching else "negative log-likelihood"
    unit = "squared error per feature" if matching else "nats per row"
    return common.curves(
        s.history, f"The loss is the mean {loss}: lower is better.", "rows", unit, of="" if matching else " nats"
    )


def marginals(s: Subject) -> Section:
    """Each column's histogram, data and flow."""
    shown = list(range(min(len(s.columns), SHOWN_MARGINALS)))
    figure = plot.marginals(
        s.evidence.data[:, shown],
        s.evidence.samples[:, shown],
        columns=[s.columns[j] for j in shown],
        steps=s.steps,
        labels=s.labels,
    )
    left = len(s.columns) - len(shown)
    note = f" The last {count(left, 'column')} are left out." if left else ""
    alt = f"Histograms of {count(len(shown), 'column')}: held-out rows filled, rows of the flow as outlines."
    bulk = f"The middle 99% of the values are shown{', of categories the commonest' if s.labels else ''}."
    caption = f"Filled: held-out rows. Outline: rows drawn from the flow. {bulk}{note}"
    says = "Column by column, the rows that the flow invents should be spread like the real ones."
    return Section("marginals", "Each column alone", [Text(says), Figure(to_svg(figure, "marginals", alt), caption)])


def pairs(s: Subject) -> Section | None:
    """The corner plot of the first few columns."""
    if len(s.numbers) < 2:
        return None
    shown = s.numbers[:SHOWN_CORNER]
    names = [plot.short(s.columns[j], 40) for j in s.numbers]
    exact = len(s.columns) == 2 and s.context is None
    figure = plot.corner(
        s.evidence.data[shuffled(len(s.evidence.data), s.seed)][:, shown],
        s.evidence.samples[:, shown],
        columns=[s.columns[j] for j in shown],
        steps={place: s.steps[j] for place, j in enumerate(shown) if j in s.steps},
        log_density=(lambda at: s.model.log_prob(torch.from_numpy(at)).numpy()) if exact else None,
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
    says = "Pair by pair, the lines of the flow should follow the cloud of real rows: bends, gaps, ridges and all."
    return Section("pairs", "Columns together", [Text(says), Figure(to_svg(figure, "corner", alt), caption)])


def journey(s: Subject) -> Section | None:
    """For two columns: noise becomes data, layer by layer, under a slider."""
    data = frames(s.model, s.evidence.data, s.context, s.columns, s.seed)
    if data is None:
        return None
    shade = "" if data["densities"] is None else " The shade behind them is the exact density at that moment."
    caption = (
        f"{count(len(data['hues']), 'point')}, each in the colour of the sixth of the noise that it started in.{shade}"
    )
    return Section("journey", "From noise to data", [Text(prose.JOURNEY), Animation(data, caption)])


def cost(s: Subject) -> Section:
    """What it cost, and how to reproduce it."""
    timings = []
    if s.timings:
        score, draw = s.evidence.seconds
        timings.append(("Scoring the held-out rows", seconds(score), f"for {len(s.evidence.data):,}"))
        drawn = len(s.evidence.samples) if s.context is None else len(s.evidence.level) * DRAWS
        timings.append(("Drawing and scoring its own", seconds(draw), f"for {drawn:,}"))
    return cost_section(s.model.flow, s.history, timings, s.seed, s.command)


def limits(s: Subject) -> Section:
    """What the reader should not conclude from the report."""
    return Section("limits", "What these numbers do not say", [Text(text) for text in prose.LIMITS])
