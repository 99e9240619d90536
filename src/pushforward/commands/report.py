"""``pushforward report``: one HTML file about a saved model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..report.build import write_report
from ..tables.baselines import Gaussian
from ..tables.errors import InputError
from ..tables.formats.table import check_output
from .compare import refuse_unlike
from .console import Console
from .describe import describe_target, report_command
from .held_out import held_out_of_all, saved_held_out
from .model import TableModel, kind_of


def run(
    model_path: Path,
    data: Path | None,
    output: Path,
    console: Console,
    *,
    seed: int = 0,
    drop_missing: bool = False,
    title: str | None = None,
    against: Sequence[Path] = (),
) -> dict[str, Any]:
    """Writes the report on held-out rows: those of a file, or those that were saved with the model.

    With other models to compare with, the rows are those that none of them was trained on.

    Raises:
        InputError: the model or the table cannot be used; says why.
    """
    check_output(output, (".html", ".htm"))
    if kind_of(model_path) == "image":
        from .images import report

        if against:
            raise InputError("--against: is for tables; of images, use: pushforward compare MODEL MODEL DATA")
        return report.run(model_path, data, output, console, seed=seed, title=title)
    model = TableModel.load(model_path)
    rivals = [TableModel.load(path) for path in against]
    for rival in rivals:
        refuse_unlike(model, rival)
    if data is not None:
        held, *theirs = held_out_of_all([model, *rivals], data, console, drop_missing)
    elif rivals:
        raise InputError("--against: give the table too, for the rows that all models are judged by")
    else:
        held, theirs = saved_held_out(model), []
    rows, train = held.rows, held.train
    source = data.name if data is not None else str(model.facts.get("data", model_path.name))
    numbers_found = write_report(
        output,
        model.flow,
        rows.x,
        columns=model.schema.names,
        context=rows.context,
        history=model.facts.get("history", []),
        summary=overview(model, source),
        command=f"{model.facts.get('command', '')}\n{report_command(model_path, data, output, against)}".strip(),
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
            str(rival.path): rival.log_density(other.rows.x, other.rows.context, seed=seed)[0]
            for rival, other in zip(rivals, theirs, strict=True)
        },
    )
    console.say(f"{len(rows):,} held-out rows")
    console.say(f"saved {output}")
    return {"rows": len(rows), "output": str(output), "report": numbers_found}


def overview(model: TableModel, source: str) -> dict[str, Any]:
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
