"""Scores in machine code: the same as before, once they are compiled, and none where they cannot be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

import pushforward as pf
from pushforward import transforms as T
from pushforward.distributions.base import Density
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

    def begin(density: Density) -> tuple[Density, list[str]]:
        told: list[str] = []
        code = MachineCode(density, lambda: told.append("done"))
        code.thread.join()
        return density, told

    return begin


def test_scores_stay_the_same(compiled: Any) -> None:
    flow = of_doubles()
    plain, x = copy.deepcopy(flow), torch.randn(5, 3, dtype=torch.float64)
    fast, told = compiled(flow)
    assert told == ["done"]
    assert "log_prob" in vars(fast)
    torch.testing.assert_close(fast.log_prob(x), plain.log_prob(x).detach(), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="float32"):
        fast.log_prob(x.float())  # machine code would read bytes of another type


def test_what_cannot_be_compiled_stays_as_it_is(compiled: Any) -> None:
    flow, told = compiled(pf.ffjord(2, hidden=(4,)))
    assert told == []
    assert "log_prob" not in vars(flow)


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
