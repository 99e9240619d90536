"""A Sphinx extension: numbers of benchmarks come from the dated files under ``benchmarks/results``, from nowhere else.

``{results} NAME`` shows the newest file called ``DATE-NAME.md``, ``{results} job-*`` all with such names.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
DATED = re.compile(r"(?P<date>\d{4}-\d\d-\d\d)-(?P<name>.+)\.md")


def newest() -> dict[str, Path]:
    """The newest result of each name."""
    found: dict[str, Path] = {}
    for path in sorted(RESULTS.glob("*.md")):  # by date
        if match := DATED.fullmatch(path.name):
            found[match["name"]] = path
    return found


def shown(name: str, path: Path) -> str:
    """A result as part of a page: its headings are emphasised, after its name, by which tables refer to it."""
    return re.sub(r"^#+ (.*)$", r"**\1**", f"# {name}: {path.read_text().removeprefix('# ')}", flags=re.M)


class Results(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        found, wanted = newest(), self.arguments[0]
        names = [name for name in found if fnmatch(name, wanted)]
        if not names:
            raise self.error(f"benchmarks/results has no DATE-{wanted}.md")
        for name in names:
            self.env.note_dependency(str(found[name]))
        return self.parse_text_to_nodes("\n\n".join(shown(name, found[name]) for name in names))


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("results", Results)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
