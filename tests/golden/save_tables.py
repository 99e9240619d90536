"""Saves the models of tables, images and targets in this folder, with their rows and scores.

usage: python tests/golden/save_tables.py FOLDER   (with the release to be recorded installed; see README.md)
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import pushforward as pf

Case = tuple[str, Any, pl.DataFrame, dict[str, Any]]  # name, unfitted model, rows, further arguments of fit
SHORT: dict[str, Any] = {"steps": 30, "layers": 1, "hidden": (8, 8), "random_state": 0}


def kinds(rng: np.random.Generator, n: int = 240) -> pl.DataFrame:
    """A column of each kind."""
    size = rng.gamma(3.0, size=n)
    return pl.DataFrame(
        {
            "size": size,
            "height": (170 + 10 * rng.normal(size=n)).round(1),
            "count": rng.poisson(40 + 5 * size),
            "spend": np.where(rng.random(n) < 0.4, 0.0, rng.lognormal(2, 1, n)),
            "rating": rng.integers(1, 6, n),
            "share": rng.beta(2, 3, n),
            "colour": rng.choice(["red", "blue", "green"], n, p=[0.6, 0.3, 0.1]),
            "member": rng.random(n) < 0.3,
            "day": [date(2020, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 900, n)],
            "at": [datetime(2020, 1, 1) + timedelta(seconds=int(s)) for s in rng.integers(0, 10**8, n)],
            "text_day": [f"{d:02d}.03.2021" for d in rng.integers(1, 29, n)],
        }
    )


def simple(rng: np.random.Generator, n: int = 200) -> pl.DataFrame:
    size = rng.gamma(3.0, size=n)
    colour = rng.choice(["red", "blue"], n)
    return pl.DataFrame({"size": size, "weight": 2 * size + rng.normal(size=n) + (colour == "red"), "colour": colour})


def holed(rng: np.random.Generator, n: int = 240) -> pl.DataFrame:
    frame = simple(rng, n).with_columns(rating=pl.Series(rng.integers(1, 6, n)))
    holes = {name: pl.Series(rng.random(n) < 0.15) for name in frame.columns}
    holes["weight"] = frame["size"] > 4.5  # missing for a reason
    return frame.with_columns(pl.when(~hole).then(pl.col(name)).alias(name) for name, hole in holes.items())


def related(rng: np.random.Generator, n: int = 240) -> pl.DataFrame:
    frame = pl.DataFrame({"a": rng.normal(size=n).round(2), "b": rng.gamma(2, size=n).round(2)})
    town = rng.choice(["Ulm", "Bonn", "Kiel"], n)
    return frame.with_columns(
        total=(pl.col("a") + pl.col("b")).round(2),
        inches=pl.col("a") / 2.54,
        town=pl.Series(town),
        state=pl.Series([{"Ulm": "BW", "Bonn": "NW", "Kiel": "SH"}[t] for t in town]),
        unit=pl.lit("cm"),
        high=pl.col("b") > 2,
    )


def cases() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    yield "t-kinds", pf.TableDensity("maf", **SHORT), kinds(rng), {}
    yield "t-holes", pf.TableDensity("maf", **SHORT), holed(rng), {}
    yield "t-holes-unguided", pf.TableDensity("maf", queries=False, **SHORT), holed(rng), {}
    frame = simple(rng)
    yield "t-weights", pf.TableDensity("nsf", queries=False, **SHORT), frame, {"sample_weight": rng.random(len(frame))}
    yield "t-relations", pf.TableDensity("maf", queries=False, **SHORT), related(rng), {}
    hours = pl.DataFrame({"hour": (rng.normal(23, 3, 200) % 24).round(2), "load": rng.normal(size=200)})
    yield "t-circle", pf.TableDensity("nsf", circular={"hour": (0, 24)}, queries=False, **SHORT), hours, {}
    yield "t-average", pf.TableDensity(steps=20, random_state=0), simple(rng, 80), {}
    yield "t-mixture", pf.TableDensity("gmm", queries=False, random_state=0), simple(rng, 120), {}
    yield "t-given", pf.TableDensity("maf", given=["colour", "size"], queries=False, **SHORT), simple(rng), {}
    stated: dict[str, Any] = {"bounds": {"size": (0, None)}, "categories": ["rating"]}
    yield "t-bounds", pf.TableDensity("maf", queries=False, **stated, **SHORT), holed(rng), {}


def images() -> Iterator[tuple[str, Any, np.ndarray, np.ndarray | None]]:
    rng = np.random.default_rng(0)
    grey = (rng.beta(2, 5, (120, 8, 8)) * 15).astype(np.uint8)
    short: dict[str, Any] = {"levels": 16, "steps": 10, "layers": 2, "hidden": (8,), "random_state": 0}
    labels = rng.integers(0, 3, 120)
    yield "i-glow", pf.ImageDensity("glow", scales=1, **short), grey, None
    yield "i-realnvp", pf.ImageDensity("realnvp", **short), grey, None
    yield "i-pixelcnn", pf.ImageDensity("pixelcnn", given=("class",), **short), grey, labels
    yield "i-tarflow", pf.ImageDensity("tarflow", patch=4, **(short | {"hidden": (16,)})), grey, None


def record(folder: Path) -> None:
    """Fits, saves, and writes what the saved model answers."""
    for name, model, frame, options in cases():
        model.fit(frame, **options)
        rows = frame.head(40)
        drawn = model.sample(3, given=rows.head(1).select(model.schema.given_names) if model.schema.given else None)
        answers: dict[str, Any] = {"scores": model.score_samples(rows).tolist()}
        answers["types"] = {name: str(kind) for name, kind in drawn.schema.items()}
        if model.guided is not None:  # a question that the guide answers, by draws
            names = model.schema.names[:2]
            value, error = model.score_samples(rows.head(10).select(names), errors=True)
            answers["marginal"] = {"names": names, "value": value.tolist(), "error": error.tolist()}
        keep(folder, name, model, answers)
        rows.write_parquet(folder / f"{name}.parquet")
    for name, model, pixels, labels in images():
        model.fit(pixels, labels)
        scores = model.score_samples(pixels[:20], *([] if labels is None else [labels[:20]]))
        keep(folder, name, model, {"scores": np.asarray(scores).tolist()})
        rows = {"images": pixels[:20]} if labels is None else {"images": pixels[:20], "labels": labels[:20]}
        np.savez_compressed(folder / f"{name}-rows.npz", **rows)


def save_target(folder: Path) -> None:
    """A sampler of a density that is known up to a constant, and its draws."""
    (folder / "banana.py").write_text("def log_density(x):\n    return -x[:, 0]**2 / 2 - (x[:, 1] - x[:, 0]**2)**2\n")
    command = ["fit", "--target", "banana:log_density", "--dim", "2", "--steps", "30", "--layers", "1", "--hidden", "8"]
    subprocess.run([sys.executable, "-m", "pushforward", *command, "-o", "t-target"], cwd=folder, check=True)
    rows = pl.read_parquet(folder / "t-target.draws.parquet").head(40).drop("log_weight")
    rows.write_parquet(folder / "t-target.parquet")
    scores = pf.TableDensity.load(folder / "t-target").score_samples(rows).tolist()
    (folder / "t-target.json").write_text(json.dumps({"scores": scores}))
    (folder / "banana.py").unlink()
    (folder / "t-target.draws.parquet").unlink()


def keep(folder: Path, name: str, model: Any, answers: dict[str, Any]) -> None:
    model.save(folder / name)
    (folder / f"{name}.json").write_text(json.dumps(answers))
    print(name, sum(path.stat().st_size for path in (folder / name).glob("*")) // 1024, "kB", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    record(Path(sys.argv[1]))
    save_target(Path(sys.argv[1]))
