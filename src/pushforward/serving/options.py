"""How a model is served, as the shell and the server read it; nothing that only a server needs is imported here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import InputError
from ..models.typed import Seconds, Whole


@Parameter(name="*")
@dataclass(frozen=True)
class ServeOptions:
    """Where a server listens, to whom, and how much a request may take.

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
        compile: Score in machine code where it is faster, once it is compiled: a minute or two beside the first
            answers, at the lowest priority, if there is a C++ compiler.
    """

    port: Whole = 8000
    host: str = "127.0.0.1"
    max_rows: Whole = 10_000
    max_megabytes: float = 16.0
    timeout: Seconds = 30.0
    allow_host: Annotated[Sequence[str], Parameter(negative="", show_default=False)] = ()
    token_file: Path | None = None
    max_per_client: Whole = 64
    threads: Whole = 1
    compile: bool = True

    def __post_init__(self) -> None:
        for name in ("max_rows", "max_megabytes", "max_per_client", "threads"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError("expected a positive number", name, getattr(self, name))
        if not all(self.allow_host):
            raise InputError("expected a name", "allow_host")

    @property
    def bytes(self) -> int:
        """The longest body."""
        return round(self.max_megabytes * 2**20)

    @property
    def seconds(self) -> float:
        """The time in which a request has to arrive."""
        return self.timeout or 30.0

    @cached_property
    def token(self) -> str | None:
        """The token in the file, which is read once: it may be a pipe."""
        if self.token_file is None:
            return None
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read: {error}", "token_file", str(self.token_file)) from None
        if not token or not token.isascii() or any(map(str.isspace, token)):
            raise InputError("expected one word of ASCII letters and signs", "token_file", str(self.token_file))
        return token
