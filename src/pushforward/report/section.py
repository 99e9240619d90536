"""A section of the report: what it is called, whom it concerns, and the function that writes its blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .evidence import Evidence

Blocks = Iterable[Any]


@dataclass(frozen=True)
class Numbers:
    """The figures that a section shows, as JSON; they are not shown once more."""

    values: dict[str, Any]


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
        write: Yields its blocks (:mod:`.blocks`) and its :class:`Numbers`; nothing where it does not apply.
    """

    id: str
    title: str
    of: type[Evidence]
    write: Callable[[Any], Blocks]

    def part(self, evidence: Evidence) -> Part | None:
        """The section for this evidence, if it applies."""
        found = list(self.write(evidence)) if isinstance(evidence, self.of) else []
        if not found:
            return None
        numbers = {key: value for block in found if isinstance(block, Numbers) for key, value in block.values.items()}
        return Part(self.id, self.title, [block for block in found if not isinstance(block, Numbers)], numbers)


def section(id: str, title: str, of: type[Evidence] = Evidence) -> Callable[[Callable[[Any], Blocks]], Section]:
    """Makes a section of the function that writes its blocks."""
    return lambda write: Section(id, title, of, write)
