"""What a table's guide starts from: the maps of columns that leave the most to a normal distribution."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import pushforward as pf
from pushforward.tables import fit
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
    assert all("arsinh" in column.describe().first for column in model.schema.columns)
    assert model.guided is not None
    kinds = {type(f if isinstance(f, Identity) else f.inner[-1]) for f in model.guided.guide.first}
    assert kinds == {Asinh if kept else Identity}


@pytest.mark.parametrize("holes", [0.0, 0.2])
def test_it_starts_from_all_rows_as_often_as_they_count(holes: float) -> None:
    rows = np.random.default_rng(1).standard_normal((N, 2)) @ np.array([[1, 0.9], [0, 0.3]])
    count = (np.sign(rows[:, 0]) == np.sign(rows[:, 1])).astype(float)
    truth = np.corrcoef(rows[count > 0].T)[0, 1]
    holed = np.where(np.random.default_rng(2).random(rows.shape) < holes, np.nan, rows)
    frame = pl.DataFrame(holed, ["a", "b"]).fill_nan(None)
    model = pf.TableDensity("maf", steps=1, batch_size=16, random_state=0).fit(frame, sample_weight=count)
    assert model.guided is not None
    assert model.guided.guide.normal is not None
    covariance = model.guided.guide.normal.covariance[:2, :2].numpy()
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) == pytest.approx(truth, abs=0.02)


def test_before_few_rows_its_training_is_in_proportion_to_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "LONGER", 0.1)
    holed = np.where(RNG.random((60, 3)) < 0.1, np.nan, ALIKE[:60])
    model = pf.TableDensity("gmm", random_state=0).fit(pl.DataFrame(holed, ["a", "b", "c"]).fill_nan(None))
    assert model.summary_["guide"]["steps"] == 60  # a tenth of a flow's, while it still gains
