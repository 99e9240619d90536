"""What a fitted table tells its report, and ``info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.console import aligned
from ..models.held_out import HeldOut
from ..report.build import write_report
from .baselines import Gaussian
from .describe import describe_columns, describe_held_out, describe_target

if TYPE_CHECKING:
    from .density import TableDensity


def write_page(
    model: TableDensity, output: Path, held: HeldOut, against: dict[str, np.ndarray], **page: Any
) -> dict[str, Any]:
    """Writes the report on held-out rows; returns its numbers."""
    rows, train = held.rows, held.train
    return write_report(
        output,
        model.density,
        rows.x,
        columns=model.schema.names,
        context=rows.context,
        history=model.facts.get("history", []),
        schema=model.schema,
        gaussian=Gaussian.from_json(model.facts["gaussian"]) if "gaussian" in model.facts else None,
        percentile=model.percentile,
        timings=True,
        train=None if train is None else train.x,
        train_context=None if train is None else train.context,
        row_numbers=held.numbers.tolist(),
        against=against,
        **page,
    )


def told(model: TableDensity) -> dict[str, Any]:
    """Labels and values for the top of the report."""
    summary = model.facts["summary"]
    facts = dict(describe_target(summary["target"])) if "target" in summary else {}
    if model.schema.given:
        facts["Given"] = ", ".join(model.schema.given_names)
    if summary["held_out"]["cell_samples"]:
        facts["Whole and rounded numbers"] = "averaged over their cells"
    return facts


def detailed(model: TableDensity) -> list[str]:
    """The columns and the held-out figures, in lines; of a density known up to a constant, how well it is met."""
    summary = model.facts["summary"]
    target = [*aligned(describe_target(summary["target"]), indent=""), ""] if "target" in summary else []
    return [*target, *describe_columns(model.schema), "", *describe_held_out(summary["held_out"])]
