"""The object for a table: fitted to a frame or a file, it answers any question about the rows.

The class is a list of methods, each a call: frames come in and go out here, and what is between is in ``queries/``.
Extensions have their places beside it: kinds of columns in ``schema/``, file formats in ``io/``, the choice of
the density in ``selection/``.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..diagnostics.linear_gaussian import LinearGaussian
from ..errors import InputError, positive_integers
from ..models.base import HeldOut
from ..models.compare import compare
from ..models.console import Console
from ..models.options import check_seed
from ..models.train import Rows
from ..numerics import threads
from ..report.evidence import Evidence, Page
from ..report.write import write
from .engines import RayTable, SparkTable
from .fit import Learned, fit_table
from .io.frames import CODED, from_frame, is_path, rows_at, to_frame
from .io.read import read_any
from .io.table import WEIGHTS, Piece, Table, one_each
from .measure import calibrated
from .model import TableModel
from .options import TableOptions
from .queries.drift import Drift, drift, drift_file
from .queries.explain import cells_given_others, explain
from .queries.highest_density import HighestDensityRegion, highest_density_region
from .queries.known import Known
from .queries.outliers import LEVEL, outliers, outliers_file
from .queries.predict import PredictionKind, predict, predict_file, probabilities, quantiles
from .queries.probability import ask, probability, said_of
from .queries.query import Query, completed
from .queries.sample import draw, impute, impute_file, sample_file
from .queries.score import Scoring, follow
from .queries.score_files import score_file
from .queries.where import Where
from .schema.kinds.base import Kind
from .schema.moments import clock_array
from .schema.preprocessing import latents
from .splits import fingerprint
from .update import update_table

SOURCE = "table"  # what messages call the rows


class TableDensity(TableModel):
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

    verbs: ClassVar[Mapping[str, Any]] = {
        "score": score_file,
        "follow": follow,
        "sample": sample_file,
        "impute": impute_file,
        "outliers": outliers_file,
        "drift": drift_file,
        "ask": ask,
        "predict": predict_file,
    }
    of_others: ClassVar[str] = "applies to images, but this is a table"

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
        options = self.options
        read = read_any(table, stream=options.stream, codes=options.categories)
        if isinstance(validation, float | int):
            if not 0 < validation < 0.5:
                raise InputError(f"validation={validation}: expected a share above 0 and below 0.5, or a table")
            options = dataclasses.replace(options, validation=float(validation))
        else:
            read = read.validated_by(read_any(validation, "validation", codes=options.categories))
        if sample_weight is not None:
            read = read.weighted(sample_weight)
            options = dataclasses.replace(options, weights=WEIGHTS)
        if more is not None:
            options = dataclasses.replace(options, training=options.training.for_more(more))
        command, console = f"pf.{self.expression}.fit({read.path})", Console(quiet=not progress)
        return self.fit_read(read, console, command, further=more is not None, options=options)

    def fit_read(
        self, read: Table, console: Console, command: str, *, further: bool = False, options: TableOptions | None = None
    ) -> Self:
        """Fits a table that was read, or trains further on it, and records the command; the shell's entry point.

        Raises:
            InputError: the table or an option cannot be used; says why.
        """
        fitted = fit_table(read, read.pieces, options or self.options, console, self if further else None)
        return self._learned(fitted, read, console, command)

    def update(self, table: Any, budget: float | str | None = None, *, progress: bool = False) -> Self:
        """Goes on from the fitted model with new rows; the old ones are not needed.

        What the model knew is kept by draws of itself, and by training rows if ``keep`` was asked for. More of the same
        waits in the model until the table has grown to twice its size, and the density is then fitted anew to draws
        and new rows. Where rows have moved, or ``budget`` says how long, it is trained further at once, for a third of
        the steps of its fit, an average for half. New categories, impossible values and values missing as in no row
        before are taken in with a note, by a new fit; where rows contradict relations that were found, or few numbers
        become more, all rows are described again.
        ``facts["updates"]`` records how the rows differed. New rows count alike, and given columns take in nothing new.

        Args:
            table: The new rows, at least 10; as many must have been held out at the fit.
            budget: How long to train, in seconds or as in ``"2m"``.
            progress: Print what the shell would print.

        Returns:
            The object itself.

        Raises:
            InputError: it is another table: columns are missing or hold something else, or all of them have moved far.
        """
        read = self._table(table)
        command = f"pf.{self.expression}.update({read.path})"
        return self.update_read(read, Console(quiet=not progress), command, budget)

    def update_read(self, read: Table, console: Console, command: str, budget: float | str | None = None) -> Self:
        """Updates with a table that was read, and records the command; the shell's entry point.

        Raises:
            InputError: it cannot be used; says why.
        """
        options = dataclasses.replace(self.options, training=dataclasses.replace(self.options.training, budget=budget))
        return self._learned(update_table(self, read, options, console), read, console, command)

    def _learned(
        self, fitted: tuple[Learned | None, dict[str, Any]] | None, read: Table, console: Console, command: str
    ) -> Self:
        """Holds what was learnt, if this process is the one that does."""
        self.notes_ = console.notes
        if fitted is not None:
            learned, facts = fitted
            whole = (learned.guided or learned.fitted.density) if learned else self._whole()
            self._hold(whole, {**facts, "frame": read.kind, "command": command})
            if learned is not None:
                with threads.using(learned.fitted.threads):
                    self.facts |= calibrated(self, learned.rows, learned.fitted, learned.ends)
        return self

    def score_samples(self, table: Any, given: Sequence[str] = (), errors: bool = False) -> Any:
        """The log-density of every row, in nats, in the table's own units.

        Args:
            table: The rows; columns are found by name, in any order. Missing cells are integrated out, and so are
                columns that the table lacks: the density is that of the cells present.
            given: Condition on these columns, or on a single one: log p(the others | these).
            errors: Whether to return standard errors as well: if columns have cells, the density is an average over
                ``samples`` points of each; missing values are integrated over weighted draws; and a mixture of
                Gaussians is known only as precisely as its training rows determine it.

        Returns:
            ``(n,)`` float64 in the order of the rows, or a pair of such arrays; also for pandas, so that
            ``frame.assign(z=model.score_samples(frame))`` needs no index. Missing cells are integrated out; if a column
            has missing values among the training rows, the fact that a cell is missing there is part of the row's
            probability.
            NaN for rows with none of the cells asked about, or given a category that no training row had, as
            ``notes_`` then says; a given number that is none of few values counts as the nearest.

        Raises:
            InputError: a column is missing, or holds something else than in training.
        """
        frame, given = self._read(table)[0], [given] if isinstance(given, str) else given
        if given:
            Scoring(self, given=given).check(frame.columns)
        query = Query.of(self, Piece(frame, SOURCE), given)
        answer = query.answer(self)
        self._tell(query.notes)
        return (answer.value.numpy(), answer.error.numpy()) if errors else answer.value.numpy()

    def _tell(self, notes: Sequence[str]) -> None:
        """Adds to ``notes_`` what was decided."""
        self.notes_[:] = dict.fromkeys([*self.notes_, *notes])

    def _table(self, table: Any) -> Table:
        """A frame, or a file read as the one that was fitted."""
        return self.read_file(table) if is_path(table) else read_any(table)

    def _read(self, table: Any) -> tuple[pl.DataFrame, str]:
        """The rows of a frame, a dict of columns or a file; of a file with its own splits, the test rows. And the kind
        of frame in which answers for them come: that which was asked with; to what is no frame, that which was fitted.
        """
        fitted = self.facts.get("frame", "polars")
        if is_path(table):
            return self.read_file(table).held_out().frame, fitted
        rows, asked = from_frame(table, "the table")
        same = asked.split()[0] in ("dict", "numpy") or {asked.split()[0], fitted.split()[0]} == {"pandas"}
        return rows, fitted if same else asked

    def score(self, table: Any, sample_weight: Any = None) -> float:
        """The mean log-density of the rows, in nats."""
        values = self.score_samples(table)
        if not len(values):
            raise InputError("the table: has no rows, and so no mean")
        weights = None if sample_weight is None else one_each(sample_weight, len(values))
        return float(np.average(values, weights=weights))

    def sample(self, n: int = 1, given: Any = None, random_state: int | None = None) -> Any:
        """New rows, as a frame of the kind that was fitted; a pandas frame that is given keeps its index.

        Args:
            n: How many rows; for each row of ``given`` if that is a frame.
            given: ``{column: value}``, which other columns may be missing beside, as in the table; where a pair
                ``(low, high)`` is a range, with None for an open end, a list is a choice, and None is drawn; or SQL
                text, as in ``"age BETWEEN 30 AND 40"``. Or a frame of such cells: its missing cells are drawn, like the
                columns that it lacks, so that none is missing, while columns that the model does not use are ignored.
                No draw is rejected, however small a range is. Where a category is one that no training row had, nothing
                is drawn, and ``notes_`` says so; a number that is none of few values counts as the nearest.
            random_state: Seed of the draws.

        Raises:
            InputError: ``n`` is below 1, a given column is missing or unknown, or has a value that the model does not
                know.
        """
        positive_integers(n=n)
        seed = self.seed if random_state is None else check_seed(random_state)
        known = Known.of(self, given)
        rows = draw(self, n, known, seed)
        if known.notes:
            self._tell(known.notes)
        if not (kind := self.facts.get("frame", "polars")).startswith("pandas"):
            return to_frame(rows, kind)
        like = None if given is None else rows_at(given, np.arange(rows.height) // n)
        return to_frame(rows, kind, like, labels={column.name: column.kind.labels for column in self.schema.known})

    def probability(self, where: Any, given: Any = None, errors: bool = False) -> Any:
        """P(where | given): the share of rows, of those given, that a condition holds for.

        A condition is ``{column: value | [values] | (low, high)}``, in which None is an open end, or SQL text such as
        ``"price > 5000 AND cut IN ('Ideal')"``. It is answered however small the probability is: parts about single
        columns by draws that stay inside, what is said of several columns at once by counting among weighted draws. It
        is exact, with an error of 0, for columns of categories that come first in the table. A missing value lies in no
        range.

        Args:
            where: The condition; or a list of them, each asked of the same row, or one of each row of a frame; such as
                differ in their ends or values alone take little longer than one.
            given: What is known: as ``where``; or a frame, in which each row has its own answer.
            errors: Whether to return standard errors as well.

        Returns:
            A number, or ``(n,)`` float64 for a frame or a list; with errors a pair of these. NaN given a category that
            no training row had, as ``notes_`` then says.

        Raises:
            InputError: a column is unknown, or a value or a range cannot be; or the model has no guide and needs one.
        """
        known, several = Known.of(self, given), isinstance(where, list)
        asked = [Where.of(self, one) for one in (where if several else [where])]
        known = known.repeated(len(asked), "where") if several else known
        found = probability(self, asked, known, self.seed)
        self._tell(said_of(found, asked, where, known))
        shown = tuple(float(part[0]) if known.one else part.numpy() for part in found)
        return shown if errors else shown[0]

    def quantile(self, column: str, q: Any, given: Any = None, errors: bool = False) -> Any:
        """The value of a column that is not exceeded with probability q, given others.

        Args:
            column: The column.
            q: A probability, or several.
            given: As for :meth:`probability`.
            errors: Whether to return standard errors as well.

        Returns:
            A number, ``(len(q),)``, or for a frame ``(n,)`` or ``(n, len(q))``; of dates and times, NumPy's; with
            errors a pair of these.

        Raises:
            InputError: the column is unknown, given, or holds names; or a probability is none.
        """
        known = Known.of(self, given)
        *found, notes = quantiles(self, column, probabilities(q), known, self.seed)
        self._tell(notes)
        several = np.ndim(q) > 0
        shaped = [part[0] if known.one else part for part in found]
        shaped = shaped if several else [part[..., 0] for part in shaped]
        return tuple(shaped) if errors else shaped[0]

    def predict(self, table: Any, column: str, kind: PredictionKind = "mean", level: float = 0.9) -> Any:
        """One column of every row, from the other columns that it has; what is missing is integrated out.

        Args:
            table: The rows; their own values of the column, if there are any, are not read.
            column: The column.
            kind: ``mean``, ``median`` or ``mode``; ``proba``, the probability of each value of a column with few
                values; ``interval``, a range that holds the value in a share ``level`` of rows, as checked on rows that
                the model did not see; ``notes_`` says if these are too few.
            level: That share.

        Returns:
            ``(n,)``; of ``proba`` a frame with a column for each value; of ``interval`` one of ``low`` and ``high``.

        Raises:
            InputError: the column is unknown or has no such prediction, or the rows do not fit the model.
        """
        rows, frame = self._read(table)
        found, notes = predict(self, rows, column, kind, level, self.seed, "the table")
        self._tell(notes)
        if kind in ("proba", "interval"):
            return to_frame(found, frame, table)
        if self.facts.get("frame", "polars").endswith(CODED):
            return np.asarray(to_frame(found, "pandas" + CODED)[column])
        return clock_array(found[column])

    def region(self, columns: Sequence[str], given: Any = None, level: float = 0.9) -> HighestDensityRegion:
        """The smallest set of values of some columns that holds a share of rows, given others: where their density is
        high, whatever its shape.

        Args:
            columns: The columns, or a single one.
            given: As for :meth:`probability`; a frame has a region for each row.
            level: The share, as checked on rows that the model did not see; ``notes`` says if they are too few.

        Returns:
            An object with ``holds(table)``, which rows lie in it; ``threshold``, the log-density from which they do;
            and ``volume``: see :class:`~pushforward.tables.queries.highest_density.HighestDensityRegion`.

        Raises:
            InputError: a column is unknown or given, or ``level`` is none.
        """
        columns, known = [columns] if isinstance(columns, str) else columns, Known.of(self, given)
        found = highest_density_region(self, columns, known, level, self.seed)
        self._tell((*known.notes, *found.notes))
        return found

    def impute(self, table: Any, draws: int = 1, random_state: int | None = None) -> Any:
        """The table with its missing cells drawn from p(missing | observed) row by row; a frame is not modified, and
        the index and the types of a pandas frame are kept.

        Args:
            table: The rows; columns of the model that it lacks are drawn as well.
            draws: How many filled tables are returned, one below the other, for multiple imputation.
            random_state: Seed of the draws.

        Raises:
            InputError: the model has no guide, or the table none of its columns.
        """
        read = self._table(table).held_out()
        seed = self.seed if random_state is None else check_seed(random_state)
        filled, notes = impute(self, read.frame, draws, seed)
        self._tell(notes)
        return to_frame(filled, read.kind, table, typed=True)

    def explain(self, table: Any) -> Any:
        """What makes each row unlikely, one row each: ``unlikely_because``, the column to blame; ``would_fit``, a value
        that such rows have there; ``also_unlikely``, further columns to blame, each with such a value; ``gain``, by how
        many nats less odd the row is without these cells, as far as rows that the guide did not see bear it out; the
        gain of every column alone; and, with a guide, ``log_p_…``: log p(cell | the other cells) of every cell, NaN if
        the others are impossible. A pandas frame's index is kept.

        A row is as odd as the product of its cells' two-sided tail probabilities, each given all others, is small.
        Without a guide, a gain is by how many nats the best typical value would raise the row's log-density.
        """
        frame, kind = self._read(table)
        encoded = self.schema.encode(frame, SOURCE)
        self._tell(encoded.notes)
        rows = Rows(encoded.x, encoded.context)
        found = explain(self, rows, np.flatnonzero(~encoded.strange), self.seed, encoded)
        if self.guided is not None:
            found = found.hstack(cells_given_others(self, rows))
        return to_frame(found, kind, table)

    def outliers(self, table: Any, level: float = LEVEL) -> Any:
        """Every row's p-value, the oddest first: the share of unseen rows that are at least as odd. ``outlier`` where
        it is at most ``level``, which it is for that share of ordinary rows; those also name the column to blame.

        Returns:
            A frame of ``row`` (from 1), ``log_density``, ``p_value``, ``outlier``, ``unlikely_because``, ``would_fit``,
            ``also_unlikely`` and ``gain`` in nats, with the index of a pandas frame's rows. ``notes_`` says if these
            are the rows of the fit, which are flagged less often.

        Raises:
            InputError: ``level`` is no probability, or the model has too few held-out rows for it.

        Reference:
            Bates, Candès, Lei, Romano, Sesia (2023), Testing for outliers with conformal p-values, arXiv:2104.08279.
        """
        rows, frame = self._read(table)
        found, notes = outliers(self, rows, level)
        self._tell(notes)
        return to_frame(found, frame, rows_at(table, found["row"].to_numpy() - 1))

    def drift(self, table: Any, by: str | None = None) -> Drift:
        """Whether new rows are still of the table that was fitted, and what has moved.

        They are compared with rows that the model did not see and that were saved with it, in their columns, pairs of
        columns, categories, missing values, broken relations, and in what the model says of them.

        Args:
            table: The new rows, at least 10; of more than 3,000, so many at random.
            by: A column whose dates or values divide the new rows into windows, each compared by itself as well; it is
                not compared.

        Returns:
            An object with ``verdict``, a sentence; ``p_value``, at most 0.05 for 5 of 100 unchanged tables, however
            good or bad the model is; ``effect`` in nats a row; ``columns``, the most moved first; and more: see
            :class:`~pushforward.tables.queries.drift.Drift`.

        Raises:
            InputError: the table does not fit the model, or there are too few rows.
        """
        console = Console(quiet=True)
        found = drift(self, self._table(table), console, by)
        self._tell(console.notes)
        return found

    def evidence(self, held: HeldOut, page: Page) -> Evidence:
        from ..report.tables.evidence import ReportedDrift, RowEvidence  # matplotlib takes longer than most answers

        others, drifted = self.saved_held_out().rows, None
        if held.frame is not None and fingerprint(held.rows) != fingerprint(others):
            with contextlib.suppress(InputError):  # if there are too few rows to compare
                found = drift(self, Table(Path("the rows"), held.frame), Console(quiet=True))
                drifted = ReportedDrift(found.verdict, others.x, found.measures.rows())
        return RowEvidence(
            page=page,
            density=self.density,
            cells=self.cells,
            schema=self.schema,
            held=held.rows,
            whole=completed(self, held.rows),
            names=(held.numbers + 1).tolist(),
            train=held.train,
            gaussian=LinearGaussian.from_json(self.facts["gaussian"]),
            explain=lambda rows: explain(self, rows, np.arange(len(rows)), page.seed),
            percentile=self.percentile,
            others=self.others,
            drift=drifted,
        )

    def compare(self, other: TableDensity, table: Any) -> dict[str, Any]:
        """Which of two models gives the same rows the higher log-likelihood: the paired difference with its standard
        error, over the rows that neither was trained on.

        Raises:
            InputError: the models do not describe the same columns, or the table does not fit them.
        """
        return compare((self, other), self._table(table), Console(quiet=True), samples=self.samples)

    def report(self, path: str | Path, table: Any = None, against: Sequence[TableDensity] | None = None) -> None:
        """Writes what was learnt, and how well, as one HTML file.

        Args:
            path: The file.
            table: Rows to report on: if it is the table that was fitted, its held-out rows; if None, those that were
                saved with the model.
            against: Other models of the same columns, to be compared on the table.
        """
        whole = None if table is None else self._table(table)
        write(self, whole, Path(path), Console(quiet=True), seed=self.seed, against=list(against or ()))

    def for_spark(self) -> Any:
        """This model for rows on a Spark cluster: an object with ``score``, ``impute``, ``predict``, ``ask`` and
        ``drift`` of Spark frames and ``sample(n)``; see :class:`~pushforward.tables.engines.DistributedTable`."""
        return SparkTable(self)

    def for_ray(self, workers: int | tuple[int, int] = 1) -> Any:
        """The same for datasets of Ray Data, with ``workers`` actors that hold the model; see
        :class:`~pushforward.tables.engines.RayTable`."""
        return RayTable(self, workers)

    def encode(self, table: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows as the flow sees them: K points of each row's cell, ``(K, n, d)``, after the first transforms, and the
        log-slopes ``(K, n)`` that convert a log-density there to the table's units.

        Raises:
            InputError: a column holds categories, or a cell is missing.
        """
        encoded = self.schema.encode(self._read(table)[0], SOURCE)
        if encoded.notes:
            raise InputError(encoded.notes[0])
        x, schema = encoded.x, self.schema
        points, slopes = latents(self.density, schema, schema.seen(x), samples=self.samples, seed=self.seed)
        return points.numpy(), (slopes + schema.log_of_unseen(x)).numpy()
