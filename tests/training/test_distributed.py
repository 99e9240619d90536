"""Training on two processes gives what one process gives with the joint batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist


@pytest.mark.slow
@pytest.mark.skipif(not (hasattr(os, "fork") and dist.is_gloo_available()), reason="needs fork and gloo")
def test_two_processes_learn_what_one_learns(tmp_path):
    command = [sys.executable, Path(__file__).with_name("two_ranks.py"), tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert run.returncode == 0, run.stderr
    assert "two processes learn what one learns" in run.stdout
