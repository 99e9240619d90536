"""A Sphinx extension: the side bar lists the pages that the index links to, under its headings and in its order."""

from __future__ import annotations

import re
from typing import Any

PART = re.compile(r"^## (?P<title>.+?)\n(?P<text>.*?)(?=^## |\Z)", re.M | re.S)


def with_contents(app: Any, page: str, source: list[str]) -> None:
    """Ends each part of the index with a hidden table of the pages that it links to."""
    if page == "index":
        source[0] = PART.sub(_part, source[0])


def _part(part: re.Match[str]) -> str:
    pages = dict.fromkeys(re.findall(r"\]\(([\w/]+)\.md\)", part["text"]))
    return "\n".join([part[0], "```{toctree}", f":caption: {part['title']}", ":hidden:", "", *pages, "```", ""])


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", with_contents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
