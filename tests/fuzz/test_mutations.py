"""A quarter of a minute of fuzzing: a third each for tables, saved models and requests, with other inputs every day."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = "5"


@pytest.mark.parametrize("target", ["tables", "models", "requests"])
def test_whatever_strangers_write_gets_a_result_or_a_sentence(target: str, tmp_path: Path) -> None:
    if target == "requests":
        pytest.importorskip("starlette")
    script, seed = Path(__file__).with_name("mutations.py"), str(dt.date.today().toordinal())
    command = [sys.executable, str(script), target, "--seconds", SECONDS, "--seed", seed]
    threads = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=tmp_path, env=os.environ | threads, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 findings" in run.stdout
