"""Options shared by several commands, and what each needs of the run: its console and the command line as typed."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ..errors import InputError, in_shell
from ..tables.io.place import STANDARD, Location, Source

Model = Annotated[Path, Parameter(help="A model: the folder that `pushforward fit` wrote.")]
Json = Annotated[bool, Parameter(negative="", help="Print the result as JSON, for scripts.")]
Quiet = Annotated[bool, Parameter(negative="", help="Print nothing but errors.")]
Seed = Annotated[int, Parameter(help="Fixes everything that is drawn at random.")]
Device = Annotated[str, Parameter(help="cpu, cuda, or auto: the GPU if there is one.")]
DropMissing = Annotated[bool, Parameter(negative="", help="Leave out rows with missing or infinite values.")]
Samples = Annotated[
    int | None,
    Parameter(help="Points that each whole or rounded number's cell is averaged over [default: 16, images 1]."),
]

Query = Annotated[str | None, Parameter(help="The query to run if DATA is a database, as in 'SELECT * FROM orders'.")]
TableName = Annotated[
    str | None, Parameter(name="--table", help="The table to read from a database, or the file from a .zip.")
]
Sheet = Annotated[str | None, Parameter(help="The sheet of an Excel file [default: the first with rows].")]

command_line = ContextVar("command_line", default="pushforward")


def typed() -> str:
    """The command line as typed, for the model's own record."""
    return command_line.get()


def console_for(as_json: bool, quiet: bool = False, output: Location | None = None) -> Any:
    """Where a command prints, so as not to mix with an output that goes to standard output.

    Raises:
        InputError: the result as JSON would go to standard output as well.
    """
    from ..models.console import Console

    taken = isinstance(output, Source) and output.address == STANDARD
    if taken and as_json:
        raise InputError(
            "goes to standard output, as with `json=True`; write one of them to a file", "output", STANDARD
        )
    return Console(as_json, quiet, aside=taken, spelling=in_shell)
