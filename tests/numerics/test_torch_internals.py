"""Private names of PyTorch may go: everything still works without each of them."""

import ast
from pathlib import Path

import pytest
import torch

import pushforward as pf
from pushforward.numerics import torch_internals
from pushforward.testing import randomize

ROOT = Path(pf.__file__).parent


@pytest.mark.parametrize("name", ["_FUNCTORCH_ACTIVE", "_TOP_HOOKS", "_ADD_RELU"])
@pytest.mark.parametrize("kind", [pf.realnvp, pf.maf])
def test_each_name_may_be_missing(name, kind, monkeypatch):
    torch.manual_seed(0)
    flow, x = randomize(kind(5, layers=2, hidden=(8,)).double()), torch.randn(6, 5).double()
    parameters = list(flow.parameters())
    with pf.plain():
        expected = flow.log_prob(x)
        grads = torch.autograd.grad(expected.sum(), parameters)
    monkeypatch.setattr(torch_internals, name, None)
    found = flow.log_prob(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), parameters), grads)
    assert torch.func.vmap(flow.log_prob)(x).shape == (6,)
    again = torch.utils.checkpoint.checkpoint(flow.log_prob, x, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(again.sum(), parameters), grads)


def test_they_stand_in_one_file():
    for path in ROOT.rglob("*.py"):
        names = [ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
        private = [name for name in names if name.startswith(("torch._C", "torch._dynamo", "torch.ops.mkldnn"))]
        assert path.name == "torch_internals.py" or not private, f"{path}: {private}"


def test_no_processor_is_asked_for_its_name():
    assert not [path for path in ROOT.rglob("*.py") if "cpuinfo" in path.read_text()]
