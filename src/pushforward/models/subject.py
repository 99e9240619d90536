"""What a model is about: the one interface between code shared by tables and images, and what is specific to each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..tables.io.source import Location
from .console import Console
from .held_out import HeldOut


class Subject(ABC):
    """What comparisons, reports, ``info`` and notebooks need from a fitted model: one class for tables, one for images.

    Attributes:
        noun: What the density describes: ``rows`` or ``images``.
        measure: The measure by which models are compared: ``log_likelihood`` or ``bits_per_dim``.
    """

    noun: ClassVar[str]
    measure: ClassVar[str]

    @abstractmethod
    def read_file(self, data: Location) -> Any:
        """The table, or the images, of a file."""

    @abstractmethod
    def refuse_unlike(self, other: Any) -> None:
        """Refuses a model whose density is not of the same thing."""

    @abstractmethod
    def held_out(self, data: Any, console: Console, drop_missing: bool = False) -> HeldOut:
        """The part of the data that the model was not trained on."""

    @abstractmethod
    def kept(self) -> HeldOut:
        """The held-out data that were saved with the model."""

    @abstractmethod
    def judged(self, rows: Any, samples: int | None, seed: int) -> np.ndarray:
        """The measure of each row or image: its log-likelihood, or bits per dimension."""

    @abstractmethod
    def caveat(self, samples: int | None) -> dict[str, Any]:
        """What a reader of the measure should know: whether it is exact, or averaged over how many points."""

    @abstractmethod
    def write_page(self, output: Path, held: HeldOut, against: dict[str, np.ndarray], **page: Any) -> dict[str, Any]:
        """Writes the report on held-out data; returns its numbers."""

    @abstractmethod
    def told(self) -> dict[str, Any]:
        """Labels and values that this kind adds to the top of the report."""

    @abstractmethod
    def described(self) -> list[tuple[str, str]]:
        """Labels and values that this kind adds to the first part of ``info``."""

    @abstractmethod
    def detailed(self) -> list[str]:
        """The rest of ``info``."""

    @abstractmethod
    def figures(self) -> dict[str, str]:
        """The held-out figures by name, with their standard errors; the first is the main one."""

    @abstractmethod
    def picture(self) -> str:
        """A small picture of the fit, as HTML."""
