"""The information that a fitted table provides for comparisons, its report, ``info`` and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ..models.console import Console, aligned
from ..models.held_out import HeldOut
from ..models.subject import Subject
from ..models.train import Rows
from ..report.model import Model
from ..report.words import plus_minus
from .baselines import Gaussian
from .compare import refuse_unlike
from .describe import describe_columns, describe_held_out, describe_target
from .held_out import held_out_rows, saved_held_out
from .io.source import Location
from .io.table import Table, read_table

if TYPE_CHECKING:
    from .fitted import FittedTable


class TableSubject(Subject):
    """The rows of a table.

    Args:
        model: The fitted table.
    """

    noun: ClassVar[str] = "rows"
    measure: ClassVar[str] = "log_likelihood"

    def __init__(self, model: FittedTable) -> None:
        self.model = model

    def read_file(self, data: Location) -> Table:
        return read_table(data)

    def refuse_unlike(self, other: FittedTable) -> None:
        refuse_unlike(self.model, other)

    def held_out(self, data: Table, console: Console, drop_missing: bool = False) -> HeldOut:
        return held_out_rows(self.model, data, console, drop_missing)

    def kept(self) -> HeldOut:
        return saved_held_out(self.model)

    def judged(self, rows: Rows, samples: int | None, seed: int) -> np.ndarray:
        return self.model.log_density(rows, samples=samples or 16, seed=seed)[0]

    def caveat(self, samples: int | None) -> dict[str, Any]:
        return {"cell_samples": (samples or 16) if self.model.schema.has_cells else None}

    def described(self) -> list[tuple[str, str]]:
        return []

    def write_page(self, output: Path, held: HeldOut, against: dict[str, np.ndarray], **page: Any) -> dict[str, Any]:
        """Writes the report on held-out rows; returns its numbers."""
        from ..report.build import write_report  # matplotlib takes longer to import than most models take to answer

        rows, train = held.rows, held.train
        return write_report(
            output,
            self.model.density,
            rows.x,
            columns=[column.name for column in self.model.schema.columns],
            context=rows.context,
            history=self.model.facts.get("history", []),
            schema=self.model.schema,
            gaussian=Gaussian.from_json(self.model.facts["gaussian"]) if "gaussian" in self.model.facts else None,
            percentile=self.model.percentile,
            fill=self.model.fill,
            timings=True,
            train=None if train is None else train.x,
            train_context=None if train is None else train.context,
            row_numbers=held.numbers.tolist(),
            against=against,
            **page,
        )

    def told(self) -> dict[str, Any]:
        """Labels and values for the top of the report."""
        summary = self.model.facts["summary"]
        facts = dict(describe_target(summary["target"])) if "target" in summary else {}
        if self.model.schema.given:
            facts["Given"] = ", ".join(self.model.schema.given_names)
        if summary["held_out"]["cell_samples"]:
            facts["Whole and rounded numbers"] = "averaged over their cells"
        if "sampling" in summary:
            facts["Drawn rows"] = summary["sampling"]["text"]
        return facts

    def detailed(self) -> list[str]:
        """The columns and the held-out figures, as lines; for a density known up to a constant, how well it is met."""
        summary = self.model.facts["summary"]
        target = [*aligned(describe_target(summary["target"]), indent=""), ""] if "target" in summary else []
        return [
            *target,
            *describe_columns(self.model.schema),
            *self.model.schema.notes,
            "",
            *describe_held_out(summary["held_out"]),
        ]

    def figures(self) -> dict[str, str]:
        """The held-out log-likelihood, and its gain over a Gaussian, in nats a row."""
        held = self.model.facts["summary"]["held_out"]
        return {
            "Held-out log-likelihood": f"{_shown(held, 'log_likelihood', 'standard_error')} nats a row",
            "Gain over a Gaussian": f"{_shown(held, 'gain', 'gain_standard_error')} nats a row",
        }

    def picture(self) -> str:
        """Histograms of the first columns: held-out rows, and equally many samples of the model."""
        from ..plot import marginals
        from ..report.figures import to_svg

        held, shown = self.kept().rows, self.model.schema.columns[:4]
        drawn = Model(self.model.density, self.model.schema).sample(
            len(held), held.context, torch.Generator(self.model.device).manual_seed(self.model.seed)
        )
        figure = marginals(
            held.x[:, : len(shown)],
            drawn[:, : len(shown)],
            columns=[column.name for column in shown],
            steps=self.model.schema.steps,
            labels=self.model.schema.labels,
        )
        return to_svg(figure, "columns", "Histograms: held-out rows filled, the model's as outlines.")


def _shown(held: dict[str, Any], value: str, error: str) -> str:
    """Formats figures, which in a saved model are None if they are not finite."""
    found = [float("nan") if held[name] is None else float(held[name]) for name in (value, error)]
    return plus_minus(*found)
