"""Whether new rows are still of the table that was fitted: one p-value, an effect, and what has moved.

Rows that the model did not see and the new ones are compared (:mod:`~pushforward.diagnostics.two_samples`) in the
columns' own values and in what the model says of the rows. Both are new to it, so that the p-value holds however good
or bad the model is: it only decides what is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from markupsafe import Markup
from torch import Tensor

from ...diagnostics.averages import mean_and_error
from ...diagnostics.two_samples import Comparison, compared
from ...errors import InputError, counted, listed
from ...models.console import Console, aligned
from ...models.train import Rows
from ..io.place import Location
from ..io.table import Table
from ..model import TableModel
from ..schema.moments import find_form, read_moments
from ..splits import keys_of
from .explain import explain
from .moved import LEVEL, Pooled, Values, tails_of, values_of
from .query import marginal

FEWEST, MOST, SCORED_HOLED = 10, 3_000, 500  # new rows; of rows with unknown cells, whose densities take draws
REPEATED = 0.1  # share of held-out rows
POINTS = 2  # of each row's cell
SHOWN = 10  # rows, and pairs, that are described
SUSPECTS = 8  # columns of which one may be the only one that moved
WINDOWS = 30  # at most
PERIODS = ("1h", "1d", "1w", "1mo", "1q", "1y", "10y")


@dataclass(frozen=True)
class Drift:
    """How a table differs from the one that was fitted; frames are polars'.

    Attributes:
        verdict: A sentence.
        p_value: At most x with probability x if nothing has changed, however good or bad the model is.
        effect: By how many nats a new row is less likely than rows that the model did not see, on average over those
            that are possible, without the hundredth that is least likely.
        effect_error: Its standard error.
        impossible: The share of new rows that have density 0.
        columns: The names of the columns, the most moved first.
        measures: The same with their p-values, corrected for the number of columns; ``nats``, the divergence of new
            from old values; and what has changed, in words.
        pairs: The pairs of columns that go together in another way, likewise: those whose p-value is at most 0.05, or
            the first; the correlations of their ranks are NaN for categories.
        categories: The share of each category among old and new rows, the most changed first.
        missing: The same of missing values, of every column that has any.
        rows: Those least likely, with the cells to blame.
        windows: If the rows were divided, how each part differs.
        old_rows, new_rows: How many were compared.
    """

    verdict: str
    p_value: float
    effect: float
    effect_error: float
    impossible: float
    columns: list[str]
    measures: pl.DataFrame
    pairs: pl.DataFrame
    categories: pl.DataFrame
    missing: pl.DataFrame
    rows: pl.DataFrame
    old_rows: int
    new_rows: int
    windows: pl.DataFrame | None = None

    def __str__(self) -> str:
        return self.verdict

    def _repr_html_(self) -> str:
        """The verdict and the columns, for a notebook; everything that comes from the data is escaped."""
        with pl.Config(fmt_str_lengths=200, tbl_rows=-1):
            return Markup("<p>{}</p>{}").format(self.verdict, Markup(self.measures._repr_html_()))

    def to_json(self) -> dict[str, Any]:
        """All of it in plain numbers, texts and lists."""
        return {k: v.to_dicts() if isinstance(v, pl.DataFrame) else v for k, v in vars(self).items() if v is not None}


def drift(model: TableModel, table: Table, console: Console, by: str | None = None) -> Drift:
    """Compares a table with the rows that a model did not see."""
    new = model.held_out(table, console)
    frame = table.held_out().frame[new.numbers]
    if by is not None and by not in frame.columns:
        raise InputError(f"the table has no such column; it has {listed(frame.columns)}", "by", by)
    held = model.saved_held_out().rows
    kept, unseen = map(np.flatnonzero, _unseen(model, held, new.rows))
    if left_out := len(frame) - len(unseen):
        console.note(f"{table.path}: left out: {counted(left_out, 'row')} equal to rows that the model has learnt")
    for rows, called in ((unseen, "new rows, which the model has not learnt"), (held, "those that the model held out")):
        if len(rows) < FEWEST:
            raise InputError(f"{counted(len(rows), 'row')}: {FEWEST} are needed of {called}")
    chosen = np.sort(np.random.default_rng(model.seed).permutation(unseen)[:MOST])
    rows, frame = new.rows[chosen], frame[chosen]
    held = replace(held, x=model.schema.as_new(held.x))  # whose names would else be known by themselves
    pooled = pool(model, held[kept], rows, frame, by)
    found = _described(pooled)
    if by is not None:
        found = replace(found, windows=_by_window(pooled, frame[by]))
    return replace(found, rows=_least_likely(pooled, new.numbers[chosen]))


def pool(model: TableModel, old: Rows, new: Rows, frame: pl.DataFrame, without: str | None = None) -> Pooled:
    """The rows that a model did not see, followed by new ones, encoded and as they are in the table; ``without`` names
    a column that is not compared."""
    schema, both = model.schema, Rows.stacked([old, new])
    second = torch.arange(len(both)) >= len(old)
    broken = {
        str(relation): torch.cat([torch.zeros(len(old), dtype=torch.bool), torch.from_numpy(rows)])
        for relation, rows in zip(schema.dependencies, schema.broken(schema.encode(frame, "table")), strict=True)
    }
    columns = [each for each in values_of(schema, both) if each.column.name != without]
    value = _scores(model, both)
    return Pooled(model, both, columns, value, tails_of(model, both, ~value.isnan()), broken, second)


def _unseen(model: TableModel, *tables: Rows) -> list[np.ndarray]:
    """Which rows of each equal none that the model has learnt, of which nothing can be told; all of them, where those
    of the first, which it did not see, often do, since values are few."""
    learnt = [np.isin(keys_of(rows), model.facts.get("learnt", ())) for rows in tables]
    few = learnt[0].sum() > REPEATED * len(learnt[0])
    return [~each | few for each in learnt]


def _scores(model: TableModel, rows: Rows) -> Tensor:
    """The log-density of every row, NaN where there is none. Rows are scored in random order, so that no draw tells old
    from new."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(model.seed))
    holed = model.schema.missingness.unknown(rows.x[order]).any(1)
    scored = order[~holed | (holed.cumsum(0) <= SCORED_HOLED)]
    nowhere = torch.full((len(rows),), math.nan, dtype=torch.float64)
    return nowhere.index_put((scored,), marginal(model, rows[scored], POINTS, model.seed).value)


def _described(pooled: Pooled) -> Drift:
    """What has moved, in figures and words."""
    found: Comparison[Any] = compared(pooled.surprises)
    score, groups = pooled.log_density, found.groups
    (old, old_error), (new, new_error) = (_usual(score[rows]) for rows in (~pooled.second, pooled.second))
    each = {values.column.name: values for values in pooled.columns}
    measures = [
        (name, groups["columns"][name].p_value, pooled.divergence(each[name].numbers), _change(pooled, each[name]))
        for name in _most_moved(pooled, found)
    ]
    pairs = [
        (*pair, moved.p_value, pooled.divergence(*(each[name].numbers for name in pair)), *_correlations(pooled, *pair))
        for pair, moved in list(groups["pairs"].items())[:SHOWN]
    ]
    categories = [
        (name, each[name].shown(code), moved.p_value, *pooled.shares(each[name].numbers == code))
        for (name, code), moved in groups["categories"].items()
    ]
    missing = [(name, moved.p_value, *pooled.shares(each[name].numbers.isnan()))
               for name, moved in groups["missing"].items() if bool(each[name].numbers.isnan().any())]  # fmt: skip
    described = Drift(
        verdict="",
        p_value=found.p_value,
        effect=old - new,
        effect_error=math.hypot(old_error, new_error),
        impossible=pooled.shares(score.isneginf())[1],
        columns=[name for name, *_ in measures],
        measures=_frame(measures, "column", "p_value", "nats", "change"),
        pairs=_frame(pairs, "column", "other", "p_value", "nats", "old_correlation", "new_correlation"),
        categories=_frame(categories, "column", "category", "p_value", "old_share", "new_share"),
        missing=_frame(missing, "column", "p_value", "old_share", "new_share"),
        rows=pl.DataFrame(),
        old_rows=int((~pooled.second).sum()),
        new_rows=int(pooled.second.sum()),
    )
    return replace(described, verdict=_verdict(described, found))


def _usual(score: Tensor) -> tuple[float, float]:
    """The mean log-density of rows that are possible, without the hundredth that is least likely, and its error."""
    there = score[score.isfinite()].sort().values
    return mean_and_error(there[len(there) // 100 :].numpy()) if len(there) else (-math.inf, 0.0)


def _most_moved(pooled: Pooled, found: Comparison[Any]) -> list[str]:
    """The columns, the most moved first: those that moved by themselves, then the others; each by the divergence of its
    values, and of how far these are from what the others tell. What only follows another column diverges less than it
    (the data processing inequality), but may be as far from what is told when that one moves. So the first of them
    without which nothing has changed comes before all others: where one column moved, it is that one."""
    numbers = {values.column.name: values.numbers for values in pooled.columns}

    def moved(name: str) -> tuple[bool, float]:
        alone = [found.groups[group].get(name) for group in ("columns", "missing", "new names")]
        by_itself = any(one is not None and one.p_value <= LEVEL for one in alone)
        return by_itself, sum(pooled.divergence(seen[name]) for seen in (numbers, pooled.tails) if name in seen)

    names = sorted(numbers, key=moved, reverse=True)
    suspects = names[:SUSPECTS] if found.p_value <= LEVEL and len(names) > 1 else []
    cause = next((name for name in suspects if not pooled.changed_without(name)), None)
    return sorted(names, key=lambda name: name != cause)


def _frame(rows: Sequence[tuple[Any, ...]], *names: str) -> pl.DataFrame:
    texts = {"column", "other", "change", "category"}
    return pl.DataFrame(rows, {name: pl.String if name in texts else pl.Float64 for name in names}, orient="row")


def _verdict(found: Drift, compared: Comparison[Any]) -> str:
    """The whole in a sentence."""
    p = f"p = {found.p_value:.3f}, {found.new_rows:,} new rows and {found.old_rows:,} that the model did not see"
    side = "less" if found.effect > 0 else "more"
    likely = f"a new row is {abs(found.effect):.2f} ± {found.effect_error:.2f} nats {side} likely"
    likely += f", and {found.impossible:.1%} are impossible" if found.impossible else ""
    if found.p_value > LEVEL:
        return f"no sign of a change ({p}): {likely}"
    first = max(
        (moved for moved in compared.groups.items() if moved[1]), key=lambda g: next(iter(g[1].values())).surprise
    )
    return f"the table has changed ({p}): {_first_change(found, first[0], next(iter(first[1])))}; {likely}"


def _first_change(found: Drift, group: str, key: Any) -> str:
    """The most surprising change in words."""
    first = key[0] if group == "categories" else key if group == "new names" else found.columns[0]
    own = found.measures.filter(pl.col("column") == first).row(0, named=True)
    moved = found.measures.filter((pl.col("p_value") <= LEVEL) & (pl.col("column") != first))["column"]
    by_itself = own["p_value"] <= LEVEL and group in ("given others", "rows")
    if by_itself or group in ("columns", "categories", "new names"):
        beside = f", beside {listed(map(repr, moved), 3)}" if len(moved) else ""
        return f"{first!r} moved most ({own['change']}){beside}"
    if group == "missing":
        _, _, old, new = found.missing.row(0)
        return f"{key!r} is missing in {new:.1%} of the rows, which was {old:.1%}"
    if group == "relations":
        return f"rows break a relation: {key}"
    if group == "pairs":
        return f"{key[0]!r} and {key[1]!r} go together in another way"
    return f"columns go together in another way, {first!r} most of all"


def _change(pooled: Pooled, values: Values) -> str:
    """What has become of a column, in words."""
    old, new = (values.numbers[rows & ~values.numbers.isnan()] for rows in (~pooled.second, pooled.second))
    if not (len(old) and len(new)):
        return "no value is there any more" if len(old) else "values where there were none"
    if values.named:
        shares = {float(code): pooled.shares(values.numbers == code) for code in torch.cat([old, new]).unique()}
        code, (was, now) = max(shares.items(), key=lambda one: (one[1][1] - one[1][0]) ** 2 / sum(one[1]))  # Pearson's
        return f"{values.shown(code)!r} {was:.1%} → {now:.1%}"
    at = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    before, after = (part.quantile(at, interpolation="nearest") for part in (old, new))
    if abs(before[1] - after[1]) >= 0.1 * (before[2] - before[0]):
        return f"median {values.shown(float(before[1]))} → {values.shown(float(after[1]))}"
    ends = (f"{values.shown(float(part[0]))} to {values.shown(float(part[2]))}" for part in (before, after))
    return "central 80%: " + " → ".join(ends)


def _correlations(pooled: Pooled, one: str, other: str) -> list[float]:
    """The correlations of two columns' normal scores, of old and of new rows; NaN for categories."""
    if any(each.named for each in pooled.columns if each.column.name in (one, other)):
        return [math.nan, math.nan]
    both = torch.cat([pooled.scores[one], pooled.scores[other]], 1).T
    return [float(torch.corrcoef(both[:, rows])[0, 1]) for rows in (~pooled.second, pooled.second)]


def _by_window(pooled: Pooled, values: pl.Series) -> pl.DataFrame:
    """Every window of the new rows by itself, with p-values corrected for their number (Holm)."""
    found, before = [], int((~pooled.second).sum())
    for name, places in windows_of(values, FEWEST):
        some = torch.cat([torch.arange(before), before + torch.from_numpy(places)])
        each = _described(pooled[some])
        found.append((name, each.new_rows, each.p_value, each.effect, each.columns[0], each.verdict))
    frame = pl.DataFrame(found, ["window", "rows", "p_value", "effect", "first", "verdict"], orient="row")
    order = np.argsort(frame["p_value"].to_numpy(), kind="stable")
    held = np.maximum.accumulate(frame["p_value"].to_numpy()[order] * np.arange(len(order), 0, -1)).clip(max=1.0)
    return frame.with_columns(p_value=pl.Series(held[np.argsort(order)]))


def _least_likely(pooled: Pooled, numbers: np.ndarray) -> pl.DataFrame:
    """The new rows to look at: the least likely ones, with the cells to blame."""
    model, rows, value = pooled.model, pooled.rows[pooled.second], pooled.log_density[pooled.second].numpy()
    whole = np.flatnonzero(~model.schema.missingness.unknown(rows.x).any(1).numpy())
    worst = whole[np.argsort(value[whole], kind="stable")[:SHOWN]]
    why = explain(model, rows[worst], np.arange(len(worst)), seed=model.seed)
    scores = {"row": numbers[worst] + 1, "log_density": value[worst], "percentile": model.percentile(value[worst])}
    return pl.DataFrame(scores).hstack(why.select("unlikely_because", "would_fit", "also_unlikely", "gain"))


def drift_file(model: TableModel, data: Location, console: Console, by: str | None = None) -> dict[str, Any]:
    """Compares a file's rows with those that a model did not see; returns the result as a summary."""
    found = drift(model, model.read_file(data), console, by)
    console.say(found.verdict)
    for title, frame in (
        ("columns", found.measures.head(SHOWN)),
        ("pairs of columns", found.pairs.filter(pl.col("p_value") <= LEVEL)),
        ("categories", found.categories.filter(pl.col("p_value") <= LEVEL).head(SHOWN)),
        ("missing values", found.missing.filter(pl.col("p_value") <= LEVEL)),
        ("the least likely rows", found.rows),
        ("windows", pl.DataFrame() if found.windows is None else found.windows.drop("verdict")),
    ):
        if frame.height:
            console.say("", title, *aligned([frame.columns, *frame.rows()]))
    return {**found.to_json(), "drifted": found.p_value <= LEVEL}


def windows_of(values: pl.Series, fewest: int) -> list[tuple[str, np.ndarray]]:
    """The windows' names, in order, and the positions of their rows; those with fewer rows are left out.

    Dates are divided by the shortest period that makes at most ``WINDOWS`` windows; of anything else each value is one.
    """
    values = _as_times(values)
    if values.dtype == pl.Datetime:
        divided = [values.dt.truncate(period) for period in PERIODS]
        values = next((each for each in divided if each.n_unique() <= WINDOWS), divided[-1])
        values = values.dt.date() if bool((values == values.dt.truncate("1d")).all()) else values
    if values.n_unique() > WINDOWS:
        raise InputError(f"has {values.n_unique():,} values; expected dates, or at most {WINDOWS}", "by", values.name)
    groups = pl.DataFrame({"by": values, "row": np.arange(len(values))}).drop_nulls().group_by("by").all().sort("by")
    found = [(str(name), np.array(rows)) for name, rows in groups.iter_rows() if len(rows) >= fewest]
    if not found:
        raise InputError(f"no window has {fewest} rows", "by", values.name)
    return found


def _as_times(values: pl.Series) -> pl.Series:
    """Dates, typed or as text, as date-times; anything else as it is."""
    form = find_form(values) if values.dtype == pl.String else None
    if form is not None and form.dtype in ("Date", "Datetime"):
        seconds = read_moments(values, form.dtype, form.form) * (86400 if form.dtype == "Date" else 1)
        return (seconds * 1e6).cast(pl.Int64).cast(pl.Datetime("us"))
    return values.cast(pl.Datetime("us")) if values.dtype == pl.Date else values
