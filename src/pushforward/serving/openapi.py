"""The machine-readable description of the paths, ``/openapi.json``, with the model's columns as its schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from .. import __version__
from .guard import ARROW
from .refusals import JSON, Refusal
from .verbs import VERBS, RowsAnswer

REFERENCE = "#/components/schemas/{model}"
BINARY = {ARROW: {"schema": {"type": "string", "format": "binary"}}}
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
GETS = {
    "/health": "Whether the server answers.",
    "/info": "What the model is, its columns, and the limits of requests.",
    "/metrics": "Figures for Prometheus, as text.",
    "/drift": "Whether the rows that were scored last are still of the table that was fitted.",
}


def document(model: str, row: Any, requests: Mapping[str, Any]) -> dict[str, Any]:
    """The description as OpenAPI 3.1.

    Args:
        model: What the model is called.
        row: The type of its rows.
        requests: The type of request that each path takes.
    """
    answers = {path: each.answers for path, each in requests.items()}
    answers |= {path: RowsAnswer[row] for path, answer in answers.items() if answer is RowsAnswer}
    kinds: list[Any] = [*requests.values(), *answers.values(), Refusal]
    places, schemas = models_json_schema([(kind, "validation") for kind in kinds], ref_template=REFERENCE)
    refs = {kind: place for (kind, _), place in places.items()}
    refused = {code: _answer(said, refs[Refusal], {}) for code, said in REFUSALS.items()}
    paths: dict[str, Any] = {
        path: {"get": {"summary": said, "responses": {"200": {"description": "OK"}}}} for path, said in GETS.items()
    }
    for path, request in requests.items():
        answer = _answer("OK", refs[answers[path]], {} if path in ("/ask", "/drift") else BINARY)
        verb = {"summary": str(VERBS[path].__doc__), "responses": {"200": answer, **refused}}
        body = {JSON: {"schema": refs[request]}, **(BINARY if request.of_rows else {})}
        paths.setdefault(path, {})["post"] = {**verb, "requestBody": {"required": True, "content": body}}
    info = {"title": f"pushforward: {model}", "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas.get("$defs", {})}}


def _answer(said: str, schema: dict[str, Any], binary: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": said, "content": {JSON: {"schema": schema}, **binary}}
