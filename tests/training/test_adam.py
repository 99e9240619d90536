"""Our Adam moves parameters as PyTorch's does, and a fit does not import a compiler for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from pushforward.training.adam import Adam


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_pytorch(decay: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours = [torch.randn(3, 2, dtype=dtype).requires_grad_(), torch.randn(4, dtype=dtype).requires_grad_()]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    mine = Adam(ours, 0.1, decay)
    reference = torch.optim.AdamW(theirs, lr=0.1, weight_decay=decay, fused=True)
    for step in range(5):
        for parameters, optimizer in ((ours, mine), (theirs, reference)):
            sum((p - 1).square().sum() for p in parameters).backward()
            if step == 3:
                parameters[1].grad = None  # has no part in this loss
            optimizer.step()
        reference.zero_grad()  # ours forgets what it has used
    for p, q in zip(ours, theirs, strict=True):
        assert torch.equal(p, q)


def test_a_skipped_step_changes_nothing() -> None:
    p = torch.ones(3, requires_grad=True)
    optimizer = Adam([p], 0.1)
    for skip in (0.0, 1.0):
        before = p.detach().clone()
        p.grad = torch.full((3,), torch.nan if skip else 1.0)
        optimizer.step(skip=torch.tensor(skip))
        assert torch.equal(p, before) is bool(skip)
    assert float(optimizer.state[p]["step"]) == 1
    assert bool(optimizer.state[p]["exp_avg"].isfinite().all())


@pytest.mark.slow
def test_a_fit_imports_no_compiler() -> None:
    fit = "pf.fit(pf.maf(2, layers=1, hidden=(8,)), torch.randn(64, 2), steps=2, progress=False)"
    code = f"import sys, torch, pushforward as pf; {fit}; print(sys.modules.keys() & {{'torch._dynamo', 'sympy'}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
