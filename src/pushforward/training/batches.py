"""The inputs of training steps: rows, checked on entry, split and shuffled, or streamed; or a number of draws."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..distributions.base import Density
from ..numerics.hashed import signed, splitmix64
from ..objectives.divergences import Objective
from ..transforms.normalization import rounds_itself
from .distributed import World
from .options import StepOptions

MAX_HELD_OUT = 20_000  # enough for a standard error of 1/140 of the spread; more rows train better than they test


@dataclass
class Rows:
    """Events with the context and the weight of each, if there are any."""

    x: Tensor
    context: Tensor | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Any) -> Rows:
        context = None if self.context is None else self.context[index]
        return Rows(self.x[index], context, None if self.weights is None else self.weights[index])

    @staticmethod
    def stacked(parts: Sequence[Rows]) -> Rows:
        """The rows of several that have no weights, one below the other."""
        contexts = [part.context for part in parts if part.context is not None]
        return Rows(torch.cat([part.x for part in parts]), torch.cat(contexts) if contexts else None)

    @property
    def parts(self) -> tuple[Any, ...]:
        """The arguments of an objective; the weights only if there are any."""
        if self.weights is not None:
            return self.x, self.context, self.weights
        return (self.x,) if self.context is None else (self.x, self.context)

    def to(self, device: torch.device) -> Rows:
        """The same rows on a device."""
        context, weights = [None if part is None else part.to(device) for part in (self.context, self.weights)]
        return Rows(self.x.to(device), context, weights)

    def chunks(self, size: int) -> list[tuple[Any, ...]]:
        return [self[start : start + size].parts for start in range(0, len(self), size)]

    def checksum(self) -> int:
        """A CRC of all values, to recognise the same rows in another process."""
        total = 0
        for part in self.parts:
            if part is not None:
                total = zlib.crc32(part.cpu().contiguous().view(torch.uint8).numpy().data, total)
        return total

    def to_flow(self, flow: Density) -> Rows:
        """The rows on the device of a flow and in its precision; a flow that rounds its own input gets x unchanged."""
        like = next(flow.parameters())
        x = self.x.to(like.device) if rounds_itself(flow) else self.x.to(like)
        return Rows(x, *(part if part is None else part.to(like) for part in (self.context, self.weights)))


def checked(objective: Objective, rows: Rows, name: str = "x") -> Rows:
    """The rows, if an objective can learn from them."""
    flow, context = objective.flow, rows.context
    x = _check_values(rows.x, name, missing=objective.takes_missing)
    if x.shape[1:] != flow.event_shape:
        raise ValueError(f"{name} has rows of shape {tuple(x.shape[1:])}, but the flow has {tuple(flow.event_shape)}")
    if flow.support.is_discrete and len(bad := (~flow.support.check(x)).nonzero()):
        raise ValueError(
            f"{name} has {len(bad)} rows that are not the whole numbers that the flow reads: give codes, or as many "
            f"levels as it has, not scaled to [0, 1]; row {int(bad[0])} has {x[bad[0]].min():g} to {x[bad[0]].max():g}"
        )
    weights = None if rows.weights is None else _check_weights(rows.weights, len(x), name)
    features = flow.context_features
    if context is None:
        if features:
            raise ValueError(f"context is missing for {name}, but the flow was built with context={features}")
        return Rows(x, None, weights)
    context = _check_values(context, "context", missing=getattr(flow.encoder, "takes_missing", False))
    # with more dimensions and no encoder, their interpretation is up to the objective
    fits = context.dim() != 2 or context.shape[1] == features or flow.encoder is not None
    if len(context) != len(x) or not fits:
        expected = (len(x), features) if flow.encoder is None else (len(x), *context.shape[1:])
        raise ValueError(
            f"context has shape {tuple(context.shape)}, expected {expected}: "
            f"{name} has {len(x)} rows and the flow was built with context={features}"
        )
    if flow.encoder is not None:
        _try_encoder(flow, context)
    return Rows(x, context, weights)


@torch.no_grad()
def _try_encoder(flow: Density, context: Tensor) -> None:
    """Reports mismatches before training starts; in evaluation mode, so that layers learn nothing from the rows."""
    encoder, like = flow.encoder, next(flow.parameters())
    mode = encoder.training  # type: ignore[union-attr]
    encoder.eval()  # type: ignore[union-attr]
    flow.encode(context[:2].to(like))
    encoder.train(mode)  # type: ignore[union-attr]


def _check_weights(weights: Any, rows: int, name: str) -> Tensor:
    weights = torch.as_tensor(weights).detach()
    if weights.shape != (rows,):
        raise ValueError(f"weights has shape {tuple(weights.shape)}, expected {(rows,)}: one for each row of {name}")
    weights = weights.double()
    bad = (~(weights.isfinite() & (weights >= 0))).nonzero()
    if len(bad):
        row = int(bad[0])
        raise ValueError(f"weights must be finite and not negative, got {weights[row].item():g} for row {row}")
    if not bool(weights.any()):
        raise ValueError("weights must not all be zero")
    return weights


def _check_values(values: Any, name: str, *, missing: bool = False) -> Tensor:
    values = torch.as_tensor(values).detach()
    if not values.is_floating_point() and not values.is_complex():
        values = values.float() if values.dtype == torch.uint8 else values.double()  # images are large
    if values.dim() < 2 or values.is_complex():
        raise ValueError(
            f"{name} must be rows of real numbers, (n, features) or (n, *event), "
            f"got {values.dtype} of shape {tuple(values.shape)}"
        )
    fine = values.isfinite() | values.isnan() if missing else values.isfinite()
    bad = (~fine.flatten(1).all(1)).nonzero()
    if len(bad):
        kind = "infinite" if missing else "NaN or infinite"
        raise ValueError(f"{name} has {len(bad)} rows with {kind} values, the first is row {int(bad[0])}")
    return values


def split(rows: int, validation: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the rows to train on and of the held-out ones, of which there are at most ``MAX_HELD_OUT``."""
    if not 0 <= validation < 1:
        raise ValueError(f"validation must be a fraction in [0, 1) or held-out rows, got validation={validation}")
    held_out = min(max(round(rows * validation), 1), MAX_HELD_OUT) if validation else 0
    if rows - held_out < 2:
        raise ValueError(f"x has {rows} rows, of which {held_out} are held out: at least 2 are needed to train on")
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(mix(seed, 0, 0)))
    return order[held_out:].sort().values, order[:held_out].sort().values


class RowBatches:
    """Mini-batches of rows, and held-out ones for validation; each process takes its share.

    An epoch is divided as evenly as possible: with 900 rows and a ``batch_size`` of 512, every batch has 450.
    """

    def __init__(self, rows: int, held_out: Rows | None, batch_size: int, world: World) -> None:
        self.world = world
        self.steps_per_epoch = -(-rows // batch_size)
        self.size = rows // self.steps_per_epoch
        if self.size < world.count:
            raise ValueError(f"a batch has {self.size} rows, too few for {world.count} processes: raise batch_size")
        self.held_out = [] if held_out is None else held_out.chunks(batch_size)
        self.held_out_size = 0 if held_out is None else len(held_out)


class Batches(RowBatches):
    """Shuffled mini-batches; the batch of a step depends only on the seed and the step, so any step can be resumed."""

    def __init__(
        self, rows: Rows, index: Tensor, held_out: Rows | None, *, batch_size: int, seed: int, world: World
    ) -> None:
        super().__init__(len(index), held_out, batch_size, world)
        self.rows, self.parts, self.index, self.seed = rows, rows.parts, index, seed
        self._epoch, self._order = -1, index

    def batch(self, step: int) -> tuple[Any, ...]:
        """The inputs of the objective for a step, on this process."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        joint = self._order[place * self.size : (place + 1) * self.size]
        return self._picked(joint[self.world.rank :: self.world.count][: self.size // self.world.count])

    def first(self, rows: int) -> tuple[Any, ...]:
        """The inputs of the first step; or this many rows, if that is more, the same on every process."""
        return self.batch(0) if rows <= self.size else self._picked(self._shuffled(0)[:rows])

    def _picked(self, index: Tensor) -> tuple[Any, ...]:
        return tuple([part if part is None else part.index_select(0, index) for part in self.parts])

    def _shuffled(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(mix(self.seed, epoch, 1))
        return self.index[torch.randperm(len(self.index), generator=generator)].to(self.rows.x.device)

    def identity(self) -> dict[str, int]:
        """What a checkpoint must match to be resumed on these rows."""
        return {"rows": len(self.rows), "batch": self.size, "checksum": self.rows.checksum()}


@runtime_checkable
class Stream(Protocol):
    """Training rows that are read anew in every epoch, each time in a different order.

    Attributes:
        rows: Number of rows in an epoch.
    """

    rows: int

    def read(self, epoch: int, start: int) -> Iterator[tuple[Any, ...]]:
        """The rows of an epoch in its order, from row ``start`` on, in pieces, and their context or None; with unequal
        weights, also these as a third item, in units of their mean.

        The order depends only on the epoch, so that a resumed run sees the same rows as an uninterrupted one.
        """
        ...

    def identity(self) -> int:
        """A number that identifies these rows in this order."""
        ...


class StreamBatches(RowBatches):
    """Mini-batches of a stream, with the interface of :class:`Batches`.

    Every process reads the whole stream and keeps its share of every batch, so that several processes train on the same
    batches as a single one.
    """

    def __init__(self, stream: Stream, flow: Density, held_out: Rows | None, *, batch_size: int, world: World) -> None:
        super().__init__(stream.rows, held_out, batch_size, world)
        self.stream, self.flow = stream, flow
        self._next = -1
        self._pieces: Iterator[tuple[Any, ...]] = iter(())
        self._piece, self._used = Rows(torch.empty(0)), 0

    def batch(self, step: int) -> tuple[Any, ...]:
        """The inputs of the objective for a step, on this process."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if step != self._next or place == 0:
            self._pieces = self.stream.read(epoch, place * self.size)
            self._piece, self._used = Rows(torch.empty(0)), 0
        self._next = step + 1
        joint = self._take(self.size)
        count = self.world.count
        return tuple(None if part is None else part[self.world.rank :: count][: self.size // count] for part in joint)

    def first(self, rows: int) -> tuple[Any, ...]:
        """The inputs of the first steps, on this process, until they comprise this many rows."""
        batches = [self.batch(step) for step in range(min(max(-(-rows // self.size), 1), self.steps_per_epoch))]
        return tuple(None if parts[0] is None else torch.cat(parts) for parts in zip(*batches, strict=True))

    def _take(self, rows: int) -> list[Any]:
        """The next rows of the stream."""
        parts: list[tuple[Any, ...]] = []
        while rows:
            if self._used == len(self._piece):
                self._piece, self._used = Rows(*next(self._pieces)).to_flow(self.flow), 0
            end = min(self._used + rows, len(self._piece))
            parts.append(self._piece[self._used : end].parts)
            rows, self._used = rows - (end - self._used), end
        return [part[0] if len(part) == 1 or part[0] is None else torch.cat(part) for part in zip(*parts, strict=True)]

    def identity(self) -> dict[str, int]:
        """What a checkpoint must match to be resumed on these rows."""
        return {"rows": self.stream.rows, "batch": self.size, "checksum": self.stream.identity()}


class Draws:
    """The source for objectives that draw their own samples: their only input is the number of draws."""

    steps_per_epoch = None
    batches = 8  # of draws, per validation

    def __init__(self, validation: bool, *, batch_size: int, world: World) -> None:
        self.size = batch_size
        self.inputs = (max(batch_size // world.count, 1),)
        self.held_out = [(batch_size,)] * (self.batches if validation else 0)
        self.held_out_size = batch_size * len(self.held_out)

    def batch(self, step: int) -> tuple[int, ...]:
        return self.inputs

    def identity(self) -> dict[str, int]:
        return {"batch": self.size}


def held_out_rows(objective: Objective, validation: float | Rows | None) -> Rows | None:
    """The held-out rows given to ``fit``; None if it was given a share."""
    if not isinstance(validation, Rows):
        return None
    return checked(objective, validation, "validation").to_flow(objective.flow)


def gather(
    objective: Objective, rows: Rows, validation: float | Rows | None, steps: StepOptions, world: World
) -> tuple[Batches, Tensor, Tensor | None]:
    """The batches of rows on the flow's device, and the indices of training and held-out rows."""
    flow, seed, rows = objective.flow, steps.seed, checked(objective, rows)
    train, index = split(len(rows), 0 if isinstance(validation, Rows) else validation or 0, seed)
    if rows.weights is not None:
        rows.weights = rows.weights / _mean_weight(rows.weights, train, "train on")
    rows = rows.to_flow(flow)
    held_out = rows[index.to(rows.x.device)] if len(index) else held_out_rows(objective, validation)
    if held_out is not None and held_out.weights is not None:
        _mean_weight(held_out.weights, torch.arange(len(held_out)), "validate with")
    batches = Batches(rows, train, held_out, batch_size=steps.batch_size, seed=seed, world=world)
    return batches, train, index if len(index) else None


def _mean_weight(weights: Tensor, index: Tensor, what: str) -> Tensor:
    """The mean weight of some rows, so that a batch's loss has the magnitude that it would have without weights."""
    mean = weights[index].mean()
    if mean == 0:
        raise ValueError(f"weights are zero for all {len(index)} rows to {what}: give them to more rows")
    return mean


def mix(*numbers: int) -> int:
    """One 32-bit seed from several numbers, such that neighbouring ones give unrelated streams."""
    state = 0
    for number in numbers:
        state = signed(splitmix64(state + number))
    return (state >> 32) % 2**32
