"""The server process: a model, a port, and uvicorn between them."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gc
import ipaddress
import signal
import socket
from pathlib import Path

import torch
import uvicorn

from ..errors import InputError
from ..models.base import FittedDensity
from ..models.console import Console
from ..tables.fitted import FittedTable
from .app import create_app
from .batching import MOST
from .connection import limited
from .guard import Guard
from .limits import Limits

CONNECTIONS = 4  # of one address, for each request that it may have open: a proxy keeps some


def serve(
    model: FittedDensity, host: str, port: int, limits: Limits, guard: Guard, threads: int, console: Console
) -> None:
    """Answers requests until the process is told to stop; those that it is at by then are answered first.

    Raises:
        InputError: the model is of images, or the port cannot be used; says why.
    """
    if not isinstance(model, FittedTable):
        raise InputError(
            f"{model.called}: holds images, whose scores and draws are files; serve takes models of tables"
        )
    torch.set_num_threads(threads)
    listener = listen(host, port)
    app = create_app(model, limits, dataclasses.replace(guard, names=[host, *guard.names]))
    warm(model)
    address = listener.getsockname()
    shown = f"[{address[0]}]" if listener.family == socket.AF_INET6 else address[0]
    url = f"http://{shown}:{address[1]}"
    console.say(f"{model.called}: {len(model.schema.table_names)} columns at {url} (Ctrl-C stops it)")
    if guard.token is None and not ipaddress.ip_address(address[0].split("%")[0]).is_loopback:
        anyone = "anyone who reaches this machine may query the model; give clients a token with `token_file=`"
        console.note(f"`host={host!r}`: {anyone}")
    console.result({"url": url, "model": model.called})
    config = uvicorn.Config(
        app,
        http=limited(limits.seconds, CONNECTIONS * guard.per_client),
        ws="none",  # a connection that became one would keep its place among its client's for ever
        log_level="error",  # strangers could fill a disk with warnings
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
    )
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it once more when all is answered
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
    console.say("stopped")


def token_of(file: Path) -> str:
    """The token in a file.

    Raises:
        InputError: there is no such file, or no token in it.
    """
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", "token_file", str(file)) from None
    if not token or not token.isascii() or any(map(str.isspace, token)):
        raise InputError("expected one word of ASCII letters and signs", "token_file", str(file))
    return token


def warm(model: FittedTable) -> None:
    """Performs everything that is slow the first time, so that the first clients need not wait for it.

    The objects created by then are kept out of Python's cyclic garbage collection: scanning them all takes 200 ms.
    """
    if not model.schema.given:
        rows = model.sample(MOST, random_state=0)
        for number in (1, MOST // 4, MOST):
            model.score_samples(rows[:number])
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address.

    Raises:
        InputError: the address is taken, forbidden, or does not exist; says what to do.
    """
    if not 0 <= port <= 65535:
        raise InputError("expected 0 (any free port) to 65535", "port", port)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise InputError("is not an address of this machine; 127.0.0.1 is the machine itself", "host", host) from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise _refusal(error, host, port) from None
    return listener


def _refusal(error: OSError, host: str, port: int) -> InputError:
    if error.errno == errno.EADDRINUSE:
        another = f"take another, as in `port={port % 65535 + 1}`, or 0 for any free one"
        return InputError(f"is in use on {host}; {another}", "port", port)
    if error.errno in (errno.EACCES, errno.EPERM):
        return InputError("this user may not open it; take one from 1024 to 65535", "port", port)
    return InputError("is not an address of this machine; 127.0.0.1 is the machine itself", "host", host)
