"""Models on disk: which kind a folder holds, loading, and saving, if need be in a fallback folder."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from ..errors import InputError
from ..saving import checkpoint
from ..saving.config import Configurable
from ..saving.files import NotSaved, reason, refuse_unwritable
from .options import TrainingOptions

M = TypeVar("M")
LARGEST = 1e18  # of a weight: its square is a number in float32
FARTHEST = 1e36  # of a number that is not trained: those of tables end at 1e30
KINDS = {"table": "a model of a table", "image": "a model of images"}


def kind_of(path: Path) -> str | None:
    """What a saved model describes, ``table`` or ``image``; None if no model can be read."""
    try:
        facts = checkpoint.load_extra(path)
    except (OSError, ValueError):
        return None
    return str(facts.get("kind")) if isinstance(facts, Mapping) else None


def load_saved(path: Path, kind: str, device: str, make: Callable[[Any, dict[str, Any]], M]) -> M:
    """``make(flow, facts)`` of a saved model of a given kind."""
    if not path.exists():
        raise InputError(f"{path}: there is no such model; make one with: pushforward fit DATA -o {path}")
    if not path.is_dir():
        raise InputError(f"{path}: is a file; a model is a folder written by: pushforward fit DATA -o MODEL")
    try:
        facts = checkpoint.load_extra(path)
        if facts.get("kind") != kind:
            found = KINDS.get(str(facts.get("kind")), "a flow for Python's pf.load")
            raise InputError(f"{path}: holds {found}, but {KINDS[kind]} is needed")
        return make(_sound(checkpoint.load(path), path).to(device), dict(facts))
    except InputError:
        raise
    except Exception as error:  # what a forger wrote may break anything
        reason = str(error).splitlines()[0].removeprefix(f"{path}: ") if str(error) else type(error).__name__
        raise InputError(f"{path}: is not a readable model: {reason}") from None


def _sound(density: M, path: Path) -> M:
    """The density, if its weights are numbers that training can have given it."""
    assert isinstance(density, nn.Module)
    bad = [name for name, weight in density.named_parameters() if not bool((weight.abs() < LARGEST).all())]
    fixed = ((name, each.double().nan_to_num(math.inf, math.inf, 0.0)) for name, each in density.state_dict().items())
    bad += [name for name, number in fixed if not bool((number.abs() < FARTHEST).all())]  # log 0 may be
    if bad:
        raise InputError(f"{path}: is damaged: it has weights that no fit gives, among them {bad[0]}; fit it again")
    return density


def goes_further(path: Path, kind: str, training: TrainingOptions) -> bool:
    """Whether ``--resume`` trains the saved model further, rather than resuming from a checkpoint of its training.

    It does if there is no checkpoint; or if none is newer than the model, so that its training was not interrupted, and
    no number of steps or epochs is given, which the model would already have had.
    """
    if not training.resume or kind_of(path) != kind:
        return False
    states = [] if training.checkpoint is None else list(training.checkpoint.glob("step-*"))
    over = path.stat().st_mtime_ns >= max((entry.stat().st_mtime_ns for entry in states), default=0)
    return not states or (over and training.steps is None and training.epochs is None)


def check_output(output: Path) -> None:
    """Refuses a place where a model could not be saved, before any work is done."""
    if output.suffix.lower() in (".csv", ".parquet", ".html", ".json"):
        raise InputError(f"{output}: a model is a folder; give a name without an ending")
    refuse_unwritable(output)
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file, but a model is a folder; choose another name")
    if output.is_dir() and any(output.iterdir()):
        try:
            checkpoint.load_extra(output)
        except ValueError:
            raise InputError(
                f"{output}: is a folder with other files in it, or a damaged model; choose another name, or remove it"
            ) from None


def save(model: Configurable, path: Path, facts: dict[str, Any]) -> None:
    """Saves a model; if that fails, in the folder for temporary files."""
    try:
        checkpoint.save(model, path, extra=facts)
        return
    except OSError as error:
        refused = f"{path} cannot be written: {reason(error)}"
    try:
        refuge = Path(tempfile.mkdtemp(prefix="pushforward-")) / path.name
        checkpoint.save(model, refuge, extra=facts)
    except OSError as error:
        raise NotSaved(f"{refused}; nor can the folder for temporary files: {reason(error)}") from None
    raise NotSaved(f"{refused}; the model was saved as {refuge} instead; move it to where there is room")
