"""One HTML file about a fitted table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.console import Console
from ..report.build import write_report
from .baselines import Gaussian
from .compare import refuse_unlike
from .describe import describe_target, report_command
from .errors import InputError
from .formats.table import Table, check_output
from .held_out import held_out_of_all, saved_held_out

if TYPE_CHECKING:
    from .density import TableDensity


def write(
    model: TableDensity,
    table: Table | None,
    output: Path,
    console: Console,
    *,
    seed: int = 0,
    drop_missing: bool = False,
    title: str | None = None,
    against: Sequence[TableDensity] = (),
) -> dict[str, Any]:
    """Writes the report on held-out rows: those of a table, or those that were saved with the model.

    With other models to compare with, the rows are those that none of them was trained on.

    Raises:
        InputError: the models or the table cannot be used; says why.
    """
    check_output(output, (".html", ".htm"))
    for rival in against:
        refuse_unlike(model, rival)
    if table is not None:
        held, *theirs = held_out_of_all([model, *against], table, console, drop_missing)
    elif against:
        raise InputError("--against: give the table too, for the rows that all models are judged by")
    else:
        held, theirs = saved_held_out(model), []
    rows, train = held.rows, held.train
    source = str(model.facts.get("data", model.called)) if table is None else table.path.name
    command = report_command(model.called, None if table is None else table.path, output, [m.called for m in against])
    numbers_found = write_report(
        output,
        model.density,
        rows.x,
        columns=model.schema.names,
        context=rows.context,
        history=model.facts.get("history", []),
        summary=overview(model, source),
        command=f"{model.facts.get('command', '')}\n{command}".strip(),
        title=title or f"The density of {source}",
        seed=seed,
        schema=model.schema,
        gaussian=Gaussian.from_json(model.facts["gaussian"]) if "gaussian" in model.facts else None,
        percentile=model.percentile,
        timings=True,
        train=None if train is None else train.x,
        train_context=None if train is None else train.context,
        row_numbers=held.numbers.tolist(),
        against={
            rival.called: rival.log_density(other.rows, seed=seed)[0]
            for rival, other in zip(against, theirs, strict=True)
        },
    )
    console.say(f"{len(rows):,} held-out rows")
    console.say(f"saved {output}")
    return {"rows": len(rows), "output": str(output), "report": numbers_found}


def overview(model: TableDensity, source: str) -> dict[str, Any]:
    """Labels and values for the top of the report."""
    summary = model.facts["summary"]
    held = summary["held_out"]
    facts = {
        "Data": source,
        "Training rows": summary["training_rows"],
        "Flow": summary["flow"],
        "Time to fit": f"{summary['seconds']:.0f} s",
    }
    if "target" in summary:  # fitted to a log-density, not to a table
        del facts["Training rows"]
        facts |= dict(describe_target(summary["target"]))
    if model.schema.given:
        facts["Given"] = ", ".join(model.schema.given_names)
    if held["cell_samples"]:
        facts["Whole and rounded numbers"] = "averaged over their cells"
    return facts
