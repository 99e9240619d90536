"""An HTML file about a fitted table, or fitted images."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..models.base import FittedDensity
from ..models.compare import held_out_of_all
from ..models.console import Console
from ..tables.io.source import Location, Source
from ..tables.io.table import check_output


def write(
    model: FittedDensity,
    data: Any,
    output: Path,
    console: Console,
    *,
    seed: int = 0,
    drop_missing: bool = False,
    title: str | None = None,
    against: Sequence[FittedDensity] = (),
) -> dict[str, Any]:
    """Writes the report on held-out data: those of ``data``, or those saved with the model if it is None.

    With other models to compare with, it covers the data that none of them was trained on.

    Raises:
        InputError: the models or the data cannot be used; says why.
    """
    check_page(output)
    for rival in against:
        model.refuse_unlike(rival)
    if data is not None:
        held, *theirs = held_out_of_all([model, *against], data, console, drop_missing)
    elif against:
        raise InputError("give the table too, since all models are compared on its rows", "against")
    else:
        held, theirs = model.saved_held_out(), []
    source = str(model.facts.get("data", model.called)) if data is None else data.path.name
    command = _command(model.called, None if data is None else data.path, output, [rival.called for rival in against])
    found = model.write_page(
        output,
        held,
        {rival.called: rival.judged(other.rows, None, seed) for rival, other in zip(against, theirs, strict=True)},
        summary=model.overview(source),
        command=f"{model.facts.get('command', '')}\n{command}".strip(),
        title=title or f"The {'density' if model.noun == 'rows' else 'images'} of {source}",
        seed=seed,
    )
    console.say(f"{len(held.rows):,} held-out {model.noun}")
    console.say(f"saved {output}")
    return {model.noun: len(held.rows), "output": str(output), "report": found}


def check_page(output: Path) -> None:
    """Refuses a report's file name with the wrong ending.

    Raises:
        InputError: the ending or the folder is wrong.
    """
    check_output(output, (".html", ".htm"))


def _command(model: str, data: Location | None, output: Path, against: Sequence[str]) -> str:
    """The command that would write this report again."""
    rivals = [word for path in against for word in ("--against", path)]
    rows = [] if data is None else data.words if isinstance(data, Source) else [str(data)]
    return shlex.join(["pushforward", "report", model, *rows, "-o", str(output), *rivals])
