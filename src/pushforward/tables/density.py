"""The object for a table: fitted to a frame or a file; the queries it then answers are in ``fitted.py``.

Extensions have their places beside it: kinds of columns in ``schema/``, file formats in ``io/``, the choice of
the density in ``selection/``.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from ..errors import InputError
from ..models.console import Console
from .calibration import calibrated
from .fit import fit_rows, fit_table
from .fitted import FittedTable
from .io.read import read_any
from .io.table import WEIGHTS, Table
from .measure import saved
from .options import TableOptions
from .schema.kinds.base import Kind
from .update import plan_update


class TableDensity(FittedTable):
    """The density of the rows of a table, learnt by a normalizing flow; log-densities are in the table's own units.

    A table is a frame (pandas, polars, pyarrow), a dict of columns, or the path of a file. Numeric columns are
    continuous, whole, rounded or inflated at some values; text is a category. All this is inferred from the data and
    recorded in ``schema``. Models saved here and by the shell are interchangeable.

    Args:
        flow: A recipe's name, as in ``pushforward fit --flow``; ``gmm``, a mixture of Gaussians; or ``auto``: up to
            3,000 rows, an average of flows, Gaussians and mixtures, weighted by how well they do on rows that they did
            not see; with more rows ``nsf``, or what is better on held-out rows: a mixture, or that average, which is
            tried up to 10,000 rows if ``nsf`` overfits. If layers or widths are given, ``auto`` is ``nsf``.
        columns: The columns to model; None for all columns that are not in ``given``.
        given: The columns to condition on: the density is p(the others | these).
        categories: Numeric columns whose values are labels.
        bounds: Open intervals that columns stay in, as in ``{"share": (0, 1), "weight": (0, None)}``.
        circular: Columns with a period, as in ``{"hour": (0, 24)}``: their density agrees where the ends meet.
        order: Pairs of columns of which the first is never above the second, as in ``[("start", "end")]``: draws keep
            it, and a row that breaks it has density 0. One that is found in all rows is kept in draws, too, but a row
            that breaks it is only unlikely.
        limits: Numbers of which the table has limits in two columns, as in ``{"lead": ("lead_low", "lead_high")}``: a
            missing one is infinite, equal ones are the number. A row has the probability of its interval.
        censored: Times until an event with the column that is 1 where it came, as in ``{"time": "status"}``: in other
            rows the time is a lower limit. The density is that of times of events.
        noise: Numbers that were measured with normal errors, and the column of their standard deviations, as in
            ``{"flux": "flux_err"}``: the density is that of the true values, and a row's that of its measurement.
        relations: ``auto`` finds columns that follow from others, exactly or up to a remainder, and such orders;
            ``none`` looks for none, and ``-price,-total`` for none from which these columns follow; a formula such as
            ``price = carat * 'per carat' + 2`` is stated: exact in all rows, or up to a remainder.
        kinds: Columns of a kind of your own, as in ``{"address": IPv4}``: a :class:`~pushforward.Kind`, or its class,
            which then fits itself to the column.
        members: How many flows are averaged, each with a different part of the rows left out of its training; ``auto``
            is 5 if the flow is also ``auto`` and rows are few, and 1 otherwise.
        steps, epochs, budget: How long to train: batches, passes over the rows, or seconds (also as in ``"2m"``) for
            all of the fit, guide and figures included; at most one of them.
        threads: Number of threads for training, or ``auto``.
        device: ``cpu``, ``cuda`` or ``auto``.
        strict: Refuse what would otherwise be decided with a sentence in ``notes_``: missing cells, constants, columns
            that follow from others, identifiers and free text.
        queries: Train a guide as well, for at most as long again: it answers questions about some of the columns.
        random_state: Seed for all random draws.
        layers, hidden: The flow's layers, and widths of its hidden layers.
        batch_size, lr, patience: As in :func:`pushforward.fit`; by default, batches have 128 rows if training on a CPU
            for a given time or until convergence, and 512 otherwise.
        samples: Number of points over which the cells of whole and rounded numbers are averaged.
        numbers: Columns to treat as numeric however few values they have; otherwise up to 12 get a probability each.
        drop_missing: Leave out rows with missing or infinite values, with a note.
        keep: Save so many training rows with the model, from which :meth:`update` then learns beside draws.

    Attributes:
        density: The fitted density of rows of numbers, with categories as codes.
        guided: The same with its guide, which answers questions about some of the columns; None with ``queries=False``.
        schema: How each column is treated.
        summary_: Held-out figures and how the training went.
        notes_: What was decided about the table, in sentences.

    Example:
        >>> import numpy as np, pushforward as pf
        >>> rng = np.random.default_rng(0)
        >>> table = {"size": rng.gamma(3.0, size=200), "colour": rng.choice(["red", "blue"], 200)}
        >>> model = pf.TableDensity("maf", steps=20).fit(table)
        >>> model.score_samples(table).shape, sorted(model.sample(5))
        ((200,), ['colour', 'size'])
    """

    def __init__(
        self,
        flow: str = "auto",
        *,
        columns: Sequence[str] | None = None,
        given: Sequence[str] = (),
        categories: Sequence[str] = (),
        bounds: Mapping[str, tuple[float, float | None]] | None = None,
        circular: Mapping[str, tuple[float, float]] | None = None,
        order: Sequence[tuple[str, str]] = (),
        limits: Mapping[str, tuple[str, str]] | None = None,
        censored: Mapping[str, str] | None = None,
        noise: Mapping[str, str] | None = None,
        relations: str = "auto",
        kinds: Mapping[str, Kind | type[Kind]] | None = None,
        members: int | str = "auto",
        steps: int | None = None,
        epochs: int | None = None,
        budget: float | str | None = None,
        threads: int | str = "auto",
        device: str = "auto",
        strict: bool = False,
        queries: bool = True,
        random_state: int = 0,
        layers: int | None = None,
        hidden: Sequence[int] | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        patience: int | None = None,
        samples: int = 16,
        numbers: Sequence[str] = (),
        drop_missing: bool = False,
        keep: int = 0,
    ) -> None:
        self._keep(locals(), TableOptions)

    def fit(
        self,
        table: Any,
        *,
        validation: Any = 0.1,
        sample_weight: Any = None,
        more: float | str | None = None,
        progress: bool = False,
    ) -> Self:
        """Fits the density of the table's rows.

        Args:
            table: A frame, a dict of columns, or a path; a frame is not modified.
            validation: The fraction of the rows used for early stopping (as many again are held out for the figures of
                ``summary_``); or a table of such rows, on which the figures are then measured as well.
            sample_weight: The weight of each row, ``(n,)``: in training, in validation, in the figures of
                ``summary_``, and in percentiles. Rows of a validation table are weighted equally.
            more: Train the fitted model further for this long, in seconds or as in ``"2m"``, with the same columns and
                the same division of the rows; it never gets worse on the validation rows.
            progress: Print what the shell would print.

        Returns:
            The object itself.

        Raises:
            InputError: the table or an argument cannot be used; says which column, and how to mend it.
            TypeError: ``table`` is none.
        """
        read, options = read_any(table, stream=self.options.stream), self.options
        if isinstance(validation, float | int):
            if not 0 < validation < 0.5:
                raise InputError(f"validation={validation}: expected a share above 0 and below 0.5, or a table")
            options = dataclasses.replace(options, validation=float(validation))
        else:
            read = read.validated_by(read_any(validation, "validation"))
        if sample_weight is not None:
            read = read.weighted(sample_weight)
            options = dataclasses.replace(options, weights=WEIGHTS)
        if more is not None:
            self._require_fit()
            options = dataclasses.replace(options, training=options.training.for_more(more))
        command, console = f"pf.{self.expression}.fit({read.path})", Console(quiet=not progress)
        return self.fit_read(read, console, command, further=more is not None, options=options)

    def fit_read(
        self,
        read: Table,
        console: Console,
        command: str,
        *,
        further: bool = False,
        options: TableOptions | None = None,
    ) -> Self:
        """Fits a table that was read, or trains further on it, and records the command; the shell's entry point.

        Raises:
            InputError: the table or an option cannot be used; says why.
        """
        fitted = fit_table(read, read.pieces, options or self.options, console, self if further else None)
        self.notes_ = console.notes
        if fitted is not None:
            learned, facts = fitted
            self._hold(learned.whole, {**facts, "frame": read.kind, "command": command})
            self.facts |= calibrated(self, learned)
        return self

    def update(self, table: Any, budget: float | str | None = None, *, progress: bool = False) -> Self:
        """Goes on from the fitted model with new rows; the old ones are not needed.

        What the model knew is kept by draws of itself, and by training rows if ``keep`` was asked for. The density is
        trained further, for a third of the steps of its fit, an average for half. New categories, impossible values and
        values missing as in no row before are taken in with a note; where rows contradict relations that were found, or
        few numbers become more, all rows are described again. The density is then fitted anew to draws and new rows, as
        it is once a table of which ``keep`` holds all rows has grown to twice its size. ``facts["updates"]`` records
        how the rows differed. New rows count alike, and given columns take in nothing new.

        Args:
            table: The new rows, at least 10; as many must have been held out at the fit.
            budget: How long to train, in seconds or as in ``"2m"``.
            progress: Print what the shell would print.

        Returns:
            The object itself.

        Raises:
            InputError: it is another table: columns are missing or hold something else, or all of them have moved far.
        """
        self._require_fit()
        read = read_any(table)
        command = f"pf.{self.expression}.update({read.path})"
        return self.update_read(read, Console(quiet=not progress), command, budget)

    def update_read(self, read: Table, console: Console, command: str, budget: float | str | None = None) -> Self:
        """Updates with a table that was read, and records the command; the shell's entry point.

        Raises:
            InputError: it cannot be used; says why.
        """
        started, training = time.monotonic(), dataclasses.replace(self.options.training, budget=budget)
        plan = plan_update(self, read, dataclasses.replace(self.options, training=training), console)
        fitted = fit_rows(plan.table, plan.rows, plan.options, console, plan.earlier, started)
        self.notes_ = console.notes
        if fitted is not None:
            learned, facts = fitted
            facts["summary"] |= {"training_rows": plan.training_rows}  # without draws
            self._hold(learned.whole, {**facts, **plan.record, "frame": read.kind, "command": command})
            self.facts |= calibrated(self, learned)
            if plan.kept is not None:
                self.facts |= {"kept": saved(plan.kept, np.arange(len(plan.kept))), "keep": plan.keep}
        return self
