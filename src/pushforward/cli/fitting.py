"""``pushforward fit`` of a table, of images and of a target: read, fit, save; what does not apply is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..errors import InputError, refuse
from ..images.density import ImageDensity
from ..images.formats import is_images
from ..images.labelled import GIVEN, read_pictures
from ..images.options import ImageOptions, PixelOptions
from ..models.base import FittedDensity
from ..models.console import Console
from ..models.options import DensityOptions, FlowOptions, TrainingOptions, chosen, device_named
from ..models.saved import check_output, goes_further
from ..tables.density import TableDensity
from ..tables.io.place import Location
from ..tables.io.read import read_any
from ..tables.options import ColumnOptions, TableOptions
from ..tables.targets import TargetOptions, run

OF_ROWS = ("epochs", "limit", "patience", "threads", "compile", "metrics", "shard")  # in a training on rows alone
Subject = TypeVar("Subject", TableDensity, ImageDensity)


class Asked(NamedTuple):
    """The options of ``fit``, in groups of which some apply to tables, images or targets alone."""

    flow: FlowOptions
    columns: ColumnOptions
    pixels: PixelOptions
    target: DensityOptions
    training: TrainingOptions


def fit(place: Location | None, output: Path, asked: Asked, console: Console, command: str) -> dict[str, Any]:
    """Fits what is there and saves the model; returns its summary."""
    if (place is None) == (asked.target.target is None):
        raise InputError("give a table, as in: pushforward fit DATA -o MODEL, or a density as `target=`, but not both")
    check_output(output)
    device_named(asked.training.device)
    if place is None:
        return _fit_target(output, asked, console, command)
    refuse("needs a `target=`", chosen(asked.target))
    if isinstance(place, Path) and is_images(place):
        return _fit_images(place, output, asked, console, command)
    refuse("applies to images, but this is a table", chosen(asked.pixels))
    options = TableOptions(**vars(asked.flow), **vars(asked.columns), training=asked.training)
    model, further = _begun(TableDensity, output, options, console)
    model.fit_read(read_any(place, stream=options.stream, codes=options.categories), console, command, further=further)
    return _saved(model, output, console)


def update(
    path: Path, data: Location, output: Path, budget: float | None, device: str, console: Console, command: str
) -> None:
    """Updates a saved model of a table with new rows, and saves it."""
    check_output(output)
    model = TableDensity.load(path, device_named(device))
    model.update_read(model.read_file(data), console, command, budget)
    console.result(_saved(model, output, console) | {"update": model.facts["updates"][-1]})


def _fit_images(data: Path, output: Path, asked: Asked, console: Console, command: str) -> dict[str, Any]:
    """The same for images."""
    refuse("applies to tables, but these are images", chosen(asked.columns))
    options = ImageOptions(**vars(asked.flow), **vars(asked.pixels), training=asked.training)
    if options.given not in ((), (GIVEN,)):
        raise InputError(f"images are conditioned on their class: `given={GIVEN!r}`", "given", options.given)
    model, further = _begun(ImageDensity, output, options, console)
    resize = model.facts.get("resize") if further else options.resize
    model.fit_read(read_pictures(data, resize=resize), console, command, further=further)
    return _saved(model, output, console)


def _fit_target(output: Path, asked: Asked, console: Console, command: str) -> dict[str, Any]:
    """The same for a density known up to a constant."""
    others = chosen(asked.columns) | {"given": asked.flow.given} | {k: chosen(asked.training)[k] for k in OF_ROWS}
    refuse("applies to rows, but a target is learnt without any", others)
    refuse("applies to images, but this is a target", chosen(asked.pixels))
    options = TargetOptions(**vars(asked.flow), **vars(asked.target), training=asked.training)
    return run(options, output, console, command)


def _begun(kind: type[Subject], output: Path, options: Any, console: Console) -> tuple[Subject, bool]:
    """A model to be fitted with these options, and whether it is the saved one, trained further."""
    further = goes_further(output, kind.kind, options.training)
    model = kind.load(output) if further else kind()
    model.options = options
    if further:
        model.refuse_more()
        console.note(f"{output}: its training had ended; it is trained further")
    return model, further


def _saved(model: FittedDensity, output: Path, console: Console) -> dict[str, Any]:
    """Saves the fitted model; under torchrun, a single process does so."""
    if not hasattr(model, "density"):
        return {}
    model.save(output)
    console.say(f"saved {output}")
    return model.summary_
