"""``pushforward fit``: from a table to a saved density, with a summary of how good it is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..distributions.base import Density
from ..objectives.divergences import Objective
from ..saving import checkpoint
from ..tables.baselines import Gaussian
from ..tables.errors import InputError, listed
from ..tables.formats.table import Table
from ..tables.schema.cells import cell_log_density
from ..tables.stream.shuffle import ShuffledRows
from ..training.fit import Result
from ..training.fit import fit as train
from .build import density
from .console import Console, plain
from .describe import describe_data, describe_held_out
from .device import device_named
from .learn import OBJECTIVES, Rows, against, fingerprint, held_out_order, spread
from .model import PERCENTS
from .prepare import Prepared, Wishes, choose_columns, prepare
from .prepare_large import prepare_large, read_rows
from .rescue import save

KEPT_ROWS = 1000  # held-out rows that are saved with the model, for reports without the data
QUANTILE_ROWS = 10_000  # training rows that percentiles are measured on


@dataclass(frozen=True)
class FitOptions:
    """What the user may choose; the meaning of each is in the shell's help."""

    flow: str = "nsf"
    objective: str = "likelihood"
    layers: int | None = None
    hidden: Sequence[int] | None = None
    columns: Sequence[str] = ()
    given: Sequence[str] = ()
    categories: Sequence[str] = ()
    bounds: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    drop_missing: bool = False
    leave_unfit: bool = False
    seed: int = 0
    epochs: int | None = None
    steps: int | None = None
    budget: float | None = None
    batch_size: int = 512
    lr: float = 1e-3
    patience: int | None = None
    samples: int = 16
    device: str = "auto"
    compile: bool = False
    checkpoint_every: int | None = None
    resume: bool = False
    metrics: Path | None = None
    stream: bool = False
    shard: bool = False


def run(data: Path, output: Path, options: FitOptions, console: Console, command: str) -> dict[str, Any]:
    """Fits, measures and saves; returns the summary that was saved with the model."""
    check_output(output)
    device_named(options.device)
    started = time.perf_counter()
    table, source = read_rows(data, options.stream)
    for note in table.notes:
        console.note(note)
    columns = choose_columns(table, options.columns, options.given, options.categories, console, options.leave_unfit)
    wishes = Wishes(columns, options.given, options.categories, options.bounds, options.drop_missing, options.seed)
    rows = prepare(table, wishes, console) if source is None else prepare_large(source, table.frame, wishes, console)
    for line in describe_data(table, rows):
        console.say(line)
    flow = _density(options, rows)
    train_rows = rows.train if rows.stream is None else rows.stream
    result = train_on(_objective(flow, rows, options), train_rows, rows.val, output, options, console)
    if int(os.environ.get("RANK", "0")):
        return {}  # under torchrun, one process measures and saves
    gaussian = Gaussian(spread(rows.train, rows.schema, options.seed), rows.train.context, rows.schema.classes)
    summary = _measure(flow, gaussian, rows, options)
    summary |= {"seconds": round(time.perf_counter() - started, 1), **training_facts(result)}
    facts = _facts(flow, table, rows, result, options)
    facts |= {"summary": summary, "gaussian": gaussian.to_json(), "command": command}
    save(flow, output, plain(facts))
    for line in describe_held_out(summary["held_out"]):
        console.say(line)
    console.say(f"{options.flow}, {summary['parameters']:,} parameters, {summary['seconds']:.0f} s")
    console.say(f"saved {output}")
    return summary


def check_output(output: Path) -> None:
    if output.suffix.lower() in (".csv", ".parquet", ".html", ".json"):
        raise InputError(f"{output}: a model is a folder; give a name without an ending")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; a model is a folder, choose another name")
    if output.is_dir() and any(output.iterdir()):
        try:
            checkpoint.load_extra(output)
        except ValueError:
            raise InputError(
                f"{output}: is a folder with other files in it, or a damaged model; choose another name, or remove it"
            ) from None
    if not output.absolute().parent.is_dir():
        raise InputError(f"{output}: the folder {output.parent} does not exist; create it first")


def _density(options: FitOptions, rows: Prepared) -> Density:
    seed, x = options.seed, spread(rows.train, rows.schema, options.seed)
    try:
        return density(rows.schema, x, flow=options.flow, layers=options.layers, hidden=options.hidden, seed=seed)
    except ValueError as error:
        raise InputError(f"--flow {options.flow}: {error}") from None


def train_on(
    objective: Objective,
    rows: Rows | ShuffledRows,
    val: Rows,
    output: Path,
    options: FitOptions,
    console: Console,
    clip: float = 5.0,
) -> Result:
    """Trains as the options say, with the state of the training beside the model.

    Raises:
        InputError: an option is out of range, or the loss is not finite again and again.
    """
    keep_state = options.resume or options.checkpoint_every is not None
    x, context, count = (rows.x, rows.context, len(rows)) if isinstance(rows, Rows) else (rows, None, rows.rows)
    try:
        result = train(
            objective,
            x,
            context,
            validation=val.x if val.context is None else (val.x, val.context),
            epochs=options.epochs,
            steps=options.steps,
            budget=options.budget,
            batch_size=min(options.batch_size, count),
            lr=options.lr,
            patience=options.patience,
            seed=options.seed,
            device=options.device,
            compile=options.compile,
            clip=clip,
            checkpoint=output.with_name(output.name + ".training") if keep_state else None,
            checkpoint_every=options.checkpoint_every or 1000,
            resume="auto" if options.resume else False,
            metrics=options.metrics,
            shard=options.shard,
            progress=console.talks and sys.stderr.isatty(),
        )
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from error
    if result.interrupted:
        console.note("stopped by Ctrl-C: the best weights so far are saved")
    if result.skipped_steps:
        console.note(f"{result.skipped_steps} batches were skipped because their loss was not finite")
    return result


def _objective(flow: Density, rows: Prepared, options: FitOptions) -> Objective:
    if options.objective not in OBJECTIVES:
        raise InputError(f"--objective {options.objective}: choose one of {', '.join(OBJECTIVES)}")
    named = [column.name for column in rows.schema.columns if column.categories]
    if named and options.objective == "matching":
        raise InputError(f"--objective matching: is for columns of numbers, not for the categories of {listed(named)}")
    try:
        return OBJECTIVES[options.objective](flow, rows.schema)
    except ValueError:
        raise InputError(
            f"--objective {options.objective}: is for continuous flows, not for {options.flow}; add --flow ffjord"
        ) from None


def _pair(rows: Rows) -> Any:
    return rows.x if rows.context is None else (rows.x, rows.context)


def _measure(flow: Density, gaussian: Gaussian, rows: Prepared, options: FitOptions) -> dict[str, Any]:
    return {
        "training_rows": rows.training_rows,
        "validation_rows": len(rows.val),
        "columns": rows.schema.names,
        "given": rows.schema.given_names,
        "flow": options.flow,
        "objective": options.objective,
        "parameters": sum(p.numel() for p in flow.parameters()),
        "held_out": against(flow, gaussian, rows.schema, rows.test, options.samples, options.seed),
    }


def training_facts(result: Result) -> dict[str, Any]:
    """What a summary keeps of a training."""
    names = ("steps", "best_step", "best_validation_loss", "validation_se", "seconds", "skipped_steps", "interrupted")
    return {"training": {name: getattr(result, name) for name in names}}


def _facts(flow: Density, table: Table, rows: Prepared, result: Any, options: FitOptions) -> dict[str, Any]:
    """What is saved beside the flow."""
    here = next(flow.parameters()).device
    some = rows.train[:: max(len(rows.train) // QUANTILE_ROWS, 1)]
    context = None if some.context is None else some.context.to(here)
    scores, _ = cell_log_density(flow, rows.schema, some.x.to(here), context, samples=options.samples)
    return {
        "kind": "table",
        "schema": rows.schema.to_json(),
        "quantiles": np.quantile(scores.clamp_min(-1e30).numpy(), PERCENTS / 100).tolist(),
        "history": [{**row, "objective": options.objective} for row in result.history],
        "data": table.path.name,
        "seed": options.seed,
        "samples": options.samples,
        "held_out": _kept(rows, options),
        "rows": None if rows.whole is None else len(rows.whole),
        "fingerprint": None if rows.whole is None else fingerprint(rows.whole),
        "torch": torch.__version__,
    }


def _kept(rows: Prepared, options: FitOptions) -> dict[str, Any]:
    """Some held-out rows, for reports without the data: any, not the first, because files may be sorted."""
    chosen = np.sort(np.random.default_rng(options.seed).permutation(len(rows.test))[:KEPT_ROWS])
    kept = rows.test[chosen]
    numbers = chosen
    if rows.stream is not None:
        numbers = rows.numbers[chosen]
    elif rows.whole is not None:
        numbers = rows.numbers[held_out_order(len(rows.whole), options.seed)[2][chosen]]
    context = None if kept.context is None else kept.context.tolist()
    return {"x": kept.x.tolist(), "context": context, "numbers": numbers.tolist()}
