"""``pushforward fit --target``: from a log-density in a Python file to a saved sampler, its draws and a verdict."""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch.distributions import constraints

from ..diagnostics.linear_gaussian import LinearGaussian
from ..errors import InputError, listed
from ..models.base import PERCENTS
from ..models.compare import beside_gaussian, describe_held_out
from ..models.console import Console, aligned
from ..models.options import DensityOptions, FittingOptions
from ..models.saved import check_output, save
from ..objectives.user_target import TargetWarning
from ..posterior.fit_target import fit_target
from ..posterior.target_fit import TargetFit
from ..saving.bundle import jsonable
from ..training.loop import TrainingError
from ..transforms.constrained import Ordered
from .io.write import write_table
from .schema.columns import Column
from .schema.kinds.numeric import Number
from .schema.schema import Schema

SUPPORTS: dict[str, Any] = {
    "real": constraints.real,
    "positive": constraints.positive,
    "unit": constraints.unit_interval,
    "simplex": constraints.simplex,
    "ordered": Ordered(),
}
KEPT_ROWS = 1000  # draws of the target that are saved with the model, for reports
DRAWS = 10_000


@dataclass(frozen=True)
class TargetOptions(DensityOptions, FittingOptions):
    """All options of the shell's ``fit --target``."""


def run(options: TargetOptions, output: Path, console: Console, command: str) -> dict[str, Any]:
    """Fits, weighs and saves; returns the summary that was saved with the model."""
    check_output(output)
    log_density = load_target(str(options.target))
    dim = options.dim if options.dim is not None else getattr(log_density, "features", None)
    if not isinstance(dim, int) or dim < 1:
        raise InputError(f"say how many numbers {options.target} takes, as in `dim=3`", "dim", options.dim)
    blocks = support_blocks(options.support, dim) if options.support else getattr(log_density, "support", ())
    started = time.perf_counter()
    fitted = _fit(log_density, dim, blocks, options, console)
    draws = _write_draws(fitted, output)
    summary, facts = _measure(fitted, options)
    summary["seconds"] = round(time.perf_counter() - started, 1)
    save(fitted.flow, output, jsonable({**facts, "summary": summary, "command": command}))
    console.say(*aligned(describe_target(summary["target"]), indent=""), "", *describe_held_out(summary["held_out"]))
    console.say(f"saved {output} and {draws}")
    return {**summary, "draws": str(draws)}


def describe_target(target: dict[str, Any]) -> list[tuple[str, str]]:
    """How well a flow fits a density known up to a constant: labels and values."""

    def shown(name: str, digits: int) -> str:
        return "not finite" if target[name] is None else f"{target[name]:,.{digits}f}"

    return [
        ("log Z, nats", f"{shown('log_z', 4)} ± {shown('log_z_se', 4)}"),
        ("Effective draws", f"{shown('ess', 0)} of {target['n']:,}"),
        ("k-hat", shown("khat", 2)),
        ("Verdict", target["verdict"]),
    ]


def load_target(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function that ``module:function`` names; modules of the working directory come first."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise InputError("expected module:function, as in posterior:log_density", "target", name)
    if sys.path[:1] != [""]:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"there is no module {error.name!r} here or installed", "target", name) from None
    except Exception as error:
        raise InputError(f"importing {module} fails: {type(error).__name__}: {error}", "target", name) from None
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise InputError(f"{module} has no function {attribute!r}", "target", name)
    return found


def support_blocks(text: str, dim: int) -> list[tuple[Any, int]]:
    """Parses blocks such as ``real:9,positive:1``."""
    blocks = []
    for part in text.split(","):
        kind, _, size = part.strip().partition(":")
        if kind not in SUPPORTS or not (size or "1").isdigit():
            raise InputError(f"expected KIND:SIZE, with {listed(SUPPORTS)}, as in real:9,positive:1", "support", part)
        blocks.append((SUPPORTS[kind], int(size or "1")))
    if sum(size for _, size in blocks) != dim:
        raise InputError(f"has {sum(size for _, size in blocks)} numbers, but not `dim={dim}`", "support", text)
    return blocks


def _fit(
    log_density: Any, dim: int, blocks: Sequence[tuple[Any, int]], options: TargetOptions, console: Console
) -> TargetFit:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TargetWarning)  # repeated as the console's notes
            flow = None if options.modes and options.flow == "auto" else options.flow
            fitted = fit_target(
                log_density,
                dim,
                blocks=blocks,
                flow="nsf-coupling" if flow in ("auto", "nsf") else flow,
                modes=options.modes,
                layers=options.layers,
                hidden=options.hidden or (32, 32),
                start="normal" if options.anneal else "laplace",
                anneal=options.anneal,
                steps=options.training.steps,
                budget=options.training.budget,
                batch_size=options.training.batch_size or 512,
                lr=options.training.lr or 1e-3,
                seed=options.training.seed,
                draws=DRAWS,
                device=options.training.device,
                checkpoint=options.training.checkpoint,
                resume="auto" if options.training.resume else False,
                progress=console.talks and sys.stderr.isatty(),
            )
    except (TypeError, ValueError, TrainingError) as error:
        raise InputError(str(error), "target", options.target) from error
    console.note(*fitted.notes)
    if fitted.modes is not None:
        weights = ", ".join(f"{weight:.3g}" for weight in fitted.modes.weight.sort(descending=True).values[:8].tolist())
        more = ", ..." if len(fitted.modes.weight) > 8 else ""
        console.note(f"{len(fitted.modes.weight)} modes were found, with shares of {weights}{more} of the mass")
    return fitted


def _write_draws(fitted: TargetFit, output: Path) -> Path:
    """Writes all draws with their log-weights, next to the model."""
    path = output.with_name(output.name + ".draws.parquet")
    x, log_weights = fitted.importance.draws.cpu().numpy(), fitted.importance.log_weights.cpu().numpy()
    frame = pl.DataFrame({f"x{j + 1}": x[:, j] for j in range(x.shape[1])} | {"log_weight": log_weights})
    write_table(frame, path)
    return path


def _measure(fitted: TargetFit, options: TargetOptions) -> tuple[dict[str, Any], dict[str, Any]]:
    """The summary, and what scoring, sampling and reporting need; the resampled draws stand in for held-out rows."""
    generator = torch.Generator(fitted.importance.draws.device).manual_seed(options.training.seed)
    x = fitted.importance.resample(2 * KEPT_ROWS, generator=generator).cpu()
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(options.training.seed))]
    schema = Schema(tuple(Column(f"x{j + 1}", Number.of(column.numpy())) for j, column in enumerate(x.T)))
    gaussian = LinearGaussian(x[:KEPT_ROWS])
    kept = x[KEPT_ROWS:]
    result, here = fitted.result, fitted.flow.device
    with torch.no_grad():
        ours, scores = (fitted.flow.log_prob(rows.to(here)).cpu() for rows in (kept, fitted.importance.draws))
    summary = {
        "flow": "nsf" if options.flow == "auto" else options.flow,
        "parameters": sum(p.numel() for p in fitted.flow.parameters()),
        "target": {"name": options.target, **fitted.importance.summary()},
        "training": {"steps": result.steps, "seconds": result.seconds, "skipped_steps": result.skipped_steps},
        "held_out": {**beside_gaussian(ours, gaussian(kept)), "cell_samples": None, "cell_error": None},
    }
    facts = {
        "kind": "table",
        "schema": schema.to_json(),
        "quantiles": np.quantile(scores.numpy(), PERCENTS / 100).tolist(),
        "history": [dict(row) for row in result.history],
        "data": options.target,
        "seed": options.training.seed,
        "held_out": {"x": kept.tolist(), "context": None, "numbers": list(range(len(kept)))},
        "gaussian": gaussian.to_json(),
        "torch": torch.__version__,
    }
    return summary, facts
