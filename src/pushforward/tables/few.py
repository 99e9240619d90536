"""Small tables, and averages of flows: the fit of :mod:`pushforward.training.few_rows`, applied to a table."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..distributions.mixed import Mixed
from ..errors import InputError
from ..models.console import Console
from ..models.device import device_named
from ..numerics.indicators import indicators
from ..training.averages import FEW_ROWS, fit_by_name, wants_average
from ..training.few_rows import Judged
from ..training.verdict import Verdict
from ..transforms.compose import Compose
from .categories import fresh_categories
from .options import TableOptions
from .prepare import TableSplits
from .schema.cells import Cells
from .schema.preprocessing import preprocessing

COPIES = 8  # points of each row's cell to learn from


def averages(options: TableOptions, rows: TableSplits) -> bool:
    """Whether to fit an average of densities: if members or ``gmm`` are requested, or under ``auto`` if rows are few
    and the user specified nothing about one flow's size or training.

    Raises:
        InputError: the number of members is none; or it does not go together with another option.
    """
    training = options.training
    try:
        asked = wants_average(options.flow, options.members)
    except ValueError as error:
        raise InputError(str(error)) from None
    other = rows.stream is not None or options.objective != "likelihood" or not rows.schema.numbers
    other = other or bool(training.shard or training.compile or training.checkpoint or training.metrics)
    if asked and other:
        what = "flow='gmm'" if options.flow == "gmm" else f"members={options.members}"
        raise InputError(f"{what}: is for columns of numbers in memory, by likelihood, without states or shards")
    if asked and rows.schema.circles:
        what = "flow='gmm'" if options.flow == "gmm" else f"members={options.members}"
        raise InputError(f"{what}: is not for circular columns; choose one flow by name for them")
    other = other or bool(rows.schema.circles)
    few = len(rows.train) + len(rows.val) <= FEW_ROWS
    return asked or (options.flow == options.members == "auto" and few and says_only_auto(options) and not other)


def says_only_auto(options: TableOptions) -> bool:
    """Whether the user specified nothing about one flow's size or training, except perhaps a time limit."""
    training = options.training
    size, length = (options.layers, options.hidden), (training.steps, training.epochs, training.patience)
    return all(each is None for each in (*size, *length, training.lr, training.batch_size))


def fit_average(
    rows: TableSplits, options: TableOptions, console: Console, trained: Density | None = None
) -> tuple[Density, dict[str, Any]]:
    """The average of densities, in the table's units, and the training facts for the summary.

    Training and validation rows are divided anew, so that every row is used both for training and for validation.

    Args:
        rows: The rows, and the schema.
        options: The user's choices.
        console: Where to print messages.
        trained: A single flow for which there are too few rows: the average is then one of small flows, and takes over
            its categories.

    Raises:
        InputError: there are too few rows for the members, or a size does not fit.
    """
    schema, training, started = rows.schema, options.training, time.perf_counter()
    whole = rows.together
    generator = torch.Generator().manual_seed(training.seed)
    cells, x = Cells(schema), whole.x
    copies = torch.stack([cells(x, torch.rand(x.shape, generator=generator, dtype=x.dtype)) for _ in range(COPIES)])
    first = Compose(preprocessing(schema.numeric, copies[0][: len(rows.train), schema.numbers]))
    sizes = [size for size in schema.classes if size]
    codes = copies[0][:, [j for j, size in enumerate(schema.classes) if size]]
    context = _joined(whole.context, indicators(codes, sizes) if sizes else None)
    with torch.no_grad():
        z = first(copies[..., schema.numbers])[0].float()
    try:
        judged = fit_by_name(
            z,
            context,
            flow=options.flow,
            members=options.members,
            layers=options.layers,
            hidden=options.hidden,
            weight=whole.weights,
            plan={
                "steps": training.steps,
                "lr": training.lr,
                "batch_size": training.batch_size,
                "patience": training.patience,
                "seconds": training.budget,
            },
            epochs=training.epochs,
            small=trained is not None,
            seed=training.seed,
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    density: Density = Flow(first, judged.density, context=0 if context is None else context.shape[1])
    if sizes:
        known = trained.categories if isinstance(trained, Mixed) else None
        density = Mixed(
            known or fresh_categories(sizes, codes, whole, len(rows.val), training), density, schema.classes
        )
    verdict = _verdict(training.budget is not None and time.perf_counter() - started > training.budget)
    for line in [verdict.text, *_say(judged)]:
        console.say(line)
    density = density.to(device_named(options.training.device)).eval()
    return density, _facts(judged, verdict, time.perf_counter() - started)


def _joined(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    parts = [part for part in (first, second) if part is not None]
    return torch.cat([part.float() for part in parts], -1) if parts else None


def _say(judged: Judged) -> list[str]:
    used = sorted(((w, name) for name, w in judged.weights.items() if w > 0), reverse=True)
    shares = ", ".join(f"{name} {100 * weight:.0f} %" for weight, name in used[:6])
    return [f"an average of {len(judged.density.members)} densities, weighted by rows that they did not see: {shares}"]


def _verdict(late: bool) -> Verdict:
    if late:
        return Verdict("unknown", None, None, "time was over: more of it may make the flows of the average better")
    best = "every flow of the average is kept where rows that it did not see were likeliest"
    return Verdict("converged", None, None, f"converged: {best}")


def _facts(judged: Judged, verdict: Verdict, seconds: float) -> dict[str, Any]:
    return {
        "verdict": verdict.text,
        "training": {
            "verdict": verdict.to_json(),
            "steps": max(judged.best_steps, default=0),
            "best_step": max(judged.best_steps, default=0),
            "best_validation_loss": -judged.log_likelihood["average"],
            "validation_se": None,
            "seconds": seconds,
            "skipped_steps": 0,
            "interrupted": False,
        },
        "average": {
            "members": len(judged.density.members),
            "weights": judged.weights,
            "log_likelihood": judged.log_likelihood,
            "best_steps": judged.best_steps,
        },
    }
