"""Kills training and saving with signal 9 at random moments, and checks what is left on the disk every time.

The test runs it with a few kills; ``python tests/training/killed.py FOLDER 50`` runs it with fifty.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

import torch

import pushforward as pf
from pushforward.saving.bundle import read_config, read_tensors

OPTIONS = {"steps": 400, "lr": 1e-2, "batch_size": 128, "progress": False}


def flow():
    torch.manual_seed(0)
    return pf.realnvp(2, layers=2, hidden=(8,))


def rows():
    return torch.randn(400, 2, generator=torch.Generator().manual_seed(1)) * 2 + 1


def killed(work, seconds: float) -> None:
    """Runs in a process of its own and is killed there."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def save_again_and_again(path: Path) -> None:
    models = [flow(), flow()]
    while True:
        for model in models:
            pf.save(model, path)


def main(folder: Path, kills: int) -> None:
    moments = random.Random(0)
    state, model = folder / "state", folder / "model"
    options = OPTIONS | {"checkpoint": state, "checkpoint_every": 5}
    pf.save(flow(), model)
    reached = [0]
    for _ in range(kills):
        killed(lambda: pf.fit(flow(), rows(), **options), moments.uniform(0.0, 0.3))
        states = sorted(state.glob("step-*"))
        for path in states:
            read_tensors(path, "state", read_config(path))  # none is damaged
        reached.append(int(states[-1].name.removeprefix("step-")) if states else 0)
        assert reached[-1] >= reached[-2] % OPTIONS["steps"], reached
        if reached[-1] == OPTIONS["steps"]:  # finished between two kills: from the start again
            shutil.rmtree(state)
        killed(lambda: save_again_and_again(model), moments.uniform(0.0, 0.1))
        pf.load(model)
    resumed, straight = flow(), flow()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pf.fit(resumed, rows(), **options)
    pf.fit(straight, rows(), **OPTIONS)
    for mine, theirs in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert not list(state.glob(".*")), "fragments of killed processes are left"
    print(f"killed {2 * kills} times; training had reached step {reached[1:]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
