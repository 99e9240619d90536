"""Private names of PyTorch may go: everything still works without each of them."""

import ast
import re
import types
from pathlib import Path

import pytest
import torch

import pushforward as pf
from pushforward.fused import products
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


def test_products_without_onednn(monkeypatch):
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    torch.testing.assert_close(torch_internals.onednn_product(a, b), a @ b)
    monkeypatch.setattr(torch_internals, "_LINEAR", None)
    assert not torch_internals.has_onednn()
    assert torch.equal(torch_internals.onednn_product(a, b), a @ b)
    assert products.engine(1 << 30, a) is products.BLAS


@pytest.mark.parametrize("missing", [False, True])
def test_loops_of_a_graph_are_unrolled_without_their_node(missing, monkeypatch):
    if missing:
        monkeypatch.setattr(torch_internals, "_while_loop", lambda: None)

    class Power(torch.nn.Module):
        def forward(self, x):
            return torch_internals.repeat(5, lambda k, y: (y * x + k,), torch.ones_like(x))[0]

    x, batch = torch.rand(3), torch.export.Dim("batch")
    with torch.no_grad():
        program = torch.export.export(Power(), (x,), dynamic_shapes=({0: batch},))
    targets = [str(node.target) for node in program.graph.nodes]
    assert any("while_loop" in target for target in targets) != missing
    y = torch.rand(7)
    expected = (((y * y + 1) * y + 2) * y + 3) * y + 4
    torch.testing.assert_close(Power()(y), expected)
    torch.testing.assert_close(program.module()(y), expected)


def test_derivatives_that_cannot_be_captured_are_refused(monkeypatch):
    import torch.export._trace as trace

    monkeypatch.delattr(trace, "_export")
    with pytest.raises(RuntimeError, match="derivatives"):
        torch_internals.captured_with_gradients(torch.nn.Linear(2, 2), (torch.zeros(1, 2),), dynamic_shapes=None)


def test_averages_of_weights_without_calls_for_many_tensors(monkeypatch):
    values, ends = [torch.zeros(2), torch.ones(3)], [torch.ones(2), torch.zeros(3)]
    for name in ("_LERP", "_ADD"):
        monkeypatch.setattr(torch_internals, name, None)
    torch_internals.lerp_(values, ends, 0.25)
    torch.testing.assert_close(values, [torch.full((2,), 0.25), torch.full((3,), 0.75)])
    torch.testing.assert_close(
        torch_internals.added(values, ends, 2.0), [torch.full((2,), 2.25), torch.full((3,), 0.75)]
    )


def test_names_of_modules_may_be_missing():
    """A module without the private names: what is unknown is taken for watched, and for one without hooks."""
    bare = types.SimpleNamespace(state_dict=lambda: {"kept": 0})
    assert torch_internals.watched(bare)
    assert not torch_internals.has_forward_hooks(bare)
    assert [torch_internals.is_persistent(bare, name) for name in ("kept", "derived")] == [True, False]
    assert torch_internals.listed((1, 2)) == [1, 2]
    assert not torch_internals.writes(bare)
    assert not torch_internals.takes_device(bare)


def test_the_compiler_may_remember_no_strides(monkeypatch):
    from torch._inductor import sizevars

    stride = getattr(sizevars, "stride_at_vec_range", None)
    if stride is not None:
        monkeypatch.setattr(sizevars, "stride_at_vec_range", stride.__wrapped__)
    torch_internals._remember_strides()
    assert not hasattr(getattr(sizevars, "stride_at_vec_range", None), "cache_parameters")


def test_models_load_where_operators_cannot_be_watched(tmp_path, monkeypatch):
    flow, x = randomize(pf.maf(3, layers=2, hidden=(8,))), torch.randn(4, 3)
    pf.save(flow, tmp_path / "model")
    monkeypatch.setattr(torch_internals, "_watching", lambda: None)
    torch.testing.assert_close(pf.load(tmp_path / "model").log_prob(x), flow.log_prob(x))


@pytest.mark.parametrize("name", ["_modules", "missing"])
def test_children_are_exchanged_in_a_copy(name, monkeypatch):
    monkeypatch.setattr(torch_internals, "_CHILDREN", name)
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())
    twin = torch_internals.with_children(layers, lambda name, child: torch.nn.ReLU() if name == "1" else child)
    assert [type(child) for child in twin] == [torch.nn.Linear, torch.nn.ReLU]
    assert twin[0].weight is layers[0].weight
    assert type(layers[1]) is torch.nn.Tanh


MODULE = {"parameters", "buffers", "modules", "non_persistent_buffers_set", "forward_hooks", "forward_pre_hooks"}


def test_they_stand_in_one_file():
    for path in ROOT.rglob("*.py"):
        if path.name == "torch_internals.py":
            continue
        if not re.search(r"(?<!self)\._[a-zA-Z]", text := path.read_text()):
            continue
        nodes = list(ast.walk(ast.parse(text)))
        names = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute) and node.attr.startswith("_")}
        names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
        private = {name for name in names if re.fullmatch(r"torch[.\w]*\._[a-zA-Z][.\w]*", name)}
        private |= {name for name in names if name.rpartition("._")[2] in MODULE and not name.startswith("self.")}
        assert not private, f"{path}: {private}"


def test_no_processor_is_asked_for_its_name():
    assert not [path for path in ROOT.rglob("*.py") if "cpuinfo" in path.read_text()]
