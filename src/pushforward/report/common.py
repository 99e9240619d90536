"""Parts shared by the reports of tables and of images: curves, means with errors, gaps, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import plot
from . import prose
from .blocks import Cell, Figure, Section, Text, Verdict
from .cost import is_number
from .figures import to_svg
from .words import count, number, plain, plus_minus, whole


def curves(
    history: Sequence[Mapping[str, Any]], says: str, noun: str, unit: str, best_loss: str = "best_loss", of: str = ""
) -> Section | None:
    """The losses against the step, in ``unit``, with the best one marked as ``best_loss``; None if there are none."""
    if not any(is_number(row.get("train_loss")) for row in history):
        return None
    last = history[-1]
    numbers: dict[str, Any] = {"steps": last.get("step"), "seconds": last.get("seconds")}
    says += f" {whole(last.get('step', 0))} steps were taken."
    alt = f"Training loss against the step, in {unit}."
    validated = [row for row in history if is_number(row.get("validation_loss"))]
    if validated:
        best = min(validated, key=lambda row: row["validation_loss"])
        numbers |= {"best_step": best["step"], "best_epoch": best.get("epoch"), best_loss: best["validation_loss"]}
        epoch = f" (epoch {plain(best['epoch'])})" if is_number(best.get("epoch")) else ""
        says += (
            f" On {noun} held back from training the loss was lowest at step {whole(best['step'])}{epoch}, with "
            f"{number(best['validation_loss'])}{of}."
        )
        alt = f"Training and validation loss against the step; the latter is lowest at step {whole(best['step'])}."
    figure = Figure(to_svg(plot.curves(history, unit=unit), "curves", alt), prose.CURVES)
    return Section("training", "Training", [Text(says), figure], numbers)


def mean_row(name: str, mean: float, error: float, many: int) -> list[Cell]:
    """A row of a table of means: its name, the mean with its error, and the sample size."""
    return [Cell(name, name), Cell(plus_minus(mean, error), mean), Cell(f"{many:,}", many)]


def gap(distance: float, spread: float, noun: str, more: str, small: bool) -> Verdict:
    """Whether training data fare significantly better than held-out data; ``more`` says in what way."""
    if not distance > 2 * spread:
        return Verdict("good", f"Held-out {noun} fare as well as the {noun} it was trained on: no overfitting is seen.")
    says = more.format(plus_minus(distance, spread))
    return Verdict("fair" if small else "poor", f"{noun.capitalize()} it was trained on {says}: it overfits somewhat.")


def impossible(missing: int, noun: str, what: str) -> Verdict | None:
    """Held-out data that were given no density at all."""
    if not missing:
        return None
    said, verb = count(missing, f"held-out {noun}"), "gets" if missing == 1 else "get"
    return Verdict("poor", f"{said} {verb} no {what} at all, and the means here leave such {noun}s out.")
