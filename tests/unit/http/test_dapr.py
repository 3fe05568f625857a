"""Dapr's workflow API, route by route, as its reference describes it, with plain HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from tenuto.core.events import Failure
from tenuto.core.letters import Raise
from tenuto.core.status import Status
from tenuto_gateway.http.callers import Scope, new_token
from tests.unit.http.front import Front, front

VERSIONS = ("v1.0", "v1.0-beta1", "v1.0-alpha1")


@pytest.mark.parametrize("version", VERSIONS)
async def test_start(open_front: Front, version: str) -> None:
    """POST workflows/{component}/{name}/start: 202 and the id; the raw body is the input."""
    answer = await open_front.http.post(
        f"/{version}/workflows/dapr/w/start?instanceID=order-17", content=b'{"a": [1]}'
    )
    assert (answer.status_code, answer.json()) == (202, {"instanceID": "order-17"})
    status = await open_front.context.client.get("order-17").status()
    assert (status.workflow, status.raw_input) == ("w", b'{"a": [1]}')


async def test_start_without_id_and_input(open_front: Front) -> None:
    answer = await open_front.http.post("/v1.0/workflows/tenuto/w/start")
    assert answer.status_code == 202
    status = await open_front.context.client.get(answer.json()["instanceID"]).status()
    assert status.input is None


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("dapr/w/start?instanceID=a.b", "ERR_INSTANCE_ID_INVALID", "workflow instance ID 'a.b' is invalid"),
        ("dapr/w/start?instanceID=" + 65 * "x", "ERR_INSTANCE_ID_TOO_LONG", "exceeds the max length of 64"),
        ("dapr//start", "ERR_WORKFLOW_NAME_MISSING", "workflow name is not configured"),
        (
            "temporal/w/start",
            "ERR_WORKFLOW_COMPONENT_NOT_FOUND",
            "workflow component 'temporal' does not exist",
        ),
        ("dapr/one/raiseEvent/", "ERR_WORKFLOW_EVENT_NAME_MISSING", "missing workflow event name"),
        ("dapr/one/raiseEvent", "ERR_WORKFLOW_EVENT_NAME_MISSING", "missing workflow event name"),
    ],
)
async def test_requests_that_are_wrong(open_front: Front, path: str, code: str, message: str) -> None:
    answer = await open_front.http.post(f"/v1.0/workflows/{path}")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)
    assert message in answer.json()["message"]
    assert answer.json().keys() == {"errorCode", "message"}


async def test_a_body_that_is_no_json(open_front: Front) -> None:
    answer = await open_front.http.post("/v1.0/workflows/dapr/w/start", content=b"{")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "ERR_MALFORMED_REQUEST")


@pytest.mark.parametrize("version", VERSIONS)
async def test_get(open_front: Front, version: str) -> None:
    """GET workflows/{component}/{id}: 200 and how it stands; the properties are texts of JSON."""
    await open_front.context.client.start("w", [1], instance_id="one")
    running = (await open_front.http.get(f"/{version}/workflows/dapr/one")).json()
    assert running.keys() == {
        *("instanceID", "workflowName", "createdAt", "lastUpdatedAt", "runtimeStatus", "properties")
    }
    assert (running["instanceID"], running["workflowName"], running["runtimeStatus"]) == (
        "one",
        "w",
        "RUNNING",
    )
    assert running["properties"] == {"dapr.workflow.input": "[1]"}
    assert datetime.fromisoformat(running["createdAt"]).tzinfo is not None
    await open_front.engine.owner.end("one", output=b'{"ok":true}', custom_status=b'"half"')
    ended = (await open_front.http.get(f"/{version}/workflows/dapr/one")).json()
    assert ended["runtimeStatus"] == "COMPLETED"
    assert ended["properties"] == {
        "dapr.workflow.input": "[1]",
        "dapr.workflow.output": '{"ok":true}',
        "dapr.workflow.custom_status": '"half"',
    }


async def test_get_of_one_that_failed(open_front: Front) -> None:
    await open_front.start("one")
    failure = msgspec.json.encode(Failure(type="ValueError", message="no stock", stack="line 1"))
    await open_front.engine.owner.end("one", status=Status.FAILED, failure=failure)
    answer = (await open_front.http.get("/v1.0/workflows/dapr/one")).json()
    assert answer["runtimeStatus"] == "FAILED"
    assert answer["properties"] == {
        "dapr.workflow.input": "null",
        "dapr.workflow.failure.error_type": "ValueError",
        "dapr.workflow.failure.error_message": "no stock",
        "dapr.workflow.failure.stack_trace": "line 1",
    }


async def test_get_without_an_id(open_front: Front) -> None:
    answer = await open_front.http.get("/v1.0/workflows/dapr/")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "ERR_INSTANCE_ID_PROVIDED_MISSING")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        *(("POST", f"/{verb}") for verb in ("raiseEvent/go", "pause", "resume", "terminate", "purge")),
    ],
)
async def test_an_unknown_instance(open_front: Front, method: str, path: str) -> None:
    answer = await open_front.http.request(method, f"/v1.0/workflows/dapr/nobody{path}")
    assert answer.status_code == 404
    assert answer.json() == {
        "errorCode": "ERR_INSTANCE_ID_NOT_FOUND",
        "message": "unable to find workflow with the provided instance ID: nobody",
    }


@pytest.mark.parametrize("version", VERSIONS)
async def test_raise_event(open_front: Front, version: str) -> None:
    """POST …/raiseEvent/{event}: 202 {}; the raw body is the payload."""
    await open_front.start("one")
    path = f"/{version}/workflows/dapr/one/raiseEvent/paid%20in%2Ffull"
    answer = await open_front.http.post(path, content=b'{"by": "Ada"}')
    assert (answer.status_code, answer.json()) == (202, {})
    raised = open_front.engine.owner.letters[-1]
    assert isinstance(raised, Raise)
    assert (raised.name, bytes(raised.payload)) == ("paid in/full", b'{"by": "Ada"}')


@pytest.mark.parametrize("version", VERSIONS)
async def test_pause_and_resume(open_front: Front, version: str) -> None:
    """POST …/pause, …/resume: 202 {} when the status has changed."""
    await open_front.start("one")
    for verb, status in (("pause", Status.SUSPENDED), ("resume", Status.RUNNING)):
        answer = await open_front.http.post(f"/{version}/workflows/dapr/one/{verb}")
        assert (answer.status_code, answer.json()) == (202, {})
        assert (await open_front.context.client.get("one").status()).status is status


@pytest.mark.parametrize("version", VERSIONS)
async def test_terminate_and_purge(open_front: Front, version: str) -> None:
    """POST …/terminate, …/purge: 202 {} when the status has changed, and when the instance is gone."""
    await open_front.start("one")
    for _ in range(2):  # one that has ended stays as it is
        answer = await open_front.http.post(f"/{version}/workflows/dapr/one/terminate")
        assert (answer.status_code, answer.json()) == (202, {})
        assert (await open_front.context.client.get("one").status()).status is Status.TERMINATED
    answer = await open_front.http.post(f"/{version}/workflows/dapr/one/purge")
    assert (answer.status_code, answer.json()) == (202, {})
    assert (await open_front.http.get(f"/{version}/workflows/dapr/one")).status_code == 404


@pytest.mark.parametrize(
    ("verb", "code", "state"),
    [
        ("pause", "ERR_PAUSE_WORKFLOW", "ended"),
        ("resume", "ERR_RESUME_WORKFLOW", "ended"),
        ("raiseEvent/go", "ERR_RAISE_EVENT_WORKFLOW", "ended"),
        ("purge", "ERR_PURGE_WORKFLOW", "alive"),
    ],
)
async def test_what_the_instance_refuses(open_front: Front, verb: str, code: str, state: str) -> None:
    await open_front.start("one")
    if state == "ended":
        await open_front.engine.owner.end("one")
    answer = await open_front.http.post(f"/v1.0/workflows/dapr/one/{verb}")
    assert (answer.status_code, answer.json()["errorCode"]) == (500, code)


async def test_starting_what_is_there(open_front: Front) -> None:
    await open_front.start("one")
    answer = await open_front.http.post("/v1.0/workflows/dapr/w/start?instanceID=one")
    assert (answer.status_code, answer.json()["errorCode"]) == (500, "ERR_START_WORKFLOW")
    assert answer.json()["message"].startswith("error starting workflow 'w': ")


async def test_starting_what_nobody_serves() -> None:
    async with front(workflows={"known": []}) as made:
        answer: Any = (await made.http.post("/v1.0/workflows/dapr/other/start")).json()
    assert answer["errorCode"] == "ERR_START_WORKFLOW"
    assert "they serve: known" in answer["message"]


async def test_dapr_clients_send_their_token_in_a_header_of_their_own() -> None:
    token, line = new_token("sidecar", Scope.OPERATE)
    async with front(http_tokens=line) as made:
        path = "/v1.0/workflows/dapr/w/start"
        assert (await made.http.post(path)).status_code == 401
        assert (await made.http.post(path, headers={"dapr-api-token": token})).status_code == 202
