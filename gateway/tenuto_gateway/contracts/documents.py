"""All contracts, as the files that are committed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tenuto.core.histories import HistoryDocument
from tenuto.messages import Dropped, Notice, Reply, StartMessage, Tasks, TurnMessage
from tenuto_gateway.contracts.queues import asyncapi
from tenuto_gateway.http.app import application
from tenuto_gateway.http.openapi import openapi

__all__ = ["contracts"]

_SCHEMAS: Final[Mapping[str, Any]] = {
    "start-message": StartMessage,
    "reply": Reply,
    "tasks": Tasks,
    "dropped": Dropped,
    "turn-message": TurnMessage,
    "notice": Notice,
    "history": HistoryDocument,
}


def contracts() -> dict[str, str]:
    """Every contract: the name of its file, and what is in it."""
    files: dict[str, Any] = {"openapi.json": openapi(application()), "asyncapi.json": asyncapi()}
    for name, kind in _SCHEMAS.items():
        files[f"schemas/{name}.json"] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **msgspec.json.schema(kind),
        }
    return {
        name: json.dumps(_settled(document), indent=1, ensure_ascii=False) + "\n"
        for name, document in files.items()
    }


def _settled(document: Any, *, default: bool = False) -> Any:
    """The document in one order: the sets in defaults come in any."""
    if isinstance(document, list):
        return sorted(document) if default else [_settled(part) for part in document]
    if isinstance(document, dict):
        return {name: _settled(part, default=default or name == "default") for name, part in document.items()}
    return document
