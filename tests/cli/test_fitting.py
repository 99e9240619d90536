"""``pushforward fit --target``: a log-density in a Python file becomes a model, its draws and a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pushforward.cli import app as cli

Run = Callable[..., Any]
QUICK = ("--flow", "realnvp", "--layers", "4", "--steps", "200", "--batch-size", "128", "--lr", "2e-3")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_posterior.py").write_text(
        "import torch\n"
        "def log_density(x):\n"
        "    return (3 * x[:, 0].log() - 2 * x[:, 0]) - 0.5 * (x[:, 1] - 1).square()\n"
        "def detached(x):\n"
        "    return log_density(x.abs()).detach()\n"
        "def far(x):\n"
        "    return log_density(x - 9)\n"
        "def flat(x):\n"
        "    return 0 * x[:, 0]\n"
        "constant = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_target_becomes_a_model_that_every_command_knows(here: Path, run: Run) -> None:
    target = ("--target", "my_posterior:log_density", "--dim", "2", "--support", "positive:1,real:1")
    summary = run("fit", *target, "-o", "model", *QUICK)
    found = summary["target"]
    assert summary["notes"] == []
    log_z = math.lgamma(4) - 4 * math.log(2) + 0.5 * math.log(2 * math.pi)  # of a Gamma and a normal density
    assert found["log_z"] == pytest.approx(log_z, abs=0.02)
    assert found["verdict"]
    draws = pl.read_parquet("model.draws.parquet")
    assert draws.columns == ["x1", "x2", "log_weight"]
    assert draws["x1"].min() > 0
    run("sample", "model", "-n", "50", "-o", "rows.csv")
    assert pl.read_csv("rows.csv").columns == ["x1", "x2"]
    assert run("info", "model")["summary"]["target"]["khat"] == found["khat"]
    run("report", "model", "-o", "report.html")
    assert found["verdict"].split(":")[0] in Path("report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--target", "my_posterior"), "expected module:function"),
        (("--target", "no_such_module:f", "--dim", "2"), "there is no module 'no_such_module'"),
        (("--target", "my_posterior:nothing", "--dim", "2"), "has no function 'nothing'"),
        (("--target", "my_posterior:constant", "--dim", "2"), "has no function 'constant'"),
        (("--target", "my_posterior:log_density"), "--dim: say how many numbers"),
        (("--target", "my_posterior:flat", "--dim", "2"), "or pass check=False to pushforward.ReverseKL"),
        (("--target", "my_posterior:far", "--dim", "2"), "state its support"),
        (("--target", "my_posterior:detached", "--dim", "2"), "without a gradient"),
        (
            ("--target", "my_posterior:log_density", "--dim", "2", "--support", "real:1"),
            "has 1 numbers, but not --dim 2",
        ),
        (("--target", "my_posterior:log_density", "--dim", "2", "--support", "round:2"), "expected KIND:SIZE"),
        (("--target", "my_posterior:log_density", "--dim", "2", "--epochs", "3"), "--epochs: applies to rows"),
        (("--target", "my_posterior:log_density", "--dim", "2", "--columns", "a"), "--columns: applies to rows"),
        (("--target", "my_posterior:log_density", "--dim", "2", "--given", "a"), "--given: applies to rows"),
        (("--target", "my_posterior:log_density", "--dim", "2", "--members", "3"), "--members: applies to rows"),
        (("--target", "my_posterior:log_density", "--dim", "2", "--patch", "3"), "--patch: applies to images"),
        ((), "give a table"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_targets_get_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert cli.main(["fit", *arguments, "-o", "model"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
    assert not Path("model").exists()
