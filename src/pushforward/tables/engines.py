"""A fitted table on distributed data: scores, imputation and new rows in Spark and in Ray Data.

Both engines pass batches of Arrow to a worker and take batches back; they differ only in how a worker gets the model.
It is sent once, as the bytes of the folder that :meth:`~pushforward.TableDensity.save` writes, and each worker reads it
once. Workers need pushforward; Spark needs ``pyspark`` and a Java runtime, Ray Data ``ray[data]``.
"""

from __future__ import annotations

import functools
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import torch

from ..errors import InputError, listed
from ..models.console import Console
from ..saving import checkpoint
from ..saving.jsonable import jsonable
from .io.frames import from_frame
from .io.read import read_any
from .io.table import Piece
from .model import TableModel
from .queries.drift import MOST as COMPARED
from .queries.drift import Drift, drift
from .queries.impute import impute
from .queries.known import Known
from .queries.predict import PredictionKind, predict
from .queries.probability import probability
from .queries.sample import BATCH, draw
from .queries.score import Scoring, refuse_scores_name
from .queries.where import Where

Work = Callable[[TableModel, pa.Table], pa.Table]
MIXED = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: gives blocks seeds that share no low bits


def pack(model: TableModel) -> bytes:
    """The saved model as one archive."""
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(content, "w") as archive:
        checkpoint.save(model._whole(), Path(folder) / "model", extra=jsonable(model.facts))
        for path in sorted(Path(folder).rglob("*")):
            archive.write(path, path.relative_to(folder))
    return content.getvalue()


@functools.lru_cache(maxsize=2)
def unpack(kind: type[TableModel], content: bytes) -> TableModel:
    """The model in a worker, an object of the class that was sent; it uses one thread because it is one of many."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
        return kind.load(Path(folder) / "model")


class DistributedTable:
    """The code shared by the engines: the work on one batch, and the columns of the result.

    Args:
        model: The fitted table.
    """

    def __init__(self, model: TableModel) -> None:
        self.model, self.kind = model, type(model)

    @functools.cached_property
    def content(self) -> bytes:
        """The model as sent to workers."""
        return pack(self.model)

    def _scores(self, columns: pa.Schema, given: Sequence[str]) -> tuple[Work, pa.Schema]:
        refuse_scores_name(columns.names)
        self._require(columns)
        scoring = Scoring(self.model, given=tuple(given))
        scoring.check(columns.names)
        names = list(scoring.columns)

        def work(model: TableModel, rows: pa.Table) -> pa.Table:
            scores = Scoring(model, given=tuple(given)).piece(Piece(from_frame(rows)[0], "table", 0)).to_arrow()
            for name in names:
                rows = rows.append_column(name, scores[name])
            return rows

        return work, pa.schema([*columns, *(pa.field(name, pa.float64()) for name in names)])

    def _filled(self, columns: pa.Schema, seed: int | None) -> tuple[Work, pa.Schema]:
        self._require(columns)
        self.model.guide_for("cannot draw missing cells")
        own = self.model.seed if seed is None else seed
        drawn = _plain(self.model.schema.decode(torch.zeros(1, len(self.model.schema.columns), dtype=torch.float64)))
        kept = [drawn.field(field.name) if _needs_fractions(field, drawn) else field for field in columns]
        absent = [name for name in self.model.schema.names if name not in columns.names]

        def work(model: TableModel, rows: pa.Table) -> pa.Table:
            frame = from_frame(rows)[0]
            batch = int(frame.hash_rows(seed=own % 2**32).sum()) % 2**31  # so that equal rows of two batches differ
            return impute(model, frame, 1, batch).to_arrow()

        return work, pa.schema([*kept, *(drawn.field(name) for name in absent)])

    def _predicted(self, columns: pa.Schema, column: str, kind: PredictionKind, level: float) -> tuple[Work, pa.Schema]:
        def found(model: TableModel, frame: pl.DataFrame) -> pl.DataFrame:
            rows = predict(model, frame, column, kind, level, model.seed)[0]
            return rows.rename({name: f"predicted_{name}" for name in rows.columns if name in columns.names})

        return self._appended(columns, found, "prediction")

    def _asked(self, columns: pa.Schema, where: Any, given: Sequence[str]) -> tuple[Work, pa.Schema]:
        Where.of(self.model, where)

        def found(model: TableModel, frame: pl.DataFrame) -> pl.DataFrame:
            known = Known.of(model, frame.select(given))
            return pl.DataFrame(probability(model, [Where.of(model, where)], known, model.seed)._asdict()).rename(
                {"value": "probability", "error": "standard_error"}
            )

        return self._appended(columns, found, "answer")

    def _appended(
        self, columns: pa.Schema, found: Callable[[TableModel, pl.DataFrame], pl.DataFrame], called: str
    ) -> tuple[Work, pa.Schema]:
        """Work that appends columns to rows, whose types are those of one held-out row."""
        held, schema = self.model.saved_held_out().rows[:1], self.model.schema
        row = schema.frame(held.x, held.context).select(name for name in columns.names if name in schema.table_names)
        new = _plain(found(self.model, row))
        if twice := sorted({*new.names} & {*columns.names}):
            raise InputError(f"the table has a column {twice[0]!r} already, as the {called} would be called")

        def work(model: TableModel, rows: pa.Table) -> pa.Table:
            more = found(model, from_frame(rows)[0]).to_arrow()
            for name in more.column_names:
                rows = rows.append_column(name, more[name])
            return rows

        return work, pa.schema([*columns, *new])

    def _moved(self, rows: pa.Table) -> Drift:
        return drift(self.model, read_any(rows), Console(quiet=True))

    def _drawn(self, n: int, given: Mapping[str, Any] | None, seed: int | None) -> tuple[Work, pa.Schema]:
        """Work on numbered blocks of rows: block k has its own seed, however blocks are distributed over workers."""
        if n < 1:
            raise InputError("expected at least 1 row", "n", n)
        own = self.model.seed if seed is None else seed

        def work(model: TableModel, blocks: pa.Table) -> pa.Table:
            numbers, known = blocks["id"].to_pylist(), Known.of(model, given)
            parts = [draw(model, min(BATCH, n - k * BATCH), known, own ^ (k * MIXED % 2**62)) for k in numbers]
            return pl.concat(parts).to_arrow()

        return work, _plain(draw(self.model, 1, Known.of(self.model, given), own))

    def _require(self, columns: pa.Schema) -> None:
        """Checks up front, and not in a worker, that the model can read a table."""
        schema = self.model.schema
        lacks = [name for name in (*schema.given_names, *schema.names) if name not in columns.names]
        needed = {*schema.given_names, *(schema.names if self.model.guided is None else ())}
        if needed & set(lacks) or set(schema.names) <= set(lacks):
            raise InputError(
                f"the table has no column {lacks[0]!r}, which the model needs; it has {listed(columns.names)}"
            )


class SparkTable(DistributedTable):
    """:meth:`pushforward.TableDensity.for_spark`: works on Spark data frames, by ``mapInArrow``."""

    def score(self, frame: Any, given: Sequence[str] = ()) -> Any:
        """The frame with the columns of ``pushforward score`` appended: log_density, percentile, …

        Args:
            frame: A Spark data frame; columns are found by name.
            given: Columns to condition on, as in ``TableDensity.score_samples``.

        Raises:
            InputError: a column is missing, or is called as one of the scores.
        """
        return self._map(frame, *self._scores(_columns_of(frame), given))

    def impute(self, frame: Any, random_state: int | None = None) -> Any:
        """The frame with its missing cells drawn from p(missing | observed) row by row.

        Raises:
            InputError: the model has no guide, or the frame lacks what it needs.
        """
        return self._map(frame, *self._filled(_columns_of(frame), random_state))

    def predict(self, frame: Any, column: str, kind: PredictionKind = "mean", level: float = 0.9) -> Any:
        """The frame with what :meth:`~pushforward.TableDensity.predict` says of a column appended, under its name or
        ``predicted_`` and its name.

        Raises:
            InputError: the column is unknown or has no such prediction.
        """
        return self._map(frame, *self._predicted(_columns_of(frame), column, kind, level))

    def ask(self, frame: Any, where: Any, given: Sequence[str]) -> Any:
        """The frame with P(where | its own values of the given columns) appended: probability and standard_error.

        Raises:
            InputError: a column is unknown, or the condition is none.
        """
        return self._map(frame, *self._asked(_columns_of(frame), where, given))

    def drift(self, frame: Any) -> Drift:
        """Whether the frame's rows are still of the table that was fitted, as :meth:`~pushforward.TableDensity.drift`
        says: of as many of them, at random, as it compares.

        Raises:
            InputError: the frame does not fit the model, or has too few rows.
        """
        from pyspark.sql.functions import rand

        return self._moved(frame.orderBy(rand(self.model.seed)).limit(COMPARED).toArrow())

    def sample(self, n: int, given: Mapping[str, Any] | None = None, random_state: int | None = None) -> Any:
        """n new rows, drawn by the workers of the active session; the same rows however many workers there are.

        Raises:
            InputError: ``n`` is below 1, or a given column is unknown.
        """
        from pyspark.sql import SparkSession

        session, work = SparkSession.active(), self._drawn(n, given, random_state)
        blocks = -(-n // BATCH)
        numbers = session.range(0, blocks, 1, min(blocks, session.sparkContext.defaultParallelism))
        return self._map(numbers, *work)

    def _map(self, frame: Any, work: Work, columns: pa.Schema) -> Any:
        from pyspark.sql.pandas.types import from_arrow_schema

        content, kind = frame.sparkSession.sparkContext.broadcast(self.content), self.kind

        def batches(parts: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for part in parts:
                if part.num_rows:
                    rows = work(unpack(kind, content.value), pa.Table.from_batches([part]))
                    yield from rows.select(columns.names).cast(columns).to_batches()

        return frame.mapInArrow(batches, from_arrow_schema(columns))


class RayTable(DistributedTable):
    """:meth:`pushforward.TableDensity.for_ray`: works on datasets of Ray Data, by ``map_batches``.

    Args:
        model: The fitted table.
        workers: Actors that hold the model: a number, or the minimum and the maximum.
    """

    def __init__(self, model: TableModel, workers: int | tuple[int, int] = 1) -> None:
        super().__init__(model)
        self.workers = workers

    def score(self, data: Any, given: Sequence[str] = ()) -> Any:
        """Like :meth:`SparkTable.score`, for a dataset."""
        return self._map(data, *self._scores(data.schema().base_schema, given))

    def impute(self, data: Any, random_state: int | None = None) -> Any:
        """Like :meth:`SparkTable.impute`, for a dataset."""
        return self._map(data, *self._filled(data.schema().base_schema, random_state))

    def sample(self, n: int, given: Mapping[str, Any] | None = None, random_state: int | None = None) -> Any:
        """Like :meth:`SparkTable.sample`: the same rows."""
        import ray

        work = self._drawn(n, given, random_state)
        return self._map(ray.data.range(-(-n // BATCH)), *work, batch_size=8)

    def _map(self, data: Any, work: Work, columns: pa.Schema, batch_size: int = BATCH) -> Any:
        import ray

        made = (self.kind, ray.put(self.content), work, columns)
        options: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": batch_size, "concurrency": self.workers}
        return data.map_batches(RayWorker, fn_constructor_args=made, **options)


class RayWorker:
    """An actor that holds the model and works on batches."""

    def __init__(self, kind: type[TableModel], content: Any, work: Work, columns: pa.Schema) -> None:
        import ray

        self.model, self.work, self.columns = unpack(kind, ray.get(content)), work, columns

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = self.work(self.model, batch) if batch.num_rows else self.columns.empty_table()
        return rows.select(self.columns.names).cast(self.columns)


def _columns_of(frame: Any) -> pa.Schema:
    from pyspark.sql.pandas.types import to_arrow_schema

    return to_arrow_schema(frame.schema)


def _plain(rows: pl.DataFrame) -> pa.Schema:
    """The columns of rows, in types that every engine supports."""
    fields = []
    for field in rows.to_arrow().schema:
        text = pa.types.is_dictionary(field.type) or field.type in (pa.large_string(), pa.string_view())
        fields.append(pa.field(field.name, pa.string() if text else field.type))
    return pa.schema(fields)


def _needs_fractions(field: pa.Field, drawn: pa.Schema) -> bool:
    """Whether filling a column of whole numbers may introduce fractions."""
    number = field.name in drawn.names and pa.types.is_integer(field.type)
    return number and pa.types.is_floating(drawn.field(field.name).type)
