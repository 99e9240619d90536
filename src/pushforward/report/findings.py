"""Conclusions from the numbers, each finding one graded sentence."""

from __future__ import annotations

import math

from ..diagnostics.averages import mean_and_error
from ..diagnostics.calibrated import Calibration
from .blocks import Verdict
from .common import gap, impossible
from .measure import ks_bound
from .subject import Subject
from .words import count, factor, percent, plus_minus


def all_findings(s: Subject) -> list[Verdict]:
    """The findings of the overview that apply."""
    found = [against_gaussian(s), *against_rivals(s), calibrated(s), ranked(s.simulations), normal(s)]
    found += [overfitted(s), without_density(s)]
    return [verdict for verdict in found if verdict is not None]


def against_gaussian(s: Subject) -> Verdict | None:
    c = s.comparison
    if c is None:
        return None
    size = f"{plus_minus(abs(c.difference), c.difference_error)} nats per row"
    if c.difference > 2 * c.difference_error:
        gain = f"it gives a typical row {factor(c.difference)} the density, and {percent(c.better)} of the rows more"
        text = f"The flow explains the held-out rows better than a full-covariance Gaussian, by {size}: {gain}."
        return Verdict("good", text)
    if c.difference < -2 * c.difference_error:
        text = f"The flow explains the held-out rows worse than a full-covariance Gaussian, by {size}."
        return Verdict("poor", text)
    return Verdict("fair", f"The flow is not clearly better or worse than a full-covariance Gaussian ({size}).")


def against_rivals(s: Subject) -> list[Verdict]:
    said = []
    for name, (_, (lead, error)) in s.against.items():
        size = f"{plus_minus(abs(lead), error)} nats per row"
        if not abs(lead) > 2 * error:
            said.append(Verdict("fair", f"It is not clearly better or worse than {name} ({size})."))
        elif lead > 0:
            said.append(Verdict("good", f"It explains the held-out rows better than {name}, by {size}."))
        else:
            said.append(Verdict("poor", f"It explains the held-out rows worse than {name}, by {size}."))
    return said


def calibrated(s: Subject) -> Verdict:
    """Judges the worst of nine levels, whose gap exceeds 2.8 standard errors about once in fifty times by chance."""
    gaps = [abs(a - b) for a, b in zip(s.coverage["covered"], s.coverage["levels"], strict=True)]
    worst = max(range(len(gaps)), key=lambda i: gaps[i])
    level, covered, error = (s.coverage[key][worst] for key in ("levels", "covered", "error"))
    words = f"the region that should hold {100 * level:.0f}% of rows holds {percent(covered)} of the held-out ones"
    if gaps[worst] <= 2.8 * error:
        return Verdict(
            "good", f"Its confidence is right: even where it is furthest off, {words}, which chance explains."
        )
    if gaps[worst] <= 0.02:
        return Verdict("good", f"Its confidence is nearly right: where it is furthest off, {words}.")
    side = "larger" if covered > level else "smaller"
    grade = "fair" if gaps[worst] < 0.06 else "poor"
    return Verdict(grade, f"Its confidence is not quite right: {words}, so the region is {side} than it should be.")


def ranked(found: Calibration | None) -> Verdict | None:
    """With contexts: whether true values rank uniformly among draws for the same context."""
    return None if found is None else Verdict("good" if found.trusted else "fair", found.verdict)


def normal(s: Subject) -> Verdict | None:
    if not s.normality or s.evidence.latent is None:
        return None
    distance, bound = max(z["ks"] for z in s.normality), ks_bound(len(s.evidence.latent), len(s.normality))
    of = count(len(s.normality), "latent dimension")
    words = f"the distribution of the worst of {of} is off by {percent(distance)} at most"
    if distance <= bound:
        return Verdict("good", f"The latents look like standard normal noise: {words}, which chance explains.")
    if distance < 0.1:
        return Verdict("fair", f"The latents are close to standard normal noise, not exactly so: {words}.")
    return Verdict("poor", f"The latents are not standard normal noise: {words} (chance: {percent(bound)}).")


def overfitted(s: Subject) -> Verdict | None:
    known = s.evidence.train_log_prob
    if known is None or not bool(known.isfinite().all()) or not math.isfinite(s.held_out[0]):
        return None
    mean, error = mean_and_error(known)
    distance, spread = mean - s.held_out[0], math.hypot(error, s.held_out[1])
    small = s.comparison is not None and distance < 0.5 * max(s.comparison.difference, 0)
    return gap(distance, spread, "rows", "get {} nats more than held-out ones", small)


def without_density(s: Subject) -> Verdict | None:
    return impossible(s.held_out[2], "row", "density")
