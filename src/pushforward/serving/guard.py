"""Who may ask: the name by which the server is addressed, the site that a browser asks for, and a token."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from .requests import Refused

JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"
CONTENTS = (JSON, ARROW, "application/vnd.apache.arrow.file", "application/x-arrow")
OPEN = ("/health", "/", "/page.css", "/page.js")  # paths that need no token: nothing of the model is in them


@dataclass(frozen=True)
class Guard:
    """What a request must bring along.

    A page of another site may make a browser send requests to this server, under a name of that site that it lets
    point here. So names other than this machine's addresses are refused, and so are requests that a browser makes for
    another site, and contents that it would send for one without asking the server first.

    Args:
        names: By which the server may be addressed, beside any IP address and ``localhost``.
        token: What clients have to know, or None.
        per_client: Requests that one client may have open at once.
    """

    names: Collection[str] = ()
    token: str | None = None
    per_client: int = 64

    def check(self, request: Request) -> None:
        """Lets a request pass.

        Raises:
            Refused: says what is wrong with it.
        """
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        name = urlsplit(f"//{host}").hostname or ""
        if not (_is_address(name) or name in {"localhost", *map(str.lower, self.names)}):
            raise Refused(421, f"the server is not called {name!r} here; allow the name with --allow-host {name}")
        if self.token is not None and request.url.path not in OPEN:
            self._check_token(request.headers.get("authorization", ""), self.token)
        if request.method != "POST":
            return
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refused(403, f"a page of {origin} may not ask this server")
        kind = media_type(request)
        if kind not in CONTENTS:
            raise Refused(415, f"the content-type is {kind or 'not given'}; expected {JSON}, or {ARROW}")

    @staticmethod
    def _check_token(given: str, token: str) -> None:
        scheme, _, found = given.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(found.strip().encode(), token.encode()):
            raise Refused(401, "a token is needed, as in the header authorization: Bearer TOKEN")


def media_type(request: Request) -> str:
    """What the body of a request is said to be, without parameters."""
    return (request.headers.get("content-type") or "").split(";")[0].strip().lower()


def is_arrow(request: Request) -> bool:
    """Whether its rows come as Arrow."""
    return media_type(request) in CONTENTS[1:]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
