"""What the last release promised is still there, in ``public_api.txt``: the names of ``pushforward.__all__``, those of
their methods that a page shows, and every argument by its name and its place.

Something that is only added, as a name, an argument with a default or a default for an argument, needs no edit.
Before a release, ``python tests/contracts/test_public_api.py`` records what it promises from then on.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pushforward as pf

RECORD = Path(__file__).with_name("public_api.txt")
PAGES = (Path(__file__).parents[2] / "docs").rglob("*.md")
SHOWN = {name for page in PAGES for name in re.findall(r"\.(\w+)", page.read_text())}


def promised() -> Iterator[str]:
    """A line for each function, class and public method: its name and arguments, with ``=`` if they may be left out."""
    for name in sorted(pf.__all__):
        found = getattr(pf, name)
        if inspect.ismodule(found):
            for part, thing in sorted(vars(found).items()):
                if not part.startswith("_") and getattr(thing, "__module__", "").startswith("pushforward"):
                    yield from _lines(f"{name}.{part}", thing)
        else:
            yield from _lines(name, found)


def _lines(name: str, found: Any) -> Iterator[str]:
    yield f"{name}{_arguments(found)}"
    if inspect.isclass(found):
        for method in sorted(SHOWN & set(dir(found))):
            ours = getattr(getattr(found, method), "__module__", None) or ""
            if not method.startswith("_") and ours.startswith("pushforward") and callable(getattr(found, method)):
                yield f"{name}.{method}{_arguments(getattr(found, method))}"


def _arguments(found: Any) -> str:
    if not callable(found):
        return ""
    try:
        arguments = inspect.signature(found).parameters.values()
    except ValueError:  # written in C
        return "(...)"
    marks = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    named = []
    for a in arguments:
        if a.kind is a.KEYWORD_ONLY and not any(word.startswith("*") for word in named):
            named.append("*")
        named.append(f"{marks.get(a.kind, '')}{a.name}{'' if a.default is a.empty else '='}")
    return f"({', '.join(named)})"


def broken(before: str, now: str | None) -> bool:
    """Whether a call that was right before may be wrong now.

    Args:
        before, now: Lines of the record; None if the name is gone.
    """
    if now is None:
        return True
    old, new = (_split(line) for line in (before, now))
    by_place = [word.rstrip("=") for word in old[0]]
    if [word.rstrip("=") for word in new[0]][: len(by_place)] != by_place:
        return True
    all_old, all_new = ({word.rstrip("="): word for part in sides for word in part} for sides in (old, new))
    needed = {word for word in all_new if not all_new[word].endswith("=") and not word.startswith("*")}
    given = {word for word in all_old if not all_old[word].endswith("=")}
    return not all_old.keys() <= all_new.keys() or not needed <= given


def _split(line: str) -> tuple[list[str], list[str]]:
    """The arguments that may be given by place, and those by name alone."""
    words = [word for word in line.partition("(")[2].rstrip(")").split(", ") if word]
    cut = next((i for i, word in enumerate(words) if word.startswith("*")), len(words))
    return words[:cut], [word for word in words[cut:] if word != "*"]


def test_nothing_that_was_promised_is_gone() -> None:
    now = {line.partition("(")[0]: line for line in promised()}
    record = [line for line in RECORD.read_text().splitlines() if not line.startswith("#")]
    assert len(record) > 300
    assert [line for line in record if broken(line, now.get(line.partition("(")[0]))] == []


@pytest.mark.parametrize(
    ("now", "breaks"),
    [
        ("f(x, y=, *, z=)", False),
        ("f(x, y=, more=, *, z=, other=)", False),
        ("f(x=, y=, *, z=)", False),
        ("f(x, z=, y=)", True),  # another order
        ("f(x, y=, *, w=)", True),  # renamed
        ("f(x, y=, *, z=, needed)", True),
        ("f(x, y, *, z=)", True),  # could be left out
        (None, True),
    ],
)
def test_changes_that_break_are_told_from_those_that_add(now: str | None, breaks: bool) -> None:
    assert broken("f(x, y=, *, z=)", now) is breaks


if __name__ == "__main__":
    RECORD.write_text("\n".join([f"# {pf.__version__}", *promised()]) + "\n")
