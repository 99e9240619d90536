"""A fitted table on distributed data: scores, imputation and new rows in Spark and in Ray Data.

Both engines pass batches of Arrow to a worker and take batches back; they differ only in how a worker gets the model.
It is sent once, as the bytes of the folder that :meth:`~pushforward.TableDensity.save` writes, and each worker reads it
once. Workers need pushforward; Spark needs ``pyspark`` and a Java runtime, Ray Data ``ray[data]``.
"""

from __future__ import annotations

import functools
import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import torch

from ..errors import InputError, positive_integers
from ..models.console import Console
from ..models.options import check_seed
from ..saving import checkpoint
from ..saving.bundle import jsonable
from .io.frames import from_frame
from .io.read import read_any
from .io.table import Piece
from .model import TableModel
from .queries.drift import MOST as COMPARED
from .queries.drift import Drift, drift
from .queries.known import Known
from .queries.predict import PredictionKind, predict
from .queries.probability import probability
from .queries.query import encode_partly
from .queries.sample import BATCH, draw, impute
from .queries.score import Scoring, refuse_scores_name
from .queries.where import Where

Work = Callable[[TableModel, pa.Table], pa.Table]
MIXED = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: gives blocks seeds that share no low bits


def pack(model: TableModel) -> bytes:
    """The saved model as one archive."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(model._whole(), Path(folder) / "model", extra=jsonable(model.facts))
        return Path(shutil.make_archive(f"{folder}/model", "zip", folder, "model")).read_bytes()


@functools.lru_cache(maxsize=2)
def unpack(kind: type[TableModel], content: bytes) -> TableModel:
    """The model in a worker, an object of the class that was sent; it uses one thread because it is one of many."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
        return kind.load(Path(folder) / "model")


class DistributedTable:
    """What a fitted table does on an engine; an engine says how work reaches its rows."""

    def __init__(self, model: TableModel) -> None:
        self.model, self.kind = model, type(model)
        _ = model.schema  # which refuses a model that is not fitted

    def score(self, data: Any, given: Sequence[str] = ()) -> Any:
        """The rows with the columns of ``pushforward score`` appended: log_density, percentile, …

        Args:
            data: Rows on the engine; columns are found by name.
            given: Columns to condition on, as in ``TableDensity.score_samples``.

        Raises:
            InputError: a column is missing, or is called as one of the scores.
        """
        columns = self._columns(data)
        refuse_scores_name(columns.names)
        Scoring(self.model, given=tuple(given)).check(columns.names)

        def scores(model: TableModel, frame: pl.DataFrame) -> pl.DataFrame:
            scoring = Scoring(model, given=tuple(given))
            return scoring.scores(scoring.query(Piece(frame, "table")))

        return self._answered(data, scores, "score")

    def impute(self, data: Any, random_state: int | None = None) -> Any:
        """The rows with their missing cells drawn from p(missing | observed) of their own.

        Raises:
            InputError: the model has no guide, or the rows lack what it needs.
        """
        columns = self._columns(data)
        encode_partly(self.model, self._row(columns), "the table")
        self.model.guide_for("cannot draw missing cells")
        own = self.model.seed if random_state is None else check_seed(random_state)
        drawn = _plain(self.model.schema.decode(torch.zeros(1, len(self.model.schema.columns), dtype=torch.float64)))
        kept = [drawn.field(field.name) if _needs_fractions(field, drawn) else field for field in columns]
        absent = {*drawn.names} - {*columns.names, *self.model.schema.follow_names}

        def work(model: TableModel, rows: pa.Table) -> pa.Table:
            frame = from_frame(rows)[0]
            batch = int(frame.hash_rows(seed=own % 2**32).sum()) % 2**31  # so that equal rows of two batches differ
            return impute(model, frame, 1, batch)[0].to_arrow()

        return self._map(data, work, pa.schema([*kept, *(field for field in drawn if field.name in absent)]))

    def predict(self, data: Any, column: str, kind: PredictionKind = "mean", level: float = 0.9) -> Any:
        """The rows with what :meth:`~pushforward.TableDensity.predict` says of a column appended, under its name or
        ``predicted_`` and its name.

        Raises:
            InputError: the column is unknown or has no such prediction.
        """
        names = self._columns(data).names

        def found(model: TableModel, frame: pl.DataFrame) -> pl.DataFrame:
            rows = predict(model, frame, column, kind, level, model.seed, "the table")[0]
            return rows.rename({name: f"predicted_{name}" for name in rows.columns if name in names})

        return self._answered(data, found, "prediction")

    def ask(self, data: Any, where: Any, given: Sequence[str]) -> Any:
        """The rows with P(where | their own values of the given columns) appended: probability and standard_error.

        Raises:
            InputError: a column is unknown, or the condition is none.
        """

        def found(model: TableModel, frame: pl.DataFrame) -> pl.DataFrame:
            known = Known.of(model, frame.select(given))
            value, error = probability(model, [Where.of(model, where)], known, model.seed)
            return pl.DataFrame({"probability": value.numpy(), "standard_error": error.numpy()})

        return self._answered(data, found, "answer")

    def drift(self, data: Any) -> Drift:
        """Whether the rows are still of the table that was fitted, as :meth:`~pushforward.TableDensity.drift` says: of
        as many of them, at random, as it compares.

        Raises:
            InputError: the rows do not fit the model, or are too few.
        """
        return drift(self.model, read_any(self._some(data, COMPARED)), Console(quiet=True))

    def sample(self, n: int, given: Mapping[str, Any] | None = None, random_state: int | None = None) -> Any:
        """n new rows, drawn by the workers in numbered blocks, each with its own seed: the same rows however many
        workers there are.

        Raises:
            InputError: ``n`` is below 1, or a given column is unknown.
        """
        positive_integers(n=n)
        own = self.model.seed if random_state is None else check_seed(random_state)

        def work(model: TableModel, blocks: pa.Table) -> pa.Table:
            numbers, known = blocks["id"].to_pylist(), Known.of(model, given)
            parts = [draw(model, min(BATCH, n - k * BATCH), known, own ^ (k * MIXED % 2**62)) for k in numbers]
            return pl.concat(parts).to_arrow()

        columns = _plain(draw(self.model, 1, Known.of(self.model, given), own))
        return self._map(self._numbers(-(-n // BATCH)), work, columns, batch=8)

    def _answered(self, data: Any, found: Callable[[TableModel, pl.DataFrame], pl.DataFrame], called: str) -> Any:
        """The rows with columns appended, whose types are those of one held-out row."""
        columns = self._columns(data)
        new = _plain(found(self.model, self._row(columns)))
        if twice := sorted({*new.names} & {*columns.names}):
            raise InputError(f"the table has a column {twice[0]!r} already, as the {called} would be called")

        def work(model: TableModel, rows: pa.Table) -> pa.Table:
            more = found(model, from_frame(rows)[0]).to_arrow()
            for name in more.column_names:
                rows = rows.append_column(name, more[name])
            return rows

        return self._map(data, work, pa.schema([*columns, *new]))

    def _row(self, columns: pa.Schema) -> pl.DataFrame:
        """A held-out row as a table with these columns has it: what the model cannot read of it is refused here, up
        front, and not in a worker."""
        held = self.model.saved_held_out().rows[:1]
        row = self.model.schema.frame(held.x, held.context)
        return row.select(name for name in columns.names if name in row.columns)

    def _columns(self, data: Any) -> pa.Schema:
        """The columns of rows on the engine."""
        raise NotImplementedError

    def _numbers(self, n: int) -> Any:
        """The numbers 0 to n - 1 as rows of a column ``id``."""
        raise NotImplementedError

    def _some(self, data: Any, n: int) -> pa.Table:
        """At most n of the rows, at random, here."""
        raise NotImplementedError

    def _map(self, data: Any, work: Work, columns: pa.Schema, batch: int = BATCH) -> Any:
        """The rows that work makes of batches of rows, with these columns."""
        raise NotImplementedError


class SparkTable(DistributedTable):
    """:meth:`pushforward.TableDensity.for_spark`: works on Spark data frames, by ``mapInArrow``."""

    def _columns(self, data: Any) -> pa.Schema:
        from pyspark.sql.pandas.types import to_arrow_schema

        return to_arrow_schema(data.schema)

    def _numbers(self, n: int) -> Any:
        from pyspark.sql import SparkSession

        session = SparkSession.active()
        return session.range(0, n, 1, min(n, session.sparkContext.defaultParallelism))

    def _some(self, data: Any, n: int) -> pa.Table:
        from pyspark.sql.functions import rand

        return data.orderBy(rand(self.model.seed)).limit(n).toArrow()

    def _map(self, data: Any, work: Work, columns: pa.Schema, batch: int = BATCH) -> Any:
        from pyspark.sql.pandas.types import from_arrow_schema

        content, kind = data.sparkSession.sparkContext.broadcast(pack(self.model)), self.kind

        def batches(parts: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for part in parts:
                if part.num_rows:
                    rows = work(unpack(kind, content.value), pa.Table.from_batches([part]))
                    yield from rows.select(columns.names).cast(columns).to_batches()

        return data.mapInArrow(batches, from_arrow_schema(columns))


class RayTable(DistributedTable):
    """:meth:`pushforward.TableDensity.for_ray`: works on datasets of Ray Data, by ``map_batches``.

    Args:
        workers: Actors that hold the model: a number, or the minimum and the maximum.
    """

    def __init__(self, model: TableModel, workers: int | tuple[int, int] = 1) -> None:
        super().__init__(model)
        self.workers = workers

    def _columns(self, data: Any) -> pa.Schema:
        return data.schema().base_schema

    def _numbers(self, n: int) -> Any:
        import ray

        return ray.data.range(n)

    def _some(self, data: Any, n: int) -> pa.Table:
        rows = data.random_shuffle(seed=self.model.seed).limit(n)
        return pa.concat_tables(list(rows.iter_batches(batch_format="pyarrow", batch_size=n)))

    def _map(self, data: Any, work: Work, columns: pa.Schema, batch: int = BATCH) -> Any:
        import ray

        made = (self.kind, ray.put(pack(self.model)), work, columns)
        options: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": batch, "concurrency": self.workers}
        return data.map_batches(RayWorker, fn_constructor_args=made, **options)


class RayWorker:
    """An actor that holds the model and works on batches."""

    def __init__(self, kind: type[TableModel], content: Any, work: Work, columns: pa.Schema) -> None:
        import ray

        self.model, self.work, self.columns = unpack(kind, ray.get(content)), work, columns

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = self.work(self.model, batch) if batch.num_rows else self.columns.empty_table()
        return rows.select(self.columns.names).cast(self.columns)


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
