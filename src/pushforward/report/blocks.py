"""A section of the report, and what it is built of: sentences, which are text, figures and tables. Plain data.

The template knows blocks that are no sentences by the names of their classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup


class Figure(NamedTuple):
    """An inline SVG with the sentence that a screen reader reads out instead (inside the SVG) and a caption."""

    svg: Markup
    caption: str


class Picture(NamedTuple):
    """A PNG as a data URL, a description in words, its caption, and its width in pixels of the page."""

    address: str
    alt: str
    caption: str
    width: int


class Heading(NamedTuple):
    """A table column: its heading, whether its cells are numbers, and whether it holds running text."""

    title: str
    numeric: bool = True
    prose: bool = False


class Entry(NamedTuple):
    """A table cell: the text shown and the key it is sorted by; text that is sorted as it is needs none."""

    text: str
    key: float | str


Cell = Entry | str


class Listing(NamedTuple):
    """A table; if ``sortable``, the reader can sort it by any column."""

    id: str
    caption: str
    columns: Sequence[Heading]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = True


Blocks = Iterable[Any]
Fact = tuple[str, str, str]  # a label, a value and, in small print, its unit


class Facts(NamedTuple):
    """Labels and values."""

    items: Sequence[Fact]


class Details(NamedTuple):
    """Blocks that stay folded until the reader opens them."""

    summary: str
    blocks: Sequence[Any]


class Beside(NamedTuple):
    """Blocks that stand side by side if the page is wide enough."""

    blocks: Sequence[Any]


class Code(NamedTuple):
    """Text to copy."""

    text: str


class Animation(NamedTuple):
    """Frames of points, drawn by the script; ``data`` is its input."""

    data: dict[str, Any]
    caption: str


class Menus(NamedTuple):
    """Bars that the reader selects with two menus, drawn by the script; ``data`` is its input."""

    data: dict[str, Any]
    caption: str


class Finding(NamedTuple):
    """A finding in words: ``good``, ``fair`` or ``poor``."""

    grade: str
    text: str


class Findings(NamedTuple):
    """Verdicts, one below the other."""

    verdicts: Sequence[Finding]


class Part(NamedTuple):
    """A section as it stands in one report: a titled part of the page, and the figures that it shows."""

    id: str
    title: str
    blocks: Sequence[Any]
    numbers: dict[str, Any]


class Section(NamedTuple):
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
