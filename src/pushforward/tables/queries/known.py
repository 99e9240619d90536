"""What is known of rows that are asked about, or drawn: cells that are given, and where other cells lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import polars as pl
import torch

from ...errors import InputError, listed
from ...models.train import Rows
from ...numerics.partly_known import partly_known, unknown
from ..io.frames import from_frame
from ..io.values import series
from ..model import TableModel
from ..schema.columns import Column
from .query import completed, condition_on, encode_partly
from .region import Region, is_odd_truth, near_in
from .told import Told
from .where import Where

ANYWHERE = Where(Region({}))
CALIBRATED = 200  # held-out rows that tell how large a set has to be, at most: its share of fresh rows varies by 0.02
OBJECTS = (nw.Object, nw.List, nw.Array)  # types of a frame's columns whose cells may be ranges


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of n rows."""

    cells: pl.DataFrame  # the given cells, by column
    rows: Rows  # the rows as encoded, NaN for all that is unknown
    wheres: tuple[Where, ...]  # what holds of the other cells: for all rows, or for each
    strange: torch.Tensor  # which rows are given what cannot be, or no training row had, ``(n,)``
    one: bool  # whether it is one row, and not a table of one
    told: Told  # what rows say of columns that follow from others
    notes: tuple[str, ...] = ()  # what was decided about given values

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: torch.Tensor) -> Known:
        own = torch.arange(len(self))[rows].tolist() if len(self.wheres) > 1 else [0]
        wheres = tuple(self.wheres[row] for row in own)
        return replace(self, rows=self.rows[rows], wheres=wheres, strange=self.strange[rows], told=self.told[rows])

    def where(self, row: int) -> Where:
        """What holds of the other cells of a row."""
        return self.wheres[row if len(self.wheres) > 1 else 0]

    @classmethod
    def of(cls, model: TableModel, given: Any = None, where: str | None = None) -> Known:
        """Reads what is given: None; ``{column: value | [values] | (low, high)}``; SQL text; or a frame of such cells,
        one for each row. What is None, or missing, is unknown. Of one row, ``where`` may say in SQL what else holds.
        """
        if given is None or isinstance(given, str):
            said = (where or None) if given is None else given
            all_of = ANYWHERE if said is None else Where.of(model, said, "given")
            return cls._with(model, pl.DataFrame(), (all_of,), True, said)
        if isinstance(given, Mapping) and not any(map(_is_column, given.values())):
            left_out = [name for name in given if name in model.facts.get("unused", ())]
            plain, asked = _divided({name: value for name, value in given.items() if name not in left_out})
            if model.guided is None:  # then a value is looked for among draws, as a list of one is
                asked |= {name: plain.pop(name) for name in [*plain] if name not in model.schema.given_names}
            all_of = _where(model, asked) if not where else _where(model, asked) & Where.of(model, where, "given")
            found = cls._with(model, _one_row(model, plain), (all_of,), True)
            return replace(found, notes=(*unused(model, left_out, "given"), *found.notes))
        given, asked_of_rows = _without_ranges(given)
        if hasattr(given, "iloc") and len(given) and given.shape[1:] == (0,):  # rows that say nothing
            given = given.reindex(columns=model.schema.names[:1])
        frame = from_frame(given, "given")[0]
        check_shared(model, frame, "given")
        wheres = tuple(_where(model, asked) for asked in asked_of_rows) or (ANYWHERE,)
        found = cls._with(model, frame.drop(model.schema.extra_names(frame.columns)), wheres, False)
        return replace(found, notes=(*unused(model, frame.columns, "given"), *found.notes))

    @classmethod
    def _with(
        cls, model: TableModel, cells: pl.DataFrame, wheres: tuple[Where, ...], one: bool, said: str | None = None
    ) -> Known:
        schema, n, rounded, near = model.schema, 1, list[str](), list[Where]()
        for where in wheres:
            rounded += where.notes
            if where.region.empty:
                raise InputError("no row can be so", "given", said)
            near.append(replace(where, region=near_in(where.region, schema)) if where.region.parts else where)
        wheres = tuple(near)
        if cells.width or schema.given:
            check_known(model, cells.columns)
        if cells.width:
            n, columns = cells.height, [column for column in schema.known if column.name in cells.columns]
            rounded += [said for column in columns for said in column.rounded_in(cells[column.name], "given")]
        if not set(cells.columns) <= set(schema.given_names):
            first = [] if {*cells.columns} & {*schema.names} else [pl.lit(None).alias(schema.names[0])]
            encoded = encode_partly(model, cells.with_columns(first), "given")
            if first:  # nothing is known of it, not even that it is missing
                encoded = replace(encoded, x=encoded.x.masked_fill(schema.missingness.found(encoded.x), torch.nan))
            x, strange, notes = condition_on(model, encoded, cells.columns, cells, "given", 0)
            broken = schema.broken(encoded)
            strange = strange | torch.from_numpy(broken.any(0))
            told = (*rounded, *notes, *schema.contradictions(broken, "given"))
            rows = Rows(schema.missingness.forgotten(schema.seen(x), torch.nan), encoded.context)
            for known, where in zip(partly_known(rows.x), wheres, strict=False):
                if both := [schema.features[j] for j in where.region.parts if known[j]]:
                    raise InputError(f"{both[0]!r} is known in part, and takes no range beside", "given")
            if one and not wheres[0].region.holds(rows.x)[0]:
                raise InputError("no row can be so", "given")
            return cls(cells, rows, wheres, strange, one, Told(schema, encoded.follow), told)
        x = torch.full((n, len(schema.columns)), torch.nan, dtype=torch.float64)
        context, strange, notes = schema.context(cells, "given") if schema.given else (None, torch.zeros(n) > 0, ())
        return cls(cells, Rows(x, context), wheres, strange, one, Told(schema, {}), (*rounded, *notes))

    @classmethod
    def of_held_out(cls, model: TableModel, without: Sequence[str], names: Sequence[str]) -> tuple[Known, torch.Tensor]:
        """What held-out rows that have values of the columns ``without`` say of those in ``names``.

        Returns:
            What is known, and the rows as encoded, whose missing cells are NaN, while those that are known in part are
            drawn.
        """
        held, schema = model.saved_held_out().rows, model.schema
        held = held[~schema.missingness.found(held.x)[:, schema.features_of(without)].any(1)][:CALIBRATED]
        x = schema.missingness.forgotten(schema.seen(held.x), torch.nan)
        told = Told(schema, {name: schema.values_in(name, x).numpy() for name in names if name in schema.follow_names})
        rows = Rows(x.masked_fill(~schema.features_of(names), torch.nan), held.context)
        strange, whole = torch.zeros(len(x), dtype=torch.bool), completed(model, Rows(x, held.context))
        return cls(pl.DataFrame(), rows, (ANYWHERE,), strange, False, told), whole.x

    def told_of(self, name: str) -> torch.Tensor:
        """A column where rows tell it, encoded, ``(n,)``: where all that it follows from is known; NaN in others."""
        schema, x = self.told.schema, self.rows.x
        needed = schema.features_of(schema.dependencies.sources[name])
        return schema.values_in(name, x).masked_fill(x[:, needed].isnan().any(1), torch.nan)

    def apart(self) -> list[Known]:
        """All rows together; or one by one, if conditions that are counted among draws may differ between them."""
        if len(self.wheres) == 1 or not any(where.rest for where in self.wheres):
            return [self]
        return [self[at] for at in torch.arange(len(self)).split(1)]

    def refuse_counted(self) -> None:
        """Refuses conditions that are counted among draws."""
        if any(where.rest for where in self.wheres):
            here = "takes values and ranges of single columns that are modelled here"
            raise InputError(f"{here}, not what holds of several at once, or of one that follows from others", "given")

    def repeated(self, n: int, argument: str) -> Known:
        """What is known, n times if it is of one row."""
        if not n or (not self.one and len(self) != n):
            raise InputError(f"{n} conditions, but {len(self)} rows are given", argument)
        at = torch.zeros(n, dtype=torch.long) if self.one else torch.arange(n)
        return replace(self[at], one=False)

    @property
    def nothing(self) -> bool:
        """Whether no cell is known, except those that the model is conditioned on."""
        free = len(self.wheres) == 1 and self.wheres[0] is ANYWHERE and bool(unknown(self.rows.x).all())
        return free and not (self.told.follow and self.bound.any())

    @property
    def bound(self) -> torch.Tensor:
        """In which rows something is known that follows from what is not, ``(n,)``."""
        return self.told.bears_on(self.rows.x)


def check_shared(model: TableModel, frame: pl.DataFrame, source: str) -> None:
    """Refuses a table that has no column of the model."""
    if len(model.schema.extra_names(frame.columns)) == frame.width > 0:
        known = [*model.schema.given_names, *model.schema.names]
        raise InputError(f"{source}: has no column of the model {model.called}, which has {listed(known)}")


def unused(model: TableModel, columns: Sequence[str], source: str) -> tuple[str, ...]:
    """What is said of columns that the model does not use."""
    extra = model.schema.extra_names(columns)
    return (f"{source}: the model does not use {listed(extra)}",) if extra else ()


def check_known(model: TableModel, names: Sequence[str]) -> None:
    """Refuses columns that the model does not have."""
    schema = model.schema
    known = [*schema.given_names, *schema.names]
    for name in names:
        if name in schema.extra_names([name]):
            raise InputError(f"the model {model.called} has no such column; it has {listed(known)}", "given", name)
    lacking = [name for name in schema.given_names if name not in names]
    if lacking:
        example = next(given.column.example for given in schema.given if given.name == lacking[0])
        raise InputError(
            f"the model {model.called} is conditioned on {listed(schema.given_names)}; give a value for "
            f"{listed(lacking)}, as in `given={ {lacking[0]: example} }`"
        )


def _one_row(model: TableModel, given: Mapping[str, Any]) -> pl.DataFrame:
    """Values given by name, as a frame of one row; numbers may come as text."""
    columns = {column.name: column for column in (*model.schema.known, *model.schema.dependencies.columns)}
    there = {name: _cell(columns[name], v) if name in columns else v for name, v in given.items()}
    return pl.DataFrame([series(name, [v]) for name, v in there.items()])


def _cell(column: Column, value: Any) -> Any:
    name = column.name
    if is_odd_truth(column, value):
        raise InputError(f"{name!r} takes a number", "given", {name: value})
    if not column.reading.takes_numbers:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name!r} takes a number", "given", {name: value}) from None
    if not np.isfinite(number):
        raise InputError(f"{name!r} takes a finite number", "given", {name: value})
    return number


def _divided(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cells that have a value, or a list of one, and those in a range or a list; without those that are None."""
    only = {str(name): v[0] if isinstance(v, list) and len(v) == 1 else v for name, v in given.items()}
    there = {name: value for name, value in only.items() if value is not None}
    asked = {name: value for name, value in there.items() if isinstance(value, tuple | list | set | frozenset)}
    return {name: value for name, value in there.items() if name not in asked}, asked


def _where(model: TableModel, asked: Mapping[str, Any]) -> Where:
    context = [name for name in asked if name in model.schema.given_names]
    if context:
        raise InputError(
            f"the model {model.called} is conditioned on {listed(context)}, so it takes one value there",
            "given",
            {context[0]: asked[context[0]]},
        )
    return Where.of(model, asked, "given") if asked else ANYWHERE


def _without_ranges(given: Any) -> tuple[Any, Sequence[Mapping[str, Any]]]:
    """A table without its cells that are ranges or lists; and these by row, if there are any."""
    frame = given if isinstance(given, Mapping) else nw.from_native(given, eager_only=True, pass_through=True)
    if not isinstance(frame, Mapping | nw.DataFrame):
        return given, ()
    columns = {str(name): frame[name] for name in (frame if isinstance(frame, Mapping) else frame.columns)}
    objects = {name: _objects(column) for name, column in columns.items()}
    held = {name: cells for name, cells in objects.items() if any(isinstance(cell, tuple | list) for cell in cells)}
    if not held:
        return given, ()
    rows = [_divided(dict(zip(held, row, strict=True))) for row in zip(*held.values(), strict=True)]
    columns |= {name: [plain.get(name) for plain, _ in rows] for name in held}
    native = {name: nw.to_native(column, pass_through=True) for name, column in columns.items()}
    return native, [asked for _, asked in rows]


def _objects(column: Any) -> list[Any]:
    """The cells of a column that may hold ranges or lists; of a frame's plain values, none."""
    if isinstance(column, nw.Series):
        holds = isinstance(column.dtype, OBJECTS) or column.dtype in OBJECTS
        column = column.to_list() if holds else ()
    return [cell.to_list() if hasattr(cell, "to_list") else cell for cell in column]


def _is_column(value: Any) -> bool:
    """Whether a given value holds one value per row: an array or a series, no number, name, range, list or set."""
    return hasattr(value, "__len__") and not isinstance(value, str | tuple | list | set | frozenset)
