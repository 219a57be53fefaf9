"""The OpenAPI document of tracking's MLflow endpoints."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from headrace import __version__
from services.tracking.api.surface import KINDS, OPERATIONS, Operation, Schema

PREFIX: Final = "/api/2.0/mlflow"
_IN_PATH: Final = re.compile(r"\{(\w+)\}")
_JSON: Final = "application/json"
_ERROR: Final[Schema] = {
    "type": "object",
    "required": ["error_code", "message"],
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
}


async def serve(request: Request) -> Response:
    """Answer with the document."""
    _ = request
    return JSONResponse(document())


def document() -> Schema:
    """OpenAPI 3.1: every endpoint with the names and types of its fields."""
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        described = paths.setdefault(PREFIX + operation.path, {})
        described[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headrace tracking: MLflow's REST API", "version": __version__},
        "paths": paths,
        "components": {"schemas": {**KINDS, "Error": _ERROR}},
    }


def _described(operation: Operation) -> Schema:
    answer = {_JSON: {"schema": {"type": "object"}}}
    error = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    described: Schema = {
        "parameters": [*_in_path(operation), *_in_query(operation)],
        "responses": {
            "200": {"description": "Done.", "content": answer},
            "default": {"description": "Refused; the code says why.", "content": error},
        },
    }
    if operation.method != "GET":
        described["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": _body(operation)}},
        }
    return described


def _in_path(operation: Operation) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _IN_PATH.findall(operation.path)
    ]


def _in_query(operation: Operation) -> list[Schema]:
    if operation.method != "GET":
        return []
    return [
        {
            "name": parameter.name,
            "in": "query",
            "required": parameter.required,
            "schema": _schema(parameter.kind),
        }
        for parameter in operation.parameters
    ]


def _body(operation: Operation) -> Schema:
    return {
        "type": "object",
        "properties": {
            parameter.name: _schema(parameter.kind) for parameter in operation.parameters
        },
        "required": [parameter.name for parameter in operation.parameters if parameter.required],
    }


def _schema(kind: str) -> Schema:
    return {"$ref": f"#/components/schemas/{kind}"}
