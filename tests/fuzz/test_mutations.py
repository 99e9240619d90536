"""Five seconds of fuzzing: tables, saved models, requests and lines of a stream, with other inputs every day."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

SECONDS = "1.2"


def test_whatever_strangers_write_gets_a_result_or_a_sentence(tmp_path: Path) -> None:
    """In one process, which imports everything once."""
    targets = ["tables", "models", "lines", *(["requests"] if find_spec("starlette") else [])]
    script, seed = Path(__file__).with_name("mutations.py"), str(dt.date.today().toordinal())
    command = [sys.executable, str(script), *targets, "--seconds", SECONDS, "--seed", seed]
    threads = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=tmp_path, env=os.environ | threads, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count(", 0 findings") == len(targets)
