"""One client's connection: a head has to arrive, and an answer to be read, within a time; a head within a size."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .guard import Shares
from .refusals import Refused

HEAD = 32 * 2**10  # bytes of a request line and its headers
AHEAD = 8  # requests that may wait for the answer to an earlier one on the same connection
BODY = (b"content-length", b"transfer-encoding")  # headers of a request that has one
LINGER = 1.0  # seconds that a client has to read a refusal


class Connection(HttpToolsProtocol):
    """HTTP as uvicorn reads it, which alone would wait for the rest of a head for ever, and keep all of it in memory.

    The time runs from the opening of the connection, and from the first byte of each later request, to the end of its
    headers. What arrives of a head is counted, so that one too long is refused by its first few pieces. An answer of
    which so much is not read that it has to be kept here is kept for that time, too; closing would keep it for ever.
    """

    seconds = 30.0
    peers: Shares
    place: contextlib.ExitStack | None = None
    heads = head = 0  # how many have begun, and what has come of the last one, in bytes, after the piece it began in
    wrong = ""  # with a request that the parser would have read
    clock: asyncio.TimerHandle | None = None
    unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.place = contextlib.ExitStack()
        try:
            self.place.enter_context(self.peers.hold((transport.get_extra_info("peername") or ("",))[0]))
        except Refused as refused:
            self._refuse(refused.status, refused.sentence)
            self.transport.close()
        else:
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        if self.place is not None:
            self.place.close()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        before = self.heads
        super().data_received(data)
        if self.clock is not None and self.heads == before:
            self.head += len(data)
            if self.head > HEAD:
                self._refuse(431, f"the request's line and headers are longer than {HEAD:,} bytes")

    def pause_writing(self) -> None:
        super().pause_writing()
        self.unread = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.unread is not None:
            self.unread.cancel()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= AHEAD:
            raise BufferError(f"more than {AHEAD} requests at once")  # which ends the reading
        self._begin()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._end()
        if self.parser.should_upgrade() and any(name in BODY for name, _ in self.headers):
            self.wrong = "no other protocol is offered; send the request without the header Upgrade"
            raise ValueError(self.wrong)  # which ends the reading: of its body the parser reads nothing
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, self.wrong or msg)

    def on_response_complete(self) -> None:
        """An answer that came before all of a body refuses the rest of it; the last request may be a later one."""
        if not (self.cycle.response_complete and self.cycle.more_body) or self.transport.is_closing():
            return super().on_response_complete()
        self._linger()

    def _begin(self) -> None:
        self._end()
        self.heads, self.head = self.heads + 1, 0
        said = f"the request's line and headers did not arrive within {self.seconds:g} s"
        self.clock = self.loop.call_later(self.seconds, self._refuse, 408, said)

    def _end(self) -> None:
        if self.clock is not None:
            self.clock.cancel()
            self.clock = None

    def _refuse(self, status: int, said: str) -> None:
        """Answers and closes the connection, whatever else the client sends; an earlier request is answered first."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        self._end()
        body = f'{{"detail": "{said}"}}'.encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
        )
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self._linger()

    def _linger(self) -> None:
        """Says that nothing follows, so that no client asks here again, reads nothing more, which would cost the other
        clients, and closes when the answer may have been read."""
        self.flow.pause_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.abort)
