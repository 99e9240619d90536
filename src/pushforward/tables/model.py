"""A fitted table as comparisons, reports, ``info`` and notebooks see it; its queries are in ``density.py``."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..distributions.base import Density
from ..distributions.guided import Guided
from ..errors import InputError, counted, listed
from ..models.base import FittedDensity, HeldOut
from ..models.compare import describe_held_out, gain_in_words
from ..models.console import Console, aligned
from ..models.train import Rows
from ..report.words import plus_minus
from .guide import GuideFill
from .io.format import ReadOptions
from .io.place import Location
from .io.read import read_table
from .io.table import Table
from .schema.cells import Cells
from .schema.schema import Schema
from .splits import HELD_OUT, fingerprint, held_out_order
from .targets import describe_target

QUESTIONS = 100  # whose calibration, or draws, are remembered


class TableModel(FittedDensity):
    """A density of rows with the facts of its fit."""

    kind: ClassVar[str] = "table"
    noun: ClassVar[str] = "rows"
    measure: ClassVar[str] = "log_likelihood"
    schema: Schema  # how each column is treated
    # the density with its guide, which answers questions about some of the columns; None without one
    guided: Guided | None = None
    cells: Cells  # the cells of rows, with the sampler of missing values
    samples: int  # number of points over which each cell is averaged
    _known: dict[Any, Tensor]

    def guide_for(self, instead: str) -> Guided:
        """The density with its guide."""
        if self.guided is None:
            raise InputError(
                f"the model {self.called} {instead}: it was fitted without a guide; fit it with `queries=True`"
            )
        return self.guided

    @property
    def read_options(self) -> ReadOptions:
        """How files are read whose rows leave it open: as the one that was fitted."""
        return ReadOptions(
            text=[c.name for c in self.schema.known if c.reading.contents == "names"],
            decimal=self.facts.get("decimal", ""),
        )

    def read_file(self, data: Location) -> Table:
        return read_table(data, self.read_options)

    def held_out(self, data: Table, console: Console, drop_missing: bool = False) -> HeldOut:
        """The rows of a table that the model was not trained on.

        A table that it was fitted to is recognised by a digest, and its held-out rows are used; of a table with its own
        splits, the ``test`` rows; of any other, all rows."""
        table = data.held_out()
        console.note(*table.notes)
        rows, numbers = self._encoded(table, console, drop_missing)
        known = self.facts.get("fingerprint")
        if data.splits:
            train, _ = self._encoded(Table(data.path, data.splits["train"]), console, True)
            return HeldOut(rows, numbers, train if fingerprint(train) == known else None)
        if self.was_fitted_to(rows):
            train_rows, _, chosen = held_out_order(len(rows), self.seed, float(self.facts.get("validation", HELD_OUT)))
            console.note(
                f"{data.path}: {self.called} was fitted to this file; its {len(chosen):,} held-out rows are used"
            )
            return HeldOut(rows[chosen], numbers[chosen], rows[train_rows])
        return HeldOut(rows, numbers, frame=table.frame[numbers])

    def was_fitted_to(self, rows: Rows) -> bool:
        """Whether these are the rows that it was fitted to, with those that were held out."""
        return len(rows) == self.facts.get("rows") and fingerprint(rows) == self.facts.get("fingerprint")

    def saved_held_out(self) -> HeldOut:
        return HeldOut(self.saved_rows("held_out"), np.asarray(self.facts["held_out"]["numbers"]))

    def saved_rows(self, name: str) -> Rows:
        """The rows that were saved under a name: ``held_out``, or ``kept``, training rows that an update needs."""
        saved = self.facts[name]
        context = None if saved["context"] is None else torch.tensor(saved["context"], dtype=torch.float32)
        cells = [[math.nan if value is None else value for value in row] for row in saved["x"]]  # JSON has no NaN
        x = torch.tensor(cells, dtype=torch.float64)
        for row, feature, bits in saved.get("bits", ()):
            x.view(torch.int64)[row, feature] = bits
        return Rows(x, context)

    def _encoded(self, table: Table, console: Console, drop_missing: bool) -> tuple[Rows, np.ndarray]:
        source, frame = str(table.path), table.frame
        self.schema.check(frame, source)
        numbers = np.arange(frame.height)
        if drop_missing:
            numbers = numbers[self.schema.usable(frame)]
            if len(numbers) < frame.height:
                left = frame.height - len(numbers)
                console.note(f"{source}: left out: {counted(left, 'row')} with missing or infinite values")
                frame = frame[numbers]
        encoded = self.schema.encode(frame, source)
        console.note(*encoded.notes)
        known = ~encoded.strange
        if encoded.notes and not known.any():
            raise InputError(encoded.notes[0])
        return Rows(encoded.x, encoded.context)[known], numbers[known.numpy()]  # of one row, a tensor is an index

    def judged(self, rows: Rows, samples: int | None, seed: int) -> np.ndarray:
        rows = rows.to(self.device)
        return self.cells.log_density(self.density, rows.x, rows.context, samples=samples or 16, seed=seed)[0].numpy()

    def caveat(self, samples: int | None) -> dict[str, Any]:
        return {"cell_samples": (samples or 16) if self.schema.has_cells else None}

    def about(self) -> dict[str, Any]:
        summary = self.facts["summary"]
        facts = {"Flow": flow_in_words(summary)}
        facts |= dict(describe_target(summary["target"])) if "target" in summary else {}
        if "updates" in self.facts:
            facts["Updates"] = "; ".join(f"{each['rows']:,} rows of {each['data']}" for each in self.facts["updates"])
        if self.schema.given:
            facts["Given"] = ", ".join(self.schema.given_names)
        if summary["held_out"]["cell_samples"]:
            facts["Whole and rounded numbers"] = "averaged over their cells"
        if "sampling" in summary:
            facts["Drawn rows"] = summary["sampling"]["text"]
        return facts

    def detailed(self) -> list[str]:
        summary = self.facts["summary"]
        target = [*aligned(describe_target(summary["target"]), indent=""), ""] if "target" in summary else []
        return [*target, *self.schema.described, *self.schema.notes, "", *describe_held_out(summary["held_out"])]

    def figures(self) -> dict[str, str]:
        held = self.facts["summary"]["held_out"]
        return {
            "Held-out log-likelihood": f"{plus_minus(held['log_likelihood'], held['standard_error'])} nats a row",
            "Gain over a Gaussian": gain_in_words(held)
            or f"{plus_minus(held['gain'], held['gain_standard_error'])} nats a row",
        }

    def picture(self) -> str:
        from ..plot import marginals
        from ..report.svg import to_svg
        from ..report.tables.evidence import sampled

        held, shown = self.saved_held_out().rows, min(len(self.schema.features), 4)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        drawn = sampled(self.density, self.schema, len(held), held.context, generator)
        about = self.schema.drawn(range(shown))
        figure = marginals(held.x[:, :shown], drawn[:, :shown], labels=self.schema.labels, **about)
        return to_svg(figure, "columns", "Histograms: held-out rows filled, the model's as outlines.")

    def refuse_unlike(self, other: TableModel) -> None:
        super().refuse_unlike(other)
        both, names = f"{self.called} and {other.called}", set(self.schema.names)
        advice = "so their densities cannot be compared"
        if only := names ^ set(other.schema.names):
            raise InputError(
                f"{both} describe different columns (in one only: {listed(map(repr, sorted(only)))}), {advice}"
            )
        theirs = {column.name: column.kind.outcomes for column in other.schema.columns}
        different = [column.name for column in self.schema.columns if column.kind.outcomes != theirs[column.name]]
        if different:
            raise InputError(
                f"{both} know different values of {different[0]!r}, or see them as cells of different widths, "
                f"{advice}; fit both to the same rows"
            )

    def _hold(self, density: Density, facts: dict[str, Any]) -> None:
        self.guided = density if isinstance(density, Guided) else None
        super()._hold(density if self.guided is None else self.guided.joint, facts)
        known = facts["schema"]  # of a fit as it is, of a saved model as JSON
        self.schema = known if isinstance(known, Schema) else Schema.from_json(known)
        fills = facts["summary"].get("guide", {}).get("fills")  # if the density was trained on such draws
        fill = GuideFill(self.guided.guide, self.schema) if self.guided is not None and fills else None
        self.cells, self.samples, self._known = Cells(self.schema, fill), int(facts.get("samples", 16)), {}
        if self.guided is not None:
            self.guided._spread = self.cells.spread

    def once(self, answer: Callable[..., Tensor], *question: Hashable) -> Tensor:
        """What a function says of the model and a question, computed once for each of the last few questions."""
        known = self._known
        if (answer, question) not in known:
            self._known = known = dict([*known.items(), ((answer, question), answer(self, *question))][-QUESTIONS:])
        return known[answer, question]

    def _whole(self) -> Density:
        return self.density if self.guided is None else self.guided


def flow_in_words(summary: Mapping[str, Any]) -> str:
    """What was fitted: a flow's name, or of how many densities it is an average."""
    return f"an average of {summary['average']['members']} densities" if "average" in summary else summary["flow"]
