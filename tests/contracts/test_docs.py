"""Everything that the documentation shows is run: Python blocks, shell commands, and the doctests of the source.

Blocks of one page share their names, in order. Blocks marked ``python`` and ``pycon`` run, and of those marked ``sh``
the lines that begin with ``pushforward``; ``text`` is only shown. Training is cut short, but for the steps of pages
that assert what was learnt. Notebooks (pages of ``{code-cell} python``) run when they are built, for their output: here
only where the environment's PUSHFORWARD_SITE names no folder that `make docs` built.
"""

from __future__ import annotations

import contextlib
import doctest
import gzip
import importlib
import importlib.util
import io
import os
import pkgutil
import re
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import pushforward
from pushforward.cli.app import main
from pushforward.tables.selection.members import MemberOptions

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LEARNT = ("own_transform.md", "reverse_kl.md", "outliers.md", "scientist.md", "synthetic.md")  # assert what was learnt
QUICK = (
    *("autoregressive.md", "continuous.md", "design.md", "lecture.md", "limits.md", "own_transform.md", "parts.md"),
    *("prediction.md", "promise.md", "saved_models.md", "tested.md", "training.md", "which_flow.md"),
)
BLOCK = re.compile(r"^```(?:\{code-cell\} )?(python|pycon|sh)\n(.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_fits: None) -> Path:
    """A folder with the tables and images that the pages speak of, small enough to be quick; so are their questions."""
    monkeypatch.setattr("pushforward.tables.queries.query.most_draws.__defaults__", (4, 512, 5_000))
    monkeypatch.setattr("pushforward.tables.queries.query.FEWEST", 4)
    monkeypatch.setattr("pushforward.tables.queries.highest_density.POINTS", 1_500)
    monkeypatch.setattr("pushforward.tables.queries.known.CALIBRATED", 40)
    monkeypatch.setattr("pushforward.tables.queries.predict.MOST", 2_048)
    monkeypatch.setattr("pushforward.tables.queries.probability.PRECISE", (1.0, 0.5))
    monkeypatch.setattr("pushforward.tables.queries.probability.DRAWN", 5_000)
    monkeypatch.setattr("pushforward.tables.queries.predict.MOVED", 2_048)
    monkeypatch.setattr("pushforward.diagnostics.two_samples.DIVISIONS", 199)
    monkeypatch.setattr("pushforward.diagnostics.two_samples.OTHERS", 40)
    monkeypatch.setattr("pushforward.tables.fit.FEW_STEPS", 20)
    monkeypatch.setattr("pushforward.tables.schema.relations.formula_search._gain", lambda *_: 0)  # none is likelier
    monkeypatch.setattr("pushforward.tables.selection.kinds.ROWS_EACH", 40)  # mixtures of 8 at most
    monkeypatch.setattr("pushforward.tables.selection.one_mixture.MOST", 4)
    monkeypatch.setattr("pushforward.diagnostics.peaks.peaks_from.__defaults__", (40,))
    monkeypatch.setattr(
        "pushforward.tables.selection.cross_fitting.member_options", lambda *_: MemberOptions(steps=20, every=10)
    )
    monkeypatch.setattr("pushforward.posterior.hmc.MOST_LEAPS", 2)
    monkeypatch.setattr("pushforward.report.svg._draw", lambda *_: "<svg></svg>")  # tests of the report draw them
    plotnine = importlib.util.find_spec("plotnine")
    assert plotnine is not None
    assert plotnine.submodule_search_locations is not None
    table = Path(plotnine.submodule_search_locations[0]) / "data" / "diamonds.csv"
    rows = pl.read_csv(table).sample(700, seed=0)
    rows.write_csv(tmp_path / "diamonds.csv")
    pl.read_csv(table).sample(60, seed=1).write_csv(tmp_path / "new.csv")
    rows.head(150).select(["carat", "depth", "table", "price"]).write_csv(tmp_path / "my.csv")
    shuffled = rows.sample(200, seed=1).with_columns(pl.lit("new").alias("shop"))
    shuffled.select(sorted(shuffled.columns)).write_csv(tmp_path / "shuffled.csv")
    _draw_pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _draw_pictures(folder: Path) -> None:
    """MNIST-style files, a folder with a folder for each of two classes, of noise, a mask, and images with holes."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
    for name in ("train", "t10k"):
        sizes = b"".join(size.to_bytes(4, "big") for size in pixels.shape)
        content = bytes([0, 0, 8, 3]) + sizes + pixels.tobytes()
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    for k, picture in enumerate(pixels):
        path = folder / "photos" / ("cat", "dog")[k % 2] / f"{k:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4, 2:4] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    np.save(folder / "holed.npy", np.where(mask, np.nan, pixels[:3]))


def run_shell(block: str) -> None:
    for line in block.replace("\\\n", " ").splitlines():
        arguments = shlex.split(line, comments=True)
        if arguments[:1] == ["pushforward"]:
            short = re.sub(r"--(budget|steps) \S+", "--steps 10", shlex.join(arguments[1:]))
            short = re.sub("^score ", "score --samples 4 ", short)
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = main(shlex.split(short))
            assert code == 0, f"{line}\n{out.getvalue()}"


def run_doctest(block: str, names: dict[str, object], page: Path) -> None:
    test = doctest.DocTestParser().get_doctest(block, names, page.name, str(page), 0)
    out = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=out.write, clear_globs=False)
    names.update(test.globs)
    assert runner.failures == 0, out.getvalue()


@pytest.mark.parametrize(
    "page",
    [p if p.name in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in PAGES if blocks(p)],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_page(page: Path, workplace: Path) -> None:
    if "kernelspec:" in page.read_text() and os.environ.get("PUSHFORWARD_SITE"):
        pytest.skip("a notebook, which `make docs` has run")
    names: dict[str, object] = {"__name__": "__docs__"}
    state = torch.random.get_rng_state()
    for kind, shown in blocks(page):
        block = re.sub(r"\bbudget=\d+", "budget=1", shown)
        block = block if page.name in LEARNT else re.sub(r"\bsteps=\d{2,}", "steps=10", block)
        if kind == "sh":
            run_shell(block)
        elif kind == "pycon":
            run_doctest(block, names, page)
        else:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block, str(page), "exec"), names)
    torch.random.set_rng_state(state)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_page_opens_with_an_example(page: Path) -> None:
    if page.name in ("index.md", "api.md", "benchmarks.md"):  # of links, of docstrings, of figures
        return
    text = page.read_text().removeprefix("---\n").split("\n---\n")[-1]
    first = BLOCK.search(text) or re.search(r"^```\{literalinclude\}", text, re.M)  # of files that other tests run
    assert first is not None
    assert text[: first.start()].count("\n") <= 20


def test_figures_stand_in_the_files_that_they_name() -> None:
    rows = re.findall(
        r"^\| .+ \| (\S+) \| (\S+), .+ \| (\S+), \S+, \S+ \|$", (ROOT / "docs/benchmarks.md").read_text(), re.M
    )
    assert len(rows) == 10
    for ours, theirs, name in rows:
        (file,) = (ROOT / "benchmarks" / "results").glob(f"????-??-??-{name}.md")
        recorded = re.findall(r"[-\d.]+\d", file.read_text())
        assert {ours, theirs} <= set(recorded), f"{name}: {ours}, {theirs}"


def test_the_index_links_to_every_page_once() -> None:
    linked = re.findall(r"\(([\w/]+)\.md\)", (ROOT / "docs" / "index.md").read_text())
    pages = [str(page.relative_to(ROOT / "docs").with_suffix("")) for page in (ROOT / "docs").rglob("*.md")]
    assert sorted([*linked, "index"]) == sorted(pages)


@pytest.mark.parametrize(("page", "words"), [("questions", 523), ("tables", 1412), ("limits", 755)])
def test_a_page_that_was_cut_to_half_of_its_length_stays_so(page: str, words: int) -> None:
    assert len((ROOT / "docs" / f"{page}.md").read_text().split()) <= words


def test_notebooks_need_nothing_beyond_the_extra_that_pages_are_built_with() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["docs"]]
    declared = {re.split("[^a-z-]", each)[0].replace("scikit-learn", "sklearn") for each in needed}
    pages = [page.read_text() for page in PAGES if "kernelspec:" in page.read_text()]
    code = "\n".join(block for page in pages for _, block in BLOCK.findall(page))
    imported = {*re.findall(r"^(?:import|from) (\w+)", code, re.M)} - {"pushforward"} - sys.stdlib_module_names
    assert imported | ({"plotnine"} if "bundled_table" in code else set()) <= declared


def test_every_public_name_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "api.md").read_text()
    missing = [name for name in pushforward._HOMES if not re.search(rf"\b{name}\b", reference)]
    assert missing == []


def modules() -> list[str]:
    found = pkgutil.walk_packages(pushforward.__path__, "pushforward.")
    optional = (
        "pushforward.__main__",
        "pushforward.interop",
        "pushforward.serving",
    )  # the last two need libraries that are not ours
    return sorted(module.name for module in found if not module.name.startswith(optional))


@pytest.mark.slow
def test_doctests_of_the_source() -> None:
    failures = {}
    for name in modules():
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
        if failed:
            failures[name] = out.getvalue()
    assert failures == {}
