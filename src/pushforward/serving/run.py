"""The server process: a model, a port, and uvicorn between them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import ipaddress
import signal
import socket
from functools import partial

import torch
import uvicorn

from ..errors import InputError
from ..models.base import FittedDensity
from ..models.console import Console
from ..tables.density import TableDensity
from ..tables.queries.sample import BATCH
from .app import Server
from .batching import MOST
from .connection import Connection
from .guard import Shares
from .machine_code import compiling
from .options import ServeOptions

GLIBC = {-1: 1 << 20, -3: 1 << 20, -8: 1}  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, in bytes; M_ARENA_MAX
CONNECTIONS = 4  # of one address, for each request that it may have open: a proxy keeps some


def serve(model: FittedDensity, options: ServeOptions, console: Console) -> None:
    """Answers requests until the process is told to stop; those that it is at by then are answered first."""
    if not isinstance(model, TableDensity):
        raise InputError(
            f"{model.called}: holds images, whose scores and draws are files; serve takes models of tables"
        )
    torch.set_num_threads(options.threads)
    return_memory()
    token, listener = options.token, listen(options.host, options.port)
    app = Server(model, options)
    for thread in app.threads:  # each has memory of its own
        thread.submit(warm, model).result()
    gc.collect()
    gc.freeze()  # scanning all objects that there are takes 200 ms
    gc.set_threshold(5_000)
    address = listener.getsockname()
    shown = f"[{address[0]}]" if listener.family == socket.AF_INET6 else address[0]
    url = f"http://{shown}:{address[1]}"
    console.say(f"{model.called}: {len(model.schema.table_names)} columns at {url} (Ctrl-C stops it)")
    if token is None and not ipaddress.ip_address(address[0].split("%")[0]).is_loopback:
        anyone = "anyone who reaches this machine may query the model; give clients a token with `token_file=`"
        console.note(f"`host={options.host!r}`: {anyone}")
    console.result({"url": url, "model": model.called})
    code = compiling(model.density, partial(app.metrics.machine_code.set, 1)) if options.compile else None
    peers = Shares(CONNECTIONS * options.max_per_client, "connections")
    config = uvicorn.Config(
        app,
        http=type("Limited", (Connection,), {"seconds": options.seconds, "peers": peers}),
        lifespan="off",
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
    if code is not None:
        code.stop()
    for thread in app.threads:
        thread.shutdown(wait=False, cancel_futures=True)  # what has begun ends
    console.say("stopped")


def return_memory() -> None:
    """Has glibc return freed memory to the system, of which it would keep as much as the longest requests needed."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        for parameter, value in GLIBC.items():
            ctypes.CDLL(None).mallopt(parameter, value)


def warm(model: TableDensity) -> None:
    """Performs everything that is slow the first time, so that the first clients need not wait for it."""
    if not model.schema.given:
        rows = model.sample(BATCH, random_state=0)
        for number in (1, MOST // 4, MOST):
            model.score_samples(rows[:number])


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address."""
    if not 0 <= port <= 65535:
        raise InputError("expected 0 (any free port) to 65535", "port", port)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, backlog=1024, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        another = f"take another, as in `port={port % 65535 + 1}`, or 0 for any free one"
        raise InputError(f"is in use on {host}; {another}", "port", port)
    if code in (errno.EACCES, errno.EPERM):
        raise InputError("this user may not open it; take one from 1024 to 65535", "port", port)
    raise InputError("is not an address of this machine; 127.0.0.1 is the machine itself", "host", host)
