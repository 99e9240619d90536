"""Conclusions from the numbers, each finding one graded sentence."""

from __future__ import annotations

import math

from ...diagnostics.averages import mean_and_error
from ..blocks import Verdict
from ..common import gap, impossible
from ..words import count, plus_minus, whole
from .evidence import ImageEvidence, RoundTrip


def all_findings(s: ImageEvidence) -> list[Verdict]:
    """The findings of the overview that apply."""
    found = [against_independent(s), came_back(s.round_trip), overfitted(s), without_probability(s)]
    return [verdict for verdict in found if verdict is not None]


def against_independent(s: ImageEvidence) -> Verdict | None:
    gain, error = ((s.baseline or {}).get(name) for name in ("gain", "gain_standard_error"))
    if gain is None or error is None:
        return None
    size = f"{plus_minus(abs(gain), error)} bits per dimension"
    if gain > 2 * error:
        return Verdict("good", f"It beats a model of independent pixels by {size}: it has learnt what goes together.")
    if gain < -2 * error:
        return Verdict("poor", f"It is worse than a model of independent pixels, by {size}: train it longer.")
    return Verdict("fair", f"It is not clearly better or worse than a model of independent pixels ({size}).")


def came_back(trip: RoundTrip | None) -> Verdict | None:
    """Whether images survive the map and its inverse."""
    if trip is None:
        return None
    of = f"{whole(trip.images.numel())} numbers of {count(len(trip.images), 'image')}"
    if trip.same == 1:
        return Verdict("good", f"The map is invertible in practice: all {of} came back from the latents as they were.")
    changed = f"{whole(round((1 - trip.same) * trip.images.numel()))} came back changed, by "
    if trip.same > 0.999 and trip.furthest <= 1:
        text = (
            f"Of {of}, {changed}1 level: their noise lay so near to the edge of a level that rounding tipped them over."
        )
        return Verdict("good", text)
    return Verdict("poor", f"Of {of}, {changed}{count(trip.furthest, 'level')} at most.")


def overfitted(s: ImageEvidence) -> Verdict | None:
    if s.train_log_prob is None or not bool(s.train_log_prob.isfinite().all()):
        return None
    mean, error = mean_and_error(s.density.bits(s.train_log_prob))
    distance, spread = s.mean_bits[0] - mean, math.hypot(error, s.mean_bits[1])
    return gap(distance, spread, "images", "take {} bits per dimension less", distance < 0.05 * mean)


def without_probability(s: ImageEvidence) -> Verdict | None:
    return impossible(s.mean_bits[2], "image", "probability")
