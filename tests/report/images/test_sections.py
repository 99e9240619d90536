"""The report of a model of images in a real browser: pictures are there, sharp and named, and nothing is fetched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.images.pixels import PixelDensity
from pushforward.report.evidence import Page
from pushforward.report.images.evidence import ImageEvidence
from pushforward.report.write import write_page
from pushforward.testing import randomize
from pushforward.training.batches import Rows

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("images") / "report.html"
    torch.manual_seed(0)
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8)
    flow = randomize(pf.pixels(pf.glow((3, 8, 8), levels=2, steps=1, hidden=6)), scale=0.05)
    history = [{"step": k, "train_loss": 900.0 - k, "validation_loss": 910.0 - k} for k in range(5)]
    labels = ["a", HOSTILE] * 10
    model, about = PixelDensity(flow, 256), Page(HOSTILE, history=history)
    seen = {"percentile": np.ones_like, "others": HOSTILE, "names": [HOSTILE] * 20, "labels": labels}
    write_page(path, ImageEvidence(page=about, model=model, held=Rows(images), **seen))
    browser.get(path.as_uri())
    return browser


def test_nothing_fails_and_names_stay_text(page: Any) -> None:
    assert page.get_log("browser") == []
    assert page.title == HOSTILE
    assert page.find_element("css selector", "#unlikely-images tbody td:nth-child(2)").text == HOSTILE


def test_every_picture_is_drawn_enlarged_without_blur_and_named(page: Any) -> None:
    script = """return [...document.images].map(i =>
        [i.complete && i.naturalWidth > 0, i.width / i.naturalWidth, getComputedStyle(i).imageRendering, i.alt])"""
    pictures = page.execute_script(script)
    assert len(pictures) == 8
    for drawn, zoom, rendering, alt in pictures:
        assert drawn
        assert zoom == 8
        assert rendering == "pixelated"
        assert alt


def test_nothing_is_fetched(page: Any) -> None:
    found = page.execute_script("return performance.getEntriesByType('resource').map(r => r.name)")
    assert all(name.startswith("data:") for name in found)
    linked = "document.querySelectorAll('[src],[href]'), e => e.getAttribute('src') || e.getAttribute('href')"
    addresses = page.execute_script(f"return Array.from({linked})")
    assert all(address.startswith(("#", "data:")) for address in addresses)


def test_wide_pictures_scroll_inside_and_never_widen_the_page(page: Any) -> None:
    page.set_window_size(500, 900)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    finally:
        page.set_window_size(1200, 900)


def test_the_table_sorts(page: Any) -> None:
    head = page.find_elements("css selector", "#unlikely-images th")[0]
    page.execute_script("arguments[0].click()", head.find_element("tag name", "button"))
    page.execute_script("arguments[0].click()", head.find_element("tag name", "button"))
    first = page.find_element("css selector", "#unlikely-images tbody td").text
    assert (head.get_attribute("aria-sort"), first) == ("descending", "12")
