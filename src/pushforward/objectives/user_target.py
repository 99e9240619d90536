"""A user's log-density as the library calls it: batched, on tensors, and surviving failures of single rows."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

LogDensity = Callable[[Tensor], Tensor]
ENOUGH = 16  # consecutive rows that raise, after which the rest of a batch is given up


class TargetWarning(UserWarning):
    """A decision about a log-density, reported once, in a sentence."""


class UserTarget:
    r"""A log-density whose failing rows have density 0, as in Stan: :math:`\log\tilde\pi(x) = -\infty` there.

    A row fails if the function raises, gives NaN or +infinity, or gives no number for it. An exception does not tell
    which row it is for, so the batch is halved until the rows that raise are alone. First derivatives not finite become
    0. The first failure is reported by one :class:`TargetWarning`, with the error and the row.

    Attributes:
        failed, rows: Number of rows that failed so far, and that were evaluated.
        notes: Decisions about it, a sentence each.
    """

    def __init__(self, log_density: LogDensity, notes: Sequence[str] = ()) -> None:
        self.log_density = log_density
        self.failed, self.rows = 0, 0
        self.notes, self.error = list(notes), None
        self.shown = 0
        self.quiet = True  # until it has been checked

    notes: list[str]
    error: Exception | None  # the first error raised by a row

    def __call__(self, x: Tensor) -> Tensor:
        """log pi of every row, ``(n,)`` in nats, below +infinity and never NaN."""
        value = self._value(_with_finite_gradient(x))
        fails = ~(value < math.inf)
        self.rows += len(x)
        if bool(fails.any()):
            self._remember(x, value, fails)
            value = torch.where(fails, -math.inf, value)
        return value

    def note(self, sentence: str) -> None:
        """Makes a note, and shows it."""
        self.notes.append(sentence)
        self.show()

    def show(self) -> None:
        """Shows each note once, and later ones as soon as they are made."""
        self.quiet = False
        while self.shown < len(self.notes):
            self.shown += 1
            warnings.warn(self.notes[self.shown - 1], TargetWarning, stacklevel=3)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside, notes are withheld until the end, and dropped if an error then says more."""
        self.quiet = True
        yield
        self.show()

    @contextlib.contextmanager
    def unnoticed(self) -> Iterator[None]:
        """Inside, failing rows are not reported: in a search that visits regions where pi has no mass."""
        before = self.failed, self.rows, list(self.notes), self.error, self.quiet
        self.quiet = True
        yield
        self.failed, self.rows, self.notes, self.error, self.quiet = before

    def _value(self, x: Tensor) -> Tensor:
        """The function's values, NaN for the rows for which it raises: these are found by halving the batch."""
        alone = [0, 0]  # rows that raised on their own, and parts that did not raise

        def value(rows: Tensor) -> Tensor:
            if alone[0] >= ENOUGH and not alone[1]:
                return rows.new_full((len(rows),), math.nan)
            try:
                found = _of_shape(self.log_density(rows), rows)
                alone[1] += 1
                return found
            except Exception as error:
                if len(rows) <= 1:
                    self.error = self.error or error
                    alone[0] += 1
                    return rows.new_full((len(rows),), math.nan)
            middle = len(rows) // 2
            return torch.cat([value(rows[:middle]), value(rows[middle:])])

        return value(x)

    def _remember(self, x: Tensor, value: Tensor, fails: Tensor) -> None:
        number, first = int(fails.sum()), int(fails.nonzero()[0])
        if not self.failed:
            what = f"is {value[first].item()}" if self.error is None else told(self.error)
            self.notes.append(
                f"log_density {what} at x = {place(x[first])}, and fails for {number} of {len(x)} rows there: such "
                "rows count as density 0; if pi ends at a bound, state its support with `blocks=`"
            )
        self.failed += number
        if not self.quiet:
            self.show()


class WrongShape(ValueError):
    """A log-density did not return one number for each row."""


def told(error: Exception) -> str:
    """An error as the end of a sentence about the log-density."""
    text = " ".join(str(error).split())[:160] or "without a message"
    return text if isinstance(error, WrongShape) else f"raises {type(error).__name__.lstrip('_')} ({text})"


def place(row: Tensor) -> list[float]:
    """A row for a message: its first eight numbers, rounded."""
    return [round(v, 4) for v in row.detach().flatten()[:8].tolist()]


def _of_shape(value: Any, x: Tensor) -> Tensor:
    """The value of a batch; for one row it may lack the batch dimension, as after ``squeeze()``."""
    if isinstance(value, Tensor) and len(x) == 1 and value.numel() == 1:
        return value.reshape(1)
    if not isinstance(value, Tensor) or value.shape != x.shape[:1]:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise WrongShape(f"gives {got} for {len(x)} {'row' if len(x) == 1 else 'rows'} in place of ({len(x)},)")
    return value


def _with_finite_gradient(x: Tensor) -> Tensor:
    """x itself, but with gradient 0 in the rows whose incoming gradient is not finite."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return x
    x = x.view_as(x)
    x.register_hook(_finite_rows)  # type: ignore[no-untyped-call]
    return x


def _finite_rows(gradient: Tensor) -> Tensor:
    if torch.is_grad_enabled():  # to be differentiated once more: curvatures of 0 would be taken for the density's own
        return gradient
    good = gradient.flatten(1).isfinite().all(1)
    return torch.where(good.view(-1, *[1] * (gradient.dim() - 1)), gradient, 0.0)
