"""Importing changes nothing for anybody else, and data flows one way: no file imports from a floor above it."""

from __future__ import annotations

import ast
import functools
import graphlib
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import pushforward

ROOT = Path(pushforward.__file__).parent

# From the maths up to the doors. Files of one floor may use each other.
# A folder whose own files stand on another floor than its rooms names these apart.
FLOORS = (
    ("errors",),
    ("saving", "numerics"),
    ("nets",),
    ("transforms",),
    ("fused",),
    ("distributions",),
    ("recipes", "plot", "testing", "citation"),
    ("objectives",),
    ("diagnostics",),
    ("training", "posterior"),
    ("models",),
    ("tables.schema", "tables.io", "tables.options"),
    ("images.formats", "images.labelled", "images.pixels"),
    ("report",),
    ("tables", "images"),
    ("interop", "serving"),
    ("cli", "__main__"),
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def rooms_imported_by(path: Path) -> set[str]:
    """The first folders or files of the package that a file imports from, wherever in it the import stands."""
    package = ("pushforward", *path.parent.parts)
    rooms: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            parts = [part for part in parts[1:] if part]
            rooms |= {room_of([*parts, alias.name]) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pushforward."):
            rooms.add(room_of(node.module.split(".")[1:]))  # type: ignore[union-attr]
    return {room for room in rooms if not room.startswith("__")}


def room_of(parts: Sequence[str]) -> str:
    """The room that a file or a name lives in."""
    inner = ".".join(parts[:2])
    return inner if inner in LEVEL else parts[0]


def test_no_file_imports_from_a_floor_above() -> None:
    for path in FILES:
        here = room_of(path.with_suffix("").parts)
        assert here in LEVEL, f"{path}: which floor is this on? Add it to FLOORS"
        above = {room for room in rooms_imported_by(path) if LEVEL.get(room, len(FLOORS)) > LEVEL[here]}
        assert not above, f"{path} imports from {sorted(above)}, which live above it"


def files_imported_by(path: Path) -> Iterator[Path]:
    """The files of the package that a file imports, but for those that only its types need."""
    nodes: list[ast.AST] = [tree(path)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.level:
            place = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            yield from {place.parent / f"{place.name}.py", *(place / f"{alias.name}.py" for alias in node.names)} & set(
                FILES
            )


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {path: set(files_imported_by(path)) for path in FILES}
    assert sum(map(len, graph.values())) > len(FILES)
    graphlib.TopologicalSorter(graph).prepare()


def test_functions_stay_short() -> None:
    lengths = []
    for node in (node for path in FILES for node in ast.walk(tree(path))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[ast.get_docstring(node) is not None :] or node.body
            lengths.append((body[-1].end_lineno or 0) - body[0].lineno + 1)
    assert statistics.median(lengths) <= 6  # lines, of the median function


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, pushforward; print(sorted({'torch', 'numpy', 'polars', 'matplotlib'} & set(sys.modules)))"
    assert python(code) == "[]"


@pytest.mark.slow
def test_importing_everything_changes_nothing_global_and_does_not_import_the_compiler() -> None:
    code = """
import random, sys, warnings
import numpy as np, torch
def state():
    return (
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark,
        torch.distributions.Distribution._validate_args, torch.random.get_rng_state().tolist(),
        str(np.random.get_state()), np.geterr(), random.getstate(), list(warnings.filters),
    )
before = state()
import pushforward as pf
learners = ('interop.sklearn', 'interop.outliers', 'interop.predictors')  # scikit-learn adds warning filters
for name in pf.__all__:
    if pf._HOMES.get(name) not in learners:
        getattr(pf, name)
changed = [i for i, (a, b) in enumerate(zip(before, state())) if a != b]
for name in pf.__all__:
    getattr(pf, name)
print(changed, [name for name in ('torch._dynamo', 'torch._inductor') if name in sys.modules])
"""
    assert python(code) == "[] []"  # the compiler takes a second, which every command of the shell would wait for


def test_every_public_name_is_there_and_no_module_hides_it() -> None:
    for name in [*pushforward.__all__, *pushforward.__all__]:  # twice: the first time may import a file of that name
        value = getattr(pushforward, name)
        assert (type(value) is type(ast)) == (name in pushforward._MODULES), f"{name} is {value}"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pushforward.nonsense
