"""The contracts: what is committed is what the code says, and it is valid; no request makes a server error."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tenuto_gateway.contracts import commands, contracts
from tenuto_gateway.http.app import application

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "docs" / "api"
SCHEMAS = ROOT.parent / "shared" / "schemas"


@pytest.mark.parametrize("name", contracts())
def test_what_is_committed_is_what_the_code_says(name: str) -> None:
    committed = (API / name).read_text() if (API / name).exists() else ""
    if json.loads(contracts()[name]) | {"info": None} != json.loads(committed or "{}") | {"info": None}:
        pytest.fail(
            f"docs/api/{name} is not what the code says: run `python -m tenuto_gateway.contracts docs/api`"
        )


def test_the_page_of_commands_is_what_the_command_line_says() -> None:
    if (API.parent / "commands.md").read_text() != commands():
        pytest.fail(
            "docs/commands.md is not what the commands say: run `python -m tenuto_gateway.contracts docs/api`"
        )


def test_nothing_else_is_committed() -> None:
    committed = {str(path.relative_to(API)) for path in API.rglob("*.json")}
    assert committed == contracts().keys()


@pytest.mark.parametrize("name", [name for name in contracts() if name.startswith("schemas/")])
def test_schemas_are_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(contracts()[name]))


def test_a_message_fits_its_schema() -> None:
    schema = json.loads(contracts()["schemas/start-message.json"])
    jsonschema.validate({"workflow": "fulfil", "input": [1], "tags": {"a": "b"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"workflow": 7}, schema)


def test_the_asyncapi_document_is_valid() -> None:
    schema = SCHEMAS / "asyncapi" / "3.0.0.json"
    if not schema.exists():
        pytest.skip(f"the schemas of AsyncAPI are not beside this checkout ({schema})")
    jsonschema.validate(json.loads(contracts()["asyncapi.json"]), json.loads(schema.read_text()))


def test_every_route_is_in_the_openapi_document() -> None:
    """But those that only tell what is missing, and the document itself."""
    document = json.loads(contracts()["openapi.json"])
    assert "/api/v1/instances/{instance}/wait" in document["paths"]
    hidden = {
        route.path  # type: ignore[attr-defined]
        for route in application().routes
        if route.path not in document["paths"]  # type: ignore[attr-defined]
    }
    assert all(
        path == "/openapi.json" or path.startswith(("/v1.0-", "/v1.0/workflows/{component}"))
        for path in hidden
    )
    names = json.dumps(document)
    for name in set(document["components"]["schemas"]):
        assert f'"#/components/schemas/{name}"' in names, f"nobody refers to {name}"
