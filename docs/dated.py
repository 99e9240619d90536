"""A Sphinx extension: numbers of benchmarks come from the dated files under ``benchmarks/results``, from nowhere else.

``{results} NAME`` shows the newest file called ``DATE-NAME.md`` with its picture, ``{results} job-*`` all with such
names; ``{losses}`` shows where another library was faster, from the rows of all races, and ``{losses} job-*`` where
another one did a job better.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
DATED = re.compile(r"(?P<date>\d{4}-\d\d-\d\d)-(?P<name>.+)\.md")
OURS = "pushforward"


def newest() -> dict[str, Path]:
    """The newest result of each name."""
    found: dict[str, Path] = {}
    for path in sorted(RESULTS.glob("*.md")):  # by date
        if match := DATED.fullmatch(path.name):
            found[match["name"]] = path
    return found


def shown(path: Path) -> str:
    """A result as part of a page: its headings are emphasised, its pictures found."""
    lines = []
    for line in path.read_text().splitlines():
        line = re.sub(r"^#+ (.*)$", r"**\1**", line)
        lines.append(re.sub(r"!\[(.*?)\]\((.*?)\)", r"![\1](/../benchmarks/results/\2)", line))
    return "\n".join(lines)


def lost() -> Iterator[dict[str, Any]]:
    """Where a peer took less time than this library did, of the newest races, the worst first."""
    rows = []
    for name, path in newest().items():
        raced = path.with_suffix(".json")
        if name.startswith("speed-") and raced.exists():
            rows += list(_losses(name, json.loads(raced.read_text())["rows"]))
    return iter(sorted(rows, key=lambda row: row["times ours"]))


def _losses(name: str, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    ours = {(row["family"], row["job"]): row["ms"] for row in rows if row["library"] == OURS}
    for row in rows:
        ratio = row["ms"] / ours.get((row["family"], row["job"]), row["ms"])
        if ratio < 1 and not row["library"].startswith(OURS):
            yield {"race": name, **{key: row[key] for key in ("family", "job", "library")}, "times ours": ratio}


def worse(wanted: str) -> Iterator[dict[str, Any]]:
    """Where a rival did a job better: of the newest results with these names."""
    for name, path in newest().items():
        measured = path.with_suffix(".json")
        if fnmatch(name, wanted) and measured.exists():
            for row in json.loads(measured.read_text())["rows"]:
                ahead = row["theirs"] > row["ours"] if row["better"] == "higher" else row["theirs"] < row["ours"]
                if ahead:
                    yield {"job": name.removeprefix("job-"), **row}


def table(rows: list[dict[str, Any]]) -> str:
    head = list(rows[0])
    cells = [[f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *cells])


class Results(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        found, wanted = newest(), self.arguments[0]
        names = [name for name in found if fnmatch(name, wanted)]
        if not names:
            raise self.error(f"benchmarks/results has no DATE-{wanted}.md")
        for name in names:
            self.env.note_dependency(str(found[name]))
        return self.parse_text_to_nodes("\n\n".join(shown(found[name]) for name in names))


class Losses(SphinxDirective):
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        rows = list(worse(self.arguments[0]) if self.arguments else lost())
        return self.parse_text_to_nodes(table(rows) if rows else "None in the newest files.")


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("results", Results)
    app.add_directive("losses", Losses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
