"""What several commands take, and what each needs of the run: its console, and the line that was typed."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

Model = Annotated[Path, Parameter(help="A model: the folder that `pushforward fit` wrote.")]
Json = Annotated[bool, Parameter(negative="", help="Print the result as JSON, for scripts.")]
Quiet = Annotated[bool, Parameter(negative="", help="Print nothing but errors.")]
Seed = Annotated[int, Parameter(help="Fixes everything that is drawn at random.")]
Device = Annotated[str, Parameter(help="cpu, cuda, or auto: the GPU where there is one.")]
DropMissing = Annotated[bool, Parameter(negative="", help="Leave out rows with missing or infinite values.")]
Samples = Annotated[
    int | None,
    Parameter(help="Points that each whole or rounded number's cell is averaged over [default: 16, images 1]."),
]

command_line = ContextVar("command_line", default="pushforward")


def typed() -> str:
    """What the user typed, for the model's own record."""
    return command_line.get()


def console_for(as_json: bool, quiet: bool = False) -> Any:
    """Where a command prints."""
    from ..models.console import Console

    return Console(as_json, quiet)
