"""What a table's guide starts from: the maps of columns that leave the most to a normal distribution."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.transforms.elementwise import Asinh, Identity

N = 2000
RNG = np.random.default_rng(0)
ALIKE = RNG.standard_normal((N, 3)) @ np.array([[1, 0.9, 0.8], [0, 0.4, 0.3], [0, 0, 0.5]])

TAILED = np.sinh(1.5 * RNG.standard_normal((N, 3)))
SUMS = np.stack([TAILED[:, 0], TAILED[:, 1], TAILED[:, 0] - TAILED[:, 1] + 0.1 * TAILED[:, 2]], 1)


@pytest.mark.parametrize(
    ("rows", "kept"),
    [(SUMS, False), (np.sinh(3 * ALIKE), True)],
    ids=["sums", "each drawn out"],
)
def test_columns_keep_a_map_of_tails_where_that_makes_more_of_them_linear(rows: np.ndarray, kept: bool) -> None:
    model = pf.TableDensity("maf", steps=1, random_state=0).fit(pl.DataFrame(rows, ["a", "b", "c"]))
    assert {column.first for column in model.schema.columns} == {"asinh"}
    assert model.guided is not None
    kinds = {type(f if isinstance(f, Identity) else f[-1]) for f in model.guided.guide.first}
    assert kinds == {Asinh if kept else Identity}
