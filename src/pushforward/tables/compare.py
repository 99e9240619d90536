"""Which of two models gives the same rows the higher likelihood, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.console import Console, aligned, mean_and_error
from .errors import InputError, listed
from .formats.table import Table
from .held_out import held_out_of_all

if TYPE_CHECKING:
    from .density import TableDensity


def compare_models(
    models: tuple[TableDensity, TableDensity],
    table: Table,
    console: Console,
    *,
    samples: int = 16,
    seed: int = 0,
    drop_missing: bool = False,
) -> dict[str, Any]:
    """The paired difference of two models' log-likelihoods over the rows that neither was trained on.

    Raises:
        InputError: the models do not describe the same columns, or the table does not fit them.
    """
    refuse_unlike(*models)
    scores = [
        model.log_density(held.rows, samples=samples, seed=seed)[0]
        for model, held in zip(models, held_out_of_all(models, table, console, drop_missing), strict=True)
    ]
    summary = _summarise(scores, models, samples)
    for line in _describe(summary):
        console.say(line)
    return summary


def refuse_unlike(first: TableDensity, second: TableDensity) -> None:
    """Refuses two models whose densities are not of the same thing.

    Raises:
        InputError: they describe different columns, or different cells or categories of them.
    """
    models = (first, second)
    only = set(first.schema.names) ^ set(second.schema.names)
    if only:
        raise InputError(
            f"{first.called} and {second.called} describe different columns ({listed(sorted(only))} are in one only), "
            "so their densities cannot be compared"
        )
    names = [{c.name: c.categories for c in model.schema.columns} for model in models]
    different = [name for name in names[0] if names[0][name] != names[1][name]]
    if different:
        raise InputError(
            f"{first.called} and {second.called} know different categories of {different[0]!r}, or only one takes it "
            "for a category, so their densities cannot be compared; fit both to the same rows"
        )
    cells = [{c.name: (c.step, c.atoms) for c in model.schema.columns} for model in models]
    different = [name for name in cells[0] if cells[0][name] != cells[1][name]]
    if different:
        raise InputError(
            f"{first.called} and {second.called} see values of {different[0]!r} as cells of different widths, "
            "so their densities cannot be compared; fit both to the same rows"
        )


def _summarise(scores: list[np.ndarray], models: Sequence[TableDensity], samples: int) -> dict[str, Any]:
    difference, error = mean_and_error(scores[0] - scores[1])
    means = [mean_and_error(score) for score in scores]
    return {
        "rows": len(scores[0]),
        "models": [
            {"model": m.called, "log_likelihood": mean, "standard_error": se}
            for m, (mean, se) in zip(models, means, strict=True)
        ],
        "difference": difference,
        "standard_error": error,
        "better": None if not abs(difference) > 2 * error else models[0 if difference > 0 else 1].called,
        "cell_samples": samples if models[0].schema.has_cells else None,
    }


def _describe(summary: dict[str, Any]) -> list[str]:
    lines = aligned(
        [
            *((m["model"], f"{m['log_likelihood']:.4f} ± {m['standard_error']:.4f}") for m in summary["models"]),
            ("difference, row by row", f"{summary['difference']:.4f} ± {summary['standard_error']:.4f}"),
        ],
        indent="",
    )
    verdict = (
        f"{summary['better']} is the better one"
        if summary["better"]
        else "no clear difference: it is within two standard errors"
    )
    return [f"log-likelihood over {summary['rows']:,} rows that neither was trained on, nats a row", *lines, verdict]
