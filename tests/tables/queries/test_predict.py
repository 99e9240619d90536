"""Questions and predictions from the shell."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import pushforward as pf
from pushforward.cli.app import main
from pushforward.tables.queries import predict, probability


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("ask"), np.random.default_rng(0)
    kind = rng.choice(["a", "b"], 600)
    x = rng.normal(size=600) + 2.0 * (kind == "b")
    table = pl.DataFrame({"kind": kind, "x": x, "odd, name": x + rng.normal(size=600)})
    pf.TableDensity("maf", layers=1, hidden=(16,), steps=60, lr=0.02).fit(table).save(folder / "model")
    table.head(20).write_csv(folder / "rows.csv")
    return folder


def told(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def test_a_probability_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(folder / "model")
    assert main(["ask", model, "kind = 'a'", "--json"]) == 0
    known = told(capsys)
    assert known["probability"] == pytest.approx(pf.TableDensity.load(model).probability({"kind": "a"}))
    assert main(["ask", model, "x > 1", "--given", "kind=b", "--given", '"odd, name" > 0', "--json"]) == 0
    high = told(capsys)
    assert main(["ask", model, "x > 1", "--given", "kind=a", "--json"]) == 0
    assert told(capsys)["probability"] < high["probability"]
    assert main(["ask", model, "x > 1"]) == 0
    assert "±" in capsys.readouterr().out


def test_rows_are_drawn_within_a_condition(folder: Path, tmp_path: Path) -> None:
    arguments = ["sample", str(folder / "model"), "-n", "30", "-o", str(tmp_path / "rows.csv"), "--given", "kind=b"]
    assert main([*arguments, "--given", "x BETWEEN 0 AND 1"]) == 0
    rows = pl.read_csv(tmp_path / "rows.csv")
    assert rows["x"].is_between(0, 1).all()
    assert set(rows["kind"]) == {"b"}
    assert main([*arguments, "--given", "kind = 'a'"]) == 2  # and b as well


def test_an_error_of_rounding_is_none(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = probability.Share(torch.tensor([0.4379]), torch.tensor([2.2e-21]))
    monkeypatch.setattr(probability, "probability", lambda *_: found)
    assert main(["ask", str(folder / "model"), "kind = 'a'"]) == 0
    assert capsys.readouterr().out == "P(kind = 'a') = 0.4379, exactly\n"


def test_notes_on_rows_to_predict_name_their_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "more.csv"
    pl.read_csv(folder / "rows.csv").with_columns(seize=pl.lit(1.5)).write_csv(rows)
    assert main(["predict", str(folder / "model"), str(rows), "x", "-o", str(tmp_path / "found.csv")]) == 0
    assert f"{rows}: the model does not use seize" in "".join(capsys.readouterr())


def test_a_column_is_predicted(folder: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(folder / "model"), str(folder / "rows.csv"), "x", "-o", str(tmp_path / "found.csv")]
    assert main([*arguments, "--kind", "median", "--keep", "kind,x"]) == 0
    found = pl.read_csv(tmp_path / "found.csv")
    assert found.columns == ["kind", "x", "predicted_x"]
    assert np.corrcoef(found["x"], found["predicted_x"])[0, 1] > 0.5
    assert main([*arguments, "--kind", "interval", "--level", "0.8"]) == 0
    assert pl.read_csv(tmp_path / "found.csv").columns == ["low", "high"]


def test_what_calibrates_intervals_is_asked_once_for_each_question(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, inner = [], predict.distribution_of
    monkeypatch.setattr(predict, "distribution_of", lambda *given: asked.append(len(given[2])) or inner(*given))
    model, rows = pf.TableDensity.load(folder / "model"), pl.read_csv(folder / "rows.csv")
    first, *_ = (model.predict(some, "x", "interval", level) for some, level in ((rows, 0.9), (rows[:3], 0.5)))
    model.predict(rows.select("kind"), "x", "interval")
    assert asked == [20, 60, 3, 20, 60]  # of the rows, and of those that were held out
    nothing = pl.DataFrame({"kind": [None]}, {"kind": pl.String})
    unread = pl.DataFrame({"x": [1.0]})
    assert model.predict(nothing, "x", "interval").equals(model.predict(unread, "x", "interval"))
    assert first.equals(model.predict(rows, "x", "interval"))


def test_rows_whose_share_of_draws_is_odd_may_take_those_of_the_density(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "effective", lambda log_w: torch.full(log_w.shape[1:], -float(len(log_w))))
    rows = pl.DataFrame({"x": np.linspace(-1, 1, 499)})  # 131 draws each; the density and the guide make 65 each
    assert np.isfinite(pf.TableDensity.load(folder / "model").predict(rows, "odd, name", "median")).all()


def test_a_row_that_has_no_answer_is_a_hole_with_a_note(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pl.read_csv(folder / "rows.csv").head(3).with_columns(kind=pl.Series(["a", "never seen", "b"]))
    rows.write_csv(tmp_path / "rows.csv")
    arguments = ["predict", str(folder / "model"), str(tmp_path / "rows.csv"), "x", "-o", str(tmp_path / "found.csv")]
    for kind in ("mean", "interval"):
        assert main([*arguments, "--kind", kind]) == 0
        found, said = pl.read_csv(tmp_path / "found.csv"), capsys.readouterr()
        assert found[:, -1].is_null().to_list() == [False, True, False]
        assert "nan" not in said.out
        assert (said.out + said.err).count("never seen") == 1


@pytest.mark.parametrize("where", ["nothing > 1", "x >", "kind = a"])
def test_bad_questions_end_with_2(where: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", str(folder / "model"), where]) == 2
    assert "WHERE" in capsys.readouterr().err


def test_quantiles_are_those_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=60)
    rows = pl.DataFrame({"a": a, "b": 2 * a + rng.normal(size=60), "d": a * a + rng.normal(size=60) * 0.3})
    model, q = pf.TableDensity("maf", steps=60, random_state=0).fit(rows), [0.1, 0.5, 0.9]
    guide_for = model.guide_for
    monkeypatch.setattr(model, "guide_for", None)  # a guide knows less of the tails
    found, error = model.quantile("d", q, errors=True)
    drawn = model.sample(40_000, random_state=1)["d"].to_numpy()
    assert [(drawn <= each).mean() for each in found] == pytest.approx(q, abs=0.01)
    assert (np.abs(found - np.quantile(drawn, q)) < 4 * error).all()
    monkeypatch.setattr(model, "guide_for", guide_for)
    assert model.quantile("d", 0.9, {"a": 1.5}) > 1.0
    high = torch.tensor([math.inf, math.inf, 1.0], dtype=torch.float64)
    monkeypatch.setitem(vars(model.schema), "reach", (torch.full_like(high, -math.inf), high))  # no d is drawn above
    assert model.quantile("d", 0.9, {"a": 1.5}) < 1.0
