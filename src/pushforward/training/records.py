"""What a run leaves on disk and on the terminal: its checkpoints, a bar, and its history as JSON lines in a file.

Checkpoints are written whole or not at all, the last two kept, and resumed bit for bit.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import one_of
from ..saving.bundle import CheckpointError, read_config, read_tensors, write_bundle
from ..saving.files import remove_directory
from .distributed import World
from .options import Schedule

FORMAT = 1
KEPT = 2
SECONDS = "{desc}{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s{postfix}"


class Monitor:
    """A progress bar of steps or seconds, silent if there is no terminal, and a file of metrics."""

    def __init__(
        self, schedule: Schedule, bar: bool, metrics: str | Path | None, history: list[dict[str, Any]]
    ) -> None:
        self.budget = schedule.budget
        self.bar = tqdm(
            total=schedule.budget or schedule.steps,
            disable=None if bar else True,  # None: only on a terminal
            unit="step",
            dynamic_ncols=True,
            bar_format=SECONDS if schedule.budget else None,
        )
        self.metrics = None if metrics is None else Path(metrics)
        self.write(history, "w")

    def show(self, step: int, seconds: float, loss: float | None, held_out: float | None) -> None:
        """Advances the bar; losses in nats."""
        if not self.bar.disable:
            self.bar.n = min(seconds, self.budget) if self.budget else step
            losses = {"loss": loss, "held out": held_out}
            self.bar.set_postfix({name: f"{value:.4g}" for name, value in losses.items() if value is not None})

    def write(self, lines: list[dict[str, Any]], mode: str = "a") -> None:
        """Appends lines to the file, or begins it with them."""
        if self.metrics is None:
            return
        try:
            self.metrics.parent.mkdir(parents=True, exist_ok=True)
            with self.metrics.open(mode, encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        except OSError as error:
            self.metrics = None
            warnings.warn(f"the metrics are no longer written, training goes on: {error}", stacklevel=2)


@dataclass
class Progress:
    """The position of a run, apart from its tensors; exactly this is the JSON of a checkpoint."""

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_loss: float | None = None
    best_error: float | None = None
    stale: int = 0  # validations since the best one
    skipped: int = 0
    rollbacks: int = 0
    start: int = 0  # the step and the time at which this part of the run began
    start_seconds: float = 0.0
    cooling: float | None = None  # the progress at which the rate began to fall
    plateau: bool = False  # whether that was because of a plateau
    overfitting: int | None = None  # the step after which the held-out loss had risen by then
    history: list[dict[str, Any]] = field(default_factory=list)


class Store:
    """A directory of checkpoints, ``step-00001000`` and so on, each with ``config.json`` and ``state.safetensors``;
    None keeps none. Those whose identity is that of another run are not resumed; the first process writes."""

    def __init__(self, folder: str | Path | None, every: int, identity: dict[str, Any], world: World) -> None:
        self.folder, self.every = None if folder is None else Path(folder).resolve(), every
        self.identity, self.writer = identity, world.rank == 0

    def resume(self, resume: str | bool) -> tuple[Progress, dict[str, Tensor]] | None:
        """The checkpoint to resume from, or None to start afresh: see :func:`pushforward.fit`."""
        one_of(("auto", True, False), resume=resume)
        if resume is False:
            self._remove(self._states() if self.writer else [])
        state = None if resume is False else self._read()
        if resume is True and state is None:
            raise CheckpointError(f"there is no state of training to resume in checkpoint={self.folder}")
        return state

    def write(self, progress: Progress, tensors: Callable[[], dict[str, Tensor]]) -> None:
        """Writes a checkpoint and removes all but the last two. A disk error is only a warning: training continues."""
        if self.folder is None:
            return
        found = tensors()  # which all processes gather together
        if not self.writer:
            return
        config = {"format": FORMAT, "identity": self.identity, "position": asdict(progress)}
        try:
            write_bundle(self.folder / f"step-{progress.step:08d}", "state", config, found)
        except OSError as error:
            warnings.warn(f"the state of training was not saved, training goes on: {error}", stacklevel=2)
        self._remove(self._states()[:-KEPT])

    def _read(self) -> tuple[Progress, dict[str, Tensor]] | None:
        """The last intact checkpoint, None if there is none."""
        failure = None
        for path in reversed(self._states()):
            try:
                config = read_config(path)
                tensors = read_tensors(path, "state", config)
            except CheckpointError as error:
                failure = error
                warnings.warn(f"a damaged state of training is left out: {error}", stacklevel=2)
                continue
            self._check(path, config)
            return _progress(path, config), tensors
        if failure is not None:
            raise failure
        return None

    def _remove(self, states: list[Path]) -> None:
        """Removes checkpoints, and those that killed processes left half written or half removed."""
        for path in states:
            remove_directory(path)
        for path in [] if self.folder is None else self.folder.glob(".step-*.tmp"):
            shutil.rmtree(path, ignore_errors=True)

    def _states(self) -> list[Path]:
        return [] if self.folder is None else sorted(self.folder.glob("step-*"))

    def _check(self, path: Path, config: dict[str, Any]) -> None:
        if config.get("format") != FORMAT:
            raise CheckpointError(f"{path} has format {config.get('format')}, and this pushforward reads {FORMAT}")
        for name, value in self.identity.items():
            found = config.get("identity", {}).get(name)
            if found != value:
                raise CheckpointError(
                    f"{path} is the state of another run: its {name} is {found!r:.60}, here it is {value!r:.60}; "
                    "give another directory, or start afresh with resume=False"
                )


def _progress(path: Path, config: dict[str, Any]) -> Progress:
    try:
        return Progress(**config["position"])
    except (KeyError, TypeError):
        raise CheckpointError(f"{path / 'config.json'} is damaged: its 'position' is not that of a run") from None


def under(tensors: dict[str, Tensor], name: str, device: torch.device) -> dict[str, Tensor]:
    """The tensors of a checkpoint under a prefix, which is stripped; in the same order on all processes."""
    names = sorted(key for key in tensors if key.startswith(f"{name}."))
    return {key.removeprefix(f"{name}."): tensors[key].to(device) for key in names}
