"""What is measured of a density of images: bits, samples, round trips, interpolations, completions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ... import plot
from ...images.pixels import PixelDensity
from ..blocks import Fact, Finding
from ..evidence import Evidence, Lead, Mean, Page, shuffled
from ..words import count, number, whole

PAIRS, STEPS, JOURNEYS, COMPLETED = 5, 9, 10, 8  # interpolations, images in each, images for round trips, completions
TRAINING = 500  # training images scored for comparison with the held-out ones
ENDS = 3  # completions of each image
BITS = (
    "A model that gives an image the probability P can store it in log₂(1/P) bits. Divided by the numbers of the "
    "image, that is bits per dimension: 8 would be no compression at all of 8-bit pixels, and what independent pixels "
    "need is the value to beat."
)
BOUND = (
    " A flow has a density, and pixels are whole numbers, so noise within each level is part of the model; one draw of "
    "it gives a lower bound of log P, and the bits shown here are an upper bound."
)


@dataclass(frozen=True)
class RoundTrip:
    """Images, their way through f and its inverse, and what their coarsest latents alone give (or None)."""

    images: Tensor
    back: Tensor
    coarse: Tensor | None

    @property
    def same(self) -> float:
        """The share of their numbers that came back unchanged."""
        return float((self.back == self.images).double().mean())

    @property
    def furthest(self) -> int:
        """The largest change, in levels."""
        return int((self.back.int() - self.images.int()).abs().max())

    @property
    def finding(self) -> Finding:
        """Whether images survive the map and its inverse."""
        numbers = self.images.numel()
        of = f"{whole(numbers)} numbers of {count(len(self.images), 'image')}"
        if self.same == 1:
            return Finding(
                "good", f"The map is invertible in practice: all {of} came back from the latents as they were."
            )
        changed = f"{whole(round((1 - self.same) * numbers))} came back changed, by "
        if self.same > 0.999 and self.furthest <= 1:
            why = "their noise lay so near to the edge of a level that rounding tipped them over"
            return Finding("good", f"Of {of}, {changed}1 level: {why}.")
        return Finding("poor", f"Of {of}, {changed}{count(self.furthest, 'level')} at most.")


@dataclass(frozen=True, kw_only=True)
class ImageEvidence(Evidence):
    """A density of images judged by held-out images.

    Args:
        model: The density.
        images: Held-out images (n, C, H, W), uint8.
        names: What each is called.
        labels: The class of each, or None.
        classes: The classes that the model is conditioned on; empty if it is unconditional.
        independent: Independent pixels on the held-out images of the fit, or None.
        samples: Images drawn from the model, and ``cool`` ones at a temperature of 0.7.
        round_trip: None for a model without latents.
        interpolations: (pairs, steps, C, H, W), or None likewise.
        completions: Of autoregressive models, (images, 1 + ENDS, C, H, W): an image and ways to continue its upper
            half.
    """

    noun: ClassVar[str] = "image"
    unit: ClassVar[str] = "bits per dimension"
    key: ClassVar[str] = "bits_per_dim"
    sign: ClassVar[int] = -1
    rival: ClassVar[str] = "a model of independent pixels"
    histogram: ClassVar[Callable[[Any, Any], Any]] = staticmethod(plot.bits)

    model: PixelDensity
    images: Tensor
    names: Sequence[str]
    labels: Sequence[str] | None
    classes: Sequence[str]
    independent: Lead | None
    samples: Tensor
    cool: Tensor | None
    round_trip: RoundTrip | None
    interpolations: Tensor | None
    completions: Tensor | None

    def measure(self, log_prob: Tensor) -> Tensor:
        return self.model.bits(log_prob)

    @property
    def baseline(self) -> Lead | None:
        return self.independent

    @property
    def findings(self) -> list[Finding]:
        return [] if self.round_trip is None else [self.round_trip.finding]

    @property
    def introduction(self) -> str:
        channels, height, width = self.images.shape[1:]
        bound = "" if self.model.exact else " It is a bound: the true value is no larger."
        return (
            f"A model was fitted to {'grey' if channels == 1 else 'colour'} images of {height} x {width} pixels: a "
            "formula that says how probable any such image is, and that can draw new ones. This page judges it on "
            f"{count(len(self.images), 'image')} that were held out. The model would store such an image in "
            f"{self.held_out} bits for each of its {whole(self.images[0].numel())} numbers (the mean and its standard "
            f"error; lower is better).{bound}"
        )

    @property
    def facts(self) -> list[Fact]:
        nats = float(self.log_prob[self.log_prob.isfinite()].mean())
        return [
            ("Held-out images", f"{len(self.images):,}", ""),
            ("Bits per dimension", str(self.held_out), ""),
            ("The same in nats", number(nats), "log P of an image"),
        ]

    @property
    def about_fit(self) -> str:
        return BITS if self.model.exact else BITS + BOUND

    @property
    def losses(self) -> tuple[str, str, float]:
        scale = 1 / (math.log(2) * self.images[0].numel())
        return "The loss is the mean number of bits per dimension", self.unit, scale


def image_evidence(
    model: PixelDensity,
    images: Tensor,
    page: Page,
    *,
    names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    classes: Sequence[str] = (),
    context: Tensor | None = None,
    train: Tensor | None = None,
    train_context: Tensor | None = None,
    at_fit: Mapping[str, Any] | None = None,
    percentile: Callable[[Any], Any] | None = None,
) -> ImageEvidence:
    """Evaluates the model on held-out images, on training images and on images that it draws itself.

    Args:
        model: The density.
        images: Held-out images (n, C, H, W), uint8.
        page: What is known of the report before.
        names: The name of each image; its number by default.
        labels: The class of each, if there are classes.
        classes: The classes that the model is conditioned on, in the order of the context's features.
        context: Contexts (n, classes) of the images, for a conditional model.
        train: Training images, some of which are scored for comparison with the held-out ones.
        train_context: Their contexts.
        at_fit: Figures of the fit: ``independent_bits_per_dim`` and ``gain`` with their ``…_standard_error``, and
            ``images``.
        percentile: Maps log-probabilities (k,) to percentiles among the training images.
    """
    started = time.perf_counter()
    log_prob = model.log_prob(images, context)
    scored = time.perf_counter()
    n = shown(images, 36 if model.exact else 64)
    given = None if context is None else torch.eye(len(classes))[torch.arange(n) % len(classes)]
    samples = model.sample(n, given)
    drawn = time.perf_counter()
    some = shuffled(len(images), page.seed)[: min(shown(images, JOURNEYS), len(images))]
    chosen, chosen_context = images[some], None if context is None else context[some]
    trained = None
    if train is not None:
        few = shuffled(len(train), page.seed)[:TRAINING]
        trained = model.log_prob(train[few], None if train_context is None else train_context[few])
    return ImageEvidence(
        page=page,
        flow=model.flow,
        log_prob=log_prob,
        own_log_prob=model.log_prob(samples, given),
        train_log_prob=trained,
        percentile=percentile,
        seconds=(scored - started, drawn - scored),
        model=model,
        images=images,
        names=[str(k) for k in range(len(images))] if names is None else names,
        labels=labels,
        classes=classes,
        independent=_independent(at_fit or {}),
        samples=samples,
        cool=None if model.exact else model.sample(n, given, temperature=0.7),
        round_trip=None if model.exact else round_trip(model, chosen, chosen_context),
        interpolations=None if model.exact else interpolate(model, chosen, chosen_context),
        completions=_complete(model, chosen[:COMPLETED], chosen_context) if model.exact else None,
    )


def _independent(at_fit: Mapping[str, Any]) -> Lead | None:
    """Independent pixels as measured at the fit; None where a figure was not finite."""
    names = ("independent_bits_per_dim", "gain")
    pairs = [(at_fit.get(name), at_fit.get(f"{name}_standard_error")) for name in names]
    if any(None in pair for pair in pairs):
        return None
    return Lead(*(Mean(mean, error, at_fit["images"], 0) for mean, error in pairs))  # type: ignore[arg-type]


def shown(images: Tensor, most: int) -> int:
    """How many images to show: fewer if they are large, because the page embeds them all."""
    return max(4, min(most, 2**19 // images[0].numel()))


def round_trip(model: PixelDensity, images: Tensor, context: Tensor | None) -> RoundTrip:
    """From images to latents and back."""
    z, kept = model.encode(images, context), model.coarsest
    coarse = None
    if kept is not None:
        coarse = model.decode(torch.cat([z[:, :kept], torch.zeros_like(z[:, kept:])], 1), context)
    return RoundTrip(images, model.decode(z, context), coarse)


def interpolate(model: PixelDensity, images: Tensor, context: Tensor | None) -> Tensor:
    """Images between pairs of images, along great circles of the latents: (pairs, STEPS, C, H, W)."""
    pairs = min(PAIRS, len(images) // 2)
    start, end = (slice(0, pairs), slice(pairs, 2 * pairs))
    z, t = model.encode(images, context), torch.linspace(0, 1, STEPS)
    given = None
    if context is not None:
        given = torch.lerp(context[start, None], context[end, None], t[None, :, None]).flatten(0, 1)
    between = great_circle(z[start], z[end], t)
    return model.decode(between.flatten(0, 1), given).unflatten(0, (pairs, STEPS))


def great_circle(first: Tensor, second: Tensor, t: Tensor) -> Tensor:
    r"""Points between latents (n, D) that keep their norm, (n, len(t), D), as nearly all draws of N(0, I) share one.

    .. math:: \frac{\sin((1 - t)\,\omega)\, z_1 + \sin(t\,\omega)\, z_2}{\sin \omega}
    """
    cosine = torch.cosine_similarity(first.double(), second.double(), dim=-1).clamp(-1, 1)
    angle = cosine.acos().clamp(1e-4, math.pi - 1e-4)[:, None, None]
    weights = ((1 - t.double())[:, None] * angle).sin() / angle.sin(), (t.double()[:, None] * angle).sin() / angle.sin()
    return (weights[0] * first[:, None] + weights[1] * second[:, None]).to(first.dtype)


def _complete(model: PixelDensity, images: Tensor, context: Tensor | None) -> Tensor:
    """The images, and other completions of their upper halves: (n, 1 + ENDS, C, H, W)."""
    given = None if context is None else context[: len(images)].repeat_interleave(ENDS, 0)
    found = model.complete(images.repeat_interleave(ENDS, 0), images.shape[2] // 2, given)
    return torch.cat([images[:, None], found.unflatten(0, (len(images), ENDS))], 1)
