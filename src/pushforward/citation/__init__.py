"""The papers behind a model: the BibTeX entries of its parts.

In ``papers.bib``, the field ``parts`` of an entry names the classes and solvers that come from it; what depends on
other options is said by :func:`_papers_of`.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from importlib import resources
from typing import TextIO

from torch import nn

ALWAYS = ("rezende2015variational", "papamakarios2021normalizing")
"""Normalizing flows as such: the paper that named them for densities, and the review."""

PARTS = re.compile(r" *parts += \{(.*)\},\n")


def cite(model: nn.Module, file: TextIO | None = None) -> None:
    """Prints the BibTeX entries of the papers behind a flow, a transform or an objective.

    Args:
        model: Any module of this library, or one that contains such modules.
        file: Where to print; standard output by default.
    """
    print(bibliography(model), file=sys.stdout if file is None else file)


def bibliography(model: nn.Module) -> str:
    """The BibTeX entries that :func:`cite` prints, ordered by year and key."""
    keys = set(ALWAYS)
    for module in model.modules():
        keys.update(_papers_of(module))
    entries = papers()
    by_year = sorted(keys, key=lambda key: (re.sub(r"\D", "", key), key))
    return "\n\n".join(PARTS.sub("", entries[key]) for key in by_year)


@functools.cache
def papers() -> dict[str, str]:
    """The entries of ``papers.bib`` by their keys."""
    text = resources.files(__package__).joinpath("papers.bib").read_text(encoding="utf-8")
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in text.strip().split("\n\n")}


@functools.cache
def parts() -> dict[str, list[str]]:
    """The classes and solvers that come from each paper, by its key."""
    return {key: names.split(", ") for key, entry in papers().items() for names in PARTS.findall(entry)}


def _papers_of(module: nn.Module) -> Iterator[str]:
    name = type(module).__name__
    arguments = module.arguments() if name == "Continuous" else {}  # type: ignore[operator]
    yield from (key for key, names in parts().items() if name in names or arguments.get("solver") in names)
    if name == "Inverse" and any(type(part).__name__ == "Autoregressive" for part in module.modules()):
        yield "kingma2016improved"
    if name == "Autoregressive" and getattr(module, "inversion", None) == "blocks":
        yield "liu2025accelerate"
    if name == "ForwardKL" and getattr(module, "drop", None):
        yield "ho2022classifier"
    if name == "ReverseKL" and getattr(module, "estimator", None) == "path":
        yield "roeder2017sticking"
    if arguments.get("trace") == "hutchinson":
        yield "hutchinson1990stochastic"
