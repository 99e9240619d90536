"""Tests of the fast room: skipped where it is shut or its folder was deleted."""

from importlib.util import find_spec

import pytest

collect_ignore_glob = [] if find_spec("pushforward.fused") else ["test_*.py"]


@pytest.fixture(autouse=True)
def _open(fast_room):
    """Every test here is of the fast room."""
