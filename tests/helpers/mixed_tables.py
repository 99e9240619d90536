"""A small mixed table, and options under which a fit of it is quick."""

from __future__ import annotations

import numpy as np
import polars as pl

QUICK = ["--flow", "maf", "--layers", "2", "--hidden", "16", "--lr", "0.015", "--steps", "40", "--quiet"]
BRIEF = [*QUICK[:-2], "1", "--quiet"]


def mixed_table(rows: int = 600, seed: int = 0) -> pl.DataFrame:
    """Sizes, prices, counts and a colour, all of which hang together."""
    rng = np.random.default_rng(seed)
    size = rng.gamma(3.0, 1.0, rows)
    return pl.DataFrame(
        {
            "size": size,
            "price": np.round(np.exp(4 + np.log(size) + 0.3 * rng.normal(size=rows))),
            "count": rng.poisson(size),
            "colour": rng.choice(["red", "green", "blue"], rows),
        }
    )
