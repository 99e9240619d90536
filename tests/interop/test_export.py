"""Exported densities and samplers, run by plain PyTorch and by onnxruntime, equal to the flow's own to 1e-5."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import pushforward as pf
from pushforward.interop.export import PLAINER, exported
from pushforward.testing import randomize

FLOWS: dict[str, Callable[[], Any]] = {
    "realnvp": lambda: pf.realnvp(3, layers=1, hidden=(8,), context=2),
    "nsf": lambda: pf.nsf(3, layers=1, hidden=(8,), bins=4),
    "coupling splines": lambda: pf.nsf(3, layers=1, hidden=(8,), bins=4, coupling=True),
}


def around_planar(features: int) -> pf.Flow:
    """Its inverse iterates, for as long as its data require."""
    return pf.Flow(pf.transforms.Planar(features), features)


HARMLESS = "ignore::DeprecationWarning"  # onnxruntime's own, at its import


def made(name: str) -> Any:
    torch.manual_seed(0)
    return randomize(FLOWS[name](), scale=0.3).eval()


def inputs(flow: Any, rows: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    features = [*flow.event_shape, *([flow.context_features] if flow.context_features else [])]
    return tuple(torch.randn(rows, size, generator=generator) for size in features)


def expected(flow: Any, method: str, given: tuple[Tensor, ...]) -> Tensor:
    with torch.no_grad():
        return flow(*given) if method == "log_prob" else flow.transform.inverse(*given)[0]


def test_pytorch_runs_it_for_any_number_of_rows(tmp_path: Path) -> None:
    flow = made("realnvp")
    assert pf.export(flow, tmp_path / "model.pt2", method="sample", compile=False) == tmp_path / "model.pt2"
    run = torch.export.load(tmp_path / "model.pt2").module()
    for rows in (2, 40):
        given = inputs(flow, rows)
        torch.testing.assert_close(run(*given), expected(flow, "sample", given), atol=1e-5, rtol=1e-5)


def test_it_runs_where_this_library_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = made("realnvp").train()
    pf.export(flow, tmp_path / "model.pt2", compile=False)
    assert flow.training
    assert next(flow.parameters()).requires_grad
    batches = [inputs(flow, rows) for rows in (2, 40)]
    true = [expected(flow, "log_prob", given) for given in batches]
    with monkeypatch.context() as without:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pushforward"]:
            without.setitem(sys.modules, name, None)  # to import it is an error
        with pytest.raises(ImportError):
            importlib.import_module("pushforward.interop.export")
        run = torch.export.load(tmp_path / "model.pt2").module()
        torch.testing.assert_close([run(*given) for given in batches], true, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings(HARMLESS)
@pytest.mark.parametrize(("name", "method"), [("realnvp", "log_prob"), ("coupling splines", "sample")])
def test_onnxruntime_runs_it_for_any_number_of_rows(name: str, method: str, tmp_path: Path) -> None:
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library)
    import onnxruntime

    flow = made(name)
    pf.export(flow, tmp_path / "model.onnx", method=method)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    names = ["x" if method == "log_prob" else "z", "context"]
    assert session.get_outputs()[0].name == ("log_prob" if method == "log_prob" else "x")
    for rows in (2, 40):
        given = inputs(flow, rows)
        fed = {key: value.numpy() for key, value in zip(names, given, strict=False)}
        found = torch.from_numpy(session.run(None, fed)[0])
        torch.testing.assert_close(found, expected(flow, method, given), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("density", "name", "method", "error", "words"),
    [
        (lambda: pf.maf(3), "m.onnx", "sample", ValueError, "samples in many steps"),
        (lambda: pf.iaf(3), "m.onnx", "log_prob", ValueError, "takes many steps"),
        (lambda: around_planar(3), "m.pt2", "sample", ValueError, "samples in many steps"),
        (lambda: pf.ffjord(3), "m.pt2", "log_prob", ValueError, "equal steps"),
        (lambda: pf.ffjord(3), "m.onnx", "log_prob", ValueError, "continuous flow takes as many steps"),
        (lambda: pf.made(3), "m.pt2", "sample", ValueError, "method='sample' is for flows, but AutoregressiveModel"),
        (lambda: pf.maf(3), "m.pt", "log_prob", ValueError, r"ends in \.pt2"),
        (lambda: pf.maf(3), "m.pt2", "score", ValueError, "expected one of log_prob, sample"),
        (lambda: torch.nn.Linear(2, 2), "m.pt2", "log_prob", TypeError, "got Linear"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_sentence(
    density: Callable[[], Any], name: str, method: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        pf.export(density(), tmp_path / name, method=method)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_are_exported_in_operators_that_other_libraries_have(dtype: torch.dtype) -> None:
    program = exported(made("nsf").to(dtype))
    assert not {node.target for node in program.graph.nodes} & PLAINER.keys()


@pytest.mark.slow
def test_a_table_is_exported_by_its_density(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = {"x": rng.normal(size=80), "y": rng.gamma(3.0, size=80)}
    model = pf.TableDensity("maf", layers=1, hidden=(8,), steps=5, queries=False).fit(table)
    with pytest.raises(TypeError, match=r"TableDensity: export its \.density"):
        pf.export(model, tmp_path / "m.pt2", compile=False)
    run = torch.export.load(pf.export(model.density, tmp_path / "m.pt2", compile=False)).module()
    points, slopes = model.encode(table)
    assert (len(points), len(slopes)) == (1, 1)
    x = torch.tensor(np.stack([table["x"], table["y"]], 1))
    np.testing.assert_allclose(run(x).numpy(), model.score_samples(table), atol=1e-4)


@pytest.mark.parametrize("upper", [False, True])
def test_substitution_takes_operators_in_proportion_to_rows(upper: bool) -> None:
    solve, exact = PLAINER[torch.ops.aten.linalg_solve_triangular.default], torch.linalg.solve_triangular
    counts = []
    for size in (8, 16):
        A, B = torch.eye(size) + 0.1 * torch.randn(size, size), torch.randn(size, size)
        for options in ({}, {"left": False}, {"unitriangular": True}):
            torch.testing.assert_close(solve(A, B, upper=upper, **options), exact(A, B, upper=upper, **options))
        program = make_fx(lambda *given: solve(*given, upper=upper))(A, B)
        counts.append(sum(len(node.all_input_nodes) for node in program.graph.nodes))
    assert counts[1] < 2.2 * counts[0]
