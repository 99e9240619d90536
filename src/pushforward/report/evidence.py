"""What a report draws on, whatever its subject: what the model and others say of held-out data and of its own."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ..diagnostics.averages import mean_and_error
from ..training.batches import Rows
from .blocks import Fact, Finding
from .words import plus_minus


@dataclass(frozen=True)
class Page:
    """What is known of a report before anything is measured."""

    title: str = ""
    summary: Mapping[str, Any] = field(default_factory=dict)  # labels and values to show in the overview
    command: str = ""  # the command that reproduces the report, to be copied from it
    # records of the training: ``step``, ``epoch``, ``seconds``, ``train_loss``, ``validation_loss``, ``lr``;
    # ``objective`` if it is ``"matching"``
    history: Sequence[Mapping[str, Any]] = ()
    # other models by name, and what they score the held-out data, as :meth:`Evidence.measure` does
    rivals: Mapping[str, Tensor] = field(default_factory=dict)
    seed: int = 0  # seed of all random draws


class Mean(NamedTuple):
    """A mean with its standard error, over the ``of`` values that are finite; ``left_out`` are not."""

    value: float
    error: float
    of: int
    left_out: int

    @classmethod
    def over(cls, values: Tensor) -> Mean:
        finite = values[values.isfinite()]
        mean, error = mean_and_error(finite) if len(finite) else (math.nan, math.nan)
        return cls(mean, error, len(finite), len(values) - len(finite))

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return plus_minus(self.value, self.error)


class Lead(NamedTuple):
    """Another model on the same data: what it scores them, and the lead of the reported model over it, one by one."""

    theirs: Mean  # the other's mean
    lead: Mean  # the mean difference, positive where the reported model is better
    better: float = math.nan  # the share of the data that the reported model explains better; NaN if it is not known

    @property
    def grade(self) -> str:
        """``good``, ``poor``, or ``fair`` where the lead is within two standard errors."""
        value, error = self.lead.value, self.lead.error
        return "fair" if not abs(value) > 2 * error else "good" if value > 0 else "poor"

    @property
    def size(self) -> str:
        return plus_minus(abs(self.lead.value), self.lead.error)


@dataclass(frozen=True)
class Drawn:
    """Data drawn from a model, their log-probabilities in nats, and how many were drawn to that end."""

    data: Tensor
    log_prob: Tensor
    count: int


@dataclass(frozen=True, kw_only=True)
class Evidence(ABC):
    """A model judged by data that it has not seen; what is expensive is computed once, when a section asks for it."""

    noun: ClassVar[str]  # what the data are: "row" or "image"
    unit: ClassVar[str]  # of a measure
    key: ClassVar[str]  # of the mean measure, among the report's numbers
    sign: ClassVar[int]  # 1 where a larger measure is better, -1 where a smaller one is
    rival: ClassVar[str]  # the model to beat
    trained: ClassVar[int]  # how many of the training data are scored
    histogram: ClassVar[Callable[[Any, Any], Any]]  # the figure of the measures of held-out data and of the model's own

    page: Page  # what is known of the report before
    held: Rows  # held-out rows (n, features), or images (n, C, H, W), and their contexts
    names: Sequence[Any]  # what each is called: of a row, its number in the user's file, from 1
    train: Rows | None = None  # training data, some of which are scored for comparison
    percentile: Callable[[Any], Any]  # maps log-probabilities (k,) to percentiles among other data
    others: str  # what data these are

    @property
    @abstractmethod
    def parameters(self) -> int:
        """How many parameters the density has."""

    @abstractmethod
    def score(self, rows: Rows) -> Tensor:
        """Log-probabilities of some of the data, ``(n,)`` in nats, float64 on the CPU."""

    @abstractmethod
    def draw(self) -> Drawn:
        """Data drawn from the model."""

    @abstractmethod
    def measure(self, log_prob: Tensor) -> Tensor:
        """What log-probabilities are reported as: nats per row, or bits per dimension."""

    @property
    @abstractmethod
    def baseline(self) -> Lead | None:
        """The model to beat on the same data, if it is known."""

    @property
    @abstractmethod
    def findings(self) -> list[Finding]:
        """What only rows, or only images, show of the model."""

    @property
    @abstractmethod
    def introduction(self) -> str:
        """What was fitted and how well, in plain sentences."""

    @property
    @abstractmethod
    def facts(self) -> list[Fact]:
        """The main figures."""

    @property
    @abstractmethod
    def about_fit(self) -> str:
        """What a reader should know of the measure and of the model to beat."""

    @property
    def losses(self) -> tuple[str, str, float]:
        """What the loss of the training is, its unit, and by what it is multiplied to be in that unit."""
        return f"The loss is the mean negative log-likelihood of {self.noun}s, in {self.unit}", self.unit, 1.0

    @property
    def data(self) -> Tensor:
        return self.held.x

    @property
    def context(self) -> Tensor | None:
        return self.held.context

    def some(self, data: Rows, most: int) -> Rows:
        """At most so many of the data, chosen at random: files may be sorted, so the first few are not typical."""
        return data[shuffled(len(data), self.page.seed)[:most]]

    @cached_property
    def scored(self) -> tuple[Tensor, float]:
        """Log-probabilities (n,) of the held-out data, in nats, and the seconds that it takes to score them."""
        started = time.perf_counter()
        return self.score(self.held), time.perf_counter() - started

    @cached_property
    def drawn(self) -> tuple[Drawn, float]:
        """What :meth:`draw` gives, and the seconds that it takes."""
        started = time.perf_counter()
        return self.draw(), time.perf_counter() - started

    @property
    def log_prob(self) -> Tensor:
        return self.scored[0]

    @property
    def own(self) -> Drawn:
        return self.drawn[0]

    @cached_property
    def measured(self) -> Tensor:
        """The measure of each of the held-out data."""
        return self.measure(self.log_prob)

    @cached_property
    def held_out(self) -> Mean:
        return Mean.over(self.measured)

    @cached_property
    def own_mean(self) -> Mean:
        return Mean.over(self.measure(self.own.log_prob))

    @cached_property
    def train_mean(self) -> Mean | None:
        """That of some training data, if there are any."""
        return None if self.train is None else Mean.over(self.measure(self.score(self.some(self.train, self.trained))))

    @cached_property
    def leads(self) -> dict[str, Lead]:
        """The leads over other models by name, first over the one to beat; of those that are known."""
        others = {name: self.lead_over(theirs) for name, theirs in self.page.rivals.items()}
        return {name: lead for name, lead in {self.rival: self.baseline, **others}.items() if lead is not None}

    def lead_over(self, theirs: Tensor) -> Lead | None:
        """The lead over another model's measures of the held-out data; None if none are finite in both."""
        ours = self.measured
        both = ours.isfinite() & theirs.isfinite()
        if not bool(both.any()):
            return None
        lead = self.sign * (ours - theirs)[both]
        return Lead(Mean.over(theirs[both]), Mean.over(lead), float((lead > 0).double().mean()))


def shuffled(n: int, seed: int) -> Tensor:
    """The numbers below n in seeded random order."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))
