"""The commands that learn: ``demo``, ``fit`` and ``update``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import refuse
from ..images.options import PixelOptions
from ..models.options import DensityOptions, FlowOptions, TrainingOptions
from ..models.typed import Flag, Seconds
from ..tables.io.place import SourceOptions, located
from ..tables.options import ColumnOptions
from .options import Device, Model, PrintOptions, Seed, command_line


def demo(
    data: str | None = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("demo"),
    posterior: Flag = False,
    images: Flag = False,
    simulations: Flag = False,
    budget: Seconds = None,
    flow: str | None = None,
    seed: Seed = 0,
    printing: PrintOptions = PrintOptions(),
) -> None:
    """The whole job on a real table: fit, score, find an odd row, sample, ask, report; or another kind of job.

    Args:
        data: Your own table; without it, the diamonds table that ships inside plotnine.
        output: The folder that everything is written to.
        posterior: Instead, a posterior known up to a constant, in a minute: eight schools, beside the exact integral.
        images: Instead, handwritten digits, in a minute: those that ship inside scikit-learn.
        simulations: Instead, parameters given observations, learnt from simulations, in a minute; beside exact answers.
        budget: Time for the training, as in 60s or 5m; without it, half a minute, or of a table until it has converged,
            at most 50 seconds for the density and as much for its guide, which answers questions.
        flow: Which flow to fit to the table [default: nsf]; see `pushforward fit --help`.
    """
    kinds = {"posterior": posterior, "images": images, "simulations": simulations}
    jobs = [name for name, asked in kinds.items() if asked]
    if not jobs:
        from .demo import table

        place = None if data is None else located(data)
        table.run(place, output, printing, budget=budget, seed=seed, flow=flow)
        return
    refuse(f"does not go with `{jobs[0]}=True`", {"data": data, "flow": flow, **dict.fromkeys(jobs[1:], True)})
    import_module(f".demo.{jobs[0]}", __package__).run(output, printing, budget=budget, seed=seed)


def fit(
    data: str | None = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    source: SourceOptions = SourceOptions(),
    flow: FlowOptions = FlowOptions(),
    columns: ColumnOptions = ColumnOptions(),
    pixels: PixelOptions = PixelOptions(),
    target: DensityOptions = DensityOptions(),
    training: TrainingOptions = TrainingOptions(),
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Learn the density of a table or of images; or, with --target, a sampler of a density known up to a constant.

    Images are a folder of pictures, a .npy or .npz of uint8, or an MNIST-style idx file. One tenth of the rows or
    images tells when to stop, another tenth is held out for the figures that are printed; an .npz file with arrays
    train, val and test is used as it is divided. Without --epochs, --steps or --budget, training ends by itself, when
    these no longer become likelier. How it ended is reported: converged, overfitting, or still improving.

    Args:
        data: The table: CSV or other text, Excel, JSON lines, Parquet, Arrow or NumPy, packed or not; - for standard
            input; a folder or 'pattern' of Parquet files; a database: postgresql://USER@HOST/BASE, or a file of SQLite
            or DuckDB. Or the images. What is larger than memory is read in pieces, if it is Parquet or a query: columns
            are learnt from a sample, and rows are shuffled in a buffer.
        output: The model: a folder that is written, or replaced.
    """
    from . import fitting

    console = printing.console()
    place = None if data is None else located(data, source)
    asked = fitting.Asked(flow, columns, pixels, target, training.beside(output))
    console.result(fitting.fit(place, output, asked, console, command_line.get()))


def update(
    model: Model,
    data: str,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    source: SourceOptions = SourceOptions(),
    budget: Seconds = None,
    device: Device = "auto",
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Go on from a model of a table with new rows; the old ones are not needed.

    What the model knew is kept by draws of itself, and by training rows if `fit --keep` saved any. Says how the new
    rows differ, and takes in new categories, impossible values and values missing as in no row before, with a note: the
    density is then fitted anew to draws and new rows, as it is when the table has doubled, until when more of the same
    waits in the model. Refuses another table.

    Args:
        data: The new rows, as for `pushforward fit`.
        output: The updated model: a folder that is written, or replaced; it may be the model itself.
        budget: Time for the training, as in 60s or 5m; without it, a third of the fit's steps, or half.
    """
    from .fitting import update as run

    run(model, located(data, source), output, budget, device, printing.console(), command_line.get())
