"""The command that serves a model: ``serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import InputError
from ..models.typed import Seconds
from .options import Device, Model, PrintOptions, opened


def serve(
    model: Model,
    *,
    port: int = 8000,
    host: str = "127.0.0.1",
    max_rows: int = 10_000,
    max_megabytes: float = 16.0,
    timeout: Seconds = 30.0,
    allow_host: Annotated[list[str] | None, Parameter(negative="")] = None,
    token_file: Path | None = None,
    max_per_client: int = 64,
    threads: int = 1,
    device: Device = "auto",
    printing: PrintOptions = PrintOptions(),
) -> None:
    """Answer questions put to a model of a table over HTTP, and show a page in the browser.

    GET /health, /info, /metrics, /drift and /openapi.json; POST /score, /sample, /impute, /ask, /predict, /drift and
    /explain. The page at / scores a row, draws rows given some cells, fills holes, and shows a column's density given
    the others.

    Args:
        port: The port; 0 takes any free one, and says which.
        host: The address to listen on; this machine alone unless told otherwise.
        max_rows: Rows that a request may hold or ask for.
        max_megabytes: The longest body of a request.
        timeout: How long a request may take to arrive, and again to be answered, as in 30s.
        allow_host: Another name by which clients may address the server, such as that of a proxy. May be repeated.
        token_file: A file with a token that clients have to send, in the header `authorization: Bearer TOKEN`.
        max_per_client: Requests that one client may have open at once, and four times as many connections.
        threads: Threads of each computation; requests of single rows and long ones run side by side.
    """
    try:
        from ..serving.guard import Guard
        from ..serving.limits import Limits
        from ..serving.run import serve as run
        from ..serving.run import token_of
    except ModuleNotFoundError as error:
        raise InputError(f"serve needs {error.name}; install it with: pip install 'pushforward[serve]'") from None
    for name, value in (
        ("max_rows", max_rows),
        ("max_megabytes", max_megabytes),
        ("max_per_client", max_per_client),
        ("threads", threads),
    ):
        if not 0 < value < float("inf"):
            raise InputError("expected a positive number", name, value)
    limits = Limits(max_rows, round(max_megabytes * 2**20), timeout or 30.0)
    guard = Guard(allow_host or (), None if token_file is None else token_of(token_file), max_per_client)
    run(opened(model, device), host, port, limits, guard, threads, printing.console())
