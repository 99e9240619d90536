"""The commands that say how good a model is: ``report``, ``compare`` and ``info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .options import Device, DropMissing, Json, Model, Quiet, Samples, Seed, console_for


def report(
    model: Model,
    data: Path | None = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("report.html"),
    title: str | None = None,
    against: Annotated[list[Path] | None, Parameter(negative="")] = None,
    drop_missing: DropMissing = False,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write what was learnt, and how well, as one HTML file to share.

    Args:
        data: Rows or images to report on: of the file that was fitted, the held-out ones are used; without it, those
            that were saved with the model.
        output: The report: an .html file.
        title: Its heading.
        against: Another model of the same columns, to compare with row by row on DATA. May be repeated.
    """
    from ..commands import report as command

    console = console_for(json, quiet)
    console.result(
        command.run(
            model, data, output, console, seed=seed, drop_missing=drop_missing, title=title, against=against or []
        )
    )


def compare(
    model: Model,
    other: Annotated[Path, Parameter(help="Another model of the same columns, or images.")],
    data: Path,
    *,
    drop_missing: DropMissing = False,
    samples: Samples = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which of two models gives the same rows or images the higher likelihood, one by one, with its standard error.

    Args:
        data: The table or the images. Of a file that the models were fitted to, their common held-out rows are used.
    """
    from ..commands import compare as command
    from ..commands.device import device_named

    console = console_for(json, quiet)
    where = device_named(device)
    console.result(
        command.run(model, other, data, console, samples=samples, seed=seed, drop_missing=drop_missing, device=where)
    )


def info(model: Model, *, json: Json = False) -> None:
    """What a model is: its data, its columns, how good it is, and the command that made it."""
    from ..commands import info as command

    console = console_for(json)
    console.result(command.run(model, console))
