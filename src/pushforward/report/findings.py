"""Findings that any model can have, each one graded sentence."""

from __future__ import annotations

import math

from ..diagnostics.averages import overfits, rules_out
from .blocks import Finding
from .evidence import Evidence, Lead
from .words import count, factor, percent, plus_minus


def all_findings(e: Evidence) -> list[Finding]:
    """The findings of the overview that apply."""
    models = {e.rival: e.baseline, **e.rivals}
    leads = [against(e, name, lead) for name, lead in models.items() if lead is not None]
    return [*leads, *e.findings, *(found for found in (overfitted(e), impossible(e)) if found is not None)]


def against(e: Evidence, name: str, lead: Lead) -> Finding:
    """Which of two models explains the held-out data better."""
    if rules_out(lead.theirs.error, e.held_out.error):
        return Finding(
            "good",
            f"{name[:1].upper()}{name[1:]} rules some of the held-out {e.noun}s out, so that the lead "
            "over it has no meaning.",
        )
    size = f"{lead.size} {e.unit}"
    if lead.grade == "fair":
        return Finding("fair", f"It is not clearly better or worse than {name} ({size}).")
    better = "better" if lead.grade == "good" else "worse"
    said = f"It explains the held-out {e.noun}s {better} than {name}, by {size}"
    if lead.grade == "good" and e.sign > 0 and math.isfinite(lead.better):
        gain = f"it gives a typical {e.noun} {factor(lead.lead.value)} the density"
        said += f": {gain}, and {percent(lead.better)} of the {e.noun}s more"
    return Finding(lead.grade, f"{said}.")


def overfitted(e: Evidence) -> Finding | None:
    """Whether training data fare significantly better than held-out data."""
    if e.train_mean is None or e.train_mean.left_out or not math.isfinite(e.held_out.value):
        return None
    distance = e.sign * (e.train_mean.value - e.held_out.value)
    spread = math.hypot(e.train_mean.error, e.held_out.error)
    if not overfits(distance, e.train_mean.error, 0.0, e.held_out.error):
        said = f"Held-out {e.noun}s fare as well as the {e.noun}s it was trained on: no overfitting is seen."
        return Finding("good", said)
    gain = max(e.baseline.lead.value, 0) if e.baseline is not None else 0
    said = f"The {e.noun}s it was trained on do better than held-out ones by {plus_minus(distance, spread)} {e.unit}"
    return Finding("fair" if distance < 0.5 * gain else "poor", f"{said}: it overfits somewhat.")


def impossible(e: Evidence) -> Finding | None:
    """Held-out data that were given no density at all."""
    missing = e.held_out.left_out
    if not missing:
        return None
    said, verb = count(missing, f"held-out {e.noun}"), "gets" if missing == 1 else "get"
    what = "density" if e.noun == "row" else "probability"
    return Finding("poor", f"{said} {verb} no {what} at all, and the means here leave such {e.noun}s out.")
