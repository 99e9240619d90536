"""The common base of tables and images: keywords, a fitted density with what is saved with it, and that in words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from markupsafe import Markup

from ..distributions.base import Density
from ..errors import InputError, NotFitted, Spelling, in_python, in_shell, refuse, spelled
from ..saving.bundle import jsonable
from .console import Console, aligned
from .options import device_named, options_of
from .saved import load_saved, save

Place = Any  # where rows or images come from, or go to: a path, or what tables and images know beside
PERCENTS = np.linspace(0.0, 100.0, 1001)
KEPT = ("summary", "schema", "shape", "levels", "classes", "command", "data", "seed", "samples", "torch")
FITTED = ("density", "facts", "seed", "training_size", "schema", "cells", "samples")
# The colours of a report's figures, for a page whose own colours are unknown.
COLOURS = "--data:#0072b2;--model:#d55e00;--best:#009e73;--ink:currentColor;--faint:#85888c;--paper:transparent"


@dataclass(frozen=True)
class HeldOut:
    """The data that a model was not trained on, in the form that the model takes."""

    rows: Any  # encoded rows, or images
    numbers: np.ndarray  # their positions in the file, or in its held-out part, from 0
    train: Any = None  # the data that the model was trained on, if the file has them too
    frame: Any = None  # the rows as the table has them, if it is another than that of the fit

    def __getitem__(self, at: np.ndarray) -> HeldOut:
        frame = None if self.frame is None else self.frame[at]
        return HeldOut(self.rows[at], self.numbers[at], self.train, frame)


class FittedDensity(ABC):
    """A density of rows or of images, with its keywords, kept as they came, and everything that is saved with it."""

    kind: ClassVar[str]  # what it describes: ``table`` or ``image``
    noun: ClassVar[str]  # the same as a plural: ``rows`` or ``images``
    measure: ClassVar[str]  # the measure by which models are compared: ``log_likelihood`` or ``bits_per_dim``
    # what the shell can do with files: ``score``, ``sample``, ``impute``, …
    verbs: ClassVar[Mapping[str, Callable[..., dict[str, Any]]]]
    of_others: ClassVar[str]  # what is said of an option that only other models have
    options: Any  # the options that its keywords amount to
    notes_: list[str]  # what the last fit decided, in sentences
    path: Path | None = None  # where it was loaded from or saved to
    loaded_from: Path | None = None  # where it was loaded from, if it has not been fitted since
    density: Density  # the density itself, once there is one
    facts: dict[str, Any]  # what is saved with it: ``summary``, ``quantiles``, ``history``, ``held_out``, …
    training_size: int  # number of training rows, or images; 0 for a density known up to a constant
    seed: int  # the seed of the fit, and the default seed of later random draws
    _keywords: dict[str, Any]

    def _keep(self, keywords: Mapping[str, Any], kind: type) -> None:
        """Keeps the local variables of a constructor that holds nothing but its keywords, as options of a kind."""
        self._keywords = {name: value for name, value in keywords.items() if name != "self"}
        self.options, self.notes_ = options_of(kind, self._keywords), []

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All keywords by name, as they were passed; ``deep`` changes nothing."""
        return dict(self._keywords)

    def set_params(self, **params: Any) -> Self:
        """Changes some keywords, for the next fit.

        Raises:
            InputError: there is no such keyword, or it cannot be used.
        """
        for name in params:
            if name not in self._keywords:
                raise InputError(f"{type(self).__name__} takes no such argument", name)
        type(self).__init__(self, **{**self._keywords, **params})
        return self

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn's searches and pipelines ask of it: it takes rows alone."""
        from sklearn.base import BaseEstimator

        return BaseEstimator.__sklearn_tags__(self)  # type: ignore[arg-type]

    @property
    def expression(self) -> str:
        """The Python expression that makes such an object: by the keywords that differ from their defaults, or by
        loading it."""
        if self.loaded_from is not None:
            return f"{type(self).__name__}.load({str(self.loaded_from)!r})"
        usual = type(self)()._keywords
        said = {name: value for name, value in self._keywords.items() if repr(value) != repr(usual[name])}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in said.items())})"

    @property
    def summary_(self) -> dict[str, Any]:
        """How the fit went: rows, parameters, held-out figures, training."""
        return dict(self.facts["summary"])

    @property
    def called(self) -> str:
        """The model's name in messages: its folder, or its kind."""
        return type(self).__name__ if self.path is None else str(self.path)

    @property
    def device(self) -> torch.device:
        return self.density.device

    @property
    def others(self) -> str:
        """What percentiles are taken among: rows, or images, that the model did not see; for models of earlier
        versions, those that it was trained on; for a target, draws."""
        if "unseen" in self.facts:
            return f"{self.noun} that the model did not see"
        return f"the training {self.noun}" if self.training_size else "draws of the target"

    def percentile(self, log_density: np.ndarray) -> np.ndarray:
        """The percentage of :attr:`others` that are less likely; counted among n that the model did not see, the row
        itself is one more of its kind, so that the least is 1 of n + 1, and 0 only for what is impossible."""
        found = np.interp(log_density, np.asarray(self.facts["quantiles"], dtype=float), PERCENTS)
        if "unseen" not in self.facts:
            return found
        unseen = self.facts["unseen"]
        count = unseen["images"] if "images" in unseen else len(unseen["log_density"])
        return np.where(np.isneginf(log_density), 0.0, (100 + count * found) / (count + 1))

    def save(self, path: str | Path) -> None:
        """Saves the model as a folder, which the shell's commands can also read.

        Raises:
            NotSaved: it is not at ``path``; says why, and where it is instead.
        """
        save(self._whole(), Path(path), jsonable(self.facts))
        self.path = Path(path)

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> Self:
        """Reads a model that :meth:`save` or ``pushforward fit`` wrote.

        Raises:
            InputError: there is none at ``path``, it is damaged, or of another kind; or there is no such device.
        """
        model, path = cls(), Path(path)
        load_saved(path, cls.kind, device_named(device), model._hold)
        model.path = model.loaded_from = path
        return model

    def run(self, verb: str, *places: Any, **choices: Any) -> dict[str, Any]:
        """One of the shell's verbs, such as ``score``, on files; returns a summary. ``places`` are what it reads, where
        it writes, and the console; an option that is not set may be of another kind of model.

        Raises:
            InputError: such models do not have the verb, or an option that is set; or a file cannot be used.
        """
        if verb not in self.verbs:
            raise InputError(f"{self.called}: holds {self.noun}, of which there is no {verb}, but of tables")
        taken = signature(self.verbs[verb]).parameters
        refuse(self.of_others, {name: value for name, value in choices.items() if name not in taken})
        choices = {name: choice for name, choice in choices.items() if name in taken}
        own = {"seed": self.seed} if choices.get("seed", self.seed) is None else {}
        return self.verbs[verb](self, *places, **choices | own)

    @abstractmethod
    def read_file(self, data: Place) -> Any:
        """The table, or the images, of a file."""

    @abstractmethod
    def held_out(self, data: Any, console: Console, drop_missing: bool = False) -> HeldOut:
        """The part of the data that the model was not trained on."""

    @abstractmethod
    def saved_held_out(self) -> HeldOut:
        """The held-out data that were saved with the model."""

    @abstractmethod
    def judged(self, rows: Any, samples: int | None, seed: int) -> np.ndarray:
        """The measure of each row or image: its log-likelihood, or bits per dimension."""

    @abstractmethod
    def caveat(self, samples: int | None) -> dict[str, Any]:
        """What a reader of the measure should know: whether it is exact, or averaged over how many points."""

    @abstractmethod
    def evidence(self, held: HeldOut, page: Any) -> Any:
        """What a report draws on, measured on held-out data: a :class:`~pushforward.report.evidence.Evidence`, of what
        is known of the report, a :class:`~pushforward.report.evidence.Page`."""

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

    def overview(self, source: str, spelling: Spelling = in_shell) -> dict[str, Any]:
        """Labels and values for the top of a report on the data of ``source``."""
        summary = self.facts["summary"]
        return {
            **({"Training": spelled(summary["verdict"], spelling)} if "verdict" in summary else {}),
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
        console.say(*aligned(cells, indent=""), "", *self.detailed())
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
        facts = {**self.overview(str(self.facts["data"]), in_python), **self.figures()}
        table = Markup("").join(row.format(label, value) for label, value in facts.items())
        details = Markup("<details><summary>More</summary><pre>{}</pre></details>").format("\n".join(self.detailed()))
        return Markup('<div style="{}"><p><code>{}</code></p><table>{}</table>{}{}</div>').format(
            COLOURS, self.expression, table, self.picture(), details
        )

    @abstractmethod
    def refuse_unlike(self, other: Any) -> None:
        """Refuses a model whose density is not of the same columns or images."""
        if not isinstance(other, type(self)):
            raise InputError(f"{type(other).__name__} cannot be compared with a {type(self).__name__}")

    def refuse_more(self) -> None:
        """Refuses a model whose training cannot be gone on with: an average."""
        if "average" in self.facts["summary"]:
            raise InputError("an average of densities cannot be trained further: fit it again, or one flow by name")

    def _hold(self, density: Density, facts: dict[str, Any]) -> None:
        """Makes this the fitted model with the given density and facts."""
        self.density, self.facts, self.loaded_from, self.seed = density, facts, None, int(facts["seed"])
        self.training_size = int(facts["summary"].get(f"training_{self.noun}", 0))

    def _whole(self) -> Density:
        """The density to save."""
        return self.density

    if not TYPE_CHECKING:  # a type checker takes any name for one of these

        def __getattr__(self, name: str) -> Any:
            """What only a fitted model has, or can tell, says before the fit that it is not."""
            if "density" not in vars(self) and (name in FITTED or hasattr(type(self), name)):
                raise NotFitted(f"this {type(self).__name__} is not fitted yet; call fit first, or load a saved one")
            return super().__getattribute__(name)
