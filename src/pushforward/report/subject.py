"""The subject of a report: the flow, its held-out rows, and what was measured on them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..diagnostics import calibrated, local
from ..diagnostics.averages import mean_and_error
from ..diagnostics.calibrated import Calibration
from ..diagnostics.local import LocalTest
from . import measure
from .blocks import Cell
from .model import LogProb, Model, seen
from .words import decimals_of, fixed, number, step_decimals

PERMUTATIONS = 20  # of the local test


@dataclass(frozen=True)
class Subject:
    """Everything that the sections draw on; expensive quantities are computed once."""

    model: Model
    columns: Sequence[str]
    steps: Mapping[int, float]
    evidence: measure.Evidence
    context: Tensor | None
    history: Sequence[dict[str, Any]]
    summary: dict[str, Any]
    schema: Sequence[dict[str, Any]]
    row_numbers: Sequence[int]
    command: str
    seed: int
    timings: bool = False
    gaussian: LogProb | None = None
    percentile: Callable[[Any], Any] | None = None
    rivals: Mapping[str, LogProb | Tensor] = field(default_factory=dict)

    @property
    def labels(self) -> dict[int, tuple[str, ...]]:
        """The category names of every column that has categories."""
        return {} if self.model.schema is None else self.model.schema.labels

    @property
    def numbers(self) -> list[int]:
        """The columns that hold numbers."""
        return [j for j in range(len(self.columns)) if j not in self.labels]

    @property
    def holes(self) -> dict[int, int]:
        """For columns of numbers with missing values, the column that indicates which are missing."""
        return {} if self.model.schema is None else self.model.schema.missingness.flags

    @cached_property
    def comparison(self) -> measure.Comparison | None:
        return measure.compare_with_gaussian(self.model, self.evidence, self.seed, self.gaussian)

    @cached_property
    def against(self) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
        """For each rival: mean and error of its log-likelihood, and of the flow's lead over it, paired by row."""
        rows, context = self.evidence.data, self.context
        scores = {
            name: rival if isinstance(rival, Tensor) else self.model.score(rival, rows, context)
            for name, rival in self.rivals.items()
        }
        found = {name: measure.compare_with(self.evidence, theirs) for name, theirs in scores.items()}
        return {name: result for name, result in found.items() if result is not None}

    @cached_property
    def held_out(self) -> tuple[float, float, int]:
        """Mean log-likelihood, its standard error, and the number of rows without a finite one, which both exclude."""
        finite = self.evidence.log_prob[self.evidence.log_prob.isfinite()]
        mean, error = mean_and_error(finite)
        return mean, error, len(self.evidence.log_prob) - len(finite)

    @cached_property
    def coverage(self) -> dict[str, list[float]]:
        return measure.coverage(self.evidence.level, self.evidence.draws)

    @cached_property
    def simulations(self) -> Calibration | None:
        """With contexts: the ranks of held-out rows among draws for their own context."""
        e = self.evidence
        if e.judged is None or e.own is None or len(e.judged) < calibrated.FEWEST:
            return None
        generator = torch.Generator().manual_seed(self.seed)
        return calibrated.judge(e.data[e.judged], e.own, e.denser, self.columns, generator)

    @cached_property
    def local(self) -> LocalTest | None:
        """With contexts, enough rows and scikit-learn: whether a classifier distinguishes held-out rows from draws."""
        e = self.evidence
        if e.judged is None or e.own is None or e.context is None or len(e.judged) < local.FEWEST:
            return None
        with contextlib.suppress(ImportError):
            return local.local_test(
                e.own, e.data[e.judged], e.context[e.judged], permutations=PERMUTATIONS, seed=self.seed
            )
        return None

    @cached_property
    def normality(self) -> list[dict[str, float]]:
        """For each latent dimension; empty for a model without latents."""
        return [] if self.evidence.latent is None else measure.normality(self.evidence.latent)

    def cell(self, value: Any, column: int) -> Cell:
        """A value of a column as a cell of a table, with decimals according to its grid or its spread."""
        value, places = float(value), self.decimals[column]
        if column in self.labels:
            name = "(missing)" if math.isnan(value) else "(unknown)" if value < 0 else self.labels[column][int(value)]
            return Cell(name, name)
        return Cell(fixed(value, places) if abs(value) >= 10.0**-places or value == 0 else number(value, 3), value)

    @cached_property
    def decimals(self) -> list[int]:
        """The number of meaningful decimals of each column."""
        spreads = [seen(column).std(correction=0).item() for column in self.evidence.data.T]
        steps = [self.steps.get(j) for j in range(len(spreads))]
        return [
            decimals_of(spread) if step is None else step_decimals(step)
            for spread, step in zip(spreads, steps, strict=True)
        ]
