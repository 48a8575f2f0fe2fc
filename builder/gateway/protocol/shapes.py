"""The words that the published schemas are written in (json-schema.org, 2020-12)."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NOTHING: Schema = {"type": "null"}
ANYTHING: Schema = {"type": "object"}


def whole(lowest: int, highest: int) -> Schema:
    """Return the schema of a whole number."""
    return {"type": "integer", "minimum": lowest, "maximum": highest}


def one_of(*words: Any) -> Schema:
    """Return the schema of a value that is one of these."""
    return {"enum": list(words)}


def any_of(*schemas: Schema) -> Schema:
    """Return the schema of a value that fits any of several."""
    return {"anyOf": list(schemas)}


def maybe(schema: Schema) -> Schema:
    """Return a schema that null fits too."""
    kind = schema.get("type")
    if isinstance(kind, str) and not schema.keys() & {"enum", "const"}:
        return {**schema, "type": [kind, "null"]}
    return any_of(schema, NOTHING)


def several(item: Schema, lowest: int = 0, highest: int | None = None) -> Schema:
    """Return the schema of an array."""
    most = {} if highest is None else {"maxItems": highest}
    return {"type": "array", "items": item, **({"minItems": lowest} if lowest else {}), **most}


def record(fields: dict[str, Schema], optional: dict[str, Schema] | None = None, **more: Any) -> Schema:
    """Return the schema of an object: `fields` are there, `optional` ones may be; others are not told of."""
    return {
        "type": "object",
        "properties": {**fields, **(optional or {})},
        "required": list(fields),
        **more,
    }


def body(title: str, fields: dict[str, Schema], optional: dict[str, Schema]) -> Schema:
    """Return the schema of a request's body, see `closed`."""
    return {**closed(fields, optional), "title": title}


def closed(fields: dict[str, Schema], optional: dict[str, Schema]) -> Schema:
    """Return the schema of an object of which nothing else is taken; null is as absent, whatever its name."""
    maybes = {name: maybe(schema) for name, schema in optional.items()}
    return record(fields, maybes, additionalProperties=NOTHING)
