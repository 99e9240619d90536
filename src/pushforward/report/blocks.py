"""The building blocks of a report section: sentences, figures and tables. Plain data; the template renders it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup


class PageBlock:
    """A part of a section."""

    @property
    def kind(self) -> str:
        """What the template knows it by."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Figure(PageBlock):
    """An inline SVG with the sentence that a screen reader reads out instead (inside the SVG) and a caption."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Picture(PageBlock):
    """A PNG as a data URL, a description in words, its caption, and its width in pixels of the page."""

    address: str
    alt: str
    caption: str
    width: int


@dataclass(frozen=True)
class Heading:
    """A table column: its heading, whether its cells are numbers, and whether it holds running text."""

    title: str
    numeric: bool = True
    prose: bool = False


@dataclass(frozen=True)
class Entry:
    """A table cell: the text shown and the key it is sorted by."""

    text: str
    key: float | str


@dataclass(frozen=True)
class Listing(PageBlock):
    """A table; if ``sortable``, the reader can sort it by any column."""

    id: str
    caption: str
    columns: Sequence[Heading]
    rows: Sequence[Sequence[Entry]]
    sortable: bool = True


Fact = tuple[str, str, str]  # a label, a value and, in small print, its unit


@dataclass(frozen=True)
class Facts(PageBlock):
    """Labels and values."""

    items: Sequence[Fact]


@dataclass(frozen=True)
class Details(PageBlock):
    """Blocks that stay folded until the reader opens them."""

    summary: str
    blocks: Sequence[Any]


@dataclass(frozen=True)
class Beside(PageBlock):
    """Blocks that stand side by side if the page is wide enough."""

    blocks: Sequence[Any]


@dataclass(frozen=True)
class Text(PageBlock):
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code(PageBlock):
    """Text to copy."""

    text: str


@dataclass(frozen=True)
class Animation(PageBlock):
    """Frames of points, drawn by the script; ``data`` is its input."""

    data: dict[str, Any]
    caption: str


@dataclass(frozen=True)
class Menus(PageBlock):
    """Bars that the reader selects with two menus, drawn by the script; ``data`` is its input."""

    data: dict[str, Any]
    caption: str


@dataclass(frozen=True)
class Finding:
    """A finding in words: ``good``, ``fair`` or ``poor``."""

    grade: str
    text: str


@dataclass(frozen=True)
class Findings(PageBlock):
    """Verdicts, one below the other."""

    verdicts: Sequence[Finding]
