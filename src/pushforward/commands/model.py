"""A saved model of a table: the flow, the schema of its columns, and what scoring and reporting need beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch
from torch import Tensor

from ..distributions.base import Density
from ..saving import checkpoint
from ..tables.errors import InputError, listed
from ..tables.schema.cells import cell_log_density
from ..tables.schema.schema import Schema

M = TypeVar("M")
KINDS = {"table": "a model of a table", "image": "a model of images"}
PERCENTS = np.linspace(0.0, 100.0, 1001)


def kind_of(path: Path) -> str | None:
    """What a saved model describes, ``table`` or ``image``; None where there is none to be read."""
    try:
        facts = checkpoint.load_extra(path)
    except (OSError, ValueError):
        return None
    return str(facts.get("kind")) if isinstance(facts, Mapping) else None


def load_saved(path: Path, kind: str, device: str, make: Callable[[Any, dict[str, Any]], M]) -> M:
    """``make(flow, facts)`` of a saved model of a kind.

    Raises:
        InputError: there is none at ``path``, it is damaged, or of another kind.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such model; make one with: pushforward fit DATA -o {path}")
    if not path.is_dir():
        raise InputError(f"{path}: is a file; a model is a folder written by: pushforward fit DATA -o MODEL")
    try:
        facts = checkpoint.load_extra(path)
        if facts.get("kind") != kind:
            found = KINDS.get(str(facts.get("kind")), "a flow for Python's pf.load")
            raise InputError(f"{path}: holds {found}, and {KINDS[kind]} is needed")
        return make(checkpoint.load(path).to(device), dict(facts))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0].removeprefix(f"{path}: ") if str(error) else type(error).__name__
        raise InputError(f"{path}: is no model that can be read: {reason}") from None


@dataclass(frozen=True)
class TableModel:
    """A density over the rows of a table.

    Args:
        path: Where it is saved.
        flow: The density, in the table's own units.
        schema: The columns.
        facts: Everything else that was saved: ``quantiles``, ``history``, ``summary``, ``split``, ``held_out``, …
    """

    path: Path
    flow: Density
    schema: Schema
    facts: dict[str, Any]

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> TableModel:
        """Reads a model that ``pushforward fit`` wrote.

        Raises:
            InputError: there is none at ``path``, or it is damaged.
        """
        path = Path(path)
        return load_saved(
            path, "table", device, lambda flow, facts: cls(path, flow, Schema.from_json(facts["schema"]), facts)
        )

    @property
    def quantiles(self) -> np.ndarray:
        """Log-densities of the training rows at ``PERCENTS`` of them."""
        return np.asarray(self.facts["quantiles"], dtype=float)

    def log_density(
        self, x: Tensor, context: Tensor | None, *, samples: int = 16, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-density of every row and its standard error, in nats."""
        here = next(self.flow.parameters()).device
        context = None if context is None else context.to(here)
        value, error = cell_log_density(self.flow, self.schema, x.to(here), context, samples=samples, seed=seed)
        return value.numpy(), error.numpy()

    def percentile(self, log_density: np.ndarray) -> np.ndarray:
        """Per cent of the training rows that are less likely."""
        return np.interp(log_density, self.quantiles, PERCENTS)

    def sample(self, n: int, given: Mapping[str, Any], seed: int, temperature: float = 1.0) -> pl.DataFrame:
        """n rows, drawn with the given columns held fixed; those columns come first.

        Raises:
            InputError: a given column is missing or unknown, or its value is not one the model knows.
        """
        fixed = self._given_frame(given)
        context = self.schema.context(fixed, "--given")
        here = next(self.flow.parameters()).device
        generator = torch.Generator(here).manual_seed(seed)
        parts = []
        for start in range(0, n, 8192):
            shape = (min(8192, n - start),)
            only = None if context is None else context[0].to(here)
            parts.append(self.flow.sample(shape, only, generator=generator, temperature=temperature).cpu())
        rows = self.schema.decode(torch.cat(parts))
        return pl.concat([fixed.select(pl.all().repeat_by(n).explode()), rows], how="horizontal") if given else rows

    def _given_frame(self, given: Mapping[str, Any]) -> pl.DataFrame:
        known = {column.name: column for column in self.schema.given}
        unknown = [name for name in given if name not in known]
        if unknown:
            what = f"conditioned on {listed(known)}" if known else "not conditioned on any column"
            raise InputError(f"--given {unknown[0]}: the model {self.path} is {what}")
        missing = [name for name in known if name not in given]
        if missing:
            raise InputError(
                f"the model {self.path} is conditioned on {listed(known)}; give a value for {listed(missing)}, "
                f"as in --given {missing[0]}={_example(known[missing[0]])}"
            )
        values: dict[str, Any] = {}
        for name, text in given.items():
            if known[name].categories:
                values[name] = str(text)
                continue
            try:
                values[name] = float(text)
            except ValueError:
                raise InputError(f"--given {name}={text}: {name!r} takes a number") from None
            if not np.isfinite(values[name]):
                raise InputError(f"--given {name}={text}: {name!r} takes a finite number")
        return pl.DataFrame({name: [values[name]] for name in known})


def _example(given: Any) -> str:
    return given.categories[0] if given.categories else f"{given.mean:.3g}"
