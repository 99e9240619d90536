"""The commands that learn: ``demo`` and ``fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..errors import InputError
from ..tables.io.place import located
from ..training.schedule import duration
from .arguments import bounds, height_and_width, names, periods, thread_count, widths
from .options import Device, DropMissing, Json, Query, Quiet, Samples, Seed, Sheet, TableName, console_for, typed


def demo(
    data: str | None = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("demo"),
    budget: str | None = None,
    flow: str = "nsf",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The whole job on a real table: fit, score, sample, report.

    Args:
        data: Your own table; without it, the diamonds table that ships inside plotnine.
        output: The folder that everything is written to.
        budget: Time for the training, as in 60s or 5m; without it, until it has converged, at most two minutes.
        flow: Which flow to fit; see `pushforward fit --help`.
    """
    from . import demo as command

    place = None if data is None else located(data)
    console = console_for(json, quiet)
    time = None if budget is None else duration(budget, "budget")
    console.result(command.run(place, output, console, budget=time, seed=seed, flow=flow))


def fit(
    data: str | None = None,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    query: Query = None,
    table: TableName = None,
    sheet: Sheet = None,
    flow: str | None = None,
    members: int | None = None,
    objective: str = "likelihood",
    layers: int | None = None,
    hidden: str | None = None,
    columns: str | None = None,
    given: str | None = None,
    categories: str | None = None,
    numbers: str | None = None,
    strict: Annotated[bool, Parameter(negative="")] = False,
    weights: str | None = None,
    drop_missing: DropMissing = False,
    queries: bool = True,
    bounds_: Annotated[list[str] | None, Parameter(name="--bounds", negative="")] = None,
    circular: Annotated[list[str] | None, Parameter(negative="")] = None,
    seed: Seed = 0,
    epochs: int | None = None,
    steps: int | None = None,
    budget: str | None = None,
    limit: str | None = None,
    patience: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    samples: Samples = None,
    checkpoint_every: int | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    metrics: Path | None = None,
    resize: str | None = None,
    levels: int | None = None,
    bits: int | None = None,
    scales: int | None = None,
    patch: int | None = None,
    noise: float | None = None,
    target: str | None = None,
    dim: int | None = None,
    support: str | None = None,
    anneal: int = 0,
    modes: Literal["search"] | None = None,
    device: Device = "auto",
    threads: str = "auto",
    compile: Annotated[bool, Parameter(negative="")] = False,
    stream: Annotated[bool, Parameter(negative="")] = False,
    shard: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    quiet: Quiet = False,
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
        flow: auto (the default: for up to 3,000 rows an average of flows, Gaussians and mixtures, for more the best of
            nsf, a mixture and, where nsf overfits, that average), nsf (the best single density), nsf-coupling (quick to
            sample too), maf, iaf, realnvp, ffjord (slow, smooth), bnaf, residual, or gmm, a mixture of Gaussians;
            nsf-linear and maf-linear mix the columns, as suits pixels. For images glow (the default where it can halve
            them), realnvp, tarflow (a transformer), or pixelcnn (slow to sample).
        members: Average this many flows, each trained without another part of the rows.
        objective: likelihood, or for ffjord also matching: each step many times quicker, the same exact density.
        layers: Layers of the flow, for glow on each scale; more fit better and run slower.
        hidden: Widths of its hidden layers, as in 128,128; for images one width.
        columns: Columns to model, as in price,carat; without it, all but the given ones. Text becomes categories.
        given: Columns to condition on: the density is that of the others given these. For images, class: the folder
            that each lies in, the array labels of the .npz, or the idx file of labels.
        categories: Columns whose numbers are names, as in zip,rooms: categories, as text always is.
        numbers: Columns whose values are numbers on a scale, however few; without it, up to 12 different values have a
            probability each, and no others are drawn.
        strict: Refuse what would be decided otherwise: missing cells, constants, names and free text.
        weights: A column that says how much each row counts, in training and in all figures; it is not modelled.
        queries: Train a guide beside the density, for as long again at most: it answers questions about some of the
            columns (impute, score --given, sample --given). --no-queries leaves it out.
        bounds_: An interval that a column stays in, as in share=0,1 (or weight=0, for no upper end). May be repeated.
        circular: A column with a period, where its ends meet, as in hour=0,24. May be repeated.
        epochs: Passes over the training rows.
        steps: Batches to train on.
        budget: Time for the training, as in 90s, 5m or 1h.
        limit: The longest time for a training that would end by itself.
        patience: Stop after this many validations without an improvement.
        batch_size: Rows in a batch [default: 512, images 64; 128 of a table on a processor, if neither steps nor
            epochs are given].
        lr: The learning rate [default: 0.003 for tables by splines and for images, else 0.001; the small flows that
            are averaged for few rows choose theirs].
        checkpoint_every: Save the state of the training every so many steps, beside the model, in MODEL.training.
        resume: Go on from MODEL.training if it exists, or else with the model itself if there is one, as with
            --budget 2m; start afresh if there is neither. What has had its steps or epochs is left as it is.
        metrics: A file for the training's progress, one JSON object a line.
        resize: For images: the side that each is brought to, or height,width.
        levels: For images: pixels hold whole numbers from 0 to one less than this [default: 256].
        bits: For images: keep only this many of the 8 bits of every number, the first ones.
        patch: For tarflow: the side of its patches [default: up to 4, as long as there are 16].
        noise: For tarflow: learn images with Gaussian noise of this standard deviation, where black is -1 and white 1:
            0.05 costs bits and makes better samples, which are freed of it.
        scales: For glow: how many times the image is halved [default: up to 3 times, from its size].
        target: Instead of a table, a log-density in Python, as module:function: it maps (n, D) to (n,), in nats.
        dim: D, how many numbers the target takes.
        support: Where these numbers live, as in real:9,positive:1; kinds are real, positive, unit, simplex and ordered.
        anneal: Steps over which the target comes in, for one with several modes.
        modes: For a target that may have several modes: search for them, start over all, and search again.
        threads: How many threads of the CPU a step of the training uses; auto tries which number is quickest, with a
            number the seed fixes the model bit for bit.
        compile: Compile the flow first: slower to start, faster to train.
        stream: Read Parquet files in pieces even if they would fit in memory.
        shard: Under torchrun, divide weights, gradients and optimiser between the processes (FSDP2), for models that
            are too large for one.
    """
    from ..images.formats import is_images
    from ..models.options import TrainingOptions
    from ..tables.options import TableOptions
    from . import fitting

    if (data is None) == (target is None):
        raise InputError(
            "give a table, as in: pushforward fit DATA -o MODEL, or a density with `target=`, but not both"
        )
    console = console_for(json, quiet)
    place = None if data is None else located(data, query, table, sheet)
    training = TrainingOptions(
        epochs=epochs,
        steps=steps,
        budget=None if budget is None else duration(budget, "budget"),
        batch_size=batch_size,
        lr=lr,
        limit=None if limit is None else duration(limit, "limit"),
        patience=patience,
        seed=seed,
        threads=thread_count(threads),
        device=device,
        compile=compile,
        checkpoint=output.with_name(output.name + ".training") if resume or checkpoint_every is not None else None,
        checkpoint_every=checkpoint_every,
        resume=resume,
        metrics=metrics,
        shard=shard,
    )
    options = TableOptions(
        flow=flow or "auto",
        members=members or "auto",
        objective=objective,
        layers=layers,
        hidden=widths(hidden),
        columns=names("columns", columns),
        given=names("given", given),
        categories=names("categories", categories),
        numbers=names("numbers", numbers),
        strict=strict,
        weights=weights,
        bounds=bounds(bounds_ or []),
        circular=periods(circular or []),
        drop_missing=drop_missing,
        queries=queries,
        samples=16 if samples is None else samples,
        stream=stream,
        training=training,
    )
    size = None if resize is None else height_and_width("resize", resize)
    pixels = {"resize": size, "levels": levels, "bits": bits, "scales": scales, "patch": patch, "noise": noise}
    if isinstance(place, Path) and is_images(place):
        console.result(fitting.fit_images(place, output, flow, options, pixels, console, typed()))
        return
    for name, value in pixels.items():
        if value is not None:
            raise InputError(f"applies to images, which {place or 'a target'} does not hold", name)
    if target is not None:
        from ..models.target import TargetOptions

        asked = TargetOptions(target, dim, support, anneal, modes)
        console.result(fitting.fit_target(asked, output, options, console, typed()))
    elif place is not None:
        console.result(fitting.fit_table(place, output, options, console, typed()))
