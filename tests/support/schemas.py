"""JSON Schemas that lie beside the checkout, if they do: they are no part of the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validators

__all__ = ["complaints", "schema"]

SCHEMAS = Path(__file__).resolve().parents[3] / "shared/schemas"


def schema(path: str) -> dict[str, Any]:
    """The schema `path` beside the checkout; the test is skipped where it is not there."""
    file = SCHEMAS / path
    if not file.exists():
        pytest.skip(f"needs the schemas beside the checkout ({SCHEMAS})")
    return json.loads(file.read_text())


def complaints(document: Any, against: dict[str, Any]) -> list[str]:
    """What a schema has against a document, each with its place."""
    found = validators.validator_for(against)(against).iter_errors(document)
    return [f"{'/'.join(map(str, each.absolute_path))}: {each.message[:300]}" for each in found]
