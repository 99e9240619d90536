"""The list of all sections, in the order of the page; each is left out where it does not apply."""

from __future__ import annotations

from . import shared
from .blocks import Section
from .images import sections as images
from .tables import marginals, rows

SECTIONS: tuple[Section, ...] = (
    shared.overview,
    marginals.columns,
    marginals.drift,
    images.pictures,
    shared.training,
    shared.likelihood,
    marginals.marginals,
    marginals.remainders,
    marginals.pairs,
    marginals.conditionals,
    images.sampled_images,
    images.reconstructions,
    images.completions,
    images.interpolations,
    images.by_class,
    rows.calibration,
    rows.ranks,
    rows.latents,
    rows.unlikely_rows,
    images.unlikely_images,
    rows.sampled_rows,
    images.pixel_values,
    shared.cost,
    shared.limits,
)
