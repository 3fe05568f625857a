"""The OpenAPI document: FastAPI's view of the routes, with the schemas of our documents."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tenuto.client import documents
from tenuto.core.histories import HistoryDocument
from tenuto_gateway.http.guard import PUBLIC

__all__ = ["openapi"]

_PROBLEM = {
    "description": "Why it was refused.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_DAPR_ERROR = {
    "description": "Dapr's error document.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"errorCode": {"type": "string"}, "message": {"type": "string"}},
                "required": ["errorCode", "message"],
            }
        }
    },
}


def openapi(app: FastAPI) -> dict[str, Any]:
    """The document of an application's routes."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # pydantic's, whose form is not ours
            operation["responses"]["default"] = _DAPR_ERROR if "dapr" in operation["tags"] else _PROBLEM
            operation["security"] = [] if path in PUBLIC else [{"token": []}]
    components = document.setdefault("components", {})
    kept = components.get("schemas", {})
    kept = {name: kept[name] for name in kept if name not in {"HTTPValidationError", "ValidationError"}}
    components["schemas"] = kept | _schemas()
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return document


def _schemas() -> dict[str, Any]:
    named = (getattr(documents, name) for name in documents.__all__)
    kinds = [kind for kind in named if isinstance(kind, type)]
    _, schemas = msgspec.json.schema_components(
        [*kinds, HistoryDocument], ref_template="#/components/schemas/{name}"
    )
    return schemas
