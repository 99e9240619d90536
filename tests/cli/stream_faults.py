"""Kills a streamed scoring and lets it go on; then shares one between two processes. A test runs it on its own.

The processes are forked after PyTorch is imported, and before any of its threads, or those of Polars, have started.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pushforward.cli.using  # once, for all that are forked, as the next two
import pushforward.saving.checkpoint
import pushforward.tables.density  # noqa: F401
from pushforward.cli import app as cli
from pushforward.models import base  # noqa: F401
from pushforward.tables.queries import score_files


def started(arguments: list[str], **environment: str) -> int:
    """The number of a process that runs the shell program; its output goes to the file of its last argument."""
    child = os.fork()
    if child:
        return child
    os.environ |= environment
    log = os.open(arguments.pop(), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = cli.main(arguments)
    sys.stdout.flush()
    os._exit(code)


def finished(*children: int) -> None:
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * len(children), codes


def main(model: str, folder: Path) -> None:
    score_files.SIZE = 100

    def arguments(name: str) -> list[str]:
        log = f"{folder}/{name}.log"
        return ["score", model, f"{folder}/rows", "-o", f"{folder}/{name}.parquet", "--samples", "16", "--json", log]

    gathered = folder / "killed.parquet.parts"
    child = started(arguments("killed"))
    while len(list(gathered.glob("part-*.parquet"))) < 3:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before it was killed"
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not (folder / "killed.parquet").exists()
    before = len(list(gathered.glob("part-*.parquet")))
    finished(started(arguments("killed")))
    assert f"{before} of 10 parts are there already" in (folder / "killed.log").read_text()
    assert not gathered.exists()

    finished(started(arguments("straight")))
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    logs = [[*arguments("shared")[:-1], f"{folder}/shared{rank}.log"] for rank in (0, 1)]
    finished(*(started(logs[rank], RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in (0, 1)))
    assert '"scored": 1000' in (folder / "shared0.log").read_text()
    print("killed, resumed and shared")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
