"""JSON Schemas in a word or two, for tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["describe_schema"]


def describe_schema(schema: Mapping[str, Any] | None) -> str:
    """What a schema takes: the name of its type, or its kind, as people would say it; empty where nothing is known."""
    match schema:
        case {"$ref": str(reference)}:
            words = reference.rpartition("/")[2]
        case {"anyOf": [*parts]} | {"oneOf": [*parts]}:
            words = " | ".join(describe_schema(part) or "any" for part in parts)
        case {"type": "array", "items": dict(items)}:
            words = f"array of {describe_schema(items) or 'any'}"
        case {"enum": [*values]}:
            words = " | ".join(map(str, values))
        case {"title": str(kind)} | {"format": str(kind)} | {"type": str(kind)}:
            words = kind
        case _:
            words = "any" if schema else ""
    return words
