"""What only rows show of a model, each finding one graded sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...diagnostics.calibrated import Calibration
from ..blocks import Finding
from ..words import count, percent


def calibrated(coverage: dict[str, list[float]]) -> Finding:
    """Judges the worst of nine levels, whose gap exceeds 2.8 standard errors about once in fifty times by chance."""
    gaps = [abs(a - b) for a, b in zip(coverage["covered"], coverage["levels"], strict=True)]
    worst = max(range(len(gaps)), key=lambda i: gaps[i])
    level, covered, error = (coverage[key][worst] for key in ("levels", "covered", "error"))
    words = f"the region that should hold {percent(level, 0)} of rows holds {percent(covered)} of the held-out ones"
    if gaps[worst] <= 2.8 * error:
        return Finding(
            "good", f"Its confidence is right: even where it is furthest off, {words}, which chance explains."
        )
    if gaps[worst] <= 0.02:
        return Finding("good", f"Its confidence is nearly right: where it is furthest off, {words}.")
    side = "larger" if covered > level else "smaller"
    grade = "fair" if gaps[worst] < 0.06 else "poor"
    return Finding(grade, f"Its confidence is not quite right: {words}, so the region is {side} than it should be.")


def ranked(found: Calibration | None) -> Finding | None:
    """With contexts: whether true values rank uniformly among draws for the same context."""
    return None if found is None else Finding("good" if found.trusted else "fair", found.verdict)


def normal(normality: Sequence[dict[str, float]], rows: int) -> Finding | None:
    """Whether the latents of held-out rows are standard normal noise."""
    if not normality:
        return None
    distance, bound = max(z["ks"] for z in normality), ks_bound(rows, len(normality))
    of = count(len(normality), "latent dimension")
    words = f"the distribution of the worst of {of} is off by {percent(distance)} at most"
    if distance <= bound:
        return Finding("good", f"The latents look like standard normal noise: {words}, which chance explains.")
    if distance < 0.1:
        return Finding("fair", f"The latents are close to standard normal noise, not exactly so: {words}.")
    return Finding("poor", f"The latents are not standard normal noise: {words} (chance: {percent(bound)}).")


def ks_bound(n: int, tests: int) -> float:
    """The distance below which the worst of several dimensions of true noise stays with probability 0.95.

    The asymptotic bound with a Bonferroni correction, sqrt(-log(alpha / 2) / 2n) for alpha = 0.05 / tests.
    """
    return math.sqrt(-0.5 * math.log(0.05 / tests / 2) / n)
