"""The demo of images: digits with their classes, drawn ten of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pushforward.cli.demo.images import LEVELS, bundled_digits

pytest.importorskip("sklearn")


def test_the_digits_are_real() -> None:
    images, labels = bundled_digits()
    assert (images.shape, images.max(), sorted(set(labels.tolist()))) == ((1797, 8, 8), LEVELS - 1, list(range(10)))


@pytest.mark.slow
def test_the_whole_job(tmp_path: Path, run: Callable[..., Any]) -> None:
    result = run("demo", "--images", "-o", tmp_path / "demo", "--budget", "1s")
    assert result["score"]["images"] == 1797
    with Image.open(tmp_path / "demo" / "drawn.png") as drawn:
        assert drawn.width == drawn.height  # ten of each of ten digits
    assert (tmp_path / "demo" / "report.html").stat().st_size > 10_000
