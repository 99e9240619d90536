"""The page in a real browser: it scores, draws, fills and shows a density that moves, and fetches from nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser
pytest.importorskip("starlette")


@pytest.fixture
def page(browser: Any, url: str) -> Any:
    """Opened anew, as other tests leave their values in it."""
    browser.get(f"{url}/")
    until(browser, "return document.querySelector('#score').textContent.includes('nats')")
    return browser


def until(page: Any, script: str, *arguments: Any) -> Any:
    """Waits until a script gives something true; gives it."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(page, 30, poll_frequency=0.05).until(lambda _: page.execute_script(script, *arguments))


def put(page: Any, name: str, value: str | None = None, *, known: bool = True) -> None:
    """Types a value into a column's cell, or unticks it."""
    page.execute_script(
        """const column = columns.find((one) => one.name === arguments[0]);
        column.known.checked = arguments[2];
        if (arguments[1] !== null) column.value.value = arguments[1];
        column.value.dispatchEvent(new Event("input", { bubbles: true }));""",
        name,
        value,
        known,
    )


def text(page: Any, id: str) -> str:
    return page.find_element("id", id).text


def drawn(page: Any) -> list[list[str]]:
    lines = page.find_elements("css selector", "#draws tbody tr")
    return [[cell.text for cell in line.find_elements("tag name", "td")] for line in lines]


@pytest.mark.slow
def test_it_scores_the_row_and_says_nothing_on_the_console(page: Any) -> None:
    assert page.title == "model: pushforward"
    first = text(page, "score")
    assert "are no likelier" in first
    put(page, "n", "400")
    until(page, "return document.querySelector('#score').textContent !== arguments[0]", first)
    put(page, "n", "40")
    assert page.get_log("browser") == []


def test_labels_show_no_markup(page: Any) -> None:
    """A quotation mark within an attribute would end it."""
    assert not any('"' in label.text for label in page.find_elements("tag name", "label"))


def test_it_fetches_from_its_own_server_alone(page: Any, url: str) -> None:
    names = page.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert names
    assert all(name.startswith(f"{url}/") for name in names)


def test_the_density_moves_with_a_slider(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    curve = "return (document.querySelector('#density .curve') || {getAttribute() {}}).getAttribute('d')"
    page.execute_script("byId('column').value = 'n'; byId('column').dispatchEvent(new Event('input'))")
    until(page, "return document.querySelector('#density-says').textContent.startsWith('p(n |')")
    first = until(page, curve)
    slider = page.execute_script("return columns.find((one) => one.name === 'x').cell.querySelector('[type=range]')")
    slider.send_keys(Keys.END)
    until(page, f"return ({curve.removeprefix('return ')}) !== arguments[0]", first)
    page.execute_script("byId('column').value = 'group'; byId('column').dispatchEvent(new Event('input'))")
    until(page, "return document.querySelectorAll('#density .bar').length === 2")
    assert page.find_element("id", "density").get_attribute("aria-label").startswith("Density of group")
    slider.send_keys(Keys.HOME)
    assert page.get_log("browser") == []


def test_it_draws_rows_given_cells_and_fills_holes(page: Any) -> None:
    for name in ("x", "n", "stars", "new", "at", "posted", "group"):
        put(page, name, known=False)
    put(page, "group", "b")
    page.execute_script("byId('n').value = 4; byId('draw').click()")
    until(page, "return document.querySelector('#draws-say').textContent.startsWith('4 rows drawn, given 2 cells')")
    names = [head.text for head in page.find_elements("css selector", "#draws th")]
    rows = drawn(page)
    assert len(rows) == 4
    assert {row[names.index("group")] for row in rows} == {"b"}
    assert len({row[names.index("x")] for row in rows}) > 1  # each request has draws of its own: two may be alike
    page.execute_script("byId('fill').click()")
    until(page, "return document.querySelector('#draws-say').textContent.startsWith('4 fillings of 6')")
    assert len(page.find_elements("css selector", "#draws td.drawn")) == 4 * 6
    assert page.get_log("browser") == []


def test_it_answers_a_question_and_predicts(page: Any) -> None:
    page.execute_script("byId('where').value = 'x > 0'; byId('ask').click()")
    until(page, "return document.querySelector('#answer').textContent.startsWith('P(x > 0 |')")
    assert 0 <= float(text(page, "answer").split(" = ")[1].split(" ±")[0]) <= 1
    for name, says in (("x", "in 9 of 10"), ("group", "most likely")):
        page.execute_script("byId('column').value = arguments[0]; byId('predict').click()", name)
        until(page, "return document.querySelector('#density-says').textContent.includes(arguments[0])", says)
    assert page.get_log("browser") == []


def test_it_explains_a_row_and_says_what_is_wrong(page: Any) -> None:
    for name, value in (("x", "0.1"), ("n", "900"), ("stars", "3"), ("new", "true"), ("at", None), ("posted", None)):
        put(page, name, value)
    page.execute_script("byId('explain').click()")
    until(page, "return document.querySelector('#draws-say').textContent.startsWith('n:')")
    put(page, "day", "soon")
    until(page, "return document.querySelector('#score.wrong') !== null")
    assert "column 'day'" in text(page, "score")
    put(page, "day", "2023-01-31")
    until(page, "return document.querySelector('#score').textContent.includes('nats')")
    page.get_log("browser")  # the refusal of 'soon', as the browser reports it


@pytest.mark.slow
def test_every_control_has_a_name_and_the_page_fits_a_phone(page: Any) -> None:
    nameless = """return [...document.querySelectorAll('input,select,button,svg')].filter((one) =>
        !one.getAttribute('aria-label') && !one.textContent && !(one.labels && one.labels.length)).length"""
    assert page.execute_script(nameless) == 0
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        page.execute_script("byId('n').value = 3; byId('draw').click()")
        until(page, "return document.querySelector('#draws-say').textContent.startsWith('3 rows drawn')")
        wide = page.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
        assert wide == [390, 390]
        assert page.get_log("browser") == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
