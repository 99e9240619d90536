"""The options for a table: which columns, how they are treated, which density."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ..models.options import FittingOptions, as_names
from ..models.typed import Assignments, Bounds, Flag, Limits, Names, Orders, Periods, Whole

if TYPE_CHECKING:
    from .schema.kinds.base import Kind


@Parameter(name="*", group="Tables")
@dataclass(frozen=True)
class ColumnOptions:
    """What only a table takes.

    Args:
        columns: Columns to model, as in price,carat; without it, all but the given ones. Text becomes categories.
        categories: Columns whose numbers are names, as in zip,rooms: categories, as text always is.
        numbers: Columns whose values are numbers on a scale, however few; without it, up to 12 different values have a
            probability each, and no others are drawn; up to 60 if they are unevenly spaced, and rows not seen agree.
        weights: A column that says how much each row counts, in training and in all figures; it is not modelled.
        bounds: An interval that a column stays in, as in share=0,1 (or weight=0, for no upper end). May be repeated.
        circular: A column with a period, where its ends meet, as in hour=0,24. May be repeated.
        order: Columns of which none is above the next one, as in start,end. May be repeated.
        limits: A number known by its limits, as in lead=lead_low,lead_high. May be repeated.
        censored: A time of an event, and the column that is 1 where it came, as in time=status; else, it came later.
        noise: A measured number and the column of its standard deviations, as in flux=flux_err. May be repeated.
        relations: none looks for no relations between columns; =-price,-total for none of these columns; and
            "price = carat * quality" states one, exact or up to a remainder.
        strict: Refuse what would be decided otherwise: missing cells, constants, names and free text.
        drop_missing: Leave out rows with missing or infinite values.
        samples: Points that each whole or rounded number's cell is averaged over.
        members: Average this many flows, each trained without another part of the rows.
        objective: likelihood, or for ffjord also matching: each step many times quicker, the same exact density.
        queries: Train a guide beside the density, for as long again at most: it answers questions about some of the
            columns (impute, score --given, sample --given). --no-queries leaves it out.
        keep: Save so many training rows with the model, which `pushforward update` then learns from beside draws.
        stream: Read Parquet files in pieces even if they would fit in memory.
    """

    columns: Names = ()
    categories: Names = ()
    numbers: Names = ()
    weights: str | None = None
    bounds: Bounds = field(default_factory=dict)
    circular: Periods = field(default_factory=dict)
    order: Orders = ()
    limits: Limits = field(default_factory=dict)
    censored: Assignments = field(default_factory=dict)
    noise: Annotated[Assignments, Parameter(name="--noise-of")] = field(default_factory=dict)  # images have --noise
    relations: str = "auto"
    strict: Flag = False
    drop_missing: Flag = False
    samples: Whole = 16
    members: int | str = "auto"
    objective: str = "likelihood"
    queries: bool = True
    keep: Whole = 0
    stream: Flag = False

    @cached_property
    def unrelated(self) -> tuple[str, ...]:
        """Columns that are modelled whatever they may follow from: those that ``relations`` names after a minus."""
        return tuple(each[1:] for each in self._relations if each.startswith("-") and "=" not in each)

    @cached_property
    def formulas(self) -> dict[str, str]:
        """The formulas that ``relations`` states, as text, by the column on their left."""
        sides = [each.split("=", 1) for each in self._relations if "=" in each]
        return {name.strip().strip("'"): text.strip() for name, text in sides}

    @property
    def _relations(self) -> list[str]:
        return [each.strip() for each in self.relations.split(",")]

    def __post_init__(self) -> None:
        for name in ("columns", "categories", "numbers"):
            object.__setattr__(self, name, as_names(getattr(self, name)))
        for name in ("bounds", "limits", "censored", "noise"):
            object.__setattr__(self, name, dict(getattr(self, name) or {}))
        periods = {name: (float(low), float(high)) for name, (low, high) in (self.circular or {}).items()}
        object.__setattr__(self, "circular", periods)


@dataclass(frozen=True)
class TableOptions(ColumnOptions, FittingOptions):
    """All options of :class:`~pushforward.TableDensity` and of the shell's ``fit`` of a table.

    Args:
        kinds: Columns of kinds of the user's own: each a kind, or a class that fits itself to the column.
        validation: The fraction of the rows used for early stopping; as many again are held out for the figures.
    """

    kinds: Mapping[str, Kind | type[Kind]] = field(default_factory=dict)
    validation: float = 0.1

    def __post_init__(self) -> None:
        ColumnOptions.__post_init__(self)
        FittingOptions.__post_init__(self)
        object.__setattr__(self, "kinds", dict(self.kinds or {}))
