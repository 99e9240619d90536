"""The training loop, from one step to the next; :func:`pushforward.fit` is its entry point.

A step is a forward pass, a backward pass and one fused update. The host synchronises with the device only every
``WATCH`` steps, when it inspects the losses: until then, a step that is not finite is skipped on the device itself.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..numerics.torch_internals import lerp_
from ..objectives.divergences import Objective
from ..transforms.normalization import BatchNorm, running_statistics
from .adam import Adam
from .batches import Batches, Draws, StreamBatches, mix
from .distributed import World, divided_like, whole
from .options import FEWEST, OpenEnded, Schedule, StepOptions, plateau, risen, validation_interval
from .records import Monitor, Progress, Store, under
from .threads import StepThreads

WATCH = 10  # steps between inspections of the losses
SKIPS = 10  # consecutive non-finite steps after which the weights are rolled back
ROLLBACKS = 3  # roll-backs after which training gives up
AVERAGED = 10  # at the peak rate, weights are averaged over the last 1/10 of the steps


class TrainingError(RuntimeError):
    """Training cannot continue: losses or gradients are repeatedly not finite. ``flow`` may hold the best so far."""

    flow: Any = None


class Training:
    """One run. Everything that changes while it runs is ``at``, the weights, the optimiser and two small counters."""

    def __init__(
        self,
        objective: Objective,
        source: Batches | StreamBatches | Draws,
        schedule: Schedule,
        settings: StepOptions,
        world: World,
        threads: StepThreads,
    ) -> None:
        self.objective, self.source, self.schedule = objective, source, schedule
        self.settings, self.world, self.threads = settings, world, threads
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        self.optimizer = Adam(self.parameters, settings.lr)
        normalised = [part for part in objective.modules() if isinstance(part, BatchNorm)]
        self.statistics = partial(running_statistics, objective) if normalised else nullcontext
        self.sums = torch.zeros(3, device=self.device)  # of losses, good steps and bad steps, since the last validation
        self.in_a_row = torch.zeros((), device=self.device)  # consecutive bad steps
        self.best: dict[str, Tensor] = {}
        self.average: list[Tensor] = []
        self.at = Progress()
        often = validation_interval(schedule, source.size, source.held_out_size, source.steps_per_epoch)
        self.every, self.patience = settings.validate_every or often, settings.patience or math.inf

    def loop(self, store: Store, monitor: Monitor) -> None:
        """Trains until the schedule ends, or validation has not improved for long enough."""
        at, progress = self.at, self._tick()
        if not at.history:
            self._validate(monitor)
        over = self._over(progress)
        while not over:
            began = time.perf_counter()
            with self.statistics():
                self._step(self.schedule.rate(at.step - at.start, progress, at.cooling) * 0.5**at.rollbacks)
            self.threads.took(time.perf_counter() - began)
            at.step += 1
            progress = self._tick()
            if at.step % WATCH == 0:
                self._watch(monitor)
            ended = progress >= self.schedule.end(at.cooling)
            validated = ended or at.step % self.every == 0
            if validated:
                self._validate(monitor)
            if isinstance(self.schedule, OpenEnded) and at.cooling is None:
                self._cool(self.schedule, progress, validated)
            over = validated and self._over(progress)
            if over or at.step % store.every == 0:
                store.write(at, self.tensors)

    def _step(self, rate: float) -> None:
        """One update; none if the loss or the gradient is not finite."""
        self._seed(self.at.step)
        loss = self.loss(*self.source.batch(self.at.step))
        loss.backward()
        norm = whole(nn.utils.clip_grad_norm_(self.parameters, self.settings.clip))
        loss = self.world.mean(loss.detach())
        good = (loss + norm).isfinite().float()
        self.optimizer.rate = rate
        self.optimizer.step(skip=1 - good)
        self.sums += torch.stack([loss.nan_to_num(0.0, 0.0, 0.0).float(), good, 1 - good])
        self.in_a_row = (self.in_a_row + 1) * (1 - good)
        if self.average:
            lerp_(self.average, self.parameters, self._newest())

    def _cool(self, schedule: OpenEnded, progress: float, validated: bool) -> None:
        """In a run that ends by itself: starts the cooling if nothing improves any more, or if time runs short."""
        at = self.at
        at.plateau = validated and plateau(at.history, at.start)
        if at.plateau or progress >= schedule.latest:
            at.cooling, at.stale = progress, 0
        if at.plateau and risen(at.history, at.start):  # restart from where the rise began
            at.overfitting = at.best_step
            self.objective.load_state_dict(self.best)
            self._start_average()

    def _newest(self) -> float:
        """The weight of the current parameters in the average: ever more as the rate falls, or by ``ema``."""
        steps, heat = self.at.step - self.at.start, self.optimizer.rate / self.settings.lr
        return 1 - self.settings.ema if self.settings.ema else (AVERAGED / (steps + AVERAGED)) ** heat

    def _watch(self, monitor: Monitor) -> None:
        """Inspects the losses; returns to the best weights if none was finite recently."""
        total, good, _ = self.sums.tolist()
        monitor.show(self.at.step, self.at.seconds, total / good if good else None, self.at.best_loss)
        if self.in_a_row < SKIPS:
            return
        self.at.rollbacks += 1
        if self.at.rollbacks > ROLLBACKS:
            with torch.no_grad():
                why = self.objective.explain(*self.source.batch(self.at.step)[:2])
            raise TrainingError(
                f"training gave up at step {self.at.step}: {SKIPS} losses or gradients in a row were not finite, even "
                f"after {ROLLBACKS} returns to earlier weights with a smaller learning rate; look for extreme values "
                f"in the data, or give lr below {self.settings.lr}. {why}".rstrip()
            )
        self.objective.load_state_dict(self.best)
        self.optimizer.state.clear()
        self._start_average()
        self.in_a_row.zero_()

    def _validate(self, monitor: Monitor) -> None:
        """Computes the held-out loss, with averaged weights if an average is kept, updates the best weights, and adds a
        line to the history."""
        at, per_epoch = self.at, self.source.steps_per_epoch
        total, good, bad = self.sums.tolist()
        self.sums.zero_()
        at.skipped += int(bad)
        train = total / good if good else None
        current = [p.detach().clone() for p in self.parameters] if self.average else []
        self._assign(self.average)
        loss, error = self._held_out()
        self._compare(train, loss, error)
        self._assign(current)
        line = {
            "step": at.step,
            "epoch": at.step / per_epoch if per_epoch else None,
            "seconds": at.seconds,
            "train_loss": train,
            "validation_loss": loss if loss is not None and math.isfinite(loss) else None,
            "lr": self.optimizer.rate,
            "threads": self.threads.number,
        }
        at.history.append(line)
        monitor.write([line])

    def _compare(self, train: float | None, loss: float | None, error: float | None) -> None:
        """Keeps the weights if they are the best; without held-out rows, the last ones with finite losses."""
        at = self.at
        if loss is None:
            better = train is not None
        else:
            better = math.isfinite(loss) and (at.best_loss is None or loss < at.best_loss)
        if not better:
            at.stale += 1
            return
        self.best = self._copy()
        at.best_step, at.best_loss, at.best_error, at.stale = at.step, loss, error, 0

    @torch.no_grad()
    def _held_out(self) -> tuple[float | None, float | None]:
        """Mean and standard error of the held-out losses, over all processes; always with the same random numbers. The
        error of a single row is not known: None."""
        if not self.source.held_out:
            return None, None
        self._seed(-1)
        self.objective.eval()
        sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        first, every = (0, 1) if self.world.shard else (self.world.rank, self.world.count)
        for inputs in map(self.world.share, self.source.held_out[first::every]):
            losses = self.objective.held_out(*inputs[:2]).double()
            weights = inputs[2].double() if len(inputs) > 2 else torch.ones_like(losses)
            sums += torch.stack([weights, weights * losses, weights * losses.square(), weights.square()]).sum(-1)
        self.objective.train()
        weight, total, squares, weight_squares = (self.world.mean(sums) * self.world.count).tolist()
        mean, rows = total / weight, weight**2 / weight_squares  # rows: effective number of rows
        return mean, math.sqrt(max(squares / weight - mean**2, 0.0) / (rows - 1)) if rows > 1.5 else None

    @torch.no_grad()
    def _assign(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=False):
            parameter.copy_(value)

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.objective.state_dict().items()}

    def _start_average(self) -> None:
        """Averaged weights are judged by held-out rows: the current ones are noisy as long as the rate is high."""
        averages = self.settings.ema or self.source.held_out
        self.average = [p.detach().clone() for p in self.parameters] if averages else []

    def _seed(self, step: int) -> None:
        """Random numbers depend only on seed, step and process, so that no random state has to be stored."""
        seed = mix(self.settings.seed, step, self.world.rank, 2)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index].manual_seed(seed)

    def _tick(self) -> float:
        """The fraction of the run that has elapsed."""
        self.at.seconds = time.monotonic() - self.started
        at = self.at
        progress = self.schedule.progress(at.step - at.start, at.seconds - at.start_seconds)
        return progress if self.schedule.budget is None else self.world.first(progress)

    def _over(self, progress: float) -> bool:
        at = self.at
        cooled = at.plateau and at.stale >= FEWEST // 2  # the cooling brings no improvement
        return progress >= self.schedule.end(at.cooling) or cooled or at.stale >= self.patience

    def start(self) -> None:
        """Prepares for the first step, or for the next one after :meth:`restore`."""
        self.loss = self.world.wrap(self.objective)  # from here on, all processes have the same weights
        self.objective.train()
        if not self.at.history:
            self.best = self._copy()
        if not self.average:
            self._start_average()
        self.started = time.monotonic() - self.at.seconds

    def go_on(self) -> None:
        """Turns a finished run into the beginning of a longer one, which starts from its best weights."""
        at = self.at
        if self.best:
            self.objective.load_state_dict(self.best)
        at.start, at.start_seconds, at.stale, at.rollbacks = at.step, at.seconds, 0, 0
        at.cooling, at.plateau, at.overfitting, self.average = None, False, None, []

    def keep_best(self, objective: Objective) -> None:
        """Loads the best weights into the flow of an objective, either this run's or the one it was copied from."""
        best = {name: whole(tensor) for name, tensor in self.best.items()} if self.world.shard else self.best
        objective.load_state_dict(best)
        objective.eval()

    def identity(self) -> dict[str, Any]:
        """What distinguishes this run from others, for its checkpoints."""
        settings, shapes = self.settings, {k: list(v.shape) for k, v in self.objective.state_dict().items()}
        own = {"objective": type(self.objective).__name__, "seed": settings.seed, "ema": settings.ema}
        return {**own, **self.source.identity(), "weights": shapes}

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that change during a run, for its checkpoints."""
        groups: dict[str, dict[Any, Tensor]] = {
            "model": self.objective.state_dict(),
            "best": self.best,
            "average": dict(enumerate(self.average)),
            "loop": {"sums": self.sums, "in_a_row": self.in_a_row},
            **{f"adam.{i}": self.optimizer.state.get(p, {}) for i, p in enumerate(self.parameters)},
        }
        return {f"{name}.{key}": whole(value) for name, group in groups.items() for key, value in group.items()}

    def restore(self, at: Progress, tensors: dict[str, Tensor]) -> None:
        """Resumes a run from the stored result of :meth:`tensors` and its progress."""
        group, like = partial(under, tensors, device=self.device), self.objective.state_dict()
        self.at, self.best = at, {name: divided_like(value, like[name]) for name, value in group("best").items()}
        self.objective.load_state_dict({name: divided_like(v, like[name]) for name, v in group("model").items()})
        average = group("average")
        self.average = [divided_like(average[str(i)], self.parameters[i]) for i in range(len(average))]
        self.sums, self.in_a_row = tensors["loop.sums"].to(self.device), tensors["loop.in_a_row"].to(self.device)
        for i, parameter in enumerate(self.parameters):
            self.optimizer.state[parameter] = {k: divided_like(v, parameter) for k, v in group(f"adam.{i}").items()}
