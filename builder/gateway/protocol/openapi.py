"""The OpenAPI that is published, put together (spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from builder.gateway.protocol import errors
from builder.gateway.protocol.answers import Answer
from builder.gateway.protocol.shapes import Schema

_STATUSES = {
    "400": "a parameter, named in `param`",
    "401": "no key, or a wrong one, where keys are on",
    "404": "what is asked for is not there",
    "405": "not with this method",
    "408": "`timeout` has passed, or the request did not come in time",
    "413": "the body is too large",
    "415": "the body is not sent as `application/json`, or is packed",
    "429": "no place, or a key's limit",
    "431": "the headers are too large",
    "499": "the client went away",
    "500": "the gateway or the engine failed",
    "503": "Triton cannot be reached, or the gateway has no connections left",
}
_OF_BODIES = ("413", "415", "499")
_TGIS = {"422": "a parameter"}


def operation(path: str, body: Schema | None, answer: Answer) -> dict[str, Any]:
    """Return what a route adds to the OpenAPI: its parameters, body and answer, and what errors look like."""
    told: dict[str, Any] = {"responses": {"200": _answered(answer), **_refused(body is not None, answer)}}
    if names := re.findall(r"{(\w+)}", path):
        told["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": _named(body)}}}
    return told


def _answered(answer: Answer) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if answer.schema is not None:
        content["application/json"] = {"schema": _named(answer.schema)}
    if answer.stream:
        # no schema of an event: readers of 3.1 would take it for one of the whole stream
        content[answer.stream] = {}
    return {"description": "answered", "content": content}


def _refused(has_body: bool, answer: Answer) -> dict[str, Any]:
    schema = _named(errors.shape())
    if answer.error is not None:
        # the doors' own, and what never comes to a door
        schema = {"anyOf": [_named(answer.error), schema]}
    statuses = _STATUSES | (_TGIS if answer.error and "error_type" in answer.error["required"] else {})
    told = {
        status: {"description": about, "content": {"application/json": {"schema": schema}}}
        for status, about in statuses.items()
        if has_body or status not in _OF_BODIES
    }
    if answer.unwell is not None:
        content = {"application/json": {"schema": _named(answer.unwell)}}
        told["503"] = {"description": "Triton cannot be reached", "content": content}
    return told


_NAMED: dict[str, Schema] = {}


def _named(schema: Schema) -> Schema:
    """Return where a schema with a title stands among the components, for clients to be generated from."""
    _NAMED[schema["title"]] = schema
    return {"$ref": f"#/components/schemas/{schema['title']}"}


def publish(app: FastAPI, *, with_keys: bool) -> None:
    """Have an application publish its routes with the schemas that they name."""

    def told() -> dict[str, Any]:
        if not app.openapi_schema:
            made = get_openapi(title=app.title, version=app.version, routes=app.routes)
            made["components"] = {"schemas": dict(sorted(_NAMED.items()))}
            if with_keys:
                made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                made["security"] = [{"key": []}]
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = told  # type: ignore[method-assign]
