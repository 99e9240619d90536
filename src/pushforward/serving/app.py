"""The application: its paths, their inputs and outputs, and error handling."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import __version__
from ..errors import InputError, in_request
from ..saving.jsonable import jsonable
from ..tables.fitted import FittedTable
from . import requests as asked
from .answers import Answers, Score, score_json
from .batching import MOST, Batcher, Jobs
from .clients import Shares
from .columns import json_rows
from .guard import ARROW, JSON, Guard, is_arrow
from .limits import Limits, arrow_body, arrow_frame, body_of, check_cells
from .metrics import Metrics
from .openapi import VERBS, document
from .window import ROWS

T = TypeVar("T")
Verb = Callable[[Request], Awaitable[Response]]
BODIES = 2  # of the longest that there may be, whose bytes one client may have open at once
LONG = 1 << 16  # bodies from this many bytes on are not parsed on the event loop
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"  # noqa: E501
ADVICE = {429: {"retry-after": "1"}, 503: {"retry-after": "1"}, 401: {"www-authenticate": "Bearer"}}
HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class Server:
    """A model behind HTTP.

    Args:
        model: The fitted table.
        limits: Limits of a request.
    """

    def __init__(self, model: FittedTable, limits: Limits) -> None:
        self.answers, self.limits, self.metrics = Answers(model, limits.seconds), limits, Metrics()
        self.batcher = Batcher(self.answers.score_batch, self.metrics.batches.observe)
        self.jobs = Jobs()
        row = self.answers.cells.row_type()
        self.sample_request = asked.of(asked.SampleRequest, row)
        self.with_rows = asked.with_rows(row, limits.rows)

    async def health(self, _: Request) -> Response:
        return _json({"status": "ok"})

    async def info(self, _: Request) -> Response:
        limits = {"rows": self.limits.rows, "bytes": self.limits.bytes, "seconds": self.limits.seconds}
        return _json({**jsonable(self.answers.info()), "limits": limits, "version": __version__})

    async def metrics_text(self, _: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def score(self, request: Request) -> Response:
        options, rows = await self._rows(request, asked.ScoreOptions)
        self.answers.check_given(options.given)
        if isinstance(rows, list):
            self.answers.check_filled(rows)
            found = await self._scores(request, rows, tuple(options.given))
        else:
            frame = await self.jobs.run(request, self.answers.score_frame, rows, options.given)
            found = [Score(*row) for row in frame.iter_rows()]
        self._remember(rows, found)
        if _wants_arrow(request, rows):
            return Response(arrow_body(pl.DataFrame(found, list(Score._fields), orient="row")), media_type=ARROW)
        return Response(score_json(found, options.errors), media_type=JSON)

    async def sample(self, request: Request) -> Response:
        options = await self._parsed(request, await body_of(request, self.limits), self.sample_request)
        self.limits.check_rows(options.n)
        return await self._frame(request, None, self.answers.sample, options.n, options.given, options)

    async def impute(self, request: Request) -> Response:
        options, rows = await self._rows(request, asked.ImputeOptions)
        self.limits.check_rows(len(rows) * options.draws)
        return await self._frame(request, rows, self.answers.impute, self._as_frame(rows), options)

    async def ask(self, request: Request) -> Response:
        question = await self._parsed(request, await body_of(request, self.limits), asked.AskRequest)
        return _json(jsonable(await self.jobs.run(request, self.answers.ask, question)))

    async def predict(self, request: Request) -> Response:
        options, rows = await self._rows(request, asked.PredictOptions)
        return await self._frame(request, rows, self.answers.predict, self._as_frame(rows), options)

    async def explain(self, request: Request) -> Response:
        _, rows = await self._rows(request, asked.ExplainOptions)
        return await self._frame(request, rows, self.answers.explain, self._as_frame(rows))

    async def drift(self, request: Request) -> Response:
        """How rows differ from those that the model did not see; without a body, the rows that were scored last."""
        last = request.method == "GET"
        if last:
            options, rows = asked.DriftOptions(by=None), list(self.metrics.window.rows)
        else:
            options, rows = await self._rows(request, asked.DriftOptions)
        found = await self.jobs.run(request, self.answers.drift, self._as_frame(rows), options.by)
        if last:
            self.metrics.p_value.set(found["p_value"])
            self.metrics.effect.set(found["effect"])
        return _json(jsonable(found))

    def _remember(self, rows: Any, found: Sequence[Score]) -> None:
        """Keeps the last rows and their scores; those sent as Arrow if their types are the table's, and their moments
        those of Python."""
        with contextlib.suppress(TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            if isinstance(rows, pl.DataFrame):
                rows, found = self.answers.cells.frame(rows.tail(ROWS).to_dicts()).to_dicts(), found[-ROWS:]
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
                scores = await self.batcher.ask(key, some)
            else:
                scores = await self.jobs.run(request, self.answers.score_batch, key, some)
            for place, score in zip(places, scores, strict=True):
                found[place] = score
        return found

    async def _rows(self, request: Request, options: type[BaseModel]) -> tuple[Any, Any]:
        """The options and the rows of a request: a list of JSON rows, or a frame sent as Arrow."""
        body = await body_of(request, self.limits)
        if is_arrow(request):
            chosen = self._query(request, options)
            frame = await self.jobs.run(request, arrow_frame, body, self.limits)
            rows: Any = asked.check_frame(frame, self.answers.cells)
        else:
            check_cells(body, self.limits, len(self.answers.cells.cells))
            chosen = await self._parsed(request, body, self.with_rows[options])
            rows = chosen.rows
        self.metrics.rows.labels(request.url.path).inc(len(rows))
        return chosen, rows

    async def _parsed(self, request: Request, body: bytes, kind: Any) -> Any:
        try:
            if len(body) < LONG:
                return kind.model_validate_json(body)
            return await self.jobs.run(request, kind.model_validate_json, body)
        except ValidationError as error:
            raise asked.refusal_of(error, self.answers.cells) from None

    def _query(self, request: Request, options: type[BaseModel]) -> Any:
        """The options of a request whose rows were sent as Arrow: they are in its query string."""
        query: dict[str, Any] = dict(request.query_params)
        if "given" in query:
            query["given"] = request.query_params.getlist("given")
        try:
            return options.model_validate(query, strict=False)  # as text
        except ValidationError as error:
            raise asked.refusal_of(error, self.answers.cells) from None

    def _as_frame(self, rows: Any) -> pl.DataFrame:
        return self.answers.cells.frame(rows) if isinstance(rows, list) else rows

    async def _frame(self, request: Request, rows: Any, job: Callable[..., pl.DataFrame], *arguments: Any) -> Response:
        """The result of a long job, as JSON rows or as Arrow."""
        frame = await self.jobs.run(request, job, *arguments)
        if _wants_arrow(request, rows):
            return Response(await self.jobs.run(request, arrow_body, frame), media_type=ARROW)
        return Response(await self.jobs.run(request, _rows_json, frame), media_type=JSON)

    def close(self) -> None:
        self.batcher.close()
        self.jobs.close()


def create_app(model: FittedTable, limits: Limits | None = None, guard: Guard | None = None) -> FastAPI:
    """The application that serves a fitted table.

    Args:
        model: The table.
        limits: Limits of a request.
        guard: What a request must bring along.
    """
    server = Server(model, limits or Limits())

    @contextlib.asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        yield
        server.close()

    app = FastAPI(title="pushforward", version=__version__, docs_url=None, redoc_url=None, lifespan=running)
    gets = {"/health": server.health, "/info": server.info, "/metrics": server.metrics_text, "/drift": server.drift}
    posts = {path: getattr(server, path[1:]) for path in VERBS}
    for path, post in posts.items():
        app.add_route(path, _measured(server, path, post), methods=["POST"])
    for path, get in gets.items():
        app.add_route(path, _measured(server, path, get), methods=["GET"])
    for path, (name, kind) in PAGE.items():
        app.add_route(path, partial(_file, Path(__file__).with_name(name).read_bytes(), kind), methods=["GET"])
    app.add_exception_handler(HTTPException, _wrong_path)
    app.add_middleware(_Guarded, guard=guard or Guard(), limits=server.limits)
    app.openapi = partial(document, server)  # type: ignore[method-assign]
    return app


class _Guarded:
    """The application behind its guard, and no client with more than its share of it."""

    def __init__(self, app: ASGIApp, guard: Guard, limits: Limits) -> None:
        self.app, self.guard, self.limits = app, guard, limits
        self.requests = Shares(guard.per_client, "requests")
        self.bytes = Shares(BODIES * limits.bytes, "bytes of bodies")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        client = request.client.host if request.client else ""
        try:
            self.guard.check(request)
            with self.requests.hold(client), self.bytes.hold(client, self.limits.bytes_of(request)):
                await self.app(scope, receive, send)
        except asked.Refused as refused:
            await _refusal(refused)(scope, receive, send)


def _measured(server: Server, path: str, verb: Verb) -> Verb:
    """The verb with a time limit, errors turned into answers, counted and timed."""

    async def answer(request: Request) -> Response:
        start = time.perf_counter()
        try:
            async with asyncio.timeout(2 * server.limits.seconds):
                response = await verb(request)
        except TimeoutError:
            response = _json({"detail": f"no answer within {2 * server.limits.seconds:g} s; ask for fewer rows"}, 503)
        except asked.Refused as refused:
            response = _refusal(refused)
        except InputError as error:
            response = _json({"detail": error.spelled(in_request)}, 422)
        except Exception as error:
            response = _json({"detail": f"the server failed: {type(error).__name__}"}, 500)
        server.metrics.requests.labels(path, response.status_code).inc()
        server.metrics.seconds.labels(path).observe(time.perf_counter() - start)
        return response

    return answer


def _json(values: Any, status: int = 200) -> Response:
    return Response(json.dumps(values), status, media_type=JSON, headers={**HEADERS, **ADVICE.get(status, {})})


def _refusal(refused: asked.Refused) -> Response:
    problems = {"problems": refused.problems} if refused.problems else {}
    return _json({"detail": refused.sentence, **problems}, refused.status)


def _rows_json(frame: pl.DataFrame) -> bytes:
    return json.dumps({"rows": json_rows(frame)}, allow_nan=False).encode()


async def _file(content: bytes, kind: str, _: Request) -> Response:
    return Response(content, media_type=kind, headers={**HEADERS, "content-security-policy": POLICY})


async def _wrong_path(request: Request, error: Any) -> Response:
    paths = f"/health, /info, /metrics, /drift, /openapi.json; POST to {', '.join(VERBS)}"
    return _json(
        {"detail": f"{request.method} {request.url.path}: {error.detail}; there are GET /, {paths}"}, error.status_code
    )


def _wants_arrow(request: Request, rows: Any) -> bool:
    """Whether the answer is Arrow: if it is asked for, or if rows came as Arrow and nothing else is asked for."""
    accepted: Mapping[str, Any] = request.headers
    kinds = accepted.get("accept", "*/*")
    return ARROW in kinds or (isinstance(rows, pl.DataFrame) and "json" not in kinds)
