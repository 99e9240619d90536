"""The building blocks of a report section: sentences, figures and tables. Plain data; the template renders it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup


@dataclass(frozen=True)
class Figure:
    """An inline SVG with the sentence that a screen reader reads out instead (inside the SVG) and a caption."""

    svg: Markup
    caption: str
    kind: str = "figure"


@dataclass(frozen=True)
class Picture:
    """A PNG as a data URL, a description in words, its caption, and its width in pixels of the page."""

    address: str
    alt: str
    caption: str
    width: int
    kind: str = "picture"


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
class Listing:
    """A table; if ``sortable``, the reader can sort it by any column."""

    id: str
    caption: str
    columns: Sequence[Heading]
    rows: Sequence[Sequence[Entry]]
    sortable: bool = True
    kind: str = "table"


Fact = tuple[str, str, str]  # a label, a value and, in small print, its unit


@dataclass(frozen=True)
class Facts:
    """Labels and values."""

    items: Sequence[Fact]
    kind: str = "facts"


@dataclass(frozen=True)
class Details:
    """Blocks that stay folded until the reader opens them."""

    summary: str
    blocks: Sequence[Any]
    kind: str = "details"


@dataclass(frozen=True)
class Beside:
    """Blocks that stand side by side if the page is wide enough."""

    blocks: Sequence[Any]
    kind: str = "beside"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Code:
    """Text to copy."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Animation:
    """Frames of points, drawn by the script; ``data`` is its input."""

    data: dict[str, Any]
    caption: str
    kind: str = "animation"


@dataclass(frozen=True)
class Menus:
    """Bars that the reader selects with two menus, drawn by the script; ``data`` is its input."""

    data: dict[str, Any]
    caption: str
    kind: str = "menus"


@dataclass(frozen=True)
class Finding:
    """A finding in words: ``good``, ``fair`` or ``poor``."""

    grade: str
    text: str


@dataclass(frozen=True)
class Findings:
    """Verdicts, one below the other."""

    verdicts: Sequence[Finding]
    kind: str = "findings"
