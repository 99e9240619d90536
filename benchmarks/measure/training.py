"""One protocol for peers, that of :func:`pushforward.fit`: Adam with a short warm-up, a rate that falls along a
cosine until the budget ends, gradient clipping; the weights with the best validation loss count."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pushforward.training.loop import AVERAGED

from .clock import clock
from .held_out import Rows
from .jax_peers import JaxModel
from .models import TorchModel

LOOKS = (
    0.02,
    0.05,
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    1.0,
)  # evaluations on the validation rows, in shares of the budget
PART = 2_000  # rows evaluated at once
WARMUP = 50  # steps
CLIP = 5.0  # the largest norm of a gradient
Curve = list[tuple[float, float]]  # seconds, mean log-density of the validation rows


@dataclass
class Trained:
    """The result of a run; ``test`` holds the log-densities of the test rows, under the best weights."""

    curve: Curve
    test: Tensor
    steps: int
    parameters: int
    seconds: float
    note: str = ""


@dataclass
class Protocol:
    budget: float
    lr: float = 1e-3
    batch: int = 512
    seed: int = 0
    steps: int | None = None  # the run's length instead of the budget
    decay: float = 0.0  # weight decay, as in AdamW
    average: float = 0.0  # decay of a moving average of the weights, which is then validated and tested; 1: pf.fit's
    noise: float = 0.0  # standard deviation of noise added to the rows of a batch
    gradients: float = 0.0  # initial variance of noise added to gradients; it falls with (1 + step)^0.55
    warm: float = WARMUP  # steps


@dataclass
class _Best:
    """The weights with the best validation loss so far."""

    look: Callable[[], float]
    copy: Callable[[], Any]
    curve: Curve = field(default_factory=list)
    value: float = -math.inf
    weights: Any = None

    def compare(self, seconds: float) -> None:
        found = self.look()
        self.curve.append((seconds, found))
        if found > self.value or self.weights is None:
            self.value, self.weights = found, self.copy()


def train_torch(model: TorchModel, rows: Rows, protocol: Protocol) -> Trained:
    module, log_prob = model.module, model.log_prob
    parameters = list(module.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=protocol.lr, weight_decay=protocol.decay, fused=True)
    count = itertools.count()

    @torch.no_grad()
    def follow(averaged: Any, current: Any, count: Tensor) -> None:
        heat = optimizer.param_groups[0]["lr"] / protocol.lr
        torch._foreach_lerp_([*averaged], [*current], (AVERAGED / (float(count) + AVERAGED)) ** heat)

    way: Any = follow if protocol.average == 1 else get_ema_multi_avg_fn(protocol.average)
    average = AveragedModel(module, multi_avg_fn=way) if protocol.average else None

    @torch.no_grad()
    def evaluate(x: Tensor) -> Tensor:
        return torch.cat([log_prob(part) for part in x.split(PART)])

    def step(batch: Tensor, rate: float) -> None:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        if protocol.noise:
            batch = batch + protocol.noise * torch.randn(batch.shape)
        (-log_prob(batch).mean()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        if protocol.gradients:
            spread = (protocol.gradients / (1 + next(count)) ** 0.55) ** 0.5
            size = sum(parameter.numel() for parameter in parameters) ** 0.5
            for gradient in [parameter.grad for parameter in parameters if parameter.grad is not None]:
                gradient.add_(torch.randn(gradient.shape), alpha=spread / size)
        optimizer.step()
        if average:
            average.update_parameters(module)

    def look() -> float:
        with _weights_of(average, module):
            return float(evaluate(rows.validation).mean())

    best = _Best(look, lambda: copy.deepcopy((average.module if average else module).state_dict()))
    steps, seconds, note = _run(step, best, rows, protocol)
    module.load_state_dict(best.weights)
    return Trained(best.curve, evaluate(rows.test), steps, _size(module), seconds, note)


@contextmanager
def _weights_of(average: AveragedModel | None, module: torch.nn.Module) -> Iterator[None]:
    if average is None:
        yield
        return
    own = copy.deepcopy(module.state_dict())
    module.load_state_dict(average.module.state_dict())
    yield
    module.load_state_dict(own)


def train_jax(model: JaxModel, rows: Rows, protocol: Protocol) -> Trained:
    """The same for JAX models; compilation is part of the budget."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    import optax

    optimizer = optax.chain(optax.clip_by_global_norm(CLIP), optax.scale_by_adam())
    state = {"weights": model.parameters, "moments": optimizer.init(model.parameters)}
    density = eqx.filter_jit(lambda weights, x: model.log_prob(weights, x, jr.key(0)))

    @eqx.filter_jit
    def update(weights, moments, x, rate):
        gradient = jax.grad(lambda weights: -model.log_prob(weights, x, jr.key(0)).mean())(weights)
        change, moments = optimizer.update(gradient, moments, weights)
        return eqx.apply_updates(weights, jax.tree.map(lambda value: -rate * value, change)), moments

    def step(batch: Tensor, rate: float) -> None:
        found = update(state["weights"], state["moments"], jnp.asarray(batch.numpy()), jnp.float32(rate))
        state["weights"], state["moments"] = jax.block_until_ready(found)

    def evaluate(x: Tensor, weights: Any) -> Tensor:
        padded = torch.cat([x, x[: -len(x) % PART]])  # parts of one size: compiled once
        parts = [torch.from_numpy(jax.device_get(density(weights, jnp.asarray(p.numpy())))) for p in padded.split(PART)]
        return torch.cat(parts)[: len(x)]

    best = _Best(lambda: float(evaluate(rows.validation, state["weights"]).mean()), lambda: state["weights"])
    steps, seconds, note = _run(step, best, rows, protocol)
    count = sum(leaf.size for leaf in jax.tree.leaves(model.parameters))
    return Trained(best.curve, evaluate(rows.test, best.weights), steps, count, seconds, note)


def _run(step: Callable[[Tensor, float], None], best: _Best, rows: Rows, protocol: Protocol) -> tuple[int, float, str]:
    """Steps and seconds until the budget is spent; an error of the library ends the run and is recorded."""
    batches, start, steps, looks = _batches(rows.train, protocol), clock(), 0, list(LOOKS)
    try:
        while (used := _used(protocol, steps, clock() - start)) < 1:
            if used >= looks[0]:
                best.compare(clock() - start)
                looks = [look for look in looks if look > used]
            warm = min(1.0, (steps + 1) / protocol.warm)
            step(next(batches), protocol.lr * warm * 0.5 * (1 + math.cos(math.pi * used)))
            steps += 1
    except (AssertionError, RuntimeError, ValueError) as error:
        return steps, clock() - start, f"stopped by {type(error).__name__}: {error!s:.80}"
    seconds = clock() - start
    best.compare(seconds)
    return steps, seconds, ""


def _used(protocol: Protocol, steps: int, seconds: float) -> float:
    return steps / protocol.steps if protocol.steps else seconds / protocol.budget


def _batches(x: Tensor, protocol: Protocol) -> Iterator[Tensor]:
    """Shuffled batches of one size, epoch after epoch."""
    generator = torch.Generator().manual_seed(protocol.seed)
    while True:
        order = torch.randperm(len(x), generator=generator)
        yield from (x[part] for part in order.split(protocol.batch) if len(part) == protocol.batch)


def _size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
