"""The commands that use a model: ``score``, ``outliers``, ``drift``, ``sample``, ``ask``, ``predict``, ``impute``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ..errors import InputError
from ..models.typed import Flag, Given, Givens, Names, Whole
from ..tables.io.place import STANDARD, SourceOptions, located
from .options import Count, Device, DropMissing, FitSeed, Model, Output, PrintOptions, Samples, SpreadsheetSafe, opened


def score(
    model: Model,
    data: str,
    *,
    output: Output | None = None,
    source: SourceOptions = SourceOptions(),
    follow: Flag = False,
    keep: Names = (),
    explain: Flag = False,
    explain_below: float | None = None,
    given: Names = (),
    drop_missing: DropMissing = False,
    samples: Samples = None,
    seed: FitSeed = None,
    device: Device = "auto",
    spreadsheet_safe: SpreadsheetSafe = False,
    printing: PrintOptions = PrintOptions(),
) -> None:
    """The log-density of every row of a table, or of every image, and its percentile among unseen data.

    Writes one row of scores per row of the table, in its order: log_density (nats, in the table's units), percentile,
    and standard_error where whole or rounded numbers make the density an average over cells, or where cells or columns
    are missing, which are integrated out. Of images: the file or number of each, log_density, bits_per_dim and
    percentile.

    Args:
        data: The table, as for `pushforward fit`; its columns are found by name, in any order. What is larger than
            memory is read in pieces, and shared by the processes of torchrun.
        output: The scores: a file of any format of tables, such as .csv, .parquet or .xlsx; - for standard output; a
            new table of a database, as in 'postgresql://host/base?table=scores', with the rows' numbers in a first
            column; or, of a table that is read in pieces, a folder of Parquet files. Such scores are gathered in
            SCORES.parts, and a run that was interrupted goes on from there.
        follow: Score JSON lines from standard input as they come, one line in, one out, as in `score MODEL - --follow`;
            a line that is no row gets an error.
        keep: Columns of the table to copy to the scores, as in id,name.
        explain: Add what makes a row unlikely: the column to blame, the value that would fit, and for every column by
            how many nats the row would be likelier with the best other value there. Of an image, the oddest patch, and
            by how many nats it is less likely than the model expects there.
        explain_below: Explain the rows up to this percentile, instead of 5.
        given: Condition on these columns, as in cut,color: log_density is that of the other columns given them.
        drop_missing: Give rows with missing or infinite values no score, instead of refusing the table.
    """
    if output is None and not follow:
        raise InputError("says where the scores go", "output")
    place = located(STANDARD if output is None else output, writing=True, spreadsheet_safe=spreadsheet_safe)
    console = printing.console(None if follow else place)
    if explain and explain_below is None:
        explain_below = 5.0
    if explain_below is not None and not 0 <= explain_below <= 100:
        raise InputError("expected a percentile, 0 to 100", "explain_below", explain_below)
    asked: dict[str, Any] = {"samples": samples, "seed": seed, "explain_below": explain_below, "given": given}
    asked |= {"keep": keep, "drop_missing": drop_missing}
    if follow:
        if data not in (STANDARD, "./-") or output not in (None, STANDARD, "./-"):
            raise InputError("goes from standard input (-) to standard output", "follow")
        opened(model, device).run("follow", sys.stdin.buffer, sys.stdout, **asked)
        return
    console.result(opened(model, device).run("score", located(data, source), place, console, **asked))


def outliers(
    model: Model,
    data: str,
    *,
    output: Output,
    source: SourceOptions = SourceOptions(),
    level: float = 0.05,
    device: Device = "auto",
    spreadsheet_safe: SpreadsheetSafe = False,
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Find the odd rows of a table, the oddest first, each with its p-value and the cell to blame.

    The p-value of a row is the share of rows that the model did not see and that are at least as odd: of usual rows, 5
    in 100 have one of at most 0.05. Writes row (its number in the table, from 1), log_density, p_value, outlier and,
    for outliers, unlikely_because, would_fit, also_unlikely (further cells, with what would fit) and gain: by how many
    nats the row is less odd without these cells.

    Args:
        data: The table, as for `pushforward fit`.
        output: The rows' p-values: as for `pushforward score`.
        level: The largest p-value of an outlier.
    """
    place = located(output, writing=True, spreadsheet_safe=spreadsheet_safe)
    console = printing.console(place)
    found = located(data, source)
    console.result(opened(model, device).run("outliers", found, place, console, level=level))


def drift(
    model: Model,
    data: str,
    *,
    source: SourceOptions = SourceOptions(),
    by: str | None = None,
    device: Device = "auto",
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Tell whether new rows are still of the table that was fitted, and what has moved.

    Compares them with rows that the model did not see: a p-value that holds however good or bad the model is, the
    effect in nats, and the columns, pairs of columns, categories and missing values that moved, each corrected for how
    many there are.

    Args:
        data: The new rows, as for `pushforward fit`; of the file that was fitted, those that the model did not see.
        by: A column whose dates or values divide the rows into windows, each compared by itself as well.
    """
    console = printing.console()
    console.result(opened(model, device).run("drift", located(data, source), console, by=by))


def sample(
    model: Model,
    *,
    n: Annotated[Count, Parameter(name=["-n", "--rows"])],
    output: Output,
    given: Given = Givens(),
    seed: FitSeed = None,
    temperature: float = 1.0,
    guidance: float = 0.0,
    check: str | None = None,
    privacy_check: Flag = False,
    device: Device = "auto",
    spreadsheet_safe: SpreadsheetSafe = False,
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Draw new rows, or images, from a model.

    Args:
        n: How many.
        output: The rows: a file of any format of tables, - for standard output, or a new table of a database, as in
            'shop.duckdb?table=samples'. Images: a .png with all of them, a .npy, or a .npz with their
            classes.
        given: The value of a column, as in cut=Ideal, or a condition in SQL, as in 'age BETWEEN 30 AND 40': rows are
            drawn given it. May be repeated. Of images, as in class=3; without it, all classes in turn.
        temperature: Below 1, rows closer to the most typical ones; 1 samples the density itself.
        guidance: Of a tarflow given classes: how far images go beyond what their class says; 0 samples the density.
        check: The table that the model was fitted to: says how well a classifier tells the rows from its held-out
            rows, and how near they come to its training rows.
        privacy_check: With --check: write nothing, and end with 1, if by more than chance and 1 % more of the rows than
            of the held-out ones are as near to a training row as the nearest 1 % of training rows are to each other.
    """
    place = located(output, writing=True, spreadsheet_safe=spreadsheet_safe)
    console = printing.console(place)
    if not 0 < temperature < float("inf"):
        raise InputError("expected a positive number; 1 samples the density itself", "temperature", temperature)
    choices: dict[str, Any] = {"where": given.where, "seed": seed, "temperature": temperature, "guidance": guidance}
    choices |= {"check": None if check is None else located(check), "privacy_check": privacy_check}
    console.result(opened(model, device).run("sample", n, place, dict(given.values), console, **choices))


def ask(
    model: Model,
    where: str,
    *,
    given: Given = Givens(),
    seed: FitSeed = None,
    device: Device = "auto",
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Tell how probable it is that a row is so, with the standard error of the answer.

    Args:
        where: A condition in SQL, as in "price > 5000 AND cut = 'Ideal'".
        given: The value of a column, as in carat=1, or a condition in SQL, as in 'carat BETWEEN 1 AND 2': of the rows
            for which it holds. May be repeated.
    """
    asked = (where, dict(given.values), printing.console())
    asked[-1].result(opened(model, device).run("ask", *asked, within=given.where, seed=seed))


def predict(
    model: Model,
    data: str,
    column: str,
    *,
    output: Output,
    source: SourceOptions = SourceOptions(),
    kind: Literal["mean", "median", "mode", "proba", "interval"] = "mean",
    level: float = 0.9,
    keep: Names = (),
    seed: FitSeed = None,
    device: Device = "auto",
    spreadsheet_safe: SpreadsheetSafe = False,
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Predict one column of every row of a table from its other columns.

    Args:
        data: The table, as for `pushforward fit`; its own values of the column are not read, and what is missing is
            integrated out.
        column: The column.
        output: The predictions: as for `pushforward score`.
        kind: mean, median or mode; proba, the probability of each value; interval, a range that holds the value in a
            share of rows that were not seen.
        level: That share.
        keep: Columns of the table to copy, placed before the predictions.
    """
    place = located(output, writing=True, spreadsheet_safe=spreadsheet_safe)
    console, choices = printing.console(place), {"kind": kind, "level": level, "keep": keep, "seed": seed}
    console.result(opened(model, device).run("predict", located(data, source), column, place, console, **choices))


def impute(
    model: Model,
    data: str,
    *,
    output: Output,
    source: SourceOptions = SourceOptions(),
    mask: Path | None = None,
    draws: Count = 1,
    candidates: Whole | None = None,
    seed: FitSeed = None,
    device: Device = "auto",
    spreadsheet_safe: SpreadsheetSafe = False,
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Fill the missing cells of a table, or pixels of images, with draws given the rest of their own row or image.

    Args:
        data: The table, as for `pushforward fit`; columns of the model that it lacks are drawn as well. Or the images:
            of a NumPy file of floats, NaN is missing.
        output: The filled table, or images: as for `pushforward sample`.
        mask: Of images: a picture or .npy of their height and width, not 0 where pixels are missing; or a .npy with one
            for each image.
        draws: How many filled tables, or sets of images, are written one after another, for multiple imputation.
        candidates: Of images: particles of a pixelcnn, or steps of a flow's Markov chains, 64 by default. More take
            longer and make the draws more exact.
    """
    place = located(output, writing=True, spreadsheet_safe=spreadsheet_safe)
    console = printing.console(place)
    choices = {"draws": draws, "seed": seed, "mask": mask, "candidates": candidates}
    console.result(opened(model, device).run("impute", located(data, source), place, console, **choices))
