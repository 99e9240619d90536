"""Seconds per million rows and bytes per row of fit, score and sample, for tables of 10 columns of growing length.

    python benchmarks/scale.py FOLDER score=1e4,1e5,1e6,2e7 fit=1e5,1e6 sample=1e4,1e6 [--flow realnvp]

Every line is one run of the shell program in a separate process. Its memory is the peak resident size during the
command minus the size after importing PyTorch, Polars and PyArrow. Tables are written once to FOLDER, in files of a
million rows, and are kept. Linux only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np

COLUMNS = 10
FLOWS = {"realnvp": ["--layers", "4", "--hidden", "32,32"], "nsf": []}


def write_rows(folder: Path, rows: int) -> Path:
    """A folder of Parquet files: correlated normal columns, the first bent by the second."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = folder / f"rows-{rows}"
    if place.exists():
        return place
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(COLUMNS, COLUMNS)) / 3 + np.eye(COLUMNS)
    unfinished = folder / f"unfinished-{rows}"
    unfinished.mkdir(exist_ok=True, parents=True)
    for file, start in enumerate(range(0, rows, 1_000_000)):
        x = rng.normal(size=(min(1_000_000, rows - start), COLUMNS)) @ mix
        x[:, 0] += 0.3 * x[:, 1] ** 2
        table = pa.table({f"c{j}": x[:, j] for j in range(COLUMNS)})
        pq.write_table(table, unfinished / f"part-{file:04d}.parquet", row_group_size=250_000)
    unfinished.rename(place)
    return place


def resident(key: str) -> int:
    """VmRSS of this process in bytes, or VmHWM, its peak."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))


def child(arguments: list[str]) -> None:
    """Runs one command; prints seconds and bytes."""
    import polars  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch  # noqa: F401

    from pushforward.cli import app as cli

    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets VmHWM
    own, started = resident("VmRSS"), time.perf_counter()
    code = cli.main([*arguments, "--quiet"])
    seconds, most = time.perf_counter() - started, resident("VmHWM")
    print(json.dumps({"code": code, "seconds": seconds, "bytes": most - own, "own_bytes": own}))


def measured(*arguments: object) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def main(folder: Path, wanted: list[str], flow: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    recipe, model = ["--flow", flow, *FLOWS[flow]], folder / f"model-{flow}"
    if not model.exists():
        measured("fit", write_rows(folder, 100_000), "-o", model, *recipe, "--steps", 500)
    for item in wanted:
        command, sizes = item.split("=")
        for size in sizes.split(","):
            rows = int(float(size))
            if command == "fit":
                arguments = ["fit", write_rows(folder, rows), "-o", folder / "fitted", *recipe, "--epochs", 1]
            elif command == "score":
                arguments = ["score", model, write_rows(folder, rows), "-o", folder / "scores.parquet"]
            else:
                arguments = ["sample", model, "-n", rows, "-o", folder / "drawn.parquet"]
            result = measured(*arguments)
            line = {"date": str(date.today()), "command": command, "flow": flow, "rows": rows, **result}
            line["seconds_per_million"] = result["seconds"] / rows * 1e6
            line["bytes_per_row"] = result["bytes"] / rows
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        child(sys.argv[2:])
    else:
        chosen = sys.argv[sys.argv.index("--flow") + 1] if "--flow" in sys.argv else "realnvp"
        main(Path(sys.argv[1]), [item for item in sys.argv[2:] if "=" in item], chosen)
