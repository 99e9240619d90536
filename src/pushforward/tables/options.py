"""The options for a table: which columns, how they are treated, which flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..models.options import TrainingOptions
from .schema.kinds.base import Kind


@dataclass(frozen=True)
class TableOptions:
    """The options of :class:`~pushforward.TableDensity`; the shell's ``fit`` has a flag for each.

    Args:
        flow: A recipe's name, or ``auto``.
        members: How many flows are averaged, or ``auto``.
        objective: ``likelihood`` or, for continuous flows, ``matching``.
        layers, hidden: The flow's layers, and widths of its hidden layers.
        columns: The columns to model; if empty, all that are not in ``given``.
        given: The columns to condition on.
        categories: Numeric columns whose values are labels.
        numbers: Columns to treat as numeric, however few values they have.
        weights: A column that holds the weight of each row; it is not modelled.
        bounds: Open intervals that contain the columns; None for no upper end.
        circular: Columns with a period, and where it begins and ends.
        kinds: Columns of kinds of the user's own: each a kind, or a class that fits itself to the column.
        strict: Refuse what would otherwise be decided: missing cells, constants, identifiers and free text.
        drop_missing: Leave out rows with missing or infinite values, with a note.
        validation: The fraction of the rows used for early stopping; as many again are held out for the figures.
        samples: Number of points over which each cell is averaged.
        queries: Train a guide as well, which answers questions about some of the columns.
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
    kinds: Mapping[str, Kind | type[Kind]] = field(default_factory=dict)
    strict: bool = False
    drop_missing: bool = False
    validation: float = 0.1
    samples: int = 16
    queries: bool = True
    stream: bool = False
    training: TrainingOptions = field(default_factory=TrainingOptions)
