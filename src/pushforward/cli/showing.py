"""The commands that show a model to others: ``report``, ``compare``, ``info`` and ``serve``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import InputError
from ..serving.options import ServeOptions
from ..tables.io.place import SourceOptions, located
from .options import Device, DropMissing, FitSeed, Model, PrintOptions, Samples, Seed, opened


def report(
    model: Model,
    data: str | None = None,
    *,
    source: SourceOptions = SourceOptions(),
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("report.html"),
    title: str | None = None,
    against: Annotated[list[Path] | None, Parameter(negative="")] = None,
    drop_missing: DropMissing = False,
    seed: FitSeed = None,
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Write what was learnt, and how well, as one HTML file to share.

    Args:
        data: Rows or images to report on: of the file that was fitted, the held-out ones are used; without it, those
            that were saved with the model.
        output: The report: an .html file.
        title: Its heading.
        against: Another model of the same columns, to compare with row by row on DATA. May be repeated.
    """
    from ..report.write import write

    console = printing.console()
    ours = opened(model)
    rows = None if data is None else ours.read_file(located(data, source))
    rivals = [type(ours).load(path) for path in against or []]
    seed = ours.seed if seed is None else seed
    found = write(ours, rows, output, console, seed=seed, drop_missing=drop_missing, title=title, against=rivals)
    console.result(found)


def compare(
    model: Model,
    other: Annotated[Path, Parameter(help="Another model of the same columns, or images.")],
    data: str,
    *,
    source: SourceOptions = SourceOptions(),
    drop_missing: DropMissing = False,
    samples: Samples = None,
    seed: Seed = 0,
    device: Device = "auto",
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Which of two models gives the same rows or images the higher likelihood, one by one, with its standard error.

    Args:
        data: The table or the images. Of a file that the models were fitted to, their common held-out rows are used.
    """
    from ..models.compare import compare as paired

    console = printing.console()
    first = opened(model, device)
    second = type(first).load(other, str(first.device))
    found = first.read_file(located(data, source))
    console.result(paired((first, second), found, console, samples=samples, seed=seed, drop_missing=drop_missing))


def info(model: Model, *, printing: PrintOptions = PrintOptions()) -> None:
    """What a model is: its data, its columns, how good it is, and the command that made it."""
    console = printing.console()
    console.result(opened(model).describe(console))


def serve(
    model: Model,
    *,
    options: ServeOptions = ServeOptions(),
    device: Device = "auto",
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Answer questions put to a model of a table over HTTP, and show a page in the browser.

    GET /health, /info, /metrics, /drift and /openapi.json; POST /score, /sample, /impute, /ask, /predict, /drift and
    /explain. The page at / scores a row, draws rows given some cells, fills holes, and shows a column's density given
    the others.
    """
    os.environ.setdefault("PUSHFORWARD_POOL", "8")  # MiB: what one long request needed is not kept for the next
    try:
        from ..serving.run import serve as run
    except ModuleNotFoundError as error:
        raise InputError(f"serve needs {error.name}; install it with: pip install 'pushforward[serve]'") from None
    run(opened(model, device), options, printing.console())
