"""What was decided about columns, and could have been decided otherwise: said in notes, or refused."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...errors import InputError, listed


@dataclass
class Decisions:
    """The decisions about columns: for every reason, the columns; ``strict`` refuses instead."""

    source: str
    strict: bool = False
    found: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, name: str, what: str, option: str, refusal: str = "") -> None:
        """Notes a decision; with ``strict``, refuses the column with the message ``refusal`` if there is one."""
        if self.strict and refusal:
            raise InputError(f"{self.source}: column {name!r}{refusal}")
        self.found.setdefault((what, option), []).append(name)

    def notes(self) -> tuple[str, ...]:
        """One sentence per reason."""
        return tuple(
            f"{listed(names)}: {what}{f' ({option})' if option else ''}" for (what, option), names in self.found.items()
        )
