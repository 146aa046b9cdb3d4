"""The API's description, as OpenAPI 3.1 has it, made of the endpoints themselves."""

import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter
from starlette.responses import Response

from sightline.access.rights import RIGHTS, Right
from sightline.supervisor.http.endpoint import WEBSOCKET, Call, Endpoint
from sightline.supervisor.http.visitors import SAFE

_REFERENCES = "#/components/schemas/{model}"
_CONVERTERS = {"": "string", "float": "number", "row": "integer"}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "description": "The `version` that was read; 412: it has changed since.",
}
_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")


def openapi(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The description of all endpoints; WebSockets have no place in one."""
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        if endpoint.method != WEBSOCKET:
            path = _PARAMETER.sub(r"{\1}", endpoint.path)
            paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    schemes = {
        "token": {"type": "http", "scheme": "bearer", "description": "`sightline token create NAME`"},
        "session": {"type": "apiKey", "in": "cookie", "name": "sightline"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sightline", "version": "1", "description": "Times are UTC epoch seconds."},
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": schemes},
    }


def with_openapi(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """The endpoints, and one more that gives their description."""
    all_of_them: list[Endpoint] = [*endpoints]

    @cache  # it takes some tenths of a second, and whoever is not signed in may ask
    def described() -> bytes:
        return json.dumps(openapi(all_of_them), ensure_ascii=False).encode()

    def describe(_: Call) -> Response:
        """What this is: the API's description."""
        return Response(described(), media_type="application/json")

    all_of_them.append(
        Endpoint("GET", "/api/v1/openapi.json", Right.SIGN_IN, describe, media="application/json")
    )
    return all_of_them


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    rule = RIGHTS[endpoint.right]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": _CONVERTERS[kind]}}
        for name, kind in _PARAMETER.findall(endpoint.path)
    ]
    if endpoint.versioned:
        parameters.append(_IF_MATCH)
    operation: dict[str, Any] = {"summary": endpoint.summary, "x-right": endpoint.right.value}
    if endpoint.takes is not None:
        schema = _schema(endpoint.takes, schemas)
        if endpoint.method in SAFE:
            taken = schemas.pop(schema["$ref"].rpartition("/")[2])
            needed = taken.get("required", ())
            parameters += [
                {"name": name, "in": "query", "required": name in needed, "schema": value}
                for name, value in taken["properties"].items()
            ]
        else:
            operation["requestBody"] = {
                "required": bool(schemas[schema["$ref"].rpartition("/")[2]].get("required")),
                "content": {endpoint.sent: {"schema": schema}},
            }
    if endpoint.gives is not None:
        answer = {"content": {"application/json": {"schema": _schema(endpoint.gives, schemas)}}}
    else:
        answer = {"content": {endpoint.media: {}}} if endpoint.media else {}
    status = "200" if answer else "204"
    operation["responses"] = {
        status: {"description": "done", **answer},
        "default": {"description": "refused"},
    }
    if parameters:
        operation["parameters"] = parameters
    operation["security"] = [] if rule.least is None else [{"token": []}, {"session": []}]
    return operation


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """A reference to a type's schema, or the schema itself; what it needs is added to ``schemas``."""
    mode = "validation" if isinstance(kind, type) and issubclass(kind, BaseModel) else "serialization"
    schema = TypeAdapter(kind).json_schema(ref_template=_REFERENCES, mode=mode)  # type: ignore[arg-type]
    schemas.update(schema.pop("$defs", {}))
    if "title" not in schema or schema.get("type") != "object":
        return schema
    schemas[schema["title"]] = schema
    return {"$ref": _REFERENCES.format(model=schema["title"])}
