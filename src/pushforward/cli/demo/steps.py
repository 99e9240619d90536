"""The commands of a demo: numbered, printed before they are run, and what a person would do next."""

from __future__ import annotations

import shlex

from ...models.console import Console


class Steps:
    """Prints what a demo does as the commands that do it.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console, self.count = console, 0

    def begin(self, *words: object) -> str:
        """Prints the next command, and returns it."""
        self.count += 1
        command = shlex.join(["pushforward", *map(str, words)])
        self.console.say(f"{chr(10) if self.count > 1 else ''}{self.count}. {command}")
        return command

    def end(self, *lines: str) -> None:
        """Prints what to do next."""
        self.console.say("\nWhat next?")
        for line in lines:
            self.console.say(f"  {line}")


def length(steps: int, budget: float | None) -> tuple[object, ...]:
    """How long a fit trains, as words of its command: so many steps, or the time that was given for it."""
    return ("--budget", f"{budget:g}") if budget else ("--steps", steps)
