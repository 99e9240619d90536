"""The list of all sections, in the order of the page; each is left out where it does not apply."""

from __future__ import annotations

from .blocks import Section
from .images.sections import (
    by_class,
    completions,
    interpolations,
    pictures,
    pixel_values,
    reconstructions,
    sampled_images,
    unlikely_images,
)
from .shared import cost, likelihood, limits, overview, training
from .tables.checks import calibration, latents, ranks
from .tables.conditionals import conditionals
from .tables.journey import journey
from .tables.marginals import columns, drift, marginals, pairs, remainders
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
