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
    """A table column: its heading, how its numbers are shown, None for text, and whether it holds running text."""

    title: str
    show: Callable[[Any], str] | None = None
    prose: bool = False

    def cell(self, value: Any) -> Cell:
        """A value as a cell: a number as it is shown, sorted by itself."""
        return value if self.show is None or isinstance(value, Entry | str) else Entry(self.show(value), float(value))


class Entry(NamedTuple):
    """A table cell: the text shown and the key it is sorted by; text that is sorted as it is needs none."""

    text: str
    key: float | str


Cell = Entry | str


class Listing(NamedTuple):
    """A table, of values or of cells; if ``sortable``, the reader can sort it by any column."""

    id: str
    caption: str
    columns: Sequence[Heading]
    rows: Sequence[Sequence[Any]]
    sortable: bool = True

    @property
    def cells(self) -> list[list[Cell]]:
        return [[head.cell(value) for head, value in zip(self.columns, row, strict=True)] for row in self.rows]


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
    """A section of the report."""

    id: str  # its anchor in the page, and its key among the report's numbers
    title: str
    of: type  # the kind of evidence that it draws on
    # yields its blocks, paragraphs as text and figures as a dict; nothing where it does not apply
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
