"""`tenuto registry`: what a deployment serves, and what old code can go."""

from __future__ import annotations

import json

import pytest

from tenuto.registry import RegisteredActivity, RegisteredWorkflow, Registry
from tenuto_gateway.cli import queueing
from tenuto_gateway.cli.output import ListForm
from tenuto_gateway.schemas import describe_schema

ORDER = {"$ref": "#/$defs/Order", "$defs": {"Order": {"title": "Order", "type": "object"}}}
REGISTRY = Registry(
    workflows=[
        RegisteredWorkflow(name="fulfil", version="1", served=False, live=3),
        RegisteredWorkflow(name="fulfil", version="2", live=12, input=ORDER, output={"type": "string"}),
        RegisteredWorkflow(name="report", input={"type": "array", "items": {"type": "integer"}}),
    ],
    activities=[RegisteredActivity(name="charge", pool="payments", input=ORDER)],
)


def printed(capsys: pytest.CaptureFixture[str], form: ListForm) -> list[list[str]]:
    queueing._print_registry(REGISTRY, form)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_it_tells_names_versions_and_live_instances(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, ListForm.TABLE) == [
        ["WORKFLOW", "VERSION", "SERVED", "LIVE"],
        ["fulfil", "1", "no", "3"],
        ["fulfil", "2", "yes", "12"],
        ["report", "yes", "0"],
    ]


def test_wide_it_tells_parameters_and_activities(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, ListForm.WIDE)
    assert lines[2] == ["fulfil", "2", "yes", "12", "Order", "string"]
    assert lines[3] == ["report", "yes", "0", "array", "of", "integer"]
    assert lines[-2:] == [["ACTIVITY", "POOL", "TAKES", "RETURNS"], ["charge", "payments", "Order"]]


def test_for_programs_it_is_the_document_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    queueing._print_registry(REGISTRY, ListForm.JSON)
    told = json.loads(capsys.readouterr().out)
    assert told["workflows"][1] == {
        "name": "fulfil",
        "version": "2",
        "live": 12,
        "input": ORDER,
        "output": {"type": "string"},
    }
    assert printed(capsys, ListForm.IDS) == [["fulfil"], ["report"]]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (None, ""),
        ({}, ""),
        ({"type": "null"}, "null"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"type": "array", "items": {}}, "array of any"),
        ({"enum": ["red", "blue"]}, "red | blue"),
        ({"const": 7}, "any"),
    ],
)
def test_schemas_in_words(schema: dict[str, object] | None, words: str) -> None:
    assert describe_schema(schema) == words
