"""What a fitted table tells its report, and ``info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..models.console import aligned
from ..models.held_out import HeldOut
from ..plot import marginals
from ..report.build import write_report
from ..report.figures import to_svg
from ..report.model import Model
from ..report.words import plus_minus
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
    return [*target, *describe_columns(model.schema), *model.schema.notes, "", *describe_held_out(summary["held_out"])]


def figures(model: TableDensity) -> dict[str, str]:
    """The held-out log-likelihood, and its gain over a Gaussian, nats a row."""
    held = model.facts["summary"]["held_out"]
    return {
        "Held-out log-likelihood": f"{_shown(held, 'log_likelihood', 'standard_error')} nats a row",
        "Gain over a Gaussian": f"{_shown(held, 'gain', 'gain_standard_error')} nats a row",
    }


def _shown(held: dict[str, Any], value: str, error: str) -> str:
    """Figures of a saved model are None where they are not finite."""
    found = [float("nan") if held[name] is None else float(held[name]) for name in (value, error)]
    return plus_minus(*found)


def picture(model: TableDensity) -> str:
    """Histograms of the first columns: held-out rows, and as many rows of the model."""
    held, shown = model.kept().rows, model.schema.columns[:4]
    drawn = Model(model.density, model.schema).sample(
        len(held), held.context, torch.Generator(model.device).manual_seed(model.seed)
    )
    figure = marginals(
        held.x[:, : len(shown)],
        drawn[:, : len(shown)],
        columns=[column.name for column in shown],
        steps={j: column.step for j, column in enumerate(shown) if column.step > 0},
        labels={j: column.categories for j, column in enumerate(shown) if column.categories},
    )
    return to_svg(figure, "columns", "Histograms of the first columns: held-out rows filled, the model's as outlines.")
