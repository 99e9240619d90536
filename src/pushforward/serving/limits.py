"""The limits of requests, and bodies read within them."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import polars as pl
import pyarrow as pa
from starlette.requests import Request

from .options import ServeOptions
from .refusals import Refused, too_many

HOPELESS = 1024  # times the longest body: what is declared to be longer is not read to its end


def check_rows(rows: int, most: int) -> None:
    """Refuses too many rows."""
    if rows > most:
        raise too_many(f"{rows:,} rows", most)


async def body_of(request: Request, limits: ServeOptions) -> bytearray:
    """The body of a request; one too long is read to its end and discarded, so that the client gets the answer."""
    declared = int(request.headers.get("content-length") or 0)
    if declared > limits.bytes and (request.headers.get("expect") or declared > HOPELESS * limits.bytes):
        raise _too_long(limits)  # the client waits for a go-ahead, or could not send all of it in time
    body, length, more = bytearray(), 0, True
    try:
        async with asyncio.timeout(limits.seconds):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "the body was cut off")
                part, more = message.get("body", b""), message.get("more_body", False)
                length += len(part)
                if length > limits.bytes:
                    body.clear()
                else:
                    body += part  # in place
    except TimeoutError:
        if length <= limits.bytes:
            raise Refused(408, f"the body did not arrive within {limits.seconds:g} s") from None
    if length > limits.bytes:
        raise _too_long(limits)
    return body


def check_cells(body: bytearray, rows: int, columns: int) -> None:
    """Refuses JSON of more cells than its rows may have, before it is read: few bytes of it may take hundreds."""
    # twice as many commas as cells, some of which may hold one themselves
    if body.count(b",") > 2 * (rows + 1) * (columns + 1):
        raise too_many("too many cells", rows)


def _too_long(limits: ServeOptions) -> Refused:
    return Refused(413, f"the body is longer than {limits.bytes:,} bytes; send fewer rows at once")


def arrow_frame(body: bytearray, most: int) -> pl.DataFrame:
    """The rows of an Arrow stream."""
    try:
        messages = pa.ipc.MessageReader.open_stream(pa.py_buffer(body))
        rows = 0
        for message in messages:
            if message.type in ("record batch", "dictionary"):
                rows += _check_batch(message.metadata.to_pybytes(), message.type == "dictionary")
                check_rows(rows, most)
        table = pa.ipc.open_stream(pa.py_buffer(body)).read_all()
        table.validate(full=True)
        frame = pl.from_arrow(table)
    except (pa.ArrowException, pl.exceptions.PolarsError, struct.error, IndexError, OSError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(400, f"the body is not a readable Arrow stream: {said}") from None
    if not isinstance(frame, pl.DataFrame) or not frame.height:
        raise Refused(422, "the Arrow stream holds no rows")
    return frame


def _check_batch(metadata: bytes, dictionary: bool) -> int:
    """The number of rows that a batch claims to hold; 0 for a dictionary. Compressed buffers are refused before they
    are decompressed: few bytes of them could expand to any number."""
    (root,) = struct.unpack_from("<I", metadata, 0)
    header = _table(metadata, root, 2)  # Message: version, header_type, header, …
    batch = _table(metadata, header, 1) if dictionary and header else header  # DictionaryBatch: id, data, …
    if batch is None:
        raise ValueError("a message without a header")
    if _place(metadata, batch, 3) is not None:  # RecordBatch: length, nodes, buffers, compression
        raise Refused(400, "the Arrow stream is compressed; send it without compression")
    length = _place(metadata, batch, 0)
    return 0 if dictionary or length is None else int(struct.unpack_from("<q", metadata, length)[0])


def _place(data: bytes, table: int, field: int) -> int | None:
    """The position of a field in a FlatBuffers table; None if it is absent."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * field >= size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * field)
    return table + offset if offset else None


def _table(data: bytes, table: int, field: int) -> int | None:
    place = _place(data, table, field)
    return None if place is None else place + struct.unpack_from("<I", data, place)[0]


def arrow_body(frame: pl.DataFrame) -> bytes:
    """Rows as an Arrow stream."""
    table: Any = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
