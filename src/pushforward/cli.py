"""The shell program: arguments and help texts. What the commands do is in ``commands/``, imported when one runs."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from . import __version__
from .arguments import assignments, bounds, names, seconds, widths
from .data.errors import InputError

HELP = """Learn the density of a table, score its rows, draw new ones, and report.

A typical afternoon:

    pushforward fit sales.csv -o model
    pushforward score model sales.csv -o scores.csv
    pushforward sample model -n 1000 -o rows.csv
    pushforward report model -o report.html

Tables are CSV, Parquet, Arrow or NumPy files. Log-densities are in nats, in the table's own units.
"""

app = App(name="pushforward", help=HELP, version=__version__)

Model = Annotated[Path, Parameter(help="A model: the folder that `pushforward fit` wrote.")]
Json = Annotated[bool, Parameter(negative="", help="Print the result as JSON, for scripts.")]
Quiet = Annotated[bool, Parameter(negative="", help="Print nothing but errors.")]
Seed = Annotated[int, Parameter(help="Fixes everything that is drawn at random.")]
Device = Annotated[str, Parameter(help="cpu, cuda, or auto: the GPU where there is one.")]
DropMissing = Annotated[bool, Parameter(negative="", help="Leave out rows with missing or infinite values.")]
Samples = Annotated[
    int | None, Parameter(help="Points that each whole or rounded number's cell is averaged over [default: 16].")
]


@app.command(sort_key=1)
def demo(
    data: Path | None = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("demo"),
    budget: str = "60s",
    flow: str = "nsf",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole job on a real table: fit, score, sample, report.

    Args:
        data: Your own table; without it, the diamonds table that ships inside plotnine.
        output: The folder that everything is written to.
        budget: Time for the training, as in 60s or 5m.
        flow: Which flow to fit; see `pushforward fit --help`.
    """
    from .commands import demo as command

    console = _console(json, quiet)
    console.result(command.run(data, output, console, budget=seconds("--budget", budget), seed=seed, flow=flow))


@app.command(sort_key=2)
def fit(
    data: Path | None = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    flow: str = "nsf",
    layers: int | None = None,
    hidden: str | None = None,
    columns: str | None = None,
    given: str | None = None,
    drop_missing: DropMissing = False,
    bounds_: Annotated[list[str] | None, Parameter(name="--bounds", negative="")] = None,
    seed: Seed = 0,
    epochs: int | None = None,
    steps: int | None = None,
    budget: str | None = None,
    patience: int | None = None,
    batch_size: int = 512,
    lr: float = 1e-3,
    samples: Samples = None,
    checkpoint_every: int | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    metrics: Path | None = None,
    target: str | None = None,
    dim: int | None = None,
    support: str | None = None,
    anneal: int = 0,
    device: Device = "auto",
    compile: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn the density of a table and save it; or, with --target, a sampler of a density known up to a constant.

    One tenth of the rows tells when to stop, another tenth is held out for the figures that are printed; an .npz file
    with arrays train, val and test is used as it is divided. Without --epochs, --steps or --budget, it trains on about
    5,000 batches.

    Args:
        data: The table.
        output: The model: a folder that is written, or replaced.
        flow: nsf (the best density), nsf-coupling (quick to sample too), maf, iaf, realnvp, or ffjord (slow, smooth).
        layers: Layers of the flow; more fit better and run slower.
        hidden: Widths of its hidden layers, as in 128,128.
        columns: Columns to model, as in price,carat; without it, all but the given ones.
        given: Columns to condition on: the density is that of the others given these. Text is allowed here.
        bounds_: An interval that a column stays in, as in share=0,1 (or weight=0, for no upper end). May be repeated.
        epochs: Passes over the training rows.
        steps: Batches to train on.
        budget: Time for the training, as in 90s, 5m or 1h.
        patience: Stop after so many validations without an improvement.
        batch_size: Rows in a batch.
        lr: The learning rate.
        checkpoint_every: Save the state of the training every so many steps, beside the model, in MODEL.training.
        resume: Go on from MODEL.training where it exists; start afresh where it does not.
        metrics: A file for the training's progress, one JSON object a line.
        target: Instead of a table, a log-density in Python, as module:function: it maps (n, D) to (n,), in nats.
        dim: D, how many numbers the target takes.
        support: Where they live, as in real:9,positive:1; kinds are real, positive, unit, simplex and ordered.
        anneal: Steps over which the target comes in, for one with several modes.
        compile: Compile the flow first: slower to start, faster to train.
    """
    from .commands import fit as command

    console = _console(json, quiet)
    if (data is None) == (target is None):
        raise InputError("give a table, as in: pushforward fit DATA -o MODEL, or a density by --target, and not both")
    options = command.FitOptions(
        flow=flow,
        layers=layers,
        hidden=widths(hidden),
        columns=names("--columns", columns),
        given=names("--given", given),
        bounds=bounds(bounds_ or []),
        drop_missing=drop_missing,
        seed=seed,
        epochs=epochs,
        steps=steps,
        budget=None if budget is None else seconds("--budget", budget),
        batch_size=batch_size,
        lr=lr,
        patience=patience,
        samples=16 if samples is None else samples,
        device=device,
        compile=compile,
        checkpoint_every=checkpoint_every,
        resume=resume,
        metrics=metrics,
    )
    if target is not None:
        from .commands.fit_target import TargetOptions, run

        console.result(run(TargetOptions(target, dim, support, anneal), output, options, console, _command_line))
    elif data is not None:
        console.result(command.run(data, output, options, console, _command_line))


@app.command(sort_key=3)
def score(
    model: Model,
    data: Path,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    explain: Annotated[bool, Parameter(negative="")] = False,
    explain_below: float | None = None,
    drop_missing: DropMissing = False,
    samples: Samples = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The log-density of every row of a table, and its percentile among the training rows.

    Writes one row of scores per row of the table, in its order: log_density (nats, in the table's units), percentile,
    and standard_error where whole or rounded numbers make the density an average over cells.

    Args:
        data: The table; its columns are found by name, in any order.
        output: The scores: a .csv or .parquet file.
        explain: Add what makes a row unlikely: the column to blame, the value that would fit, and for every column by
            how many nats the row would be likelier with the best other value there.
        explain_below: Explain the rows up to this percentile, instead of 5.
        drop_missing: Give rows with missing or infinite values no score, instead of refusing the table.
    """
    from .commands import score as command
    from .commands.device import device_named

    console = _console(json, quiet)
    if explain and explain_below is None:
        explain_below = 5.0
    if explain_below is not None and not 0 <= explain_below <= 100:
        raise InputError(f"--explain-below {explain_below:g}: expected a percentile, 0 to 100")
    console.result(
        command.run(
            model,
            data,
            output,
            console,
            samples=samples,
            seed=seed,
            drop_missing=drop_missing,
            explain_below=explain_below,
            device=device_named(device),
        )
    )


@app.command(sort_key=4)
def sample(
    model: Model,
    *,
    n: Annotated[int, Parameter(name=["-n", "--rows"])],
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    given: Annotated[list[str] | None, Parameter(negative="")] = None,
    seed: Seed = 0,
    temperature: float = 1.0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw new rows from a model.

    Args:
        n: How many rows.
        output: The rows: a .csv or .parquet file.
        given: The value of a column that the model is conditioned on, as in cut=Ideal. May be repeated.
        temperature: Below 1, rows closer to the most typical ones; 1 samples the density itself.
    """
    from .commands import sample as command
    from .commands.device import device_named

    console = _console(json, quiet)
    where = device_named(device)
    fixed = assignments("--given", given or [])
    console.result(command.run(model, n, output, fixed, console, seed=seed, temperature=temperature, device=where))


@app.command(sort_key=5)
def report(
    model: Model,
    data: Path | None = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("report.html"),
    title: str | None = None,
    drop_missing: DropMissing = False,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write what was learnt, and how well, as one HTML file to share.

    Args:
        data: Rows to report on: of the file that was fitted, the held-out ones are used; without it, the held-out rows
            that were saved with the model.
        output: The report: an .html file.
        title: Its heading.
    """
    from .commands import report as command

    console = _console(json, quiet)
    console.result(command.run(model, data, output, console, seed=seed, drop_missing=drop_missing, title=title))


@app.command(sort_key=6)
def compare(
    model: Model,
    other: Annotated[Path, Parameter(help="Another model of the same columns.")],
    data: Path,
    *,
    drop_missing: DropMissing = False,
    samples: Samples = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which of two models gives a table's rows the higher likelihood, row by row, with its standard error.

    Args:
        data: The table. Of a file that the models were fitted to, their common held-out rows are used.
    """
    from .commands import compare as command
    from .commands.device import device_named

    console = _console(json, quiet)
    where = device_named(device)
    console.result(
        command.run(model, other, data, console, samples=samples, seed=seed, drop_missing=drop_missing, device=where)
    )


@app.command(sort_key=7)
def info(model: Model, *, json: Json = False) -> None:
    """What a model is: its table, its columns, how good it is, and the command that made it."""
    from .commands import info as command

    console = _console(json, False)
    console.result(command.run(model, console))


_command_line = "pushforward"  # what the user typed, for the model's own record


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 when it is done, 2 when the input or the arguments are wrong, 1 for anything else; never a traceback.
    """
    global _command_line
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _command_line = shlex.join(["pushforward", *arguments])
    try:
        command, bound, _ = app.parse_args(arguments, exit_on_error=False, print_error=False)
        command(*bound.args, **bound.kwargs)
    except CycloptsError as error:
        return _fail(2, f"{' '.join(str(error).split())} Help: pushforward {_first(arguments)}--help", arguments)
    except InputError as error:
        return _fail(2, str(error), arguments)
    except KeyboardInterrupt:
        return _fail(1, "stopped; nothing was written", arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at exit
        return 1
    except Exception as error:
        if os.environ.get("PUSHFORWARD_TRACEBACK"):
            raise
        sentence = f"{type(error).__name__}: {error}".splitlines()[0]
        return _fail(1, f"{sentence} (PUSHFORWARD_TRACEBACK=1 shows where)", arguments)
    return 0


def _fail(code: int, sentence: str, arguments: Sequence[str]) -> int:
    print(f"pushforward: {sentence}", file=sys.stderr)
    if "--json" in arguments:
        print(json.dumps({"error": sentence}))
    return code


def _first(arguments: Sequence[str]) -> str:
    return f"{arguments[0]} " if arguments and arguments[0] in app else ""


def _console(as_json: bool, quiet: bool) -> Any:
    from .commands.console import Console

    return Console(as_json, quiet)
