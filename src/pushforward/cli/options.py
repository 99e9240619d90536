"""The program, and what several of its commands share: which model, where rows come from, what is printed."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from .. import __version__
from ..errors import InputError, in_shell
from ..models.options import check_seed, device_named
from ..models.typed import Flag, Whole
from ..tables.io.place import STANDARD, Location, Source

HELP = """Learn the density of a table or of images, score its rows, draw new ones, and report.

A typical afternoon:

    pushforward fit sales.csv -o model
    pushforward score model sales.csv -o scores.csv
    pushforward sample model -n 1000 -o rows.csv
    pushforward report model -o report.html
    pushforward serve model

Tables are CSV, Excel, JSON lines, Parquet, Arrow or NumPy files, standard input (-) or databases, and log-densities are
in nats, in the table's own units. Images are folders of pictures, NumPy or MNIST-style idx files.
"""

app = App(name="pushforward", help=HELP, version=__version__)
Model = Annotated[Path, Parameter(help="A model: the folder that `pushforward fit` wrote.")]
Output = Annotated[str, Parameter(name=["--output", "-o"])]
Seed = Annotated[
    Whole,
    Parameter(
        help="Fixes everything that is drawn at random.", validator=lambda _, seed: seed is None or check_seed(seed)
    ),
]
FitSeed = Annotated[Seed | None, Parameter(help="Fixes everything that is drawn at random [default: the fit's].")]
Device = Annotated[str, Parameter(help="cpu, cuda, or auto: the GPU if there is one.")]
DropMissing = Annotated[Flag, Parameter(help="Leave out rows with missing or infinite values.")]
Count = Annotated[Whole, Parameter(validator=Number(gte=1))]
Samples = Annotated[
    Count | None,
    Parameter(help="Points that each whole or rounded number's cell is averaged over [default: 16, images 1]."),
]
SpreadsheetSafe = Annotated[
    Flag, Parameter(help="Put an apostrophe before texts in a .csv that spreadsheets would run as formulas.")
]

command_line = ContextVar("command_line", default="pushforward")  # as typed, for the model's own record


@Parameter(name="*", group="What is printed")
@dataclass(frozen=True)
class PrintOptions:
    """What a command prints.

    Args:
        json: Print the result as JSON, for scripts.
        quiet: Print nothing but errors.
    """

    json: Flag = False
    quiet: Flag = False

    def console(self, output: Location | None = None) -> Any:
        """Where a command prints, so as not to mix with an output that goes to standard output."""
        from ..models.console import Console

        taken = isinstance(output, Source) and output.address == STANDARD
        if taken and self.json:
            raise InputError("goes to standard output, as with `json=True`; write one to a file", "output", STANDARD)
        return Console(self.json, self.quiet, aside=taken, spelling=in_shell)


def opened(path: Path, device: str = "cpu") -> Any:
    """The model of a table or of images in a folder."""
    from ..images.density import ImageDensity  # these import PyTorch, for which --help does not wait
    from ..models.saved import kind_of
    from ..tables.density import TableDensity

    kind: Any = ImageDensity if kind_of(path) == ImageDensity.kind else TableDensity
    return kind.load(path, device_named(device))
