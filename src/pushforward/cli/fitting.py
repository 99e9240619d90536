"""``pushforward fit`` of a table and of images: read, fit, save."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..images.density import ImageDensity
from ..images.labelled import GIVEN, read_pictures
from ..images.options import ImageOptions
from ..models.base import FittedDensity
from ..models.console import Console
from ..models.device import device_named
from ..models.saved import check_output, goes_further
from ..models.target import TargetOptions, run
from ..tables.density import TableDensity
from ..tables.io.place import Location
from ..tables.io.read import read_any
from ..tables.options import TableOptions

FURTHER = "{}: its training had ended; it is trained further"


def fit_table(data: Location, output: Path, options: TableOptions, console: Console, command: str) -> dict[str, Any]:
    """Fits a table and saves the model; returns its summary.

    Raises:
        InputError: the table or an option cannot be used; says why.
    """
    check_output(output)
    device_named(options.training.device)
    further = goes_further(output, TableDensity.kind, options.training)
    model = TableDensity.load(output) if further else TableDensity()
    model.options = options
    if further:
        console.note(FURTHER.format(output))
    model.fit_read(read_any(data, stream=options.stream), console, command, further=further)
    return _saved(model, output, console)


def fit_images(
    data: Path,
    output: Path,
    flow: str | None,
    options: TableOptions,
    pixels: dict[str, Any],
    console: Console,
    command: str,
) -> dict[str, Any]:
    """The same for images.

    Raises:
        InputError: the images or an option cannot be used; says why.
    """
    check_output(output)
    device_named(options.training.device)
    _refuse_table_options(options)
    further = goes_further(output, ImageDensity.kind, options.training)
    model = ImageDensity.load(output) if further else ImageDensity()
    model.options = ImageOptions(
        flow=flow or "auto",
        layers=options.layers,
        hidden=options.hidden,
        given=options.given,
        training=options.training,
        **pixels,
    )
    if further:
        console.note(FURTHER.format(output))
    resize = model.facts.get("resize") if further else pixels["resize"]
    model.fit_read(read_pictures(data, resize=resize), console, command, further=further)
    return _saved(model, output, console)


def fit_target(
    target: TargetOptions, output: Path, options: TableOptions, console: Console, command: str
) -> dict[str, Any]:
    """The same for a density known up to a constant.

    Raises:
        InputError: the target or an option cannot be used; says why.
    """
    for name, value in (
        ("epochs", options.training.epochs),
        ("columns", options.columns),
        ("given", options.given),
        ("objective", options.objective != "likelihood"),
    ):
        if value:
            raise InputError("applies to tables, but a target is learnt without one", name)
    target = dataclasses.replace(
        target, flow=options.flow, layers=options.layers, hidden=options.hidden, training=options.training
    )
    return run(target, output, console, command)


def _saved(model: FittedDensity, output: Path, console: Console) -> dict[str, Any]:
    """Saves the fitted model; under torchrun, a single process does so."""
    if not hasattr(model, "density"):
        return {}
    model.save(output)
    console.say(f"saved {output}")
    return model.summary_


def _refuse_table_options(options: TableOptions) -> None:
    for_tables = {
        "columns": options.columns,
        "bounds": options.bounds,
        "circular": options.circular,
        "weights": options.weights,
        "categories": options.categories,
        "drop_missing": options.drop_missing,
        "objective": options.objective != "likelihood",
    }
    for name, value in for_tables.items():
        if value:
            raise InputError("applies to tables, but the data are images", name)
    if list(options.given) not in ([], [GIVEN]):
        raise InputError(f"images are conditioned on their class: `given={GIVEN!r}`", "given", list(options.given))
