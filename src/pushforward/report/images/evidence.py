"""The subject of an image report and its measurements: bits, samples, round trips, interpolations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...diagnostics.averages import mean_and_error
from ...images.pixels import PixelDensity
from ..measure import shuffled

PAIRS, STEPS, JOURNEYS = 5, 9, 10  # interpolations, images in each, images for round trips
TRAINING = 500  # training images scored for comparison with the held-out ones


@dataclass(frozen=True)
class RoundTrip:
    """Images, their round trips through f and its inverse, and reconstructions from their coarsest latents (or None).

    ``same`` is the share of their numbers that came back unchanged, ``furthest`` the largest change, in levels.
    """

    images: Tensor
    back: Tensor
    coarse: Tensor | None
    same: float
    furthest: int


@dataclass(frozen=True)
class ImageEvidence:
    """Everything that the sections draw on.

    Attributes:
        density: The model.
        images: Held-out images (n, C, H, W), uint8.
        names: What each is called.
        labels: The class of each, or None.
        classes: The classes that the model is conditioned on; empty if it is unconditional.
        context: One-hot classes (n, classes), or None.
        log_prob: Of each image, in nats.
        train_log_prob: Of some training images, or None.
        samples: Images drawn from the model, and ``cool`` ones at a temperature of 0.7.
        sample_log_prob: Of the samples.
        round_trip: None for a model without latents.
        interpolations: (pairs, steps, C, H, W), or None likewise.
        completions: Of autoregressive models, (images, 4, C, H, W): an image and three ways to continue its upper half.
        seconds: Time taken to score the held-out images, and to draw the samples.
    """

    density: PixelDensity
    images: Tensor
    names: Sequence[str]
    labels: Sequence[str] | None
    classes: Sequence[str]
    context: Tensor | None
    log_prob: Tensor
    train_log_prob: Tensor | None
    samples: Tensor
    sample_log_prob: Tensor
    cool: Tensor | None
    round_trip: RoundTrip | None
    interpolations: Tensor | None
    completions: Tensor | None
    history: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]
    baseline: Mapping[str, Any] | None
    percentile: Callable[[Any], Any] | None
    command: str
    seed: int
    timings: bool
    seconds: tuple[float, float]

    @property
    def bits(self) -> Tensor:
        """Bits per dimension of the held-out images."""
        return self.density.bits(self.log_prob)

    @property
    def mean_bits(self) -> tuple[float, float, int]:
        """Mean bits per dimension, its standard error, and the number of images without one, which both exclude."""
        finite = self.bits[self.bits.isfinite()]
        mean, error = mean_and_error(finite) if len(finite) else (math.nan, math.nan)
        return mean, error, len(self.bits) - len(finite)


def gather(
    density: PixelDensity,
    images: Tensor,
    context: Tensor | None,
    train: Tensor | None,
    train_context: Tensor | None,
    classes: int,
) -> dict[str, Any]:
    """Runs the model; the results are attributes of :class:`ImageEvidence`."""
    started = time.perf_counter()
    log_prob = density.log_prob(images, context)
    scored = time.perf_counter()
    number = shown(images, 36 if density.exact else 64)
    given = None if context is None else torch.eye(classes)[torch.arange(number) % classes]
    samples = density.sample(number, given)
    drawn = time.perf_counter()
    cool = None if density.exact else density.sample(number, given, temperature=0.7)
    some = shuffled(len(images), density.seed)[: min(shown(images, JOURNEYS), len(images))]
    chosen, chosen_context = images[some], None if context is None else context[some]
    trained = None
    if train is not None:
        few = shuffled(len(train), density.seed)[:TRAINING]
        trained = density.log_prob(train[few], None if train_context is None else train_context[few])
    return {
        "log_prob": log_prob,
        "train_log_prob": trained,
        "samples": samples,
        "sample_log_prob": density.log_prob(samples, given),
        "cool": cool,
        "round_trip": None if density.exact else round_trip(density, chosen, chosen_context),
        "interpolations": None if density.exact else interpolate(density, chosen, chosen_context),
        "completions": complete(density, chosen[:8], _first(chosen_context, 8)) if density.exact else None,
        "seconds": (scored - started, drawn - scored),
    }


def shown(images: Tensor, most: int) -> int:
    """How many images to show: fewer if they are large, because the page embeds them all."""
    return max(4, min(most, 2**19 // images[0].numel()))


def round_trip(density: PixelDensity, images: Tensor, context: Tensor | None) -> RoundTrip:
    """From images to latents and back."""
    z = density.encode(images, context)
    back = density.decode(z, context)
    change = (back.int() - images.int()).abs()
    coarse, kept = None, density.coarsest
    if kept is not None:
        only = torch.cat([z[:, :kept], torch.zeros_like(z[:, kept:])], 1)
        coarse = density.decode(only, context)
    return RoundTrip(images, back, coarse, float((change == 0).double().mean()), int(change.max()))


def interpolate(density: PixelDensity, images: Tensor, context: Tensor | None) -> Tensor:
    """Images between pairs of images, along great circles of the latents: (pairs, STEPS, C, H, W)."""
    pairs = min(PAIRS, len(images) // 2)
    start, end = (slice(0, pairs), slice(pairs, 2 * pairs))
    z, t = density.encode(images, context), torch.linspace(0, 1, STEPS)
    between = great_circle(z[start], z[end], t)
    given = None
    if context is not None:
        given = torch.lerp(context[start, None], context[end, None], t[None, :, None]).flatten(0, 1)
    return density.decode(between.flatten(0, 1), given).unflatten(0, (pairs, STEPS))


def great_circle(first: Tensor, second: Tensor, t: Tensor) -> Tensor:
    r"""Points between latents (n, D) that keep their norm, (n, len(t), D), as nearly all draws of N(0, I) share one.

    .. math:: \frac{\sin((1 - t)\,\omega)\, z_1 + \sin(t\,\omega)\, z_2}{\sin \omega}
    """
    cosine = torch.cosine_similarity(first.double(), second.double(), dim=-1).clamp(-1, 1)
    angle = cosine.acos().clamp(1e-4, math.pi - 1e-4)[:, None, None]
    weights = ((1 - t.double())[:, None] * angle).sin() / angle.sin(), (t.double()[:, None] * angle).sin() / angle.sin()
    return (weights[0] * first[:, None] + weights[1] * second[:, None]).to(first.dtype)


def complete(density: PixelDensity, images: Tensor, context: Tensor | None, ends: int = 3) -> Tensor:
    """The images, and other completions of their upper halves: (n, 1 + ends, C, H, W)."""
    given = None if context is None else context.repeat_interleave(ends, 0)
    found = density.complete(images.repeat_interleave(ends, 0), images.shape[2] // 2, given)
    return torch.cat([images[:, None], found.unflatten(0, (len(images), ends))], 1)


def _first(values: Tensor | None, n: int) -> Tensor | None:
    return None if values is None else values[:n]
