"""What is measured of a density of images: bits, samples, round trips, interpolations, completions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from ... import plot
from ...errors import counted
from ...images.pixels import PixelDensity
from ...training.batches import Rows
from ..blocks import Fact, Finding
from ..evidence import Drawn, Evidence, Lead, Mean
from ..words import number, whole

PAIRS, STEPS, JOURNEYS, COMPLETED = 5, 9, 10, 8  # interpolations, images in each, images for round trips, completions
ENDS = 3  # completions of each image
BITS = (
    "A model that gives an image the probability P can store it in log₂(1/P) bits. Divided by the numbers of the "
    "image, that is bits per dimension: {raw:.3g} would be no compression at all of {levels} levels, and what "
    "independent pixels need is the value to beat."
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
        of = f"{whole(numbers)} numbers of {counted(len(self.images), 'image')}"
        if self.same == 1:
            return Finding(
                "good", f"The map is invertible in practice: all {of} came back from the latents as they were."
            )
        changed = f"{whole(round((1 - self.same) * numbers))} came back changed, by "
        if self.same > 0.999 and self.furthest <= 1:
            why = "their noise lay so near to the edge of a level that rounding tipped them over"
            return Finding("good", f"Of {of}, {changed}1 level: {why}.")
        return Finding("poor", f"Of {of}, {changed}{counted(self.furthest, 'level')} at most.")


@dataclass(frozen=True, kw_only=True)
class ImageEvidence(Evidence):
    """A density of images judged by held-out images."""

    noun: ClassVar[str] = "image"
    unit: ClassVar[str] = "bits per dimension"
    key: ClassVar[str] = "bits_per_dim"
    sign: ClassVar[int] = -1
    rival: ClassVar[str] = "a model of independent pixels"
    trained: ClassVar[int] = 500
    histogram: ClassVar[Callable[[Any, Any], Any]] = staticmethod(plot.bits)

    model: PixelDensity
    labels: Sequence[str] | None = None  # the class of each, or None
    # the classes that the model is conditioned on, in the order of the contexts' features; empty if it is
    # unconditional
    classes: Sequence[str] = ()
    # figures of the fit: ``independent_bits_per_dim`` and ``gain`` with their ``…_standard_error``, and ``images``
    at_fit: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.flow.parameters())

    def score(self, rows: Rows) -> Tensor:
        return self.model.log_prob(rows.x, rows.context)

    def measure(self, log_prob: Tensor) -> Tensor:
        return self.model.bits(log_prob)

    def draw(self) -> Drawn:
        drawn = self.sampled()
        return Drawn(drawn, self.score(Rows(drawn, self._in_turn)), len(drawn))

    def sampled(self, temperature: float = 1.0) -> Tensor:
        """Images drawn from the model, of all classes in turn."""
        return self.model.sample(self._shown, self._in_turn, temperature=temperature)

    @property
    def _shown(self) -> int:
        return shown(self.data, 36 if self.model.exact else 64)

    @property
    def _in_turn(self) -> Tensor | None:
        """The contexts of the images that are drawn."""
        number = len(self.classes)
        return None if self.context is None else torch.eye(number)[torch.arange(self._shown) % number]

    @property
    def baseline(self) -> Lead | None:
        """Independent pixels as measured at the fit; None where a figure was not finite."""
        names = ("independent_bits_per_dim", "gain")
        pairs = [(self.at_fit.get(name), self.at_fit.get(f"{name}_standard_error")) for name in names]
        if any(value is None for pair in pairs for value in pair):
            return None
        return Lead(*(Mean(mean, error, self.at_fit["images"], 0) for mean, error in pairs))  # type: ignore[arg-type]

    @property
    def _some(self) -> tuple[Tensor, Tensor | None]:
        """A few of the held-out images and their contexts, of a model with latents or to be completed."""
        some = self.some(self.held, shown(self.data, JOURNEYS))
        return some.x, some.context

    @cached_property
    def round_trip(self) -> RoundTrip | None:
        """None for a model without latents."""
        return None if self.model.exact else round_trip(self.model, *self._some)

    @cached_property
    def interpolations(self) -> Tensor | None:
        """(pairs, steps, C, H, W), or None for a model without latents."""
        return None if self.model.exact else interpolate(self.model, *self._some)

    @cached_property
    def completions(self) -> Tensor | None:
        """Of an autoregressive model (images, 1 + ENDS, C, H, W): images, and ways to continue their upper halves."""
        if not self.model.exact:
            return None
        images, context = (None if part is None else part[:COMPLETED] for part in self._some)
        assert images is not None
        given = None if context is None else context.repeat_interleave(ENDS, 0)
        found = self.model.complete(images.repeat_interleave(ENDS, 0), images.shape[2] // 2, given)
        return torch.cat([images[:, None], found.unflatten(0, (len(images), ENDS))], 1)

    @property
    def findings(self) -> list[Finding]:
        return [] if self.round_trip is None else [self.round_trip.finding]

    @property
    def introduction(self) -> str:
        channels, height, width = self.data.shape[1:]
        bound = "" if self.model.exact else " It is a bound: the true value is no larger."
        return (
            f"A model was fitted to {'grey' if channels == 1 else 'colour'} images of {height} x {width} pixels: a "
            "formula that says how probable any such image is, and that can draw new ones. This page judges it on "
            f"{counted(len(self.data), 'image')} that were held out. The model would store such an image in "
            f"{self.held_out} bits for each of its {whole(self.data[0].numel())} numbers (the mean and its standard "
            f"error; lower is better).{bound}"
        )

    @property
    def facts(self) -> list[Fact]:
        nats = float(self.log_prob[self.log_prob.isfinite()].mean())
        return [
            ("Held-out images", f"{len(self.data):,}", ""),
            ("Bits per dimension", str(self.held_out), ""),
            ("The same in nats", number(nats), "log P of an image"),
        ]

    @property
    def about_fit(self) -> str:
        bits = BITS.format(raw=math.log2(self.model.levels), levels=self.model.levels)
        return bits if self.model.exact else bits + BOUND

    @property
    def losses(self) -> tuple[str, str, float]:
        scale = 1 / (math.log(2) * self.data[0].numel())
        return "The loss is the mean number of bits per dimension", self.unit, scale


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
