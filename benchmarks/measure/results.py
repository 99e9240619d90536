"""Dated result files: measurements, the machine, and versions; Markdown for people, JSON for scripts."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from .clock import CPU

RESULTS = Path(__file__).parent.parent / "results"
LIBRARIES = ("zuko", "nflows", "normflows", "flowjax", "torchdiffeq", "diffrax", "jax", "numpy")
Row = dict[str, Any]


def machine() -> Row:
    """Hardware, operating system, versions and threads."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": processor(),
        "cores": usable,
        "threads": torch.get_num_threads(),
        "memory_gb": _memory(),
        "gpu": gpu,
        "clock": "processor time" if CPU else "wall time",
        "products": os.environ.get("PUSHFORWARD_PRODUCTS", "measured"),  # which engine multiplies
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions,
    }


def card(device: str) -> list[str]:
    """The suffix of results for a device: none for the CPU, the model of a GPU."""
    if not device.startswith("cuda"):
        return [] if device == "cpu" else [device]
    return [re.sub(r"\W+", "-", torch.cuda.get_device_name(device).lower()).strip("-")]


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _memory() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with the keys of the first row as its header."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([_cell(row.get(key)) for key in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def ratios(medians: Mapping[str, float], against: str) -> dict[str, str]:
    """Each value with its ratio to the reference."""
    reference = medians.get(against)
    return {
        name: _cell(value) if name == against or not reference else f"{_cell(value)} ({value / reference:.2f}x)"
        for name, value in medians.items()
    }


def path_of(name: str) -> Path:
    """The path of today's result of this name, without an extension."""
    folder = Path(os.environ.get("BENCH_RESULTS", RESULTS))
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{datetime.date.today().isoformat()}-{name}"


def earlier(name: str) -> list[Row]:
    """The rows of today's file of this name, if there is one, from the same machine, versions, threads and clock."""
    path = path_of(name).with_suffix(".json")
    document = json.loads(path.read_text()) if path.exists() else {}
    return document["rows"] if document.get("machine") == machine() else []


def write(
    name: str,
    title: str,
    tables: Mapping[str, str],
    rows: Iterable[Row],
    *,
    notes: str = "",
    figure: Figure | None = None,
) -> Path:
    """``results/DATE-name.md``, ``.json`` and, with a figure, ``.png``; a rerun on the same day replaces them."""
    path, where = path_of(name), machine()
    arguments = [Path(argument).name if Path(argument).exists() else argument for argument in sys.argv[1:]]
    script = Path(sys.argv[0]).resolve()
    within = script.relative_to(RESULTS.parent) if script.is_relative_to(RESULTS.parent) else script.name
    command = shlex.join(["python", f"benchmarks/{within}", *arguments])
    versions = ", ".join(f"{library} {version}" for library, version in where["versions"].items())
    lines = [
        f"# {title}, {datetime.date.today()}",
        "",
        f"`{command}`; {where['processor']}, {where['cores']} cores, {where['threads']} threads, "
        f"{where['memory_gb']} GB, {where['gpu'] or 'no GPU'}, {where['system']}; "
        f"{versions}; float32; {where['clock']}.",
        *(["", notes] if notes else []),
        *(line for heading, text in tables.items() for line in ("", f"## {heading}", "", text)),
    ]
    if figure is not None:
        figure.savefig(path.with_suffix(".png"), dpi=120, bbox_inches="tight")
        lines += ["", f"![{title}]({path.name}.png)"]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")
    document = {
        "title": title,
        "date": datetime.date.today().isoformat(),
        "command": command,
        "machine": where,
        "notes": notes,
        "rows": list(rows),
    }
    path.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    print(f"{path}.md", flush=True)
    return path
