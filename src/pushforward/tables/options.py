"""What may be chosen of a table: which columns, what they are taken for, which flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..models.options import TrainingOptions


@dataclass(frozen=True)
class TableOptions:
    """The choices of :class:`~pushforward.TableDensity`; the shell's ``fit`` has a flag for each.

    Args:
        flow: A recipe's name, or ``auto``.
        members: How many flows are averaged, or ``auto``.
        objective: ``likelihood`` or, for continuous flows, ``matching``.
        layers, hidden: The flow's layers, and widths of its hidden layers.
        columns: The columns to model; where it is empty, all that are not given.
        given: The columns to condition on.
        categories: Columns whose numbers are names.
        numbers: Columns whose values are numbers on a scale, however few.
        weights: A column that says how much each row counts; it is not modelled.
        bounds: Open intervals that columns stay in; None for no upper end.
        circular: Columns with a period, and where it begins and ends.
        strict: Refuse what would be decided otherwise: missing cells, constants, names and free text.
        drop_missing: Leave out rows with missing or infinite values, with a note.
        validation: The share of the rows that tells when to stop; as many again are held out for the figures.
        samples: Points that each cell is averaged over.
        queries: Train a guide beside the density, which answers questions about some of the columns.
        stream: Read Parquet files in pieces even where they would fit in memory.
        training: How to train.
    """

    flow: str = "nsf"
    members: int | str = "auto"
    objective: str = "likelihood"
    layers: int | None = None
    hidden: Sequence[int] | None = None
    columns: Sequence[str] = ()
    given: Sequence[str] = ()
    categories: Sequence[str] = ()
    numbers: Sequence[str] = ()
    weights: str | None = None
    bounds: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    circular: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    strict: bool = False
    drop_missing: bool = False
    validation: float = 0.1
    samples: int = 16
    queries: bool = True
    stream: bool = False
    training: TrainingOptions = field(default_factory=TrainingOptions)
