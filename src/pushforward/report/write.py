"""An HTML file about a fitted table, or fitted images."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..models.base import FittedDensity
from ..models.compare import held_out_of_all
from ..models.console import Console
from ..saving.files import check_file
from .evidence import Page


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

    With other models to compare with, it covers the data that none of them was trained on.

    Raises:
        InputError: the models or the data cannot be used; says why.
    """
    from .page import write_page  # imports matplotlib, which takes longer than most models take to answer

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
        timings=True,
    )
    found = write_page(output, model.evidence(held, page))
    console.say(f"{len(held.rows):,} held-out {model.noun}")
    console.say(f"saved {output}")
    return {model.noun: len(held.rows), "output": str(output), "report": found}
