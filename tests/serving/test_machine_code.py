"""Scores in machine code: the same as before, once they are compiled, and none where they cannot be."""

from __future__ import annotations

import copy
import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
import torch

import pushforward as pf
from pushforward import transforms as T
from pushforward.distributions.base import Density
from pushforward.interop.compiled import Compiled
from pushforward.serving import machine_code
from pushforward.serving.machine_code import MachineCode
from pushforward.transforms.normalization import Precision


def of_doubles() -> pf.Flow:
    """A flow of rows in double precision, as tables have them, whose parameters are in single precision."""
    return pf.Flow(T.Compose([Precision(), T.PLU(3)]), 3)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[Density], tuple[Density, list[str]]]:
    """Has a density run in machine code, if it can; what is called when it does adds a word to a list."""
    monkeypatch.setattr(machine_code, "faster_up_to", lambda compiled: machine_code.SIZES[-1])  # however busy
    start, usual = subprocess.Popen, "import os; del os.nice; "  # at the lowest priority it waits for all other tests
    monkeypatch.setattr(subprocess, "Popen", lambda run, **how: start([*run[:-1], usual + run[-1]], **how))

    def begin(density: Density) -> tuple[Density, list[str]]:
        told: list[str] = []
        code = MachineCode(density, lambda: told.append("done"))
        code.thread.join()
        return density, told

    return begin


@pytest.mark.compiler
def test_scores_stay_the_same(compiled: Any) -> None:
    flow = of_doubles()
    plain, x = copy.deepcopy(flow), torch.randn(5, 3, dtype=torch.float64)
    fast, told = compiled(flow)
    assert told == ["done"]
    assert "log_prob" in vars(fast)
    torch.testing.assert_close(fast.log_prob(x), plain.log_prob(x).detach(), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="float32"):
        fast.log_prob(x.float())  # machine code would read bytes of another type


@pytest.mark.compiler
def test_what_cannot_be_compiled_stays_as_it_is(compiled: Any) -> None:
    flow, told = compiled(pf.ffjord(2, hidden=(4,)))
    assert told == []
    assert "log_prob" not in vars(flow)


def test_without_a_compiler_nothing_changes(compiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **files: begin([sys.executable, "-c", ""], **files))
    flow, told = compiled(of_doubles())  # there is no file; an exception of the thread would be an error here
    assert told == []
    assert "log_prob" not in vars(flow)


def test_where_nothing_can_be_written_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    assert machine_code.compiling(of_doubles(), full) is None


def test_densities_of_another_device_stay_there() -> None:
    assert machine_code.compiling(of_doubles().to("meta"), print) is None


def test_code_of_floats_is_none_for_rows_of_doubles() -> None:
    density = pf.Flow(T.PLU(3), 3)
    code = Compiled(density, {"log_prob": lambda x: [density.log_prob(x)]}, {"log_prob": ["torch.float32"]})
    with pytest.raises(ValueError, match="float64"):
        machine_code.faster_up_to(code)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="there are no groups of processes")
def test_what_compiling_has_begun_ends_with_it() -> None:
    code = machine_code.compiling(of_doubles(), print)
    assert code is not None
    assert os.getpgid(code.process.pid) == code.process.pid  # and that of what it begins
    assert os.getsid(code.process.pid) == os.getsid(0)  # where its priority holds beside the server's
    code.stop()
    assert code.process.returncode == -signal.SIGTERM
    code.stop()  # nothing is left to end


def test_it_is_taken_up_to_the_size_at_which_it_is_faster_and_exact() -> None:
    class Pretended:
        """Machine code that is fast up to some size, and wrong beyond it."""

        density, few = of_doubles(), 0

        def log_prob(self, x: torch.Tensor) -> torch.Tensor:
            return expected[len(x)] + (len(x) > machine_code.SIZES[1])

    sizes = machine_code.SIZES
    with torch.no_grad():
        given = [machine_code.example(Pretended.density, "log_prob", size) for size in sizes]
        expected = {len(x): Pretended.density.log_prob(x) for (x,) in given}
    assert machine_code.faster_up_to(Pretended()) == sizes[1]  # type: ignore[arg-type]
