"""How good a model is on rows or images that it did not see, beside a Gaussian or a second model, and how certain."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..diagnostics.averages import mean_and_error, overfits, rules_out
from ..errors import InputError
from .base import FittedDensity, HeldOut
from .console import Console, aligned


def compare(
    models: Sequence[FittedDensity],
    data: Any,
    console: Console,
    *,
    samples: int | None = None,
    seed: int = 0,
    drop_missing: bool = False,
) -> dict[str, Any]:
    """The paired difference of two models on data that neither was trained on, in nats a row or bits per dimension."""
    first, second = models
    first.refuse_unlike(second)
    both = held_out_of_all(models, data, console, drop_missing)
    scores = [model.judged(held.rows, samples, seed) for model, held in zip(models, both, strict=True)]
    difference, error = mean_and_error(scores[0] - scores[1])
    name, noun = first.measure, first.noun
    said = []
    for model, score in zip(models, scores, strict=True):
        mean, se = mean_and_error(score)
        said.append({"model": model.called, name: mean, "standard_error": se, **model.caveat(samples)})
    shared = first.caveat(samples) if first.caveat(samples) == second.caveat(samples) else {}
    better = (difference > 0) == (name == "log_likelihood")
    summary = {
        noun: len(scores[0]),
        "models": said,
        "difference": difference,
        "standard_error": error,
        "better": None if not abs(difference) > 2 * error else models[0 if better else 1].called,
        **shared,
    }
    console.say(*_lines(summary, name, noun))
    return summary


def _lines(summary: dict[str, Any], name: str, noun: str) -> list[str]:
    cells = [
        (m["model"], f"{m[name]:.4f} ± {m['standard_error']:.4f}{'' if m.get('exact', True) else ' (a bound)'}")
        for m in summary["models"]
    ]
    one = noun.removesuffix("s")
    cells.append((f"difference, {one} by {one}", f"{summary['difference']:.4f} ± {summary['standard_error']:.4f}"))
    what = {"log_likelihood": "log-likelihood", "bits_per_dim": "bits per dimension"}[name]
    unit = ", nats a row" if noun == "rows" else ""
    better = summary["better"]
    verdict = f"{better} is the better one" if better else "no clear difference: it is within two standard errors"
    return [f"{what} over {summary[noun]:,} {noun} that neither was trained on{unit}", *aligned(cells, ""), verdict]


def held_out_of_all(
    models: Sequence[FittedDensity], data: Any, console: Console, drop_missing: bool = False
) -> list[HeldOut]:
    """The rows of a table, or the images, that none of several models was trained on, in the form that each takes."""
    found = [model.held_out(data, console, drop_missing) for model in models]
    common = functools.reduce(np.intersect1d, [held.numbers for held in found])
    if len(common) < 2:
        paths = " and ".join(model.called for model in models)
        raise InputError(
            f"{data.path}: {paths} share {len(common) or 'none'} of the held-out {models[0].noun}, and 2 are needed"
        )
    shared = [np.flatnonzero(np.isin(held.numbers, common)) for held in found]
    return [held[at] for held, at in zip(found, shared, strict=True)]


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
            ("  of a full-covariance Gaussian", with_error(held, "gaussian_log_likelihood", "gaussian_standard_error")),
            ("  the flow's gain, row by row", gain_in_words(held) or with_error(held, "gain", "gain_standard_error")),
        ],
        indent="",
    )
    seen, seen_error = _figure(held, "training_log_likelihood"), _figure(held, "training_standard_error")
    ours, error = _figure(held, "log_likelihood"), _figure(held, "standard_error")
    if overfits(seen, seen_error, ours, error):
        distance = f"{seen - ours:.4f} ± {math.hypot(seen_error, error):.4f}"
        lines.append(f"the rows it was trained on do better by {distance} nats: it overfits somewhat")
    if held.get("cell_samples"):
        lines.append(f"(each row's cell is averaged over {held['cell_samples']} points)")
    return lines


def gain_in_words(held: dict[str, Any]) -> str:
    """What to say instead of a gain that has no meaning, because the Gaussian rules rows out; nothing if it has one."""
    ruled_out = rules_out(_figure(held, "gaussian_standard_error"), _figure(held, "standard_error"))
    return "without meaning: the Gaussian rules some of the rows out" if ruled_out else ""


def with_error(held: Mapping[str, Any], value: str, error: str, noun: str = "rows") -> str:
    """A figure and its standard error, by their names among the figures; a single row has none."""
    mean, spread = _figure(held, value), _figure(held, error)
    if not math.isfinite(mean):
        return f"not finite: some held-out {noun} have no density"
    return f"{mean:.4f}" + (f" ± {spread:.4f}" if math.isfinite(spread) else f", of too few {noun} for an error")


def _figure(held: Mapping[str, Any], name: str) -> float:
    """A figure; NaN if there is none, or if it was saved as null."""
    value = held.get(name)
    return math.nan if value is None else float(value)
