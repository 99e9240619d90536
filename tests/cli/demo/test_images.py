"""The demo of images: digits with their classes, drawn ten of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("sklearn")


def test_the_whole_job(tmp_path: Path, run: Callable[..., Any]) -> None:
    result = run("demo", "--images", "-o", tmp_path / "demo", "--budget", "1s")
    assert result["score"]["images"] == 1797
    with Image.open(tmp_path / "demo" / "drawn.png") as drawn:
        assert drawn.width == drawn.height  # ten of each of ten digits
    assert (tmp_path / "demo" / "report.html").stat().st_size > 10_000
