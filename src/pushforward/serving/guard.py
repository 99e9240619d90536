"""Who may ask, and how much at once: the server's name, the site that a browser asks for, a token, a client's share."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

from starlette.requests import Request

from .options import ServeOptions
from .refusals import JSON, Refused

ARROW = "application/vnd.apache.arrow.stream"
CONTENTS = (JSON, ARROW, "application/vnd.apache.arrow.file", "application/x-arrow")
PATIENCE = 5.0  # seconds that a body waits for those that its client sent before
OPEN = ("/health", "/", "/page.css", "/page.js")  # paths that need no token: nothing of the model is in them


class Guard:
    """What a request must bring along, and no client with more than its share.

    A page of another site may make a browser send requests to this server, under a name of that site that it lets
    point here. So names other than this machine's addresses are refused, and so are requests that a browser makes for
    another site, and contents that it would send for one without asking the server first.

    Args:
        options: The names by which the server may be addressed, beside any IP address and ``localhost``; the token that
            clients have to know; and how much each may have open at once.
    """

    def __init__(self, options: ServeOptions) -> None:
        self.most, self.token = options.bytes, options.token
        self.names = {"localhost", *map(str.lower, (options.host, *options.allow_host))}
        self.requests = Shares(options.max_per_client, "requests")
        self.bytes = Shares(options.bytes, "bytes of bodies")

    @contextlib.asynccontextmanager
    async def admitted(self, request: Request) -> AsyncIterator[None]:
        """Lets a request pass, which holds its client's share until it is answered; its body waits for the share."""
        self.check(request)
        with self.requests.hold(client := client_of(request)):
            await self.bytes.room(client, kept := self._kept(request))
            with self.bytes.hold(client, kept):
                yield

    def charge(self, request: Request) -> None:
        """The body of a request that was refused stays in its client's share for a second more."""
        with contextlib.suppress(Refused), contextlib.ExitStack() as kept:
            kept.enter_context(self.bytes.hold(client_of(request), self._kept(request)))
            leave_in_a_second(kept)

    def check(self, request: Request) -> None:
        """Lets a request pass."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        name = _name_in(host)
        if not (name in self.names or _is_address(name)):
            raise Refused(421, f"the server is not called {name!r} here; names are allowed with --allow-host")
        if self.token is not None and request.scope["path"] not in OPEN:
            scheme, _, found = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(found.strip().encode(), self.token.encode()):
                raise Refused(401, "a token is needed, as in the header authorization: Bearer TOKEN")
        if request.method != "POST":
            return
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise Refused(403, f"a page of {origin} may not ask this server")
        kind = media_type(request)
        if kind not in CONTENTS:
            raise Refused(415, f"the content-type is {kind or 'not given'}; expected {JSON}, or {ARROW}")

    def _kept(self, request: Request) -> int:
        """As many bytes of a request's body as are kept at most."""
        declared = request.headers.get("content-length") or "0"
        chunked = "transfer-encoding" in request.headers or not declared.isdecimal()
        return self.most if chunked else min(int(declared), self.most)


class Shares:
    """How much of something each client holds, of which none may hold more than so much; others are not affected.

    Args:
        most: The most that one client may hold.
        what: What it is, in words.
        of_all: The most that all clients may hold together.
    """

    def __init__(self, most: int, what: str, of_all: float = math.inf) -> None:
        self.most, self.what, self.of_all = most, what, of_all
        self.held: Counter[str] = Counter()

    async def room(self, client: str, amount: int) -> None:
        """Waits for a while until a client may hold some more."""
        stop = time.monotonic() + PATIENCE
        while self.held[client] + amount > self.most and time.monotonic() < stop:
            await asyncio.sleep(0.05)

    @contextlib.contextmanager
    def hold(self, client: str, amount: int = 1) -> Iterator[None]:
        """Holds some more for a while."""
        if self.held[client] + amount > self.most:
            raise Refused(429, f"one client may hold {self.most:,} {self.what} at once; try again in a second")
        if self.held.total() + amount > self.of_all:
            raise Refused(503, f"the server is busy: too many {self.what} are waiting; try again in a second")
        self.held[client] += amount
        try:
            yield
        finally:
            self.held[client] -= amount
            if not self.held[client]:
                del self.held[client]


def leave_in_a_second(place: contextlib.ExitStack) -> None:
    """Keeps what a client holds for a second more, in place of leaving it with the block."""
    asyncio.get_running_loop().call_later(1.0, place.pop_all().close)


def client_of(request: Request) -> str:
    """The address that a request came from."""
    return request.client.host if request.client else ""


def media_type(request: Request) -> str:
    """What the body of a request is said to be, without parameters."""
    return (request.headers.get("content-type") or "").split(";")[0].strip().lower()


def _name_in(host: str) -> str:
    """The name in a `Host`, without its port; all of what is more than a name and a port, or none."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(f"//{host}")
        if parts.netloc == host and "@" not in host:
            return parts.hostname or host
    return host


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False
