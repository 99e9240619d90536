"""The report in a real browser: no error, no network, tables that sort, menus, a keyboard."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from reports import write_rows

import pushforward as pf
from pushforward.plot import marginals
from pushforward.report.svg import to_svg
from pushforward.transforms import Compose, Standardize

pytestmark = pytest.mark.browser

NAMES = ["<script>document.title='hacked'</script>", "<img src=x onerror=alert(1)>"]


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    browser.get(_write(tmp_path_factory.mktemp("page")).as_uri())
    return browser


def _write(folder: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 2, generator=generator) @ torch.tensor([[2.0, 1.0], [0.0, 0.5]]) + 5
    torch.manual_seed(0)
    body = pf.realnvp(2, layers=4, hidden=(16,)).transform
    flow = pf.Flow(Compose([Standardize(x.mean(0), x.std(0)), *body.transforms]), 2)
    with torch.no_grad():  # away from the identity
        for parameter in flow.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    history = [{"step": step, "train_loss": 3.0 / (step + 1), "validation_loss": 3.5 / (step + 1)} for step in range(9)]
    write_rows(folder / "report.html", flow, x, columns=NAMES, history=history, title="What the flow learnt")
    return folder / "report.html"


def test_nothing_fails_and_names_stay_text(page: Any) -> None:
    assert page.get_log("browser") == []
    assert page.title == "What the flow learnt"
    heads = page.find_elements("css selector", "#sampled-rows th button")
    assert [head.text.rstrip("\u00a0↕") for head in heads][1:] == NAMES
    assert page.execute_script("return document.images.length") == 0


def test_nothing_is_fetched(page: Any) -> None:
    assert page.execute_script("return performance.getEntriesByType('resource').map(r => r.name)") == []
    linked = "document.querySelectorAll('[src],[href]'), e => e.getAttribute('src') || e.getAttribute('href')"
    addresses = page.execute_script(f"return Array.from({linked})")
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)


def test_every_figure_and_control_has_a_name_and_every_link_a_target(page: Any) -> None:
    nameless = (
        "return [...document.querySelectorAll('svg,canvas,input')].filter(e => !e.getAttribute('aria-label')).length"
    )
    assert page.execute_script(nameless) == 0
    lost = (
        "return [...document.querySelectorAll('a')].filter(a => !document.querySelector(a.getAttribute('href'))).length"
    )
    assert page.execute_script(lost) == 0


def test_the_table_sorts_both_ways_and_says_so(page: Any) -> None:
    head = page.find_elements("css selector", "#unlikely-rows th")[1]
    button = head.find_element("tag name", "button")

    def densities() -> list[float]:
        cells = page.find_elements("css selector", "#unlikely-rows tbody td:nth-child(2)")
        return [float(cell.get_attribute("data-key")) for cell in cells]

    page.execute_script("arguments[0].click()", button)
    assert head.get_attribute("aria-sort") == "ascending"
    assert densities() == sorted(densities())
    page.execute_script("arguments[0].click()", button)
    assert head.get_attribute("aria-sort") == "descending"
    assert densities() == sorted(densities(), reverse=True)
    assert len(set(densities())) > 1


def test_the_keyboard_reaches_the_skip_link_the_sections_and_every_control(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    page.execute_script("getSelection().removeAllRanges(); document.body.tabIndex = -1; document.body.focus()")
    reached = []
    for _ in range(80):
        page.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(page.execute_script("const e = document.activeElement; return e.className || e.localName"))
        if reached[-1] == "by":
            break
    assert reached[0] == "skip"
    assert {"a", "summary", "button", "of", "by"} <= set(reached)


@pytest.mark.parametrize("width", [900, 1000, 1160])
def test_pictures_of_four_columns_are_not_cut_off_on_a_small_desk(page: Any, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    drawn = re.search(r"min-width:(\d+)", to_svg(marginals(torch.randn(9, 4)), "four", ""))
    assert drawn is not None
    assert page.execute_script("return document.querySelector('main').clientWidth") >= int(drawn[1])
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_and_light_have_readable_contrast(page: Any) -> None:
    for theme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        for selector in ("p", "figcaption", "figure svg text", "nav a", "td", ".facts dt"):
            assert _contrast(page, selector) >= 4.5, f"{selector} in {theme}"


def _contrast(page: Any, selector: str) -> float:
    """WCAG contrast of an element's text with the page behind it."""
    script = """
        const e = document.querySelector(arguments[0]), style = getComputedStyle(e);
        const panel = e.closest('.facts div') || document.body;
        const text = e instanceof SVGElement ? style.fill : style.color;
        return [text, getComputedStyle(panel).backgroundColor].map(c => c.match(/[\\d.]+/g).slice(0, 3).map(Number));
    """
    text, paper = (_luminance(colour) for colour in page.execute_script(script, selector))
    return (max(text, paper) + 0.05) / (min(text, paper) + 0.05)


def _luminance(colour: list[float]) -> float:
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
