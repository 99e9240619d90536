"""Spark and Ray Data, the real engines on this machine: scores of the shell, cells that stay, rows that repeat."""

from __future__ import annotations

import copy
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.cli.app import main
from pushforward.errors import InputError
from pushforward.tables.engines import BATCH, DistributedTable, pack, unpack

ROWS = 300
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the engines' own
]


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    size = rng.gamma(3.0, size=ROWS)
    weight = np.where(rng.random(ROWS) < 0.1, None, 2 * size + rng.normal(size=ROWS))
    return pl.DataFrame(
        {
            "size": size,
            "count": rng.poisson(2 + size),
            "weight": pl.Series(weight.tolist(), dtype=pl.Float64),
            "colour": rng.choice(["red", "blue", "green"], ROWS),
        }
    )


@pytest.fixture(scope="module")
def model(table: pl.DataFrame) -> pf.TableDensity:
    return pf.TableDensity("maf", layers=1, hidden=(16,), steps=20).fit(table)


@pytest.fixture(scope="module")
def shell(model: pf.TableDensity, table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """What `pushforward score` writes about the table."""
    folder = tmp_path_factory.mktemp("shell")
    model.save(folder / "model")
    rows, scores = folder / "rows.parquet", folder / "scores.parquet"
    table.write_parquet(rows)
    assert main(["score", str(folder / "model"), str(rows), "-o", str(scores)]) == 0
    return pl.read_parquet(scores)


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    if shutil.which("java") is None:
        pytest.skip("Spark needs a Java runtime")
    sql = pytest.importorskip("pyspark.sql")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    quiet = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2", "spark.driver.host": "127.0.0.1"}
    quiet |= {"spark.driver.bindAddress": "127.0.0.1", "spark.log.level": "ERROR"}
    quiet |= {
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    }  # starts with half the computing
    builder = sql.SparkSession.builder.master("local[1]")  # one worker imports PyTorch, and has all parts in turn
    for name, value in quiet.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


def numbered(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_row_index("number").cast({"number": pl.Int64})


def in_spark(spark: Any, table: pl.DataFrame) -> Any:
    return spark.createDataFrame(numbered(table).to_arrow()).repartition(3)


def back(frame: Any) -> pl.DataFrame:
    """In the order of the table."""
    arrow = frame.toArrow() if hasattr(frame, "toArrow") else pl.from_pandas(frame.to_pandas()).to_arrow()
    found = pl.from_arrow(arrow)
    assert isinstance(found, pl.DataFrame)
    return found.sort("number") if "number" in found.columns else found


def test_spark(spark: Any, model: pf.TableDensity, table: pl.DataFrame, shell: pl.DataFrame) -> None:
    engine, frame = model.for_spark(), in_spark(spark, table)
    scores = back(engine.score(frame))
    check_scores(scores, table, shell)
    check_filled(back(engine.impute(frame)), table)
    rows = back(engine.sample(BATCH + 10))
    check_rows(rows, table)
    few = table[:6]  # each batch of which takes many thousands of draws
    some = in_spark(spark, few).coalesce(1)
    check_answers(back(engine.predict(some, "size")), back(engine.ask(some, "size > 3", ["colour"])), few)
    assert engine.drift(frame).rows.height > 0
    assert engine.sample(5, {"colour": "red"}).toArrow()["colour"].to_pylist() == ["red"] * 5


def test_ray(ray: Any, model: pf.TableDensity, table: pl.DataFrame, shell: pl.DataFrame) -> None:
    engine, data = model.for_ray(), ray.data.from_arrow(numbered(table).to_arrow()).repartition(3)
    check_scores(back(engine.score(data)), table, shell)  # each job starts a worker of its own, which imports PyTorch
    check_rows(back(engine.sample(BATCH + 10)), table)  # answers, predictions and drift go the way of scores, in Spark


def check_answers(predicted: pl.DataFrame, asked: pl.DataFrame, table: pl.DataFrame) -> None:
    """A mean that is not the cell's own; a probability that is the same for rows with the same colour."""
    for found in (predicted, asked):
        assert found.select(table.columns).equals(table)
    assert predicted["predicted_size"].is_between(table["size"].min(), table["size"].max()).all()
    assert asked["probability"].is_between(0, 1).all()
    assert (
        asked.group_by("colour").agg(pl.col("probability").max() - pl.col("probability").min())["probability"].max()
        < 0.1
    )


def check_scores(scores: pl.DataFrame, table: pl.DataFrame, shell: pl.DataFrame) -> None:
    assert scores.columns == ["number", *table.columns, *(name for name in shell.columns if name != "row")]
    assert scores.select(table.columns).equals(table)
    for name in ("log_density", "percentile"):
        np.testing.assert_allclose(scores[name].to_numpy(), shell[name].to_numpy(), rtol=1e-6, atol=1e-6)


def check_filled(filled: pl.DataFrame, table: pl.DataFrame) -> None:
    known = table["weight"].is_not_null()
    assert filled["weight"].null_count() == 0
    assert filled.filter(known).select(table.columns).equals(table.filter(known))
    drawn, size = (filled.filter(~known)[name].to_numpy() for name in ("weight", "size"))
    assert np.isfinite(drawn).all()
    assert np.abs(drawn - 2 * size).mean() < 8  # the model is a short training's


def check_rows(rows: pl.DataFrame, table: pl.DataFrame) -> None:
    assert rows.height == BATCH + 10
    assert rows.columns == table.columns
    assert set(rows["colour"].unique()) <= {"red", "blue", "green"}
    assert rows.head(10)["size"].to_list() != rows.tail(10)["size"].to_list()  # blocks have seeds of their own
    assert abs(rows["count"].mean() - table["count"].mean()) < 1  # type: ignore[operator]


def test_the_model_travels_whole(model: pf.TableDensity, table: pl.DataFrame) -> None:
    content = pack(model)
    assert unpack(pf.TableDensity, content) is unpack(pf.TableDensity, content)  # read once in a process
    np.testing.assert_array_equal(unpack(pf.TableDensity, content).score_samples(table), model.score_samples(table))


@pytest.mark.parametrize(
    ("columns", "given", "argument"),
    [
        (["shape"], (), None),
        (["size", "count", "weight", "colour", "log_density"], (), "keep"),
        (["size", "colour"], ("weight",), "given"),
    ],
)
def test_what_cannot_be_scored_is_refused_at_once(
    model: pf.TableDensity, columns: list[str], given: tuple[str, ...], argument: str | None
) -> None:
    import pyarrow as pa

    engine = model.for_spark()
    engine._columns = lambda data: pa.schema([(name, pa.float64()) for name in columns])
    with pytest.raises(InputError) as raised:
        engine.score(None, given)
    assert raised.value.argument == argument


class Here(DistributedTable):
    """An engine of one worker, in this process."""

    def _columns(self, data: Any) -> Any:
        return data.schema

    def _map(self, data: Any, work: Any, columns: Any, batch: int = BATCH) -> Any:
        return work(unpack(self.kind, pack(self.model)), data).select(columns.names).cast(columns)


def test_an_engine_goes_along_with_an_update(model: pf.TableDensity, table: pl.DataFrame) -> None:
    model = copy.deepcopy(model)
    engine, violet = Here(model), pl.when(pl.int_range(ROWS) % 3 == 0).then(pl.lit("violet")).otherwise("colour")
    new = table.with_columns(colour=violet)
    scored = pl.DataFrame(engine.score(new.to_arrow()))
    assert (scored["log_density"].is_infinite() == (new["colour"] == "violet")).all()
    model.update(new)
    scored = pl.DataFrame(engine.score(new.to_arrow()))
    assert scored["log_density"].is_finite().all()
    assert "violet" in pl.DataFrame(engine.predict(new[:2].to_arrow(), "colour", "proba")).columns


def test_numbers_between_limits_are_scored_and_drawn() -> None:
    x, width = np.random.default_rng(0).normal(size=(2, 120))
    table = pl.DataFrame({"x": x, "low": x + width, "high": x + width + (np.arange(120) % 2)})
    model = pf.TableDensity("maf", layers=1, hidden=(8,), steps=5, limits={"y": ("low", "high")}).fit(table)
    engine, expected = Here(model), model.score_samples(table)
    np.testing.assert_allclose(pl.DataFrame(engine.score(table.to_arrow()))["log_density"], expected, atol=1e-5)
    filled = pl.DataFrame(engine.impute(table.to_arrow()))
    assert filled.columns == table.columns
    assert filled["low"].equals(filled["high"].alias("low"))
    assert pl.DataFrame(engine.impute(table.select("x").to_arrow())).columns == table.columns


def test_what_is_not_fitted_has_no_engine() -> None:
    with pytest.raises(InputError, match="is not fitted yet"):
        pf.TableDensity().for_spark()


def test_no_rows_are_refused(model: pf.TableDensity) -> None:
    with pytest.raises(InputError, match="n=0: expected a whole number, at least 1"):
        model.for_ray().sample(0)


def test_without_a_folder_beside(model: pf.TableDensity, tmp_path: Path) -> None:
    """Packing leaves no trace of where the model is."""
    path = model.path
    pack(model)
    assert model.path == path
