"""The benchmarks' own tools: contestants take turns, result files say what they must, floors run the same products."""

import json
import math

import pytest
import torch
from measure import jobs, plots, results, subjects, timing
from measure.operations import products

from pushforward.numerics.torch_internals import has_onednn, onednn_product


def test_contestants_take_turns_and_the_medians_are_theirs(monkeypatch):
    now, calls = [0.0], []
    monkeypatch.setattr(timing, "clock", lambda: now[0])

    def job(name, duration):
        def run():
            calls.append(name)
            now[0] += duration * (10 if calls.count(name) == 1 else 1)  # the first call compiles

        return run

    found = timing.interleaved({"a": job("a", 0.004), "b": job("b", 0.012)}, budget=0.08, least=3, most=9)
    turns = [calls[i : i + 2] for i in range(0, len(calls), 2)]
    assert len(turns) == 2 + 5  # two rounds to warm up; five of 16 ms fill the budget
    assert all(sorted(turn) == ["a", "b"] for turn in turns)
    assert ["b", "a"] in turns  # nobody always follows the same one
    assert (found["a"].median, found["b"].median) == pytest.approx((4, 12))
    assert (found["a"].first, found["b"].first) == pytest.approx((40, 120))
    assert found["a"].turns == 5


def test_a_job_that_fails_is_left_out(capsys):
    def broken():
        raise RuntimeError("no such kernel\nand more")

    assert list(timing.interleaved({"a": lambda: None, "b": broken}, most=1)) == ["a"]
    assert capsys.readouterr().out == "b failed: RuntimeError: no such kernel\n"


def test_short_jobs_are_repeated_within_a_turn(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing, "clock", lambda: now[0])
    calls = []

    def job():
        calls.append(None)
        now[0] += timing.TURN / 8

    found = timing.interleaved({"a": job}, budget=1.0, most=4)["a"]
    assert len(calls) == 2 + 4 * 8
    assert found.median == pytest.approx(1e3 * timing.TURN / 8)


def test_a_result_file_holds_rows_machine_and_command(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    secret = tmp_path / "rows.npz"
    secret.touch()
    monkeypatch.setattr("sys.argv", ["/somewhere/speed.py", "--data", str(secret)])
    path = results.write("trial", "A trial", {"Times": results.table([{"ms": 1.5}])}, [{"ms": 1.5}], notes="Twice.")
    document = json.loads(path.with_suffix(".json").read_text())
    assert document["command"] == "python benchmarks/speed.py --data rows.npz"
    assert document["machine"]["versions"]["torch"] == torch.__version__
    assert results.earlier("trial") == document["rows"] == [{"ms": 1.5}]
    assert "Twice." in path.with_suffix(".md").read_text()


def test_ratios_are_to_the_reference():
    assert results.ratios({"ours": 2.0, "peer": 5.0}, "ours") == {"ours": "2", "peer": "5 (2.50x)"}
    assert results.ratios({"peer": 5.0}, "ours") == {"peer": "5"}


def test_products_can_be_run_again():
    a, b, grown = torch.randn(6, 4), torch.randn(5, 4), torch.zeros(6, 5)

    def job():
        torch.mm(a, b.t())
        torch.mm(a, b.t())
        grown.addmm_(a, b.t())

    plain, added = products(job)
    assert (plain.count, added.count) == (2, 1)
    assert plain.flops == added.flops == 2 * math.prod((6, 4, 5))
    assert plain.again()().shape == (6, 5)


def test_a_job_goes_on_where_it_stopped_and_says_what_it_lost_first(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["/somewhere/trial.py"])
    ran = []

    def run(case):
        ran.append(case)
        if ran == ["a", "b"]:
            raise KeyboardInterrupt
        return [jobs.row(case, "rival", 1.0, 2.0 if case == "b" else 0.5, higher=True)]

    with pytest.raises(KeyboardInterrupt):
        jobs.main("trial", "A trial", "More is better.", lambda quick: ["a", "b"], run)
    path = jobs.main("trial", "A trial", "More is better.", lambda quick: ["a", "b"], run)
    assert ran == ["a", "b", "b"]
    written = json.loads(path.with_suffix(".json").read_text())
    assert [row["case"] for row in written["rows"]] == ["b", "a"]
    assert written["notes"] == "More is better. Behind in 1 of 2 comparisons, which come first."
    assert not path.with_suffix(".jsonl").exists()


def test_products_of_either_engine_are_counted_and_are_the_same_product():
    a, b, out = torch.randn(6, 4), torch.randn(4, 5), torch.empty(6, 5)
    for job in (lambda: torch.mm(a, b, out=out), lambda: onednn_product(a, b)):
        (product,) = products(job)
        assert product.flops == 2 * 6 * 4 * 5
        assert {tuple(again().shape) for again in product.by_either_engine()} == {(6, 5)}
        assert len(product.by_either_engine()) == 1 + has_onednn()


def test_every_contestant_has_a_colour():
    assert set(subjects.BUILDERS) <= set(plots.COLOURS)
