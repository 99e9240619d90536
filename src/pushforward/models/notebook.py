"""A fitted model as shown in a notebook: what was fitted, how well, the verdict, and a small picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from .options import TrainingOptions
from .report import overview

if TYPE_CHECKING:
    from .base import FittedDensity

# The colours of a report's figures, for a page whose own colours are unknown.
COLOURS = "--data:#0072b2;--model:#d55e00;--best:#009e73;--ink:currentColor;--faint:#85888c;--paper:transparent"


def card(model: FittedDensity) -> str:
    """The HTML of a fitted model; everything that comes from the data is escaped."""
    facts = {**overview(model, str(model.facts["data"])), **model.subject.figures()}
    verdict = model.facts["summary"].get("verdict")
    if verdict is not None:
        facts["Training"] = verdict
    rows = Markup("").join(
        Markup('<tr><th style="text-align:left">{}</th><td style="text-align:left">{}</td></tr>').format(name, value)
        for name, value in facts.items()
    )
    subject = model.subject
    details = Markup("<details><summary>More</summary><pre>{}</pre></details>").format("\n".join(subject.detailed()))
    head = Markup("<p><code>{}</code></p>").format(called(model))
    return Markup('<div style="{}">{}<table>{}</table>{}{}</div>').format(
        COLOURS, head, rows, subject.picture(), details
    )


def called(model: FittedDensity) -> str:
    """The Python expression that makes the model: its arguments that differ from the defaults."""
    usual = stated(type(model)().options)
    said = {name: value for name, value in stated(model.options).items() if value != usual[name]}
    return f"{type(model).__name__}({', '.join(f'{name}={value!r}' for name, value in said.items())})"


def stated(options: Any) -> dict[str, Any]:
    """All choices under the argument names of the objects."""
    found: dict[str, Any] = {}
    for name, value in vars(options).items():
        found |= stated(value) if isinstance(value, TrainingOptions) else {name: value}
    return {"random_state" if name == "seed" else name: value for name, value in found.items()}


def sentence(model: FittedDensity) -> str:
    """The model in one line: its arguments, what it was fitted to, and how well."""
    if not hasattr(model, "density"):
        return called(model)
    summary = model.facts["summary"]
    figure, value = next(iter(model.subject.figures().items()))
    training = f"{summary[f'training_{model.subject.noun}']:,} {model.subject.noun}"
    return f"{called(model)}, fitted to {training} of {model.facts['data']}: {figure.lower()} {value}"
