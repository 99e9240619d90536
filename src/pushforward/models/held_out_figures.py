"""The figures of a density on rows or images that it did not see, beside those of a rival, and how they are printed."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    found: dict[str, Any] = {"rows": len(ours)}
    for name, error, values in (
        ("log_likelihood", "standard_error", ours),
        ("gaussian_log_likelihood", "gaussian_standard_error", theirs),
        ("gain", "gain_standard_error", ours - theirs),
    ):
        found[name], found[error] = mean_and_error(values, weights)
    return found


def describe_held_out(held: dict[str, Any]) -> list[str]:
    """How good a fit is."""
    lines = aligned(
        [
            ("held-out log-likelihood, nats a row", with_error(held, "log_likelihood", "standard_error")),
            (
                "  of a full-covariance Gaussian",
                with_error(held, "gaussian_log_likelihood", "gaussian_standard_error"),
            ),
            ("  the flow's gain, row by row", gain_in_words(held) or with_error(held, "gain", "gain_standard_error")),
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


def with_error(held: Mapping[str, Any], value: str, error: str, noun: str = "rows") -> str:
    """A figure and its standard error, by their names among the figures."""
    if held[value] is None or not math.isfinite(held[value]):
        return f"not finite: some held-out {noun} have no density"
    return f"{held[value]:.4f} ± {held[error]:.4f}"
