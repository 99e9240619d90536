"""Training on two processes gives what one process gives with the joint batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import pushforward as pf

needs_gloo = pytest.mark.skipif(not (hasattr(os, "fork") and dist.is_gloo_available()), reason="needs fork and gloo")


@needs_gloo
def test_a_group_of_one_process_has_the_gradients_of_none():
    flow, x = pf.realnvp(2, layers=2, hidden=(8,)), torch.randn(50, 2)
    objective, gradients = pf.ForwardKL(flow), []
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        for module in (objective, DistributedDataParallel(objective)):
            flow.zero_grad()
            module(x).backward()
            gradients.append([parameter.grad.clone() for parameter in flow.parameters()])
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close(*gradients)


@pytest.mark.slow
@needs_gloo
def test_two_processes_learn_what_one_learns(tmp_path):
    command = [sys.executable, Path(__file__).with_name("two_ranks.py"), tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert run.returncode == 0, run.stderr
    assert "two processes learn what one learns" in run.stdout
