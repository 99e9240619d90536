"""The machine-readable description of the paths, ``/openapi.json``, with the model's columns as its schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from .. import __version__
from . import requests as asked
from .guard import ARROW

if TYPE_CHECKING:
    from .app import Server

REFERENCE = "#/components/schemas/{model}"
REFUSALS = {
    "400": "not JSON or Arrow",
    "401": "no token, or another one",
    "403": "a page of another site",
    "415": "neither JSON nor Arrow by its content-type",
    "421": "another name of the server",
    "413": "too many rows or bytes",
    "422": "a bad cell",
    "429": "too many requests of one client",
    "503": "busy, or slow",
}
VERBS = {
    "/score": "The log-density of every row in nats, and its percentile among rows that the model did not see.",
    "/sample": "New rows, given some cells where they are known.",
    "/impute": "The rows with their missing cells drawn given the rest of their own row.",
    "/ask": "How probable it is that a row is so, of those of which something is known, with its standard error.",
    "/predict": "One column of every row from its other columns.",
    "/drift": "Whether rows are still of the table that was fitted, with a p-value, and what has moved.",
    "/explain": "What makes each row unlikely: the column to blame, the value that would fit, gains in nats.",
}
GETS = {
    "/health": "Whether the server answers.",
    "/info": "What the model is, its columns, and the limits of requests.",
    "/metrics": "Figures for Prometheus, as text.",
    "/drift": "Whether the rows that were scored last are still of the table that was fitted.",
}


def document(server: Server) -> dict[str, Any]:
    """The description as OpenAPI 3.1."""
    row = server.answers.cells.row_type()
    requests = [
        server.with_rows[asked.ScoreOptions],
        server.sample_request,
        server.with_rows[asked.ImputeOptions],
        asked.AskRequest,
        server.with_rows[asked.PredictOptions],
        server.with_rows[asked.DriftOptions],
        server.with_rows[asked.ExplainOptions],
    ]
    answers: list[Any] = [
        asked.Scores,
        asked.of(asked.RowsAnswer, row),
        asked.of(asked.RowsAnswer, row),
        asked.Probability,
        asked.RowsAnswer[dict[str, Any]],
        asked.Drifted,
        asked.RowsAnswer[dict[str, Any]],
    ]
    kinds: list[Any] = [*requests, *answers, asked.Refusal]
    places, schemas = models_json_schema([(kind, "validation") for kind in kinds], ref_template=REFERENCE)
    refs = {kind: place for (kind, _), place in places.items()}
    refused = {code: _answer(said, refs[asked.Refusal]) for code, said in REFUSALS.items()}
    paths: dict[str, Any] = {path: {"get": _verb(said, {"200": {"description": "OK"}})} for path, said in GETS.items()}
    for (path, said), request, answer in zip(VERBS.items(), requests, answers, strict=True):
        verb = _verb(said, {"200": _answer("OK", refs[answer], arrow=path not in ("/ask", "/drift")), **refused})
        body = {"application/json": {"schema": refs[request]}}
        rows = {} if path in ("/sample", "/ask") else {ARROW: {"schema": {"type": "string", "format": "binary"}}}
        paths.setdefault(path, {})["post"] = {**verb, "requestBody": {"required": True, "content": {**body, **rows}}}
    info = {"title": f"pushforward: {server.answers.info()['model']}", "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas.get("$defs", {})}}


def _verb(said: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"summary": said, "responses": responses}


def _answer(said: str, schema: dict[str, Any], arrow: bool = False) -> dict[str, Any]:
    binary = {ARROW: {"schema": {"type": "string", "format": "binary"}}} if arrow else {}
    return {"description": said, "content": {"application/json": {"schema": schema}, **binary}}
