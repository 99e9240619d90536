"""A section of the report, and what it is built of: sentences, which are text, figures and tables. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup


class PageBlock:
    """A part of a section that is no mere paragraph; the template renders it."""

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
    """A table cell: the text shown and the key it is sorted by; text that is sorted as it is needs none."""

    text: str
    key: float | str


Cell = Entry | str


@dataclass(frozen=True)
class Listing(PageBlock):
    """A table; if ``sortable``, the reader can sort it by any column."""

    id: str
    caption: str
    columns: Sequence[Heading]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = True


Blocks = Iterable[Any]
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


@dataclass(frozen=True)
class Part:
    """A section as it stands in one report: a titled part of the page, and the figures that it shows."""

    id: str
    title: str
    blocks: Sequence[Any]
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Args:
        id: Its anchor in the page, and its key among the report's numbers.
        title: Its heading.
        of: The kind of evidence that it draws on.
        write: Yields its blocks, paragraphs as text and figures as a dict; nothing where it does not apply.
    """

    id: str
    title: str
    of: type
    write: Callable[[Any], Blocks]

    def part(self, evidence: Any) -> Part | None:
        """The section for this evidence, if it applies."""
        found = list(self.write(evidence)) if isinstance(evidence, self.of) else []
        if not found:
            return None
        numbers = {key: value for block in found if isinstance(block, dict) for key, value in block.items()}
        return Part(self.id, self.title, [block for block in found if not isinstance(block, dict)], numbers)


def section(id: str, title: str, of: type = object) -> Callable[[Callable[[Any], Blocks]], Section]:
    """Makes a section of the function that writes its blocks."""
    return lambda write: Section(id, title, of, write)
