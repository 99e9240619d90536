"""A candidate for the density of a table: whether it suits the rows, and how it is fitted to them."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...diagnostics.averages import mean_and_error
from ...distributions.base import Density
from ...models.console import Console
from ..guide import GuideFill
from ..model import TableModel
from ..options import TableOptions
from ..schema.cells import Cells
from ..splits import TableSplits
from .cross_fitting import JUDGED

LEAST_SECONDS = 0.1  # however late it is
OVERFITTING = 10_000  # training rows up to which an average is tried if one flow overfits


@dataclass(frozen=True)
class Task:
    """What is to be learnt."""

    rows: TableSplits
    options: TableOptions  # the user's choices
    console: Console
    earlier: TableModel | None = None  # a fitted model to train further
    fill: GuideFill | None = None  # the sampler of missing cells, where a guide fills them
    ends: float = math.inf  # by :func:`time.monotonic`, when the fit is to be over, or in its course the training
    beside: tuple[Density, float] | None = None  # what stays as it is, and the share of what is learnt of other rows
    mixture: Any = None  # the ``Trial`` that one flow is compared with, if it was sought before the flow

    def within(self, share: float) -> Task:
        """The task with a share of the time that is left, if that is limited."""
        training = self.options.training
        if training.budget is None:
            return self
        budget = max(share * self.left, LEAST_SECONDS)
        training, ends = replace(training, budget=budget), time.monotonic() + budget
        return replace(self, options=replace(self.options, training=training), ends=ends)

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.ends - time.monotonic()

    @property
    def seed(self) -> int:
        return self.options.training.seed

    @property
    def chooses(self) -> bool:
        """Whether several candidates may be tried: if the user specified nothing about the flow except, perhaps, for
        how long it is trained, and its rows are in memory."""
        options, rows = self.options, self.rows
        silent = options.flow == options.members == "auto" and options.layers is None and options.hidden is None
        in_memory = rows.stream is None and not rows.schema.circles and self.earlier is None and self.fill is None
        return silent and options.objective == "likelihood" and in_memory

    @property
    def averages(self) -> bool:
        """The same for averages, whose training differs from a single flow's: nothing may be said about that either."""
        said = ("steps", "epochs", "patience", "lr", "batch_size")
        return self.chooses and all(getattr(self.options.training, name) is None for name in said)

    @property
    def may_average(self) -> bool:
        """Whether an average may be tried after one flow."""
        return self.averages and bool(self.rows.schema.numbers) and len(self.rows.train) <= OVERFITTING

    @property
    def plain(self) -> bool:
        """Whether training is on one process, uncompiled and without records, as that of an average."""
        training = self.options.training
        return not (training.shard or training.compile or training.checkpoint or training.metrics)


@dataclass(frozen=True)
class Fitted:
    """A density of the table."""

    name: str  # its name in the summary's comparison of candidates
    called: str  # its name in a sentence
    density: Density
    flow: str  # what the summary calls its flow
    facts: dict[str, Any]  # the summary's facts on the training
    history: list[dict[str, Any]]  # the training history, step by step
    # densities with positions of rows that they did not see, among all rows: together, of rows that tell how likely
    # fresh rows are under the density
    unseen: list[tuple[Density, np.ndarray]]
    # fits the chosen density to the validation rows as well, which have nothing left to decide
    for_good: Callable[[], Fitted] | None = None

    @property
    def threads(self) -> int:
        """The number of threads that training found fastest; 1 if it did not try."""
        return int(self.facts["training"].get("threads", 1))

    def changed(self, change: Callable[[Density], Density]) -> Fitted:
        """The same with its density changed, and likewise those that did not see some rows."""
        whole = change(self.density)
        unseen = [(whole if part is self.density else change(part), at) for part, at in self.unseen]
        return replace(self, density=whole, unseen=unseen)

    def log_unseen(self, rows: TableSplits, fill: GuideFill | None = None) -> Tensor:
        """The log-density of each row under the density that did not see it, ``(rows,)``; NaN for others and test
        rows."""
        found, cells = torch.full((len(rows.rows),), math.nan, dtype=torch.float64), Cells(rows.schema, fill)
        for density, at in self.unseen:
            if len(at := np.setdiff1d(at, rows.split[2])):
                some = rows.rows[at].to(density.device)
                found[at] = cells.log_density(density, some.x, some.context, samples=JUDGED)[0].cpu()
        return found


def are_likelier(log_p: Tensor, other: Tensor, weights: Tensor | None) -> bool:
    """Whether rows are likelier, in the mean by more than its standard error, than by other log-densities; NaN in
    either where a row is not compared."""
    gain = log_p - other
    both = ~gain.isnan()
    mean, error = mean_and_error(gain[both].clamp(-1e6, 1e6), None if weights is None else weights[both])
    return mean > error


class Candidate(ABC):
    """A way to learn the density of a table's rows."""

    @abstractmethod
    def suits(self, task: Task, best: Fitted | None) -> bool:
        """Whether to try it, given the best density so far."""

    @abstractmethod
    def fit(self, task: Task, best: Fitted | None) -> Fitted:
        """The density fitted to the training rows; or to all but the test rows, if there is nothing to compare with."""
