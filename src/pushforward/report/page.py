"""The page: every section that applies, in one HTML file with its figures, style and script; it needs no network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from .. import __version__
from ..saving.files import write_atomically
from ..saving.jsonable import jsonable
from .evidence import Evidence
from .section import Part
from .sections import SECTIONS


def write_page(path: str | os.PathLike[str], evidence: Evidence) -> dict[str, Any]:
    """Writes the findings as one offline HTML file, whole or not at all.

    Without timings it is byte-for-byte reproducible for equal evidence.

    Returns:
        The numbers of the report, by section, as JSON.
    """
    found = [section.part(evidence) for section in SECTIONS]
    parts = [part for part in found if part is not None]
    numbers = jsonable({part.id: part.numbers for part in parts if part.numbers})
    text = render(evidence.page.title or "What the model learnt", parts, numbers)
    write_atomically(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return numbers


def render(title: str, parts: Sequence[Part], numbers: Mapping[str, Any]) -> str:
    """The HTML text. The template escapes everything that comes from the data."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("template.html").render(
        title=title,
        sections=parts,
        numbers=numbers,
        version=__version__,
        style=Markup(_asset("style.css")),
        script=Markup(_asset("script.js")),
    )


def _asset(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
