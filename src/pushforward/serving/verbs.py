"""The verbs of a fitted table as requests: what pydantic checks and documents of each, and the call that answers it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, create_model

from ..tables.density import TableDensity
from ..tables.io.table import Piece
from ..tables.queries.score import Scoring
from .columns import RowType

R = TypeVar("R")
NOTES = "What was decided, and why there is no answer."


class Scores(BaseModel):
    log_density: list[float | None] = Field(
        description="Nats, in the table's own units; null where the density, and so the percentile, is 0, or what is "
        "given cannot be."
    )
    percentile: list[float | None] = Field(
        description="Per cent of unseen rows that are no likelier; null for rows with only some of the columns."
    )
    standard_error: list[float | None] | None = Field(
        None, description="Nats; with errors=true; null where the density is 0."
    )
    notes: list[str] = Field(description="Why rows have no score.")


class Probability(BaseModel):
    probability: float | None = Field(description="Null given a category that no training row had.")
    standard_error: float | None = Field(description="0 where the answer is exact.")
    notes: list[str] = Field(description=NOTES)


class Drifted(BaseModel, extra="allow"):
    verdict: str = Field(description="A sentence.")
    p_value: float = Field(description="At most x with probability x if nothing has changed.")
    effect: float = Field(description="By how many nats a row is less likely than unseen ones.")
    columns: list[str] = Field(description="The columns, the most moved first.")
    measures: list[dict[str, Any]] = Field(description="Their p-values, divergences in nats, and changes in words.")


class RowsAnswer(BaseModel, Generic[R]):
    rows: list[R]
    notes: list[str] = Field(description=NOTES)


class Verb(BaseModel):
    """A request; what its docstring says stands in the description of the paths."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    # what pydantic documents of its answer; :class:`RowsAnswer` alone has rows of the table
    answers: ClassVar[Any] = RowsAnswer[dict[str, Any]]
    of_rows: ClassVar[bool] = True  # whether it is put to rows, which may come as Arrow
    conditions: ClassVar[tuple[str, ...]] = ()  # the fields that are conditions on rows

    @classmethod
    def of(cls, cells: RowType, most: int) -> Any:
        """The same of the columns of a model; with one row or more, and at most so many."""
        fields: dict[str, Any] = {
            name: (cells.condition | None, copy(cls.model_fields[name])) for name in cls.conditions
        }
        if cls.of_rows:
            fields["rows"] = (list[cells.row], Field(min_length=1, max_length=most))  # type: ignore[name-defined]
        return create_model(cls.__name__, __base__=cls, **fields)

    def size(self, rows: int) -> int:
        """The number of rows in the answer, for so many in the request."""
        return rows

    def answer(self, model: TableDensity, rows: pl.DataFrame) -> pl.DataFrame | dict[str, Any]:
        """The answer: rows, or the fields of one; what is said of it goes to the model's notes."""
        raise NotImplementedError


class Draws(Verb):
    answers = RowsAnswer
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="Seed of the draws, which differ each time if it is null."
    )

    @property
    def chosen(self) -> int:
        return secrets.randbits(63) if self.seed is None else self.seed


class ScoreRequest(Verb):
    """The log-density of every row in nats, and its percentile among rows that the model did not see."""

    answers = Scores
    given: list[str] = Field([], description="Condition on these columns: log p(the others | these).")
    errors: bool = Field(False, description="Answer standard errors as well.")


class SampleRequest(Draws):
    """New rows, given what is known of them."""

    of_rows, conditions = False, ("given",)
    n: int = Field(1, ge=1, description="How many rows.")
    given: Any = Field(None, description="What is known, in the form of a condition: rows are drawn given it.")

    def size(self, rows: int) -> int:
        return self.n

    def answer(self, model: TableDensity, rows: pl.DataFrame) -> pl.DataFrame:
        return model.sample(self.n, self.given, self.chosen)


class ImputeRequest(Draws):
    """The rows with their missing cells drawn given the rest of their own row."""

    draws: int = Field(1, ge=1, description="Filled tables that follow each other in the answer.")

    def size(self, rows: int) -> int:
        return rows * self.draws

    def answer(self, model: TableDensity, rows: pl.DataFrame) -> pl.DataFrame:
        return model.impute(rows, self.draws, self.chosen)


class AskRequest(Verb):
    """How probable it is that a row is so, of those of which something is known, with its standard error."""

    answers, of_rows, conditions = Probability, False, ("where", "given")
    where: Any = Field(description="A condition: SQL, as in price > 5000 AND cut = 'Ideal', or what columns hold.")
    given: Any = Field(None, description="What is known, in the same form.")

    def answer(self, model: TableDensity, rows: pl.DataFrame) -> dict[str, Any]:
        value, error = model.probability(self.where, self.given, errors=True)
        return {"probability": value, "standard_error": error}


class PredictRequest(Verb):
    """One column of every row from its other columns."""

    column: str = Field(description="The column that is predicted; rows' own values of it are not read.")
    kind: Literal["mean", "median", "mode", "proba", "interval"] = Field("mean", description="What is told of it.")
    level: float = Field(0.9, gt=0, lt=1, description="Of an interval: in which share of rows it holds the value.")

    def answer(self, model: TableDensity, rows: pl.DataFrame) -> pl.DataFrame:
        found = model.predict(rows, self.column, self.kind, self.level)
        return found if isinstance(found, pl.DataFrame) else pl.DataFrame({self.column: found})


class DriftRequest(Verb):
    """Whether rows are still of the table that was fitted, with a p-value, and what has moved."""

    answers = Drifted
    by: str | None = Field(None, description="A column whose dates or values divide the rows into windows.")

    def answer(self, model: TableDensity, rows: pl.DataFrame) -> dict[str, Any]:
        return model.drift(rows, self.by).to_json()


class ExplainRequest(Verb):
    """What makes each row unlikely: the column to blame, the value that would fit, gains in nats."""

    def answer(self, model: TableDensity, rows: pl.DataFrame) -> pl.DataFrame:
        return model.explain(rows)


VERBS: dict[str, type[Verb]] = {
    "/score": ScoreRequest,
    "/sample": SampleRequest,
    "/impute": ImputeRequest,
    "/ask": AskRequest,
    "/predict": PredictRequest,
    "/drift": DriftRequest,
    "/explain": ExplainRequest,
}


class Score(NamedTuple):
    """The score of a row; the error is that of an average over cells or draws."""

    log_density: float
    percentile: float | None
    standard_error: float


def scores(model: TableDensity, rows: pl.DataFrame, given: Sequence[str]) -> list[Score]:
    """The score of every row."""
    scoring = Scoring(model, given=given)
    scoring.check(rows.columns)
    found = scoring.figures(scoring.query(Piece(rows, "rows")))
    columns = ([None if math.isnan(each) else each for each in found[name].tolist()] for name in Score._fields)
    return [Score(*row) for row in zip(*columns, strict=True)]


def score_fields(found: Sequence[Score], errors: bool) -> dict[str, Any]:
    """Scores as the fields of an answer."""
    names = Score._fields if errors else Score._fields[:-1]
    return dict(zip(names, zip(*found, strict=True), strict=False))
