"""Held-out log-likelihood against training time: every library gets the same rows, model, budget and machine.

    python benchmarks/quality.py --data protein protein.npz --budget 60 [--only ours,zuko,nflows,flowjax]
    python benchmarks/quality.py --data bsds300 FOLDER --budget 1200 --layers 6 --hidden 256,256 --bins 4

Peers: Adam at ``--lr`` with a warm-up and a cosine over the budget, gradient clipping, batches of 512, and the
weights with the best validation loss: the same as ``pf.fit``. Ours: ``pf.fit`` with its defaults and the recipe's own
learning rate, as from the shell. The budget covers everything, including validation and compilation; with
``BENCH_CLOCK=cpu`` it is CPU time.
Runs of the same day with the same data, family and budget stay in the result file, one for each library, family of
ours and rate.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from measure import plots, results
from measure.clock import fit_on_clock
from measure.held_out import DATA, Rows, load
from measure.jax_peers import JaxModel
from measure.sizes import Size
from measure.subjects import OURS, families_of, model
from measure.training import PART, Protocol, Trained, train_jax, train_torch

import pushforward as pf
from pushforward.recipes.by_name import learning_rate

LIBRARIES = {"ours": OURS, "zuko": "zuko", "nflows": "nflows", "normflows": "normflows", "flowjax": "flowjax"}


def train_ours(flow: Any, rows: Rows, protocol: Protocol, compile: bool) -> Trained:
    """Trains with the defaults of :func:`pushforward.fit`; its history is the curve."""
    with fit_on_clock():
        result = pf.fit(
            flow,
            rows.train,
            validation=rows.validation,
            budget=protocol.budget,
            lr=protocol.lr,
            seed=protocol.seed,
            compile=compile,
        )
    losses = [(line["seconds"], line["validation_loss"]) for line in result.history]
    curve = [(seconds, -loss) for seconds, loss in losses if loss is not None]
    with torch.no_grad():
        test = torch.cat([flow.log_prob(part) for part in rows.test.split(PART)])
    return Trained(curve, test, result.steps, sum(p.numel() for p in flow.parameters()), result.seconds)


def run(library: str, family: str, size: Size, rows: Rows, protocol: Protocol, compile: bool) -> results.Row:
    """Trains one library's model and returns a row of results, in nats of the data's units."""
    built: Any = model(library, family, size)
    if isinstance(built, JaxModel):
        trained = train_jax(built, rows, protocol)
    elif library == OURS:
        trained = train_ours(built.module, rows, protocol, compile)
    else:
        trained = train_torch(built, rows, protocol)
    test = trained.test.double() + rows.volume
    return {
        "library": library,
        "family": family,
        "lr": f"{protocol.lr:g}",
        "test nats": round(float(test.mean()), 4),
        "standard error": round(float(test.std()) / math.sqrt(len(test)), 4),
        "steps": trained.steps,
        "parameters": trained.parameters,
        "seconds": round(trained.seconds, 1),
        "note": trained.note or ("compiled" if compile and library == OURS else ""),
        "curve": [(seconds, value + rows.volume) for seconds, value in trained.curve],
    }


def _run(line: results.Row) -> tuple[str, str, str]:
    """The key of a run, which a later run with the same key replaces."""
    return line["library"], line["family"], line["lr"]


def picture(rows: list[results.Row], title: str):
    """Validation curves on a logarithmic time axis, each ending in a star at the test value: each library's
    best run."""
    rows = list({row["library"]: row for row in reversed(rows)}.values())  # they are sorted, best first
    figure, [[axes]] = plots.panels(1, 1, width=6, height=4)
    finite = {row["library"]: [(s, v) for s, v in row["curve"] if math.isfinite(v)] for row in rows}
    plots.curves(
        axes,
        {library: ([s for s, _ in points], [v for _, v in points]) for library, points in finite.items()},
        title,
        "seconds of training",
        "log-likelihood, nats",
        log=False,
    )
    for row in rows:
        axes.plot(row["seconds"], row["test nats"], "*", ms=12, color=plots.COLOURS[row["library"]])
    late = [v for points in finite.values() for _, v in points[len(points) // 3 :]]
    if late:
        top = max(late)
        axes.set_ylim(min(late) - 0.02 * abs(top), top + 0.02 * abs(top))
    axes.set_xscale("log")
    axes.set_xlim(left=max(row["seconds"] for row in rows) / 200)
    plots.legend(figure, [[axes]])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="the data: a file or a folder")
    parser.add_argument("--data", choices=DATA, required=True)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for each library")
    parser.add_argument("--only", default="ours,zuko,nflows,flowjax")
    parser.add_argument("--family", default="nsf", help="maf, nsf, nsf-coupling or realnvp")
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--hidden", help="widths, as 512,512; by default twice 128, or the features if these are more")
    parser.add_argument("--bins", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3, help="of the peers; ours is the recipe's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="ours compiled")
    parser.add_argument("--ours", help="our family, where it is not the peers': maf-linear or nsf-linear")
    options = parser.parse_args()
    rows = load(options.data, options.path, options.seed)
    hidden = tuple(map(int, options.hidden.split(","))) if options.hidden else (max(128, rows.features),) * 2
    size = Size(rows.features, hidden, options.layers, bins=options.bins)
    name = f"quality-{options.data}-{options.family}-{options.budget:g}s"
    lines = results.earlier(name)
    for short in options.only.split(","):
        library = LIBRARIES[short]
        if options.family not in families_of(library):
            print(f"{library} is not installed, or has no {options.family}", flush=True)
            continue
        family = options.ours if library == OURS and options.ours else options.family
        rate = learning_rate(family) if library == OURS else options.lr
        protocol = Protocol(options.budget, lr=rate, seed=options.seed)
        line = run(library, family, size, rows, protocol, options.compile)
        print({key: value for key, value in line.items() if key != "curve"}, flush=True)
        lines = [*(other for other in lines if _run(other) != _run(line)), line]
        lines.sort(key=lambda line: -line["test nats"])
        shown = [
            {key: f"{value:.3f}" if key == "test nats" else value for key, value in line.items() if key != "curve"}
            for line in lines
        ]
        title = f"{options.data}: log-likelihood after {options.budget:g} seconds, {options.family}"
        notes = f"{len(rows.train):,} training rows, {size}; test nats in the data's units"
        results.write(
            name, title, {"Test rows": results.table(shown)}, lines, notes=notes, figure=picture(lines, title)
        )


if __name__ == "__main__":
    main()
