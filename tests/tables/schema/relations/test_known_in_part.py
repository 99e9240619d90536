"""Limits of detection, limits in columns, censored times and noisy measurements."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats

import pushforward as pf
from pushforward.cli import app as cli
from pushforward.errors import InputError
from pushforward.numerics.partly_known import known_in_part
from pushforward.report.evidence import Page
from pushforward.tables.options import TableOptions
from pushforward.tables.queries.known import Known
from pushforward.tables.schema.decide import learn_schema
from pushforward.tables.schema.learner import Learner

SAID = {
    "limits": {"dose": ("dose_low", "dose_high")},
    "censored": {"time": "status"},
    "noise": {"flux": "flux_err"},
}
NOISE = 1.0


def rows(n: int, seed: int) -> pl.DataFrame:
    """Lab values below a limit, doses between limits, times some of which were cut short, and noisy fluxes."""
    rng = np.random.default_rng(seed)
    lead, dose, flux = rng.lognormal(-1.5, 1, n), rng.normal(10, 3, n), rng.normal(0, 1, n)
    time, cut = rng.exponential(5, n), rng.exponential(8, n)
    return pl.DataFrame(
        {
            "lead": [f"{x:.3f}" if x >= 0.1 else "<0.1" for x in lead],
            "dose_low": np.floor(dose),
            "dose_high": np.floor(dose) + 1,
            "time": np.minimum(time, cut).clip(0.001).round(4),
            "status": (time <= cut).astype(int),
            "flux": flux + NOISE * rng.normal(size=n),
            "flux_err": np.full(n, NOISE),
        }
    )


@pytest.fixture(scope="module")
def model() -> pf.TableDensity:
    return pf.TableDensity("maf", layers=1, hidden=(16,), steps=100, **SAID).fit(rows(700, 0))


@pytest.fixture(scope="module")
def drawn(model) -> pl.DataFrame:
    return model.sample(4000, random_state=1)


@pytest.mark.slow
def test_a_time_that_was_cut_short_has_the_probability_of_all_later_ones():
    rng = np.random.default_rng(0)
    time, cut = rng.exponential(5, 300), rng.exponential(8, 300)
    table = pl.DataFrame({"time": np.minimum(time, cut), "status": (time <= cut).astype(int)})
    model = pf.TableDensity("gmm", queries=False, censored=SAID["censored"]).fit(table)
    later = np.exp(model.score_samples(pl.DataFrame({"time": [4.0], "status": [0]})))
    assert later == pytest.approx(np.exp(-4 / 5), abs=0.1)


@pytest.mark.slow
def test_columns_that_say_what_is_known_are_not_modelled(model):
    assert sorted(model.schema.names) == ["dose", "flux", "lead", "time"]
    shares = {column.name: column.holes.in_part for column in model.schema.columns}
    assert shares["dose"] == shares["flux"] == 1
    assert 0.3 < shares["time"] < 0.5
    assert 0.1 < shares["lead"] < 0.3


@pytest.mark.slow
def test_draws_are_rows_of_the_table_with_true_values(model, drawn):
    assert set(drawn.columns) == set(rows(10, 0).columns)
    assert abs((drawn["lead"] == "<0.1").mean() - stats.norm.cdf(np.log(0.1), -1.5, 1)) < 0.04
    assert (drawn["dose_low"] == drawn["dose_high"]).all()
    assert (drawn["status"] == 1).all()
    assert abs(drawn["time"].median() - 5 * np.log(2)) < 0.6  # 2.1 of the observed ones
    assert abs(drawn["flux"].std() - 1) < 0.15  # 1.41 of the measured ones
    assert abs(drawn["dose_low"].mean() - 10) < 0.4
    assert abs(drawn["dose_low"].std() - 3) < 0.4
    assert np.isfinite(model.score_samples(drawn[:50])).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "probability"),
    [
        ({"lead": ["<0.1"]}, stats.norm.cdf(np.log(0.1), -1.5, 1)),
        ({"lead": ["> 0.5"]}, stats.norm.sf(np.log(0.5), -1.5, 1)),
        ({"lead": ["0.1-0.3"]}, np.diff(stats.norm.cdf(np.log([0.1, 0.3]), -1.5, 1))[0]),
        ({"lead": ["[0.1, Inf)"]}, stats.norm.sf(np.log(0.1), -1.5, 1)),
        ({"dose_low": [8.0], "dose_high": [12.0]}, np.diff(stats.norm.cdf([8, 12], 10, 3))[0]),
        ({"dose_low": [None], "dose_high": [7.0]}, stats.norm.cdf(7, 10, 3)),
        ({"time": [4.0], "status": [0]}, np.exp(-4 / 5)),
        ({"flux": [0.5], "flux_err": [2.0]}, stats.norm.pdf(0.5, 0, np.sqrt(1 + 4))),
    ],
)
def test_intervals_have_a_probability_and_measurements_a_density(model, row, probability):
    frame = pl.DataFrame(row, schema_overrides={"dose_low": pl.Float64})
    assert abs(np.exp(model.score_samples(frame)[0]) - probability) < 0.05


@pytest.mark.slow
def test_imputed_cells_lie_within_what_was_known(model):
    table = rows(60, 5)
    filled = model.impute(table, random_state=0)
    below, cut = (table["lead"] == "<0.1").to_numpy(), (table["status"] == 0).to_numpy()
    lead = filled["lead"].cast(pl.Float64).to_numpy()
    assert (lead[below] < 0.1).all()
    np.testing.assert_array_equal(lead[~below], table["lead"].filter(pl.Series(~below)).cast(pl.Float64))
    assert (filled["time"].to_numpy()[cut] > table["time"].to_numpy()[cut]).all()
    assert (filled["status"] == 1).all()
    np.testing.assert_array_equal(filled["time"].to_numpy()[~cut], table["time"].to_numpy()[~cut])
    dose = filled["dose_low"].to_numpy()
    assert ((dose >= table["dose_low"].to_numpy()) & (dose <= table["dose_high"].to_numpy())).all()
    assert filled["flux"].std() < table["flux"].std()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"flow": "maf", "layers": 1, "hidden": (16,), "steps": 60, "lr": 0.02}, {"flow": "gmm"}]
)
def test_times_given_other_columns_are_those_of_events(options):
    rng = np.random.default_rng(3)
    x, cut = rng.normal(size=600), rng.exponential(4, 600)
    time = rng.exponential(3 * np.exp(0.5 * x))
    table = pl.DataFrame({"x": x, "time": np.minimum(time, cut), "status": (time <= cut).astype(int)})
    model = pf.TableDensity(**options, columns=["time"], given=["x"], censored=SAID["censored"]).fit(table)
    longer = model.probability({"time": (3, None)}, pl.DataFrame({"x": [-1.0, 1.0]}))
    np.testing.assert_allclose(longer, np.exp(-1 / np.exp([-0.5, 0.5])), atol=0.1)
    scores = model.score_samples(pl.DataFrame({"x": [1.0], "time": [3.0], "status": [0]}))
    np.testing.assert_allclose(np.exp(scores), longer[1:], atol=0.05)
    filled = model.impute(table[:50], random_state=0)
    unseen = (table["status"][:50] == 0).to_numpy()
    assert (filled["time"].to_numpy()[unseen] > table["time"][:50].to_numpy()[unseen]).all()
    assert "sampling" not in model.summary_  # times of events are not those of the table
    evidence = model.evidence(model.saved_held_out(), Page())
    assert evidence.coverage["covered"][0] < 0.3  # far more if cells that are known in part lie in every region
    assert abs(evidence.ranks.tests["time"].shift) < 0.5


@pytest.mark.slow
def test_sets_hold_their_share_of_true_values_though_those_of_held_out_rows_are_known_in_part(model):
    rng = np.random.default_rng(4)
    truth = pl.DataFrame({"time": rng.exponential(5, 400), "status": 1, "flux": rng.normal(0, 1, 400), "flux_err": 0.0})
    for name in ("time", "flux"):
        low, high = model.predict(pl.DataFrame({"lead": ["0.2"]}), name, "interval", level=0.7)
        assert 0.5 < truth[name].is_between(low[0], high[0]).mean() < 0.9
        assert 0.5 < model.region([name], level=0.7).holds(truth).mean() < 0.9


@pytest.mark.slow
def test_a_measurement_without_a_finite_error_says_nothing_and_flags_may_be_truth_values(model):
    table = rows(3, 8)
    known = model.score_samples(table.with_columns(flux=pl.lit(None, pl.Float64)))
    for error in (np.inf, None):
        odd = table.with_columns(flux=pl.lit(30.0), flux_err=pl.lit(error, pl.Float64))
        np.testing.assert_allclose(model.score_samples(odd), known)
    same = model.score_samples(table.with_columns(pl.col("status").cast(pl.Boolean)))
    np.testing.assert_allclose(same, model.score_samples(table))
    with pytest.raises(InputError, match="'status' holds no numbers"):
        model.score_samples(table.with_columns(status=pl.lit("dead")))


@pytest.mark.slow
def test_what_is_known_of_a_number_is_heeded_where_nothing_else_is_given(model):
    assert len(model.predict(rows(2, 9), "flux")) == 2  # whose own values are not read, nor what is known of them
    np.testing.assert_allclose(*(model.score_samples(rows(2, 9).drop("flux", *more)) for more in ([], ["flux_err"])))
    measured = {"flux": [1.5, -1.5], "flux_err": [1.0, 1.0]}  # of a standard normal flux, that leaves N(±0.75, 1/2)
    for given in ({"flux": 1.5, "flux_err": 1.0}, pl.DataFrame(measured)):
        flux = model.sample(1000, given=given, random_state=0)["flux"].to_numpy()
        assert abs(flux[:1000].mean() - 0.75) < 0.2
        assert abs(flux[:1000].std() - 0.5**0.5) < 0.1
        above, error = model.probability({"flux": (1, None)}, given=given, errors=True)
        truth = stats.norm.sf(1, 0.75, 0.5**0.5) if np.ndim(above) == 0 else stats.norm.sf(1, [0.75, -0.75], 0.5**0.5)
        np.testing.assert_allclose(above, truth, atol=0.1)
        assert (np.asarray(error) < 0.05).all()
    with pytest.raises(InputError, match="'flux' is known in part, and takes no range beside"):
        Known.of(model, measured_row := {"flux": 1.5, "flux_err": 1.0}, "flux > 2")
    assert Known.of(model, measured_row, "time > 2").wheres
    below = model.probability({"lead": (None, 0.05)}, given=pl.DataFrame({"lead": ["<0.1"]}))
    shares = stats.norm.cdf(np.log([0.05, 0.1]), -1.5, 1)
    np.testing.assert_allclose(below, shares[0] / shares[1], atol=0.15)


@pytest.mark.slow
def test_saved_models_read_them_alike(model, tmp_path, capsys):
    model.save(tmp_path / "model")
    again = pf.TableDensity.load(tmp_path / "model")
    table = rows(20, 7)
    np.testing.assert_allclose(again.score_samples(table), model.score_samples(table), rtol=1e-6)
    held = (known.saved_held_out().rows.x for known in (model, again))  # to which new rows are compared
    np.testing.assert_array_equal(*(known_in_part(x.numpy()) for x in held))
    assert again.drift(rows(100, 8)).p_value == model.drift(rows(100, 8)).p_value
    table.write_csv(tmp_path / "rows.csv")
    assert cli.main(["score", f"{tmp_path}/model", f"{tmp_path}/rows.csv", "-o", f"{tmp_path}/scores.csv"]) == 0
    assert "missing" not in capsys.readouterr().err  # what is known in part is not


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"censored": {"time": "gone"}}, "censored"),
        ({"censored": {"time": "flux"}}, "censored"),
        ({"limits": {"dose": ("dose_high", "dose_low")}}, "limits"),
        ({"noise": {"flux": "status"}, "censored": {"time": "status"}}, "censored"),
    ],
)
def test_what_makes_no_sense_is_refused(options, argument):
    with pytest.raises(InputError) as caught:
        pf.TableDensity("maf", steps=1, **options).fit(rows(60, 0))
    assert caught.value.argument == argument


def test_what_is_below_the_lowest_number_that_many_rows_share_may_be_drawn():
    found = np.random.default_rng(0).exponential(0.3, 600).round(1)
    cells = [f"{x:.1f}" if x >= 0.1 else "<0.1" for x in found]
    schema = learn_schema(pl.DataFrame({"lead": cells}), Learner(TableOptions(columns=["lead"]), "table"))
    assert not schema.far(torch.tensor([[0.02], [found.max() + 0.1]])).any()
