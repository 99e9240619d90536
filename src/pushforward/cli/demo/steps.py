"""The commands of a demo: numbered, printed, run as they are printed; and what a person would do next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ...errors import in_shell
from ...models.console import Console
from ...tables.io.place import Location, Source
from ..options import PrintOptions, app, command_line


class Steps(Console):
    """The console of a demo: its commands print there as well, and what they end with is kept.

    Args:
        output: The folder that all is written to.
        printing: What is printed.
        data: What the commands read, if it was found already.
    """

    def __init__(self, output: Path, printing: PrintOptions, data: Location | None = None) -> None:
        output.mkdir(parents=True, exist_ok=True)
        super().__init__(printing.json, printing.quiet, spelling=in_shell)
        self.data, self.count, self.found = data, 0, dict[str, Any]()

    def run(self, *words: object) -> dict[str, Any]:
        """Prints the next command, runs it, and returns its result."""
        self.count += 1
        typed = [each for word in words for each in _typed(word)]
        command_line.set(" ".join(map(as_typed, ["pushforward", *typed])))
        self.say(f"{chr(10) if self.count > 1 else ''}{self.count}. {command_line.get()}")
        command, bound, _ = app.parse_args(typed, exit_on_error=False, print_error=False)
        bound.arguments["printing"] = self
        if self.data is not None and "data" in bound.arguments:
            bound.arguments["data"] = self.data
        command(*bound.args, **bound.kwargs)
        return self.found

    def console(self, output: Location | None = None) -> Console:
        """Where a command prints."""
        return self

    def result(self, values: dict[str, Any]) -> None:
        self.found = values

    def end(self, values: dict[str, Any], *lines: str) -> None:
        """Prints what to do next, and the result of the demo."""
        self.say("\nWhat next?")
        for line in lines:
            self.say(f"  {line}")
        super().result(values)


def _typed(word: object) -> list[str]:
    """What a person types for a word of a command: of a database, its address and the options of what is read."""
    if isinstance(word, Source):
        return word.words
    return [f"./{word}" if isinstance(word, Path) and str(word)[0] == "-" else str(word)]


def as_typed(word: str) -> str:
    """A word of a command, in double quotes if it has single ones."""
    return f'"{word}"' if "'" in word and not {*word} & {*'"$`!\\'} else shlex.quote(word)


def length(steps: int, budget: float | None) -> tuple[object, ...]:
    """How long a fit trains, as words of its command: so many steps, or the time that was given for it."""
    return ("--budget", f"{budget:g}") if budget else ("--steps", steps)
