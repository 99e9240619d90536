"""New rows for a fitted table: the model goes on from what it knows, and the old rows are not needed.

What it knew is kept by draws of the model itself in the place of old rows, by rows that were saved on request
(``keep=``), and by the schema, which stays as it was decided and takes in what is new; only if new rows contradict what
was found of old ones, all are described again. More of the same waits until the rows have doubled, and the density is
then fitted anew: what twice the rows teach of few is most of all what each column is like, which no further training
changes. An average of which no rows are saved stays, averaged with one of new rows alone: as many, and of the same, so
that they teach its guide, too. Where rows have moved, it goes on from its weights at once, since one that is fitted to
more draws than rows loses much of what few rows have taught: held-out rows, which every model saves, and some of the
new ones tell when to stop. It is fitted anew, too, where what a column is has changed.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch

from ..distributions.truncated import untruncated
from ..errors import InputError, counted
from ..models.console import Console
from ..models.train import Rows
from ..recipes.by_name import learning_rate
from .fit import Learned, fit_rows, options_as_fitted
from .io.table import Table
from .measure import saved
from .model import TableModel
from .options import TableOptions
from .prepare import shaped
from .queries.drift import drift
from .queries.known import Known
from .queries.moved import LEVEL
from .queries.sample import draw
from .schema.columns import Column
from .schema.decide import learn_schema
from .schema.learner import Learner
from .schema.numbers import missing
from .schema.relations.labels import Threshold
from .schema.schema import Schema
from .schema.widening import widened
from .selection.cross_fitting import BATCH, FEW_ROWS
from .splits import RECOGNISED, TableSplits, keys_of

GROWN = 2  # times as many rows as when it was last reached: the density is fitted anew
DRAWS = 50_000  # old rows, at most, in whose place draws are: beside more of them nothing waits
TIMES = 4  # draws in the place of a row, where new ones are fewer: what is learnt again of them loses the less
UNTOLD = 600  # steps that stand for those of a fit that took none, as a mixture's
FLOW, AVERAGE = (3, 2), (2, 1)  # times: how much shorter an update's training is than the fit's, and how much slower
AGAIN = 2  # times: how much oftener than among rows held out one is equal to others, if it is one of these
CHANCES = 4  # rows equal to others beside those that were: of none, it may be that there are some
ANOTHER = 1.0  # nats by which every column of another table has moved

Joined = tuple[TableSplits, np.ndarray | None, np.ndarray]


def update_table(
    model: TableModel, new: Table, options: TableOptions, console: Console
) -> tuple[Learned | None, dict[str, Any]] | None:
    """Compares new rows with what a model knows, and learns both.

    Returns:
        What was learnt, if anything was, and the facts that are saved with it; None on all but the first process of
        torchrun.
    """
    started, source, options = time.monotonic(), str(new.path), options_as_fitted(model, options)
    frame, old = _new_rows(model, new, options, source), _Old(model)
    frame = old.unknown(frame, source, console)
    table = replace(new, frame=frame, splits={})
    moved = drift(model, table, Console(quiet=True))
    if len(moved.columns) > 1 and bool((moved.measures["nats"] > ANOTHER).all()):
        raise InputError(f"{source}: is another table: {moved.verdict}; fit it by itself")
    console.note(f"{source}: {moved.verdict}")
    same = moved.p_value > LEVEL
    change = _Change.of(old, frame, same, options, source)
    console.note(*change.notes)
    fresh = Rows.stacked([*(old.again(change.schema, rows) for rows in old.waiting), _encoded(change.schema, frame)])
    record: dict[str, Any] = {"data": new.path.name, "rows": frame.height, **change.record(old)}
    record |= {name: getattr(moved, name) for name in ("p_value", "effect", "verdict", "columns")}
    updates = [*old.updates, record]
    if old.grows and same and not change.anew and options.training.budget is None:
        console.note(f"{source}: waits, and is learnt when there are {counted(GROWN * old.fitted, 'row')}")
        return None, {**model.facts, "updates": updates, "waiting": saved(fresh, np.arange(len(fresh)))}
    if left := int(change.schema.unplaced(fresh.x).sum()):
        console.note(f"{source}: left out {counted(left, 'row')} with new names, as rare as those that are expected")
    rows, kept, learnt = change.joined(old, fresh, options, source)
    options = _as_it_was(model, options, change.anew, old.steps)
    beside = (untruncated(model.density), len(fresh) / change.known) if change.alone else None
    fitted = fit_rows(table, rows, options, console, None if change.anew else model, started, beside)
    if fitted is None:
        return None
    learned, facts = fitted
    facts["summary"] |= {"training_rows": change.known - len(rows.test)}  # without draws
    if change.alone and "average" in facts["summary"]:
        facts["summary"]["average"]["members"] += model.facts["summary"]["average"]["members"]
    return learned, facts | {"updates": updates, **old.remembered(learned.rows, kept, learnt)}


@dataclass(frozen=True)
class _Change:
    """What new rows change of what a model knows."""

    schema: Schema  # of old and new rows
    known: int  # how many these are
    notes: Sequence[str]  # what is new of columns
    grown: bool  # whether the rows have doubled
    anew: bool  # whether the density is fitted anew
    alone: bool  # whether it stays, averaged with one of new rows alone
    relearnt: bool  # whether all columns are described again

    @classmethod
    def of(cls, old: _Old, frame: pl.DataFrame, same: bool, options: TableOptions, source: str) -> _Change:
        """What rows change; ``same`` says that they have not moved."""
        own = old.model.schema
        schema, notes = widened(own, frame, lambda: old.drawn(min(old.known, DRAWS)), old.known, old.complete)
        in_part = own.missingness.in_part
        if in_part and schema is not own:
            raise InputError(f"{source}: {notes[0]}, which cells that are known in part forbid; fit all rows again")
        known = old.known + old.waits + frame.height
        grown = old.grows and known >= GROWN * old.fitted
        anew = grown or schema is None or bool(notes)
        alone = grown and same and old.may_stay(schema, known)
        again = grown or (anew and old.complete)
        relearnt = schema is None or (again and not alone and "said" in old.model.facts and not in_part)
        if schema is None or relearnt:
            schema = old.learnt_again(frame, options, source)
        return cls(schema, known, notes, grown, anew, alone, relearnt)

    def record(self, old: _Old) -> dict[str, Any]:
        """What is saved of it."""
        version = max([1, *(each.get("schema_version", 1) for each in old.updates)])
        version += self.schema is not old.model.schema
        said = {name: getattr(self, name) for name in ("known", "notes", "anew", "grown")}
        return {**said, "schema_version": version}

    def joined(self, old: _Old, fresh: Rows, options: TableOptions, source: str) -> Joined:
        """Old and new rows as :meth:`_Old.joined` divides them, by a schema that is shaped by them where it is new."""
        few, times = self.anew and "average" in old.summary, 0 if self.alone else 1 if self.grown else TIMES
        rows, kept, learnt = old.joined(self.schema, fresh, few, times)
        if self.relearnt:
            rows = shaped(rows, options, source)
        elif self.anew:
            rows = replace(rows, schema=rows.schema.shaped(rows.train.x, rows.train.weights, again=True))
        return rows, kept, learnt


def _new_rows(model: TableModel, new: Table, options: TableOptions, source: str) -> pl.DataFrame:
    """The rows of a table that can be learnt; refuses a table that lacks some columns."""
    frame = model.schema.joined(pl.concat(new.splits.values()) if new.splits else new.frame, source)
    model.schema.check(frame, source)
    if "validation_rows" not in model.facts["summary"]:
        raise InputError(f"{source}: the model {model.called} was fitted to a density, not to rows")
    if options.drop_missing:
        frame = frame.filter(pl.Series(model.schema.usable(frame)))
    *_, strange = model.schema.context(frame, source)
    if strange:
        raise InputError(strange[0])
    return frame


def _as_it_was(model: TableModel, options: TableOptions, anew: bool, steps: int) -> TableOptions:
    """The options of the fit, and how long to train: as told, or for a part of its steps; anew until it ends by itself,
    unless the fit did not. Flows of an average were trained on small batches, and are again."""
    summary = model.facts["summary"]
    average, told = "average" in summary or summary["flow"] == "gmm", options.training.steps or options.training.epochs
    cut_short = told or summary["training"].get("verdict", {"kind": "improving"})["kind"] == "improving"
    options = replace(options, queries=model.guided is not None, weights=None, keep=0)
    training = replace(options.training, epochs=None, steps=None, limit=None)
    shorter, slower = AVERAGE if average else FLOW
    if training.budget is None and (cut_short or not anew):
        training = replace(training, steps=steps if anew else -(-steps // shorter))
    if not anew:
        rate = training.lr or learning_rate(options.flow) / slower
        training = replace(training, lr=rate, batch_size=training.batch_size or (BATCH if average else None))
    return replace(options, training=training)


class _Old:
    """What a model has of the rows that it has seen: their number, some that it holds out, some saved on request, and
    draws in the place of the others."""

    def __init__(self, model: TableModel) -> None:
        self.model, self.held, facts = model, model.saved_held_out().rows, model.facts
        self.summary, self.updates = facts["summary"], facts.get("updates", ())
        self.steps = int(facts.get("first_steps", self.summary["training"]["steps"])) or UNTOLD
        self.saved, self.waiting = ([model.saved_rows(k)] if k in facts else [] for k in ("kept", "waiting"))
        self.count = sum(map(len, self.saved))
        self.keep = int(facts.get("keep", self.count))
        first = facts.get("first_rows", self.summary["training_rows"] + 2 * self.summary["validation_rows"])
        self.waits, self.first = sum(map(len, self.waiting)), int(first)
        self.known = int(self.updates[-1]["known"] if self.updates else first) - self.waits
        self.weighted = bool(facts.get("weighted"))  # by the user: draws have weights, too
        self.complete = self.count < self.keep and not self.weighted
        self.grows = self.left <= DRAWS and not self.weighted
        grown = [each["known"] for each in self.updates if each.get("grown", each.get("anew"))]
        self.fitted = max([self.first, *grown])
        self.recognises = bool(facts.get("learnt")) and self.first <= RECOGNISED and facts.get("recognises", True)
        self.had, self.whole = pl.DataFrame(), self.complete  # those of the new rows, and whether these are all
        self.drawn = functools.cache(self._drawn)  # no longer than the update, which asks for the same rows twice

    @property
    def left(self) -> int:
        """How many rows draws stand for: those that are not saved."""
        return 0 if self.complete else max(self.known - self.count, 1)

    def may_stay(self, schema: Schema | None, known: int) -> bool:
        """Whether the density may stay as it is, averaged with one of new rows: if these are as many as its own, of
        which none is there, and all are encoded alike."""
        own = self.model.schema
        simple = len(own.fields) > 1 and not own.told_labels and not own.missingness.occurs
        average = "average" in self.summary and schema is own
        return simple and average and not self.count and known >= GROWN * self.known

    def unknown(self, new: pl.DataFrame, source: str, console: Console) -> pl.DataFrame:
        """New rows without those that the model has had, which a table that has grown holds: if more are equal to such
        than chance would have it, at most AGAIN times the share of rows held out, or of all, that are equal to others.
        """
        learnt, held = self.model.facts.get("learnt", ()), keys_of(self.held)
        known = Counter([*learnt, *(key for rows in self.waiting for key in keys_of(rows)), *held])
        count = max(self.known + self.waits, len(known))
        usual = (CHANCES + sum(known[key] > 1 for key in held)) / (1 + len(held))
        usual = min(usual, 2 * (1 + count - len(known)) / (1 + count))  # twice: the first rows had fewer to be equal to
        keys = keys_of(_encoded(self.model.schema, new))
        had = np.isin(keys, list(known))
        if had.sum() <= 1 + AGAIN * usual * len(had):
            return new
        if not self.recognises:
            raise InputError(f"{source}: holds rows that the model has had; give it the new ones alone")
        had &= had.cumsum() <= count  # those after them are equal by chance
        console.note(f"{source}: left out {counted(int(had.sum()), 'row')} that the model has had")
        self.had, self.whole = new.filter(pl.Series(had)), self.complete or known.keys() <= {*keys}
        return new.filter(pl.Series(~had))

    def learnt_again(self, new: pl.DataFrame, options: TableOptions, source: str) -> Schema:
        """The schema of old and new rows together."""
        schema, saved = self.model.schema, [self._frame(rows) for rows in (*self.saved, *self.waiting)]
        known = [*schema.known, *schema.dependencies.columns]
        rows = pl.DataFrame([c.reading.cells(c.name, c.reading.values(new[c.name])) for c in known if c.name in new])
        parts = [rows, self._frame(self.held), *saved, *([self.drawn(min(self.left, DRAWS))] if self.left else [])]
        both = pl.concat([part.select(rows.columns) for part in parts], how="vertical_relaxed")
        columns = [name for name in options.columns if name in rows.columns]
        bounded = [c for c in known if c.name in options.bounds and c.name in rows and _can(c, rows)]
        bounds = {c.name: c.kind.bounds for c in bounded if c.kind.bounds is not None}
        readings = {c.name: c.reading for c in known if c.reading.dtype == "Marked" or c.reading.lenient}
        said = replace(options, columns=columns, bounds=bounds, strict=False)
        return learn_schema(both, Learner(said, source, readings=readings))

    def _drawn(self, n: int) -> pl.DataFrame:
        """Draws of the model; given what held-out rows are, if it is conditioned on columns."""
        model, seed = self.model, self.model.seed + self.known
        if not model.schema.given:
            return self._certain(draw(model, n, Known.of(model), seed))
        some = np.random.default_rng(seed).integers(0, len(self.held), n)
        fixed = self._frame(self.held[torch.from_numpy(some)]).select(model.schema.given_names)
        return self._certain(draw(model, 1, Known.of(model, fixed), seed))

    def _certain(self, drawn: pl.DataFrame) -> pl.DataFrame:
        """Draws whose labels are those of rows there: where none was, as between two labels, either may be drawn."""
        schema = self.model.schema
        labels, known = [each for each in schema.dependencies if isinstance(each, Threshold)], schema.dependencies.known
        if not labels:
            return drawn
        rows = schema.encode(drawn, "draws")
        values = schema.dependencies.computed({**schema.dated(rows.x), **rows.follow})
        return drawn.filter(np.all([label.sure(values, known) for label in labels], 0))

    def _frame(self, rows: Rows) -> pl.DataFrame:
        return self.model.schema.frame(rows.x, rows.context)

    def again(self, schema: Schema, rows: Rows) -> Rows:
        return rows if schema is self.model.schema else _encoded(schema, self._frame(rows))

    def joined(self, schema: Schema, fresh: Rows, few: bool, times: int) -> Joined:
        """Old and new rows to train on, to stop by and to report on, of which the last were seen by nothing; indices of
        as many of those to train on as were saved before, old and new ones in proportion; and of what is learnt,
        without draws, of which ``times`` as many stand for rows, or so many that an average can have all (``few``)."""
        random, held = np.random.default_rng([self.model.seed, self.known]), self.again(schema, self.held)
        share, fresh = len(fresh) / (self.known + len(fresh)), fresh[torch.from_numpy(random.permutation(len(fresh)))]
        fresh = fresh[~schema.unplaced(fresh.x)]
        part = max(min(round(len(held) * len(fresh) / self.known), len(fresh) // 4), 1)
        saved = [self.again(schema, old) for old in self.saved]
        left, count = self.left, times * min(self.left, DRAWS)
        if few:
            count = min(count, max(FEW_ROWS - sum(map(len, (fresh, held, *saved))), left))
        drawn = [_encoded(schema, self.drawn(count))] if count else []
        count, train = sum(map(len, drawn)), [fresh[2 * part :], *saved, *drawn]
        val, test = [fresh[:part], *([] if few else [held])], [fresh[part : 2 * part], held]  # an average trains on val
        ends = np.cumsum([0, *(sum(map(len, parts)) for parts in (train, val, test))])
        weights = torch.ones(int(ends[-1]), dtype=torch.float64)
        weights[ends[1] - count : ends[1]] = left / max(count, 1)
        whole = replace(Rows.stacked([*train, *val, *test]), weights=weights if count not in (0, left) else None)
        told = min(max(len(held) - part, 0), ends[1] // 4) if few else 0  # those few cannot tell a guide when to stop
        train_at, val_at, test_at = np.split(np.arange(ends[-1]), [ends[1] - told, ends[2]])
        split, numbers = (train_at, val_at, test_at), np.arange(len(test_at))
        earlier, schema = len(whole) - len(fresh), schema.reaching(fresh.x)
        divided = TableSplits(schema, whole, split, numbers, complete=False, earlier=earlier)
        new, old = np.arange(len(train[0])), np.arange(len(train[0]), ends[1] - count)
        new = np.concatenate([new, np.arange(ends[1], ends[1] + part)])  # and rows to stop by
        kept = self._kept(new, old, share) if saved else None
        return divided, kept, np.concatenate([new, old])

    def _kept(self, new: np.ndarray, old: np.ndarray, share: float) -> np.ndarray:
        """The rows to save, of new ones and those saved before; a share is new: more if there is room."""
        random = np.random.default_rng([self.model.seed, self.known, 1])
        count = min(max(round(self.keep * share), self.keep - len(old)), len(new))
        return np.concatenate([random.permutation(old)[: self.keep - count], random.permutation(new)[:count]])

    def remembered(self, split: TableSplits, kept: np.ndarray | None, learnt: np.ndarray) -> dict[str, Any]:
        """What is saved for further updates: which rows were learnt, of those that the density was fitted to, whether
        all of these are recognised where rows have other codes now, and on request some of them."""
        rows, same = split.rows, keys_of(self.again(split.schema, self.held)) == keys_of(self.held)
        keys = {*self.model.facts.get("learnt", ())} if same or not self.whole else set[int]()
        if self.had.height and not same:
            keys |= {*keys_of(_encoded(split.schema, self.had))} - {*keys_of(split.test)}
        recognises, keys = self.recognises and (self.whole or same), keys | {*keys_of(rows[learnt])}
        facts: dict[str, Any] = {"first_steps": self.steps, "first_rows": self.first, "weighted": self.weighted}
        facts |= {"learnt": sorted(keys), "recognises": recognises}
        return facts if kept is None else facts | {"kept": saved(rows[kept], np.arange(len(kept))), "keep": self.keep}


def _can(column: Column, rows: pl.DataFrame) -> bool:
    """Whether no row has a value that the column holds for impossible, as one beyond its bounds is."""
    there = rows[column.name]
    return bool((column.kind.can(column.read(there)) | missing(there)).all())


def _encoded(schema: Schema, frame: pl.DataFrame) -> Rows:
    encoded = schema.encode(frame, "rows")
    return Rows(schema.seen(encoded.x), encoded.context)
