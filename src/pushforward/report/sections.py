"""The list of all sections, in the order of the page; each is left out where it does not apply."""

from __future__ import annotations

from .images.pictures import pictures, pixel_values, sampled_images
from .images.round_trips import completions, interpolations, reconstructions
from .images.scores import by_class, unlikely_images
from .section import Section
from .shared import cost, likelihood, limits, overview, training
from .tables.checks import calibration, latents, ranks
from .tables.conditionals import conditionals
from .tables.drift import drift
from .tables.journey import journey
from .tables.marginals import columns, marginals, pairs, remainders
from .tables.rows import sampled_rows, unlikely_rows

SECTIONS: tuple[Section, ...] = (
    overview,
    columns,
    drift,
    pictures,
    training,
    likelihood,
    marginals,
    remainders,
    pairs,
    conditionals,
    sampled_images,
    reconstructions,
    completions,
    interpolations,
    by_class,
    calibration,
    ranks,
    latents,
    unlikely_rows,
    unlikely_images,
    sampled_rows,
    pixel_values,
    journey,
    cost,
    limits,
)
