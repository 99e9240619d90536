"""What a section of the report is made of: sentences, figures and tables. Plain data; the template draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup


@dataclass(frozen=True)
class Figure:
    """An inline SVG with the sentence that a screen reader speaks in its place (inside the SVG) and a caption."""

    svg: Markup
    caption: str
    kind: str = "figure"


@dataclass(frozen=True)
class Picture:
    """A PNG as a data address, what it shows in words, its caption, and its width in pixels of the page."""

    address: str
    alt: str
    caption: str
    width: int
    kind: str = "picture"


@dataclass(frozen=True)
class Column:
    """A table column: its heading, whether its cells are numbers, and whether it takes running text."""

    title: str
    numeric: bool = True
    prose: bool = False


@dataclass(frozen=True)
class Cell:
    """A table cell: what is shown and what it is sorted by."""

    text: str
    key: float | str


@dataclass(frozen=True)
class Table:
    """A table; where ``sortable``, the reader can sort it by any column."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = True
    kind: str = "table"


@dataclass(frozen=True)
class Facts:
    """Labels, values and, small, their units."""

    items: Sequence[tuple[str, str, str]]
    kind: str = "facts"


@dataclass(frozen=True)
class Details:
    """Blocks that stay folded until the reader asks for them."""

    summary: str
    blocks: Sequence[Any]
    kind: str = "details"


@dataclass(frozen=True)
class Beside:
    """Blocks that stand side by side where the page is wide enough."""

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
    """Frames of points, drawn by the script; ``data`` is what it reads."""

    data: dict[str, Any]
    caption: str
    kind: str = "animation"


@dataclass(frozen=True)
class Menus:
    """Bars that the reader chooses with two menus, drawn by the script; ``data`` is what it reads."""

    data: dict[str, Any]
    caption: str
    kind: str = "menus"


@dataclass(frozen=True)
class Verdict:
    """One finding of the overview: ``good``, ``fair`` or ``poor`` (or ``plain``), in words."""

    grade: str
    text: str


@dataclass(frozen=True)
class Section:
    """A titled part of the report; ``numbers`` are what it shows, as JSON."""

    id: str
    title: str
    blocks: Sequence[Any]
    numbers: dict[str, Any] = field(default_factory=dict)
