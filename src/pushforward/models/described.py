"""A fitted model in words: one line, the text of ``info``, a card in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from markupsafe import Markup

from ..distributions.base import Density
from ..errors import in_shell, spelled
from .console import Console, aligned
from .parameters import Parameters

KEPT = ("summary", "schema", "shape", "levels", "classes", "command", "data", "seed", "samples", "torch")
# The colours of a report's figures, for a page whose own colours are unknown.
COLOURS = "--data:#0072b2;--model:#d55e00;--best:#009e73;--ink:currentColor;--faint:#85888c;--paper:transparent"


class Described(Parameters, ABC):
    """What a fitted model says of itself.

    Attributes:
        noun: What it describes: ``rows`` or ``images``.
        density: The density itself, once there is one.
        facts: What is saved with it: ``summary``, ``quantiles``, ``history``, ``held_out``, …
        training_size: Number of training rows, or images; 0 for a density known up to a constant.
    """

    noun: ClassVar[str]
    density: Density
    facts: dict[str, Any]
    training_size: int

    @property
    @abstractmethod
    def called(self) -> str:
        """The model's name in messages."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Labels and values that only rows, or only images, have."""

    @abstractmethod
    def figures(self) -> dict[str, str]:
        """The held-out figures by name, with their standard errors; the first is the main one."""

    @abstractmethod
    def detailed(self) -> list[str]:
        """The columns or the images, and all held-out figures, as lines of text."""

    @abstractmethod
    def picture(self) -> str:
        """A small picture of the fit, as HTML."""

    def overview(self, source: str) -> dict[str, Any]:
        """Labels and values for the top of a report on the data of ``source``."""
        summary = self.facts["summary"]
        return {
            **({"Training": spelled(summary["verdict"], in_shell)} if "verdict" in summary else {}),
            "Data": source,
            **({f"Training {self.noun}": self.training_size} if self.training_size else {}),
            "Flow": summary["flow"],
            "Time to fit": f"{summary['seconds']:.0f} s",
            **self.about(),
        }

    def describe(self, console: Console) -> dict[str, Any]:
        """``pushforward info``: what was fitted, to what, how well, and with which command."""
        facts = {
            **self.overview(self.facts["data"]),
            "Parameters": self.facts["summary"]["parameters"],
            "Command": self.facts["command"],
        }
        cells = [(label.lower(), f"{value:,}" if isinstance(value, int) else value) for label, value in facts.items()]
        for line in [*aligned(cells, indent=""), "", *self.detailed()]:
            console.say(line)
        return {"model": self.called, **{name: self.facts[name] for name in KEPT if name in self.facts}}

    def __repr__(self) -> str:
        if not hasattr(self, "density"):
            return self.expression
        figure, value = next(iter(self.figures().items()))
        training = f"{self.training_size:,} {self.noun} of " if self.training_size else ""
        return f"{self.expression}, fitted to {training}{self.facts['data']}: {figure.lower()} {value}"

    def _repr_html_(self) -> str | None:
        """The card of a notebook; everything that comes from the data is escaped."""
        if not hasattr(self, "density"):
            return None
        row = Markup('<tr><th style="text-align:left">{}</th><td style="text-align:left">{}</td></tr>')
        facts = {**self.overview(str(self.facts["data"])), **self.figures()}
        table = Markup("").join(row.format(label, value) for label, value in facts.items())
        details = Markup("<details><summary>More</summary><pre>{}</pre></details>").format("\n".join(self.detailed()))
        return Markup('<div style="{}"><p><code>{}</code></p><table>{}</table>{}{}</div>').format(
            COLOURS, self.expression, table, self.picture(), details
        )
