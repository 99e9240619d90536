"""Five seconds of fuzzing: tables, saved models, requests and lines of a stream, with other inputs every day."""

from __future__ import annotations

import datetime as dt
import os
import random
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SECONDS = "1.2"
SCRIPT = Path(__file__).with_name("mutations.py")


def test_sound_inputs_are_changed_in_many_ways() -> None:
    mutate, sound = runpy.run_path(str(SCRIPT))["mutated"], b"0a,b\n1,2\n3,4\n"
    found = {mutate(sound, [b"0c;d\n5;6\n"], random.Random(seed)) for seed in range(300)}
    assert len(found) > 200
    assert max(map(len, found)) <= 2**20 + 1


@pytest.mark.slow
def test_whatever_strangers_write_gets_a_result_or_a_sentence(tmp_path: Path) -> None:
    """In one process, which imports everything once."""
    targets = ["tables", "models", "lines", *(["requests"] if find_spec("starlette") else [])]
    seed = str(dt.date.today().toordinal())
    command = [sys.executable, str(SCRIPT), *targets, "--seconds", SECONDS, "--seed", seed]
    threads = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=tmp_path, env=os.environ | threads, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count(", 0 findings") == len(targets)
