"""One thread for every test and for the processes that tests start; one Chromium for all pages; ``--device``.

The tensors of tests are small: a second thread waits longer than it works, and results do not depend on the machine.
PyTorch is imported where it is used: those that run tests wait for the process that shares them out, which needs none.
"""

from __future__ import annotations

import gc
import importlib
import math
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")
# Of compiled flows no test takes the time; what the processor says of itself need not be tried by compiling.
os.environ.setdefault("AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL", "O0")
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

LONGEST = (
    "test_engines.py",
    "test_docs.py",
    "test_pages.py",
    "test_compiled.py",
    "test_table_graph.py",
    "test_compile.py",
    "test_distributed.py",
    "test_mutations.py",
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tests that take a device run: cpu, cuda, mps, ...")


def pytest_configure(config: pytest.Config) -> None:
    os.environ["PUSHFORWARD_TEST_DEVICE"] = config.getoption("--device")
    if any("::" in arg for arg in config.args):  # a test that is named is run, slow or not
        config.option.markexpr = config.option.markexpr.replace("not compiler and not slow", "")
    gc.set_threshold(10_000, 20, 20)  # half a million objects live as long as the tests: seldom searched for garbage
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):  # a process that runs tests
        importlib.import_module("torch").set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests go first: processes that share the tests then end together, and do not wait for one."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish() -> None:
    """One process starts Chromium once beside its tests: to read it from the disk can take half a minute."""
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw0" and CHROMIUM is not None:
        threading.Thread(target=_read_chromium, daemon=True).start()


def _read_chromium() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", "about:blank"]
        subprocess.run(command, capture_output=True, check=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # processes that share the tests take them in any order; torch.manual_seed notes its stack for each kind of card
    import torch

    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(0)


@pytest.fixture(autouse=True, scope="session")
def _few_trees() -> Iterator[None]:
    """Every fit of a table ends with the choice of its draws' weights, and a classifier of them: half of a short fit.

    Of the whole session, so that it is there when fixtures of modules fit their models.
    """
    quality = importlib.import_module("pushforward.diagnostics.sampling_quality")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "FOLDS", 2)
        patch.setattr(quality, "TREES", 5)
        patch.setattr("pushforward.report.tables.evidence.PERMUTATIONS", 3)  # classifiers of a report, likewise
        patch.setattr("pushforward.tables.fit.LONGER", 1)  # the training of a guide that fills holes
        patch.setattr("pushforward.tables.guide.WIDTH", 32)
        patch.setattr("pushforward.diagnostics.peaks.climb.__defaults__", (60, math.inf))  # steps to missed modes
        patch.setattr("pushforward.posterior.family.SEARCHED", 1)  # context of those that are judged
        patch.setattr("pushforward.tables.guide.ASKED", 60)  # rows for test questions of every fit
        patch.setattr("pushforward.tables.selection.cross_fitting.MEMBERS", 3)  # folds of few rows, and flows
        patch.setattr("pushforward.tables.fit.FEW_STEPS", 100)  # of a guide beside an average or a mixture
        patch.setattr("pushforward.tables.measure.DRAWN", 15)  # beside held-out rows: too few for a classifier
        yield


@pytest.fixture(scope="module")
def small_fits() -> Iterator[None]:
    """Networks whose sizes no test gives are small, and held-out rows are looked at four times in a training of so many
    steps, not ten, as each look takes as long as two steps; members of an average take an eighth of their steps."""
    by_name = importlib.import_module("pushforward.recipes.by_name")
    loop = importlib.import_module("pushforward.training.loop")
    cross_fitting = importlib.import_module("pushforward.tables.selection.cross_fitting")
    usual, trained = loop.validation_interval, cross_fitting.member_options

    def seldom(schedule: Any, *sizes: Any) -> int:
        given = 0 if isinstance(schedule, loop.OpenEnded) else schedule.steps or 0
        return max(usual(schedule, *sizes), -(-given // 4))

    def briefly(*sizes: Any) -> Any:
        found = trained(*sizes)
        return replace(found, steps=min(found.steps, 80))

    with pytest.MonkeyPatch.context() as patch:
        for name in ("nsf", "maf"):
            patch.setitem(by_name.FLOWS, name, partial(by_name.FLOWS[name], layers=2, hidden=(32,)))
        patch.setattr(by_name, "WIDTH", 32)
        patch.setattr(loop, "validation_interval", seldom)
        patch.setattr(cross_fitting, "member_options", briefly)
        yield


@pytest.fixture
def whole_climbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test of what a search finds at the end of as many steps as it has by default."""
    monkeypatch.setattr("pushforward.diagnostics.peaks.climb.__defaults__", (200, math.inf))


@pytest.fixture
def fast_room() -> None:
    """Skips a test of what the fast room does where there is none, or it is shut."""
    from pushforward.transforms import seam

    if seam.imported() is None or seam.SHUT.get():
        pytest.skip("there is no fast room, or PUSHFORWARD_FUSED=0 shuts it")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of ``--device``; the test is skipped where this machine has none such."""
    import torch

    wanted = torch.device(request.config.getoption("--device"))
    try:
        torch.zeros(1, device=wanted)
    except (RuntimeError, AssertionError) as error:  # PyTorch built without it says so by an assertion
        pytest.skip(f"no {wanted.type} device: {str(error).splitlines()[0]}")
    return wanted


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A driver of Chromium; the test is skipped where there is none."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium with chromedriver on this machine")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser') / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()
