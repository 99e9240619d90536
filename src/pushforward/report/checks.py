"""The sections that judge the flow: likelihood, confidence, latents."""

from __future__ import annotations

from typing import Any

from .. import plot
from ..diagnostics.averages import mean_and_error
from . import findings, prose
from .blocks import Beside, Cell, Column, Figure, Section, Table, Text
from .common import mean_row
from .figures import to_svg
from .measure import ks_bound
from .subject import Subject
from .words import fixed, number, percent


def likelihood(s: Subject) -> Section:
    """The flow beside the Gaussian, and the spread of log-densities."""
    mean, error, _ = s.held_out
    own, own_error = mean_and_error(s.evidence.sample_log_prob)
    numbers: dict[str, Any] = {"flow": mean, "flow_error": error, "own_samples": own, "own_samples_error": own_error}
    rows = [mean_row("the flow", mean, error, len(s.evidence.data) - s.held_out[2])]
    blocks: list[Any] = []
    if s.comparison is not None:
        c = s.comparison
        rows.append(mean_row("full-covariance Gaussian", c.gaussian, c.gaussian_error, c.rows))
        rows.append(mean_row("difference, row by row", c.difference, c.difference_error, c.rows))
        numbers |= {"gaussian": c.gaussian, "gaussian_error": c.gaussian_error}
        numbers |= {
            "difference": c.difference,
            "difference_error": c.difference_error,
            "compared_rows": c.rows,
            "better": c.better,
        }
        blocks.append(Text(_comparison_words(s)))
    for name, (theirs, lead) in s.against.items():
        rows.append(mean_row(name, *theirs, len(s.evidence.data)))
        rows.append(mean_row(f"the flow's lead over {name}, row by row", *lead, len(s.evidence.data)))
        numbers.setdefault("against", {})[name] = {
            "mean": theirs[0],
            "difference": lead[0],
            "difference_error": lead[1],
        }
    if s.evidence.train_log_prob is not None:
        known, known_error = mean_and_error(s.evidence.train_log_prob)
        rows.append(mean_row("the flow, on training rows", known, known_error, len(s.evidence.train_log_prob)))
        numbers |= {"train": known, "train_error": known_error}
    heads = [Column("model", False), Column("log-likelihood, nats per row"), Column("rows")]
    caption = "Mean log-likelihood ± its standard error."
    blocks.append(Table("likelihoods", caption, heads, rows, sortable=False))
    finite = s.evidence.log_prob[s.evidence.log_prob.isfinite()]
    if len(finite):
        alt = f"Histogram of log-densities: held-out rows average {number(mean)} nats, the flow's own {number(own)}."
        svg = to_svg(plot.densities(finite, s.evidence.sample_log_prob), "densities", alt)
        blocks.append(Figure(svg, prose.DENSITIES))
    return Section("likelihood", "How well it fits", blocks, numbers)


def _comparison_words(s: Subject) -> str:
    verdict, c = findings.against_gaussian(s), s.comparison
    assert verdict is not None
    assert c is not None
    given = ""
    if s.context is not None:
        given = " Its mean follows the context linearly." if c.conditional else " It does not see the context."
    if s.labels:
        given += " Categories have their frequencies in it, independently, and the mean of the numbers follows them."
    return (
        f"{verdict.text} The Gaussian is fitted to {c.fitted_to}.{given} The difference is taken row by row, so that "
        "its error is that of the difference, not of the two means."
    )


def calibration(s: Subject) -> Section:
    """Do the flow's regions of 10% to 90% hold that share of the held-out rows?"""
    levels, covered, error = (s.coverage[key] for key in ("levels", "covered", "error"))
    holds = [f"{100 * a:.0f}% region holds {percent(b)}" for a, b in zip(levels, covered, strict=True)]
    given = "" if s.context is None else " Each row is compared with draws for its own context."
    says = (
        "The flow claims to know where, say, half of all rows are: in the smallest region that holds half of its "
        f"probability. Are half of the held-out rows there? {findings.calibrated(s).text}{given}"
    )
    rows = [
        [Cell(f"{100 * a:.0f}%", a), Cell(percent(b), b), Cell(f"± {percent(e)}", e)]
        for a, b, e in zip(levels, covered, error, strict=True)
    ]
    heads = [Column("region of"), Column("holds"), Column("standard error")]
    table = Table("coverage-table", "Share of held-out rows per region.", heads, rows, sortable=False)
    svg = to_svg(plot.coverage(levels, covered, error), "coverage", "Coverage: " + "; ".join(holds) + ".")
    blocks = [Text(says), Beside([Figure(svg, prose.COVERAGE), table])]
    return Section("calibration", "Is its confidence right?", blocks, s.coverage)


def simulations(s: Subject) -> Section | None:
    """With contexts: do true values, by column and jointly, rank uniformly among draws for their own context?"""
    found = s.simulations
    if found is None:
        return None
    says = (
        "Every held-out row is ranked among draws for its own context: column by column (simulation-based "
        "calibration), by the distance to a random point (TARP, all columns together), and by density, as above. Where "
        f"the flow is right, all ranks are equally frequent. {found.verdict}"
    )
    rows = []
    for name, t in found.tests.items():
        scores = [Cell(fixed(t.shift, 2), t.shift), Cell(fixed(t.spread, 2), t.spread)]
        rows.append([Cell(name, name), *scores, Cell(number(t.p_value, 2), t.p_value)])
    heads = [Column("rank of", False), Column("too low by, sd (0)"), Column("spread of scores (1)"), Column("p")]
    caption = "Spread above 1: draws are too narrow. p: of uniform ranks, for each line alone."
    figures = found.figures()
    ranks = Figure(to_svg(figures["ranks"], "ranks", f"Ranks. {found.verdict}"), prose.RANKS)
    regions = Figure(to_svg(figures["coverage"], "tarp", "Coverage by density and by distance."), prose.COVERAGE)
    blocks: list[Any] = [Text(says), ranks]
    blocks.append(Beside([regions, Table("ranks-table", caption, heads, rows)]))
    numbers = found.summary()
    if s.local is not None:
        blocks.append(Text(s.local.verdict))
        numbers["local"] = s.local.summary()
    return Section("ranks", "Is it right for every context?", blocks, numbers)


def latents(s: Subject) -> Section | None:
    """Are the latents of the held-out rows standard normal?"""
    verdict = findings.normal(s)
    if verdict is None or s.evidence.latent is None:
        return None
    rows = [
        [
            Cell(f"z{j}", j),
            Cell(fixed(z["mean"], 3), z["mean"]),
            Cell(fixed(z["sd"], 3), z["sd"]),
            Cell(fixed(z["ks"], 3), z["ks"]),
        ]
        for j, z in enumerate(s.normality, 1)
    ]
    heads = [Column("latent", False), Column("mean (0)"), Column("sd (1)"), Column("K-S distance (0)")]
    bound = ks_bound(len(s.evidence.latent), 1)
    caption = f"K-S: Kolmogorov-Smirnov; by chance a dimension stays below {bound:.3f} nineteen times in twenty."
    alt = "Quantiles of the latents against those of the standard normal; on the dashed diagonal they agree."
    what = "the numbers of a row, given its categories," if s.labels else "the rows"
    says = (
        f"The flow was trained to turn {what} into independent standard normal noise, z = f(x). If it succeeded, "
        f"z tells nothing any more about the row it came from. {verdict.text}"
    )
    figure = Figure(to_svg(plot.qq(s.evidence.latent), "qq", alt), prose.QUANTILES)
    blocks = [Text(says), Beside([figure, Table("latents-table", caption, heads, rows)])]
    return Section("latents", "Is the noise really noise?", blocks, {"dimensions": s.normality})
