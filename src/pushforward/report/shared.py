"""The sections that every model has: what was found, training, likelihood, cost, limits."""

from __future__ import annotations

import math
import platform
from typing import Any

import matplotlib
import numpy as np
import torch

from .. import __version__, plot
from ..diagnostics.averages import overfits, rules_out
from ..errors import counted
from .blocks import Blocks, Code, Details, Fact, Facts, Figure, Finding, Findings, Heading, Listing, section
from .evidence import Evidence, Lead, Mean
from .svg import to_svg
from .words import factor, is_number, number, percent, plain, plus_minus, seconds, whole

PRIMER = (
    "A normalizing flow is an invertible map, learnt from data, that turns rows of a table into bell-shaped noise. "
    "Run forwards, it tells how dense the data is at a row: the density of the noise there, times how much the map "
    "stretches space. Run backwards, from fresh noise, it makes new rows.",
    "Densities span many orders of magnitude, so they are given as natural logarithms, in nats. One nat more means 2.7 "
    "times the density, 2.3 nats ten times. Only differences between log-densities of the same table mean something: "
    "change a column from metres to millimetres and every value shifts by the same amount.",
    "The Gaussian beside it is the natural rival: the bell curve with the means, spreads and correlations of the same "
    "data. If a flow does not beat it, the table has no more structure than that, or the flow missed it.",
)

DENSITIES = (
    "If the model is right, the {noun}s that it draws are as likely as the real ones and the two shapes agree. A tail "
    "of real {noun}s on the {side} is what the model did not expect; the section on unlikely {noun}s lists them."
)

LIMITS = {
    "row": (
        "A low density is not a verdict. A row can be rare and right, or common and wrong. With many columns nearly "
        "every row is unusual somewhere, and a flow can give high densities to rows unlike any that it was trained on. "
        "Read the list of unlikely rows as a place to look first.",
        "A likelihood has no absolute scale: it changes with the units of the columns. Compare it only with that of "
        "other models of the same columns on the same rows.",
        "A good fit of every column and every pair can still miss what three or more columns do together; the coverage "
        "and the latents look at all of them at once, but only in summary.",
        "The errors given here hold for rows drawn independently from the same source as the training rows. If the "
        "world has changed since, or rows depend on each other, they are too small.",
    ),
    "image": (
        "A low probability is not a verdict. Probabilities of images depend mostly on local texture: models are known "
        "to give smooth images of a kind that they have never seen more than the kind that they were trained on.",
        "Bits per dimension compare models of the same images at the same size and number of levels, and nothing else.",
        "Better samples and better likelihoods are different things; look at both.",
        "The errors given here hold for images drawn independently from the same source as the training images.",
    ),
}


@section("overview", "In short")
def overview(e: Evidence) -> Blocks:
    """What was fitted and how well, in plain sentences."""
    yield e.introduction
    yield Facts([*e.facts, *((label, plain(value), "") for label, value in e.page.summary.items())])
    leads = [against(e, name, lead) for name, lead in e.leads.items()]
    yield Findings([*leads, *e.findings, *(found for found in (overfitted(e), impossible(e)) if found is not None)])
    if e.noun == "row":
        yield Details("What is a flow, and what is a nat?", PRIMER)
    held = e.held_out
    yield {e.key: held.value, "standard_error": held.error, f"{e.noun}s": len(e.log_prob)}
    yield {"not_finite": held.left_out}


def against(e: Evidence, name: str, lead: Lead) -> Finding:
    """Which of two models explains the held-out data better."""
    if rules_out(lead.theirs.error, e.held_out.error):
        return Finding(
            "good",
            f"{name[:1].upper()}{name[1:]} rules some of the held-out {e.noun}s out, so that the lead "
            "over it has no meaning.",
        )
    size = f"{lead.size} {e.unit}"
    if lead.grade == "fair":
        return Finding("fair", f"It is not clearly better or worse than {name} ({size}).")
    better = "better" if lead.grade == "good" else "worse"
    said = f"It explains the held-out {e.noun}s {better} than {name}, by {size}"
    if lead.grade == "good" and e.sign > 0 and math.isfinite(lead.better):
        gain = f"it gives a typical {e.noun} {factor(lead.lead.value)} the density"
        said += f": {gain}, and {percent(lead.better)} of the {e.noun}s more"
    return Finding(lead.grade, f"{said}.")


def overfitted(e: Evidence) -> Finding | None:
    """Whether training data fare significantly better than held-out data."""
    if e.train_mean is None or e.train_mean.left_out or not math.isfinite(e.held_out.value):
        return None
    distance = e.sign * (e.train_mean.value - e.held_out.value)
    size = f"{plus_minus(distance, math.hypot(e.train_mean.error, e.held_out.error))} {e.unit}"
    if not overfits(distance, e.train_mean.error, 0.0, e.held_out.error):
        said = (
            f"Held-out {e.noun}s do not fare clearly worse than training ones ({size}): what is kept does not overfit."
        )
        return Finding("good", said)
    gain = max(e.baseline.lead.value, 0) if e.baseline is not None else 0
    said = f"The {e.noun}s it was trained on do better than held-out ones by {size}"
    return Finding("fair" if distance < 0.5 * gain else "poor", f"{said}: it overfits somewhat.")


def impossible(e: Evidence) -> Finding | None:
    """Held-out data that were given no density at all."""
    missing = e.held_out.left_out
    if not missing:
        return None
    said, verb = counted(missing, f"held-out {e.noun}"), "gets" if missing == 1 else "get"
    what = "density" if e.noun == "row" else "probability"
    return Finding("poor", f"{said} {verb} no {what} at all, and the means here leave such {e.noun}s out.")


@section("training", "Training")
def training(e: Evidence) -> Blocks:
    """The losses against the step, with the best one marked."""
    if not any(is_number(row.get("train_loss")) for row in e.page.history):
        return
    says, unit, scale = e.losses
    losses = ("train_loss", "validation_loss")
    history = [
        {**row, **{name: row[name] * scale for name in losses if is_number(row.get(name))}} for row in e.page.history
    ]
    last = history[-1]
    says += f": lower is better. {whole(last.get('step', 0))} steps were taken."
    alt = f"Training loss against the step, in {unit}."
    validated = [row for row in history if is_number(row.get("validation_loss"))]
    if validated:
        best = min(validated, key=lambda row: row["validation_loss"])
        epoch = f" (epoch {plain(best['epoch'])})" if is_number(best.get("epoch")) else ""
        says += (
            f" On {e.noun}s held back from training the loss was lowest at step {whole(best['step'])}{epoch}, with "
            f"{number(best['validation_loss'])}."
        )
        alt = f"Training and validation loss against the step; the latter is lowest at step {whole(best['step'])}."
        yield {"best_step": best["step"], "best_epoch": best.get("epoch"), "best_loss": best["validation_loss"]}
    yield says
    yield Figure(
        to_svg(plot.curves(history, unit=unit), "curves", alt),
        "Rising validation loss while the training loss falls is overfitting; two flat lines mean that training is "
        "done.",
    )
    yield {"steps": last.get("step"), "seconds": last.get("seconds")}


@section("likelihood", "How well it fits")
def likelihood(e: Evidence) -> Blocks:
    """The model on held-out, training and its own data, beside the model to beat and any others."""
    if e.about_fit:
        yield e.about_fit
    rows, numbers = _means(e)
    heads = [Heading("model"), Heading(e.unit, str), Heading(f"{e.noun}s", "{:,}".format)]
    better = "higher is better" if e.sign > 0 else "lower is better, of a lead higher"
    yield Listing("likelihoods", f"Means ± their standard errors; {better}.", heads, rows, sortable=False)
    finite, own = e.measured[e.measured.isfinite()], e.measure(e.own.log_prob)
    own = own[own.isfinite()]
    if len(finite) and len(own):
        averages = f"held-out {e.noun}s average {number(e.held_out.value)}, the model's own {number(e.own_mean.value)}"
        svg = to_svg(type(e).histogram(finite, own), "densities", f"Histogram in {e.unit}: {averages}.")
        yield Figure(svg, DENSITIES.format(noun=e.noun, side="left" if e.sign > 0 else "right"))
    yield numbers


def _means(e: Evidence) -> tuple[list[tuple[str, Mean, int]], dict[str, Any]]:
    """The lines of the table of likelihoods, and their numbers."""
    ours = {"held_out": (f"held-out {e.noun}s", e.held_out), "own_samples": (f"{e.noun}s of its own", e.own_mean)}
    if e.train_mean is not None:
        ours["train"] = (f"{e.noun}s it was trained on", e.train_mean)
    rows = [(label, mean, mean.of) for label, mean in ours.values()]
    numbers: dict[str, Any] = {key: mean.value for key, (_, mean) in ours.items()}
    numbers |= {f"{key}_error": mean.error for key, (_, mean) in ours.items()}
    for name, lead in e.leads.items():
        rows += [(name, lead.theirs, lead.theirs.of)]
        rows += [(f"lead over {name}, {e.noun} by {e.noun}", lead.lead, lead.lead.of)]
        found = {
            "mean": lead.theirs.value,
            "error": lead.theirs.error,
            "difference": lead.lead.value,
            "difference_error": lead.lead.error,
            "compared": lead.lead.of,
            "better": lead.better,
        }
        numbers |= {"against": {**numbers.get("against", {}), name: found}}
    return rows, numbers


@section("cost", "Cost, versions, and how to repeat it")
def cost(e: Evidence) -> Blocks:
    """Parameters, training, timings of this page, versions, and how to reproduce it."""
    facts: list[Fact] = [("Parameters", whole(e.parameters), "")]
    last = e.page.history[-1] if e.page.history else {}
    shown: list[tuple[str, str, Any]] = [
        ("step", "Training steps", whole),
        ("epoch", "Epochs", plain),
        ("seconds", "Training", seconds),
    ]
    facts += [(label, show(last[key]), "") for key, label, show in shown if is_number(last.get(key))]
    facts += [
        (f"Scoring the held-out {e.noun}s", seconds(e.scored[1]), f"for {len(e.log_prob):,}"),
        ("Drawing and scoring its own", seconds(e.drawn[1]), f"for {e.own.count:,}"),
        ("pushforward", __version__, ""),
        ("PyTorch", torch.__version__, ""),
        ("Python", platform.python_version(), ""),
        ("NumPy", np.__version__, ""),
        ("matplotlib", matplotlib.__version__, ""),
        ("Seed of this page", str(e.page.seed), ""),
    ]
    yield Facts(facts)
    if e.page.command:
        yield "The command that makes it again:"
        yield Code(e.page.command)
    yield {"parameters": e.parameters}


@section("limits", "What these numbers do not say")
def limits(e: Evidence) -> Blocks:
    """What the reader should not conclude from the report."""
    yield from LIMITS[e.noun]
