"""Exported flows in machine code: the flow's own answers to 1e-5, for batches of any size, with derivatives."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pushforward as pf
from pushforward.interop import compiled
from pushforward.testing import randomize
from pushforward.transforms import Continuous

BATCHES = (1, 7, 512)


def made(build: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return randomize(build(), scale=0.3).eval().requires_grad_(False)


def inputs(flow: Any, rows: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(rows)
    context = (torch.randn(rows, flow.context_features, generator=generator),) if flow.context_features else ()
    return flow.sample(() if context else (rows,), *context, generator=generator), *context


def check(fast: compiled.Compiled, flow: Any, rows: int) -> None:
    x, *context = inputs(flow, rows)
    close: dict[str, float] = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(fast.log_prob(x, *context), flow.log_prob(x, *context), **close)
    shape = () if context else (rows,)
    draws = [each.sample(shape, *context, generator=torch.Generator().manual_seed(1)) for each in (fast, flow)]
    torch.testing.assert_close(*draws, **close)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    flow = made(lambda: pf.maf(3, layers=1, hidden=(8,), context=2))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* compiles it wrongly")
        return flow, pf.export(flow, tmp_path_factory.mktemp("compiled") / "m.pt2", gradients=True)


@pytest.mark.compiler
def test_the_answers_are_the_flows_own(exported: tuple[Any, Path]) -> None:
    flow, path = exported
    fast = pf.load_compiled(path)
    loops = {"sample"} if torch.__version__ < (2, 14) else set()  # those of 2.15 are compiled for as many rows
    assert {"log_prob", "gradient"} | loops <= {*fast.methods}
    for rows in (0, *BATCHES):
        check(fast, flow, rows)
    x, context = inputs(flow, 8)
    grid, other = x.view(2, 4, 3), context.view(2, 4, 2)
    torch.testing.assert_close(fast(grid, other), flow(grid, other), atol=1e-5, rtol=1e-5)
    columns = x.t().contiguous().t()  # machine code reads memory as it expects it
    torch.testing.assert_close(fast(columns, context[:1]), flow(columns, context[:1]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.export.load(path).module()(x, context), flow(x, context), atol=1e-5, rtol=1e-5)


@pytest.mark.compiler
def test_derivatives_are_the_flows_own(exported: tuple[Any, Path]) -> None:
    flow, path = exported
    fast, given = pf.load_compiled(path), [value.requires_grad_() for value in inputs(flow, 5)]
    weights = torch.randn(5)
    found, expected = (torch.autograd.grad((each.log_prob(*given) * weights).sum(), given) for each in (fast, flow))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("x", "context"),
    [
        (torch.zeros(4, 3).double(), torch.zeros(4, 2)),
        (torch.zeros(4, 3), torch.zeros(4, 2).double()),
        (torch.zeros(4, 2), torch.zeros(4, 2)),
        (torch.zeros(4, 3), None),
    ],
)
def test_what_machine_code_would_misread_is_refused(
    x: Tensor, context: Tensor | None, exported: tuple[Any, Path]
) -> None:
    with pytest.raises(ValueError, match=r"float64|events?|missing"):
        pf.load_compiled(exported[1]).log_prob(x, context)


@pytest.mark.compiler
def test_elsewhere_the_density_itself_answers(
    exported: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flow, path = exported
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    with pytest.warns(UserWarning, match="another"):
        fast = pf.load_compiled(path)
    assert fast.methods == ()
    check(fast, flow, 7)


@pytest.mark.compiler
def test_without_a_compiler_the_program_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError("no compiler")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fails)
    flow = made(lambda: pf.realnvp(3, layers=2, hidden=(8,)))
    with pytest.warns(UserWarning, match="no compiler"):
        path = pf.export(flow, tmp_path / "m.pt2")
    x = torch.randn(4, 3)
    torch.testing.assert_close(torch.export.load(path).module()(x), flow(x), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="machine code"):
        pf.load_compiled(path)


def test_machine_code_that_answers_otherwise_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled, "ahead_of_time", lambda program, path: Path(path).write_bytes(b""))
    monkeypatch.setattr(compiled, "machine_code", lambda path: lambda *given: [torch.zeros(3, 3)])
    flow = made(lambda: pf.realnvp(3, layers=2, hidden=(8,)))
    with pytest.warns(UserWarning, match="no machine code for log_prob, sample"):
        path = pf.export(flow, tmp_path / "m.pt2")
    fast = pf.load_compiled(path)
    assert fast.methods == ()
    check(fast, flow, 7)


def test_derivatives_of_what_goes_in_steps_are_refused(tmp_path: Path) -> None:
    field = Continuous(pf.ffjord(3, hidden=(8, 8)).transform.field, solver="rk4", steps=6)
    for flow in (pf.iaf(3, layers=2, hidden=(8,)), pf.Flow(field, 3)):
        with pytest.raises(ValueError, match="gradients=True"):
            pf.export(flow, tmp_path / "m.pt2", gradients=True)


@pytest.mark.parametrize(("name", "compile"), [("m.onnx", True), ("m.pt2", False)])
def test_derivatives_are_machine_code_or_refused(name: str, compile: bool, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gradients=True"):
        pf.export(pf.realnvp(3, layers=2, hidden=(8,)), tmp_path / name, gradients=True, compile=compile)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_files_of_another_kind_are_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/pushforward/about.json", json.dumps([1]))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="machine code"):
        pf.load_compiled(path)


@pytest.mark.compiler
def test_splines(tmp_path: Path) -> None:
    flow = made(lambda: pf.nsf(3, layers=1, hidden=(8,), bins=4, coupling=True))
    fast = pf.load_compiled(pf.export(flow, tmp_path / "m.pt2", method="sample"))
    assert fast.methods == ("sample",)
    for rows in BATCHES:
        check(fast, flow, rows)
