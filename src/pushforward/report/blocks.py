"""The building blocks of a report section: sentences, figures and tables. Plain data; the template renders it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup


class Block:
    """A part of a section."""

    @property
    def kind(self) -> str:
        """What the template knows it by."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Figure(Block):
    """An inline SVG with the sentence that a screen reader reads out instead (inside the SVG) and a caption."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Picture(Block):
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
class Listing(Block):
    """A table; if ``sortable``, the reader can sort it by any column."""

    id: str
    caption: str
    columns: Sequence[Heading]
    rows: Sequence[Sequence[Entry]]
    sortable: bool = True


Fact = tuple[str, str, str]  # a label, a value and, in small print, its unit


@dataclass(frozen=True)
class Facts(Block):
    """Labels and values."""

    items: Sequence[Fact]


@dataclass(frozen=True)
class Details(Block):
    """Blocks that stay folded until the reader opens them."""

    summary: str
    blocks: Sequence[Any]


@dataclass(frozen=True)
class Beside(Block):
    """Blocks that stand side by side if the page is wide enough."""

    blocks: Sequence[Any]


@dataclass(frozen=True)
class Text(Block):
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code(Block):
    """Text to copy."""

    text: str


@dataclass(frozen=True)
class Animation(Block):
    """Frames of points, drawn by the script; ``data`` is its input."""

    data: dict[str, Any]
    caption: str


@dataclass(frozen=True)
class Menus(Block):
    """Bars that the reader selects with two menus, drawn by the script; ``data`` is its input."""

    data: dict[str, Any]
    caption: str


@dataclass(frozen=True)
class Finding:
    """A finding in words: ``good``, ``fair`` or ``poor``."""

    grade: str
    text: str


@dataclass(frozen=True)
class Findings(Block):
    """Verdicts, one below the other."""

    verdicts: Sequence[Finding]
