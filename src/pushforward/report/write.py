"""An HTML file about a fitted table, or fitted images: all sections that apply, with figures, style and script."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup

from .. import __version__
from ..errors import InputError
from ..models.base import FittedDensity
from ..models.compare import held_out_of_all
from ..models.console import Console
from ..saving.bundle import jsonable
from ..saving.files import check_file, write_atomically
from .blocks import Part
from .evidence import Evidence, Page


def write(
    model: FittedDensity,
    data: Any,
    output: Path,
    console: Console,
    *,
    seed: int = 0,
    drop_missing: bool = False,
    title: str | None = None,
    against: Sequence[FittedDensity] = (),
) -> dict[str, Any]:
    """Writes the report on held-out data: those of ``data``, or those saved with the model if it is None.

    With other models to compare with, it covers the data that none of them was trained on."""
    check_file(output, (".html", ".htm"))
    for rival in against:
        model.refuse_unlike(rival)
    if data is not None:
        held, *theirs = held_out_of_all([model, *against], data, console, drop_missing)
    elif against:
        raise InputError(f"give the {model.noun} too, since all models are compared on them", "against")
    else:
        held, theirs = model.saved_held_out(), []
    source = str(model.facts.get("data", model.called)) if data is None else data.path.name
    words = ["pushforward", "report", model.called, *(() if data is None else data.words), "-o", str(output)]
    words += [word for rival in against for word in ("--against", rival.called)]
    words += [*(["--title", title] if title else []), *(["--drop-missing"] if drop_missing else [])]
    words += [] if seed == model.seed else ["--seed", str(seed)]
    page = Page(
        title=title or f"The {'density' if model.noun == 'rows' else 'images'} of {source}",
        summary=model.overview(source),
        command=f"{model.facts.get('command', '')}\n{shlex.join(words)}".strip(),
        history=model.facts.get("history", ()),
        rivals={
            rival.called: torch.from_numpy(rival.judged(other.rows, None, seed))
            for rival, other in zip(against, theirs, strict=True)
        },
        seed=seed,
    )
    found = write_page(output, model.evidence(held, page))
    console.say(f"{len(held.rows):,} held-out {model.noun}", f"saved {output}")
    return {model.noun: len(held.rows), "output": str(output), "report": found}


def write_page(path: str | os.PathLike[str], evidence: Evidence) -> dict[str, Any]:
    """Writes the findings as one offline HTML file, whole or not at all.

    Returns:
        The numbers of the report, by section, as JSON.
    """
    from .sections import SECTIONS  # imports matplotlib, which takes longer than most models take to answer

    found = [section.part(evidence) for section in SECTIONS]
    parts = [part for part in found if part is not None]
    numbers = jsonable({part.id: part.numbers for part in parts if part.numbers})
    text = render(evidence.page.title, parts, numbers)
    write_atomically(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return numbers


def render(title: str, parts: Sequence[Part], numbers: Mapping[str, Any]) -> str:
    """The HTML text. The template escapes everything that comes from the data."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["kind"] = lambda block: type(block).__name__.lower()
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
