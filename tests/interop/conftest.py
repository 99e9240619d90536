"""Fits of estimators take as little time as their tests let them."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def _small(small_fits: None) -> None:
    """Every test here may fit a table."""
