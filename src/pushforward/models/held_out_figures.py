"""The figures of a density on rows that it did not see, beside those of a Gaussian, and how they are printed."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ..diagnostics.averages import mean_and_error, overfits, rules_out
from .console import aligned


def beside_gaussian(ours: Tensor, theirs: Tensor, weights: Tensor | None = None) -> dict[str, Any]:
    """The mean log-likelihoods of the same rows under a density and under a Gaussian, and their paired difference.

    Args:
        ours, theirs: The log-density of every row, ``(n,)``, in nats.
        weights: The weight of every row.
    """
    mean, se = mean_and_error(ours, weights)
    gaussian_mean, gaussian_se = mean_and_error(theirs, weights)
    gain, gain_se = mean_and_error(ours - theirs, weights)
    return {
        "rows": len(ours),
        "log_likelihood": mean,
        "standard_error": se,
        "gaussian_log_likelihood": gaussian_mean,
        "gaussian_standard_error": gaussian_se,
        "gain": gain,
        "gain_standard_error": gain_se,
    }


def describe_held_out(held: dict[str, Any]) -> list[str]:
    """How good a fit is."""
    lines = aligned(
        [
            ("held-out log-likelihood, nats a row", _with_error(held, "")),
            ("  of a full-covariance Gaussian", _with_error(held, "gaussian_")),
            ("  the flow's gain, row by row", gain_in_words(held) or _with_error(held, "gain_")),
        ],
        indent="",
    )
    seen = held.get("training_log_likelihood")
    if seen is not None and held["log_likelihood"] is not None:
        ours, errors = held["log_likelihood"], (held["training_standard_error"], held["standard_error"])
        if overfits(seen, errors[0], ours, errors[1]):
            distance = f"{seen - ours:.4f} ± {math.hypot(*errors):.4f}"
            lines.append(f"the rows it was trained on do better by {distance} nats: it overfits somewhat")
    if held.get("cell_samples"):
        lines.append(f"(each row's cell is averaged over {held['cell_samples']} points)")
    return lines


def gain_in_words(held: dict[str, Any]) -> str:
    """What to say instead of a gain that has no meaning, because the Gaussian rules rows out; nothing if it has one."""
    ours, theirs = (held[name] for name in ("standard_error", "gaussian_standard_error"))
    if None in (ours, theirs) or not rules_out(theirs, ours):
        return ""
    return "without meaning: the Gaussian rules some of the rows out"


def _with_error(held: dict[str, Any], name: str) -> str:
    value = held["gain" if name == "gain_" else f"{name}log_likelihood"]
    if value is None or value in (float("inf"), -float("inf")):
        return "not finite: some held-out rows have no density"
    return f"{value:.4f} ± {held[f'{name}standard_error']:.4f}"
