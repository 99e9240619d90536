"""Tables of few rows, and averages of flows: the fit that :mod:`pushforward.training.few_rows` does, on a table."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from ..distributions.base import Density
from ..distributions.flow import Flow
from ..distributions.mixed import Mixed
from ..models.console import Console
from ..models.device import device_named
from ..numerics import threads
from ..numerics.indicators import indicators
from ..recipes.by_name import categories_by_size, flow_by_name, learning_rate
from ..training.few_rows import Judged, fit_few_rows
from ..training.fit import fit
from ..training.members import Plan
from ..transforms.base import Compose
from .errors import InputError
from .options import TableOptions
from .prepare import TableSplits
from .schema.cells import Cells
from .schema.preprocessing import front

FEW_ROWS = 3000  # up to which "auto" averages several densities
MEMBERS = 5
COPIES = 8  # points of each row's cell that are learnt from


def averages(options: TableOptions, rows: TableSplits) -> bool:
    """Whether an average of densities is to be fitted: where members or ``gmm`` are asked for; and by ``auto`` where
    rows are few and nothing was said of one flow's size or training.

    Raises:
        InputError: the number of members is none; or it does not go together with another option.
    """
    members, training = options.members, options.training
    if members != "auto" and (isinstance(members, bool) or not isinstance(members, int) or members < 1):
        raise InputError(f"members={members!r}: expected a whole number of at least 1, or auto")
    other = rows.stream is not None or options.objective != "likelihood" or not rows.schema.numbers
    other = other or bool(training.shard or training.compile or training.checkpoint or training.metrics)
    if options.flow == "gmm" or (isinstance(members, int) and members > 1):
        if other:
            what = "flow='gmm'" if options.flow == "gmm" else f"members={members}"
            raise InputError(f"{what}: is for columns of numbers in memory, by likelihood, without states or shards")
        return True
    size, length = (options.layers, options.hidden), (training.steps, training.epochs, training.patience)
    few = len(rows.train) + len(rows.val) <= FEW_ROWS
    return (
        options.flow == members == "auto"
        and few
        and not other
        and all(each is None for each in (*size, *length, training.lr, training.batch_size))
    )


def fit_average(rows: TableSplits, options: TableOptions, console: Console) -> tuple[Density, dict[str, Any]]:
    """The average of densities, in the table's units, and what a summary keeps of its training.

    Training and validation rows are divided anew, so that every row is learnt from and every row judges.

    Raises:
        InputError: there are too few rows for the members, or a size does not fit.
    """
    schema, started = rows.schema, time.perf_counter()
    x = torch.cat([rows.train.x, rows.val.x])
    given = None if rows.train.context is None else torch.cat([rows.train.context, rows.val.context])  # type: ignore[list-item]
    generator = torch.Generator().manual_seed(options.training.seed)
    cells = Cells(schema)
    copies = torch.stack([cells(x, torch.rand(x.shape, generator=generator, dtype=x.dtype)) for _ in range(COPIES)])
    first = Compose(front(schema.numeric, copies[0][: len(rows.train), schema.numbers]))
    sizes = [size for size in schema.classes if size]
    codes = copies[0][:, [j for j, size in enumerate(schema.classes) if size]]
    context = _joined(given, indicators(codes, sizes) if sizes else None)
    with torch.no_grad():
        z = first(copies[..., schema.numbers])[0].float()
    with threads.using(1):  # small operators
        judged = _fit(z, None if context is None else context.float(), options)
    context_features = 0 if context is None else context.shape[1]
    density: Density = Flow(first, judged.density, context=context_features)
    if sizes:
        density = Mixed(_categories(sizes, codes, given, len(rows.val), options), density, schema.classes)
    for line in _say(judged):
        console.say(line)
    density = density.to(device_named(options.training.device)).eval()
    return density, _facts(judged, time.perf_counter() - started)


def _fit(z: Tensor, context: Tensor | None, options: TableOptions) -> Judged:
    training, features, rows = options.training, z.shape[-1], z.shape[-2]
    few = options.flow == "auto" and rows <= FEW_ROWS
    name = "nsf" if options.flow == "auto" else options.flow
    small: dict[str, Any] = (
        {"layers": 2, "hidden": (max(32, features),) * 2} if few else {"layers": None, "hidden": None}
    )

    def flow(seed: int) -> Flow:
        return flow_by_name(
            name,
            features,
            context=0 if context is None else context.shape[1],
            layers=options.layers or small["layers"],
            hidden=options.hidden or small["hidden"],
            seed=seed,
        )

    members = MEMBERS if options.members == "auto" else int(options.members)
    only_mixtures = name == "gmm"
    try:
        return fit_few_rows(
            z,
            context,
            flow=None if only_mixtures else flow,
            members=max(members, 2),
            mixtures=only_mixtures or options.flow == "auto",
            copulas=not only_mixtures,
            plan=_plan(options, rows, learning_rate(name)),
            seed=training.seed,
        )
    except ValueError as error:
        raise InputError(str(error)) from None


def _plan(options: TableOptions, rows: int, lr: float) -> Plan:
    training, usual = options.training, Plan()
    size = training.batch_size or usual.batch_size
    steps = training.steps or min(max(usual.steps, rows // 2), 5000)
    if training.epochs is not None:
        steps = training.epochs * -(-rows // size)
    patience = training.patience or usual.patience
    return Plan(steps, training.lr or lr, batch_size=size, patience=patience, seconds=training.budget)


def _categories(sizes: list[int], codes: Tensor, given: Tensor | None, held_out: int, options: TableOptions) -> Any:
    """The density of the categories, trained by itself: the last rows tell when to stop."""
    training = options.training
    categories = categories_by_size(sizes, context=0 if given is None else given.shape[1], seed=training.seed)
    contexts = (None, None) if given is None else (given[:-held_out].float(), given[-held_out:].float())
    fit(
        categories,
        codes[:-held_out].float(),
        contexts[0],
        validation=codes[-held_out:].float() if given is None else (codes[-held_out:].float(), contexts[1]),
        steps=training.steps,
        epochs=training.epochs,
        budget=training.budget,
        seed=training.seed,
        threads=training.threads,
        device=training.device,
        progress=False,
    )
    return categories.cpu()


def _joined(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    parts = [part for part in (first, second) if part is not None]
    return torch.cat([part.double() for part in parts], -1) if parts else None


def _say(judged: Judged) -> list[str]:
    used = sorted(((w, name) for name, w in judged.weights.items() if w > 0), reverse=True)
    shares = ", ".join(f"{name} {100 * weight:.0f} %" for weight, name in used[:6])
    return [f"an average of {len(judged.density.members)} densities, weighted by rows that they did not see: {shares}"]


def _facts(judged: Judged, seconds: float) -> dict[str, Any]:
    return {
        "training": {
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
