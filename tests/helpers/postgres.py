"""A PostgreSQL server for tests: its own data in a temporary folder, on a free port of 127.0.0.1, with a password."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

USER, PASSWORD = "ada", "s3cr%t/@:?hunter2"  # with every character that a URL has a meaning for


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, where it is installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = debian[-1] if debian else shutil.which("initdb")
    return None if found is None else Path(found).parent


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A server that runs; the URL of its database, with user and password."""
    bin_ = programs()
    assert bin_ is not None
    # not as root, whom PostgreSQL refuses; the package makes this user
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="pushforward-postgres-"))
    try:
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if as_user:
            shutil.chown(folder, "postgres")
            shutil.chown(secret, "postgres")
        data, port = folder / "data", _free_port()
        run = [*as_user, str(bin_ / "initdb"), "-D", str(data), "-U", USER, "--auth=scram-sha-256", "-N"]
        subprocess.run([*run, f"--pwfile={secret}", "--no-locale", "-E", "UTF8"], check=True, capture_output=True)
        control = [*as_user, str(bin_ / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log")]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c log_statement=all -F"
        subprocess.run([*control, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=False, stdout=subprocess.DEVNULL)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
