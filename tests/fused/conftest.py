"""Tests of the fast room: skipped where it is shut or its folder was deleted."""

from importlib.util import find_spec

import pytest

from pushforward.transforms import seam

collect_ignore_glob = [] if find_spec("pushforward.fused") else ["test_*.py"]


@pytest.fixture(autouse=True)
def _open():
    if seam.SHUT.get():
        pytest.skip("the fast room is shut by PUSHFORWARD_FUSED=0")
