"""The same targets with atheris, which looks for inputs that reach new lines.

    pip install atheris
    python tests/fuzz/loaders.py tables|models|requests|lines FOLDER -max_total_time=600

FOLDER gets seeds on the first run and keeps what the fuzzer finds interesting. It stops at the first finding and writes
the input to ``crash-...``; what takes more than 30 seconds or 3 GiB is one, too.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pushforward"]):
    from targets import PLACE, TARGETS, one_input

LIMITS = ("-max_len=16384", "-timeout=30", "-rss_limit_mb=3072", "-print_final_stats=1")


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    target = TARGETS[name]()
    for number, seed in enumerate(target.seeds()):
        (folder / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[2:]], lambda data: one_input(target, data or b"\0"))
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)


if __name__ == "__main__":
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    main()
