"""The application: its paths, their inputs and outputs, and error handling."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import polars as pl
from prometheus_client import generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .. import __version__
from ..errors import in_request, in_shell, spelled
from ..tables.density import TableDensity
from ..tables.io.table import Piece
from ..tables.model import flow_in_words
from ..tables.queries.score import Scoring
from .batching import MOST, Batcher, Jobs
from .columns import RowType, json_rows
from .guard import ARROW, CONTENTS, Guard, client_of, media_type
from .limits import arrow_body, arrow_frame, body_of, check_cells, check_rows
from .metrics import ROWS, Metrics
from .openapi import document
from .options import ServeOptions
from .refusals import HEADERS, JSON, Refused, check_frame, json_answer, refusal_of
from .verbs import VERBS, DriftRequest, Score, Verb, score_fields, scores

Endpoint = Callable[[Request], Awaitable[Response]]
LONG = 1 << 16  # bodies from this many bytes on are not parsed on the event loop
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"  # noqa: E501


class Server:
    """A model behind HTTP, as an ASGI application.

    Args:
        model: The fitted table; its answers become Polars frames, whatever it was fitted to.
        limits: What a request may take.
    """

    def __init__(self, model: TableDensity, limits: ServeOptions) -> None:
        self.model, self.limits, self.metrics, self.jobs = model, limits, Metrics(), Jobs()
        self.cells, self.guard = RowType(model.schema), Guard(limits)
        self.requests = {path: verb.of(self.cells, limits.max_rows) for path, verb in VERBS.items()}
        self.batcher = Batcher(self._batch, self.metrics.batches.observe)
        self.threads = self.batcher.thread, self.jobs.thread
        self.fields = {column.name: column.holes.share > 0 for column in model.schema.fields}  # and if null tells
        posts = {path: partial(self.verb, path) for path in VERBS} | {"/score": self.score}
        gets = {"/health": self.health, "/info": self.info, "/metrics": self.metrics_text, "/drift": self.drift}
        page = {path: (Path(__file__).with_name(name).read_bytes(), kind) for path, (name, kind) in PAGE.items()}
        gets |= {"/openapi.json": self.openapi, **{path: partial(_file, *about) for path, about in page.items()}}
        self.endpoints: dict[str, Mapping[str, Endpoint]] = {"POST": posts, "GET": gets, "HEAD": gets}
        model.facts = {**model.facts, "frame": "polars"}
        if model.path is not None:
            model.path = Path(model.path.absolute().name)  # clients need not know its folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            async with self.guard.admitted(request):
                answer = await self._answered(request)
                await answer(scope, receive, send)
            if answer.status_code >= HTTPStatus.BAD_REQUEST:
                self.guard.charge(request)
        except Refused as refused:
            await refused.answer(scope, receive, send)

    async def _answered(self, request: Request) -> Response:
        """The answer to a request, counted and timed."""
        path, start = request.scope["path"].rstrip("/") or "/", time.perf_counter()
        endpoint = self.endpoints.get(request.method, {}).get(path)
        if endpoint is None:
            return self._nowhere(f"{request.method} {path}", any(path in known for known in self.endpoints.values()))
        response = await self.in_time(endpoint, request)
        self.metrics.requests.labels(path, response.status_code).inc()
        self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
        return response

    async def in_time(self, endpoint: Endpoint, request: Request) -> Response:
        """The answer of an endpoint, or what is said of its error."""
        seconds = 2 * self.limits.seconds
        try:
            async with asyncio.timeout(seconds):
                return await endpoint(request)
        except TimeoutError:
            return Refused(503, f"no answer within {seconds:g} s; ask for fewer rows").answer
        except asyncio.CancelledError:
            return Refused(503, "the server was told to stop").answer
        except Exception as error:
            return refusal_of(error, self.cells).answer

    def _nowhere(self, asked: str, known: bool) -> Response:
        status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
        paths = f"/health, /info, /metrics, /drift, /openapi.json; POST to {', '.join(VERBS)}"
        return Refused(status, f"{asked}: {status.phrase}; there are GET /, {paths}").answer

    async def health(self, _: Request) -> Response:
        return json_answer({"status": "ok"})

    async def info(self, _: Request) -> Response:
        """What the model is, for clients and for the page."""
        summary, model = self.model.facts["summary"], self.model
        told = {name: summary[name] for name in ("parameters", "training_rows", "verdict") if name in summary}
        about = {
            "model": model.called,
            "flow": flow_in_words(summary),
            "questions": model.guided is not None,
            "columns": [cell.info for cell in self.cells.cells.values()],
            **told,
            "percentiles_among": model.others,
            "held_out": summary.get("held_out"),
            "notes": [spelled(note, in_shell) for note in model.schema.notes],
            "limits": {"rows": self.limits.max_rows, "bytes": self.limits.bytes, "seconds": self.limits.seconds},
            "version": __version__,
        }
        return json_answer(about)

    async def metrics_text(self, _: Request) -> Response:
        return Response(generate_latest(self.metrics.registry), media_type="text/plain; version=0.0.4")

    async def openapi(self, _: Request) -> Response:
        return json_answer(document(self.model.called, self.cells.row, self.requests))

    async def verb(self, path: str, request: Request) -> Response:
        """The answer to a verb, as JSON or as Arrow."""
        asked, rows = await self._read(path, request)
        check_rows(asked.size(len(rows)), self.limits.max_rows)
        found, notes = await self.jobs.run(request, self._answer, asked, rows)
        if isinstance(found, dict):
            return json_answer(found | {"notes": notes})
        arrow = _wants_arrow(request, rows)
        body = await self.jobs.run(request, *((arrow_body, found) if arrow else (json_rows, found, notes)))
        return Response(body, media_type=ARROW if arrow else JSON)

    async def score(self, request: Request) -> Response:
        asked, rows = await self._read("/score", request)
        if isinstance(rows, list):
            self._check_filled(rows)
            found = await self._scores(request, rows, tuple(asked.given))
        else:
            found = await self.jobs.run(request, scores, self.model, rows, asked.given)
        self._remember(rows, found)
        if _wants_arrow(request, rows):
            return Response(arrow_body(pl.DataFrame(found, list(Score._fields), orient="row")), media_type=ARROW)
        none, beside = any(one.log_density is None for one in found), asyncio.get_running_loop().run_in_executor
        notes = await beside(self.batcher.thread, self._why, rows, asked.given) if none else []
        return json_answer(score_fields(found, asked.errors) | {"notes": notes})

    async def drift(self, request: Request) -> Response:
        """How the rows that were scored last differ from those that the model did not see."""
        rows = list(self.metrics.window.rows)
        if not rows:
            raise Refused(422, "no whole row has been scored since the server was started")
        found, _ = await self.jobs.run(request, self._answer, DriftRequest(by=None), rows)
        self.metrics.p_value.set(found["p_value"])
        self.metrics.effect.set(found["effect"])
        return json_answer(found)

    def _answer(self, asked: Verb, rows: Any) -> tuple[Any, list[str]]:
        """The answer, and notes on it; one at a time."""
        self.model.notes_ = []
        found = asked.answer(self.model, self._frame(rows))
        return found, [spelled(note, in_request) for note in self.model.notes_]

    def _why(self, rows: Any, given: Sequence[str]) -> list[str]:
        """Why rows have no score."""
        query = Scoring(self.model, given=given).query(Piece(self._frame(rows), "rows"))
        return [spelled(note, in_request) for note in query.notes]

    def _frame(self, rows: Any) -> pl.DataFrame:
        return self.cells.frame(rows) if isinstance(rows, list) else rows

    def _batch(self, key: tuple[Any, tuple[str, ...]], rows: Sequence[Mapping[str, Any]]) -> list[Score]:
        """Scores of rows that hold the same columns; the key names the columns, and those given."""
        return scores(self.model, self.cells.frame(rows), key[1])

    def _check_filled(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Refuses rows that specify none of the modelled columns."""
        for number, row in enumerate(rows, 1):
            if not any(row.get(name) is not None or (tells and name in row) for name, tells in self.fields.items()):
                raise Refused(422, f"row {number}: has no value in any column of the model: {', '.join(self.fields)}")

    def _remember(self, rows: Any, found: Sequence[Score]) -> None:
        """Keeps the last rows and their scores; those sent as Arrow if Python holds them in the table's types."""
        with contextlib.suppress(TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            if isinstance(rows, pl.DataFrame):
                rows, found = self.cells.frame(rows.tail(ROWS).to_dicts()).to_dicts(), found[-ROWS:]
            self.metrics.window.add(rows, found)

    async def _scores(self, request: Request, rows: list[dict[str, Any]], given: tuple[str, ...]) -> list[Score]:
        """Scores of rows, grouped by the columns they hold; small groups are batched with those of other requests."""
        kinds: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            kinds[tuple(sorted(row))].append(place)
        found: list[Any] = [None] * len(rows)
        for names, places in kinds.items():
            key, some = (names, given), [rows[place] for place in places]
            if len(some) <= MOST:
                scored = await self.batcher.ask(client_of(request), key, some)
            else:
                scored = await self.jobs.run(request, self._batch, key, some)
            for place, score in zip(places, scored, strict=True):
                found[place] = score
        return found

    async def _read(self, path: str, request: Request) -> tuple[Any, Any]:
        """A request and its rows: a list of JSON rows, none if it has none, or a frame sent as Arrow."""
        kind, body = self.requests[path], await body_of(request, self.limits)
        if kind.of_rows and media_type(request) in CONTENTS[1:]:
            query = request.query_params
            several = {"given": query.getlist("given")} if "given" in query else {}
            asked = VERBS[path].model_validate({**query, **several}, strict=False)  # as text
            rows: Any = check_frame(await self.jobs.run(request, arrow_frame, body, self.limits.max_rows), self.cells)
        else:
            if kind.of_rows:
                check_cells(body, self.limits.max_rows, len(self.cells.cells))
            read = kind.model_validate_json
            asked = read(body) if len(body) < LONG else await self.jobs.run(request, read, body)
            rows = getattr(asked, "rows", [])
        self.metrics.rows.labels(path).inc(len(rows) if kind.of_rows else 0)
        return asked, rows


async def _file(content: bytes, kind: str, _: Request) -> Response:
    return Response(content, media_type=kind, headers={**HEADERS, "content-security-policy": POLICY})


def _wants_arrow(request: Request, rows: Any) -> bool:
    """Whether the answer is Arrow: if it is asked for, or if rows came as Arrow and nothing else is asked for."""
    kinds = request.headers.get("accept", "*/*")
    return ARROW in kinds or (isinstance(rows, pl.DataFrame) and "json" not in kinds)
