"""Which of two models describes the same rows, or images, better, and how certain that is."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics.averages import mean_and_error
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
            f"{data.path}: {paths} have {len(common)} held-out {models[0].noun} in common, and 2 are needed"
        )
    shared = [np.flatnonzero(np.isin(held.numbers, common)) for held in found]
    return [held[at] for held, at in zip(found, shared, strict=True)]
