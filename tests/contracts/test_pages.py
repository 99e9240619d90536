"""The built documentation: it reads without a network, on a phone by day and on a desk by night.

Pages are read where `make docs` has built them, in the folder that the environment's PUSHFORWARD_SITE names.
"""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

WIDTHS = {"phone": (390, 844), "desktop": (1280, 900)}
TEX = re.compile(r"\\[a-zA-Z]{2,}|\\[()\[\]]|\$\$|\$[^$ ][^$\n]*\$")


class Text(HTMLParser):
    """What a person reads of a page, without code; and what the page loads from elsewhere."""

    SILENT = frozenset({"code", "pre", "script", "style", "title"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.silent, self.words, self.loads, self.formulas = 0, [], [], 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.silent += tag in self.SILENT
        self.formulas += tag == "math"
        source = dict(attrs).get({"script": "src", "img": "src", "link": "href"}.get(tag, "")) or ""
        if source.startswith(("http:", "https:", "//")) and dict(attrs).get("rel") != "canonical":
            self.loads.append(source)

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in self.SILENT

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.words.append(data)


@pytest.fixture(scope="session")
def site() -> Path:
    if (built := os.environ.get("PUSHFORWARD_SITE")) is None:
        pytest.skip("PUSHFORWARD_SITE names no folder that `make docs` has built")
    return Path(built).resolve(strict=True)


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)


@pytest.mark.slow
def test_every_formula_is_rendered_without_a_network(site: Path) -> None:
    read = {path: Text(path.read_text()) for path in pages(site)}
    raw = {path.name: found for path, text in read.items() if (found := TEX.findall("".join(text.words)))}
    assert raw == {}
    assert {path.name: text.loads for path, text in read.items() if text.loads} == {}
    assert sum(text.formulas for text in read.values()) > 200


def test_raw_formulas_are_found() -> None:
    for raw in (r"<p>\(m\)</p>", r"<p>where \mu is</p>", "<p>the cost $O(m)$ is</p>"):
        assert TEX.search("".join(Text(raw).words))
    assert not TEX.search("".join(Text(r"<p><code>\mu</code> costs 3 $ or more</p>").words))


@pytest.mark.slow
@pytest.mark.browser
def test_every_page_opens(site: Path, browser: Any) -> None:
    """On a phone by day and on a desk by night, with nothing on the console, and nothing wider than the screen."""
    try:
        for path in pages(site):
            browser.get(path.as_uri())
            for width, scheme in zip(WIDTHS, ("light", "dark"), strict=True):
                emulate(browser, width, scheme)
                seen = browser.execute_script(
                    "const flat = [...document.querySelectorAll('math')].filter("
                    "  (m) => m.checkVisibility() && !m.getBoundingClientRect().height);"
                    "return [document.documentElement.scrollWidth - innerWidth, flat.length,"
                    "        matchMedia('(prefers-color-scheme: dark)').matches, matchMedia(arguments[0]).matches]",
                    f"(width: {WIDTHS[width][0]}px)",
                )
                wanted = [min(seen[0], 0), 0, scheme == "dark", True]
                assert seen == wanted, f"{path.name}, {width}, {scheme}: {seen}"
            assert browser.get_log("browser") == [], path.name
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def emulate(browser: Any, width: str, scheme: str) -> None:
    size = {"width": WIDTHS[width][0], "height": WIDTHS[width][1], "deviceScaleFactor": 1, "mobile": width == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
