"""`/api/v1`, with plain HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock
from urllib.parse import quote

import httpx
import msgspec
import pytest

from tenuto import payloads
from tenuto.core.events import EventRaised, ExecutionStarted, encode_events
from tenuto.core.letters import Raise, Start, decode_letter
from tenuto.core.status import Status
from tenuto.errors import BrokerUnavailableError, SchemaError, StoreUnavailableError
from tenuto.store.protocol import HistoryRow, PartitionWrites
from tests.unit.client.engine import LEASE, until
from tests.unit.http.front import Front, front

INSTANCES = "/api/v1/instances"
ODD = "a/b ?#%2F\u00e9..:\U0001f600"
"""An id that needs care in a path."""


async def post(made: Front, path: str, json: Any = None) -> httpx.Response:
    return await made.http.post(f"{INSTANCES}{path}", json=json)


async def test_a_start_answers_when_the_instance_exists(open_front: Front) -> None:
    """201 with Location, and the payload is kept as it came."""
    body = b'{"workflow": "w", "instance_id": "one", "input": {"n": 1.50,  "big": 12345678901234567890123}}'
    answer = await open_front.http.post(INSTANCES, content=body)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{INSTANCES}/one"
    shown = await open_front.http.get(answer.headers["location"])
    assert shown.status_code == 200
    assert shown.headers["retry-after"] == "1"
    assert b'"input":{"n": 1.50,  "big": 12345678901234567890123}' in shown.content
    assert shown.json()["run"] == answer.json()["run"]
    assert "output" not in shown.json()


async def test_a_start_that_is_not_waited_for_says_where_to_wait(open_front: Front) -> None:
    """202 with Location and Retry-After; polling Location ends with 200 when it is done."""
    answer = await open_front.http.post(
        f"{INSTANCES}?wait=false", json={"workflow": "w", "instance_id": "one"}
    )
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    place = answer.headers["location"]
    waiting = asyncio.create_task(open_front.http.get(place))
    await until(lambda: there(open_front, "one"))
    early = await open_front.http.get(f"{place}&timeout=0.01")
    assert (early.status_code, early.headers["location"]) == (202, place)
    await open_front.engine.owner.end("one", output=b"[1]")
    done = await waiting
    assert (done.status_code, done.json()["status"], done.json()["output"]) == (200, "COMPLETED", [1])
    assert "retry-after" not in done.headers


async def test_a_start_that_takes_too_long_says_where_to_wait(open_front: Front) -> None:
    """`Location` is the start that was asked for, also before its instance is there, and beside an older run."""
    open_front.engine.owner.pause()
    late = await post(open_front, "?timeout=0.01", {"workflow": "w", "instance_id": "one"})
    assert late.status_code == 202
    assert late.json().keys() == {"instance_id", "run", "request"}
    place = late.headers["location"]
    assert place == f"{INSTANCES}/one/wait?run={late.json()['run']}&request={late.json()['request']}"
    early = await open_front.http.get(f"{place}&timeout=0.01")
    assert (early.status_code, early.headers["location"]) == (202, place)
    await open_front.engine.owner.work()
    await open_front.engine.owner.end("one", output=b"[1]")
    assert (await open_front.http.get(place)).json()["output"] == [1]


async def there(made: Front, instance: str) -> bool:
    return bool(await made.engine.spy.inner.instances([instance]))


async def test_polling_tells_that_a_start_was_refused() -> None:
    async with front(poll=0.01) as made:
        await made.start("one")
        answer = await made.http.post(f"{INSTANCES}?wait=false", json={"workflow": "w", "instance_id": "one"})
        polled = await made.http.get(answer.headers["location"])
    assert (polled.status_code, polled.json()["error"]) == (409, "AlreadyExistsError")


async def test_a_start_takes_a_time_and_a_first_event(open_front: Front) -> None:
    """Start options that the client has, the API has too."""
    body = {
        "workflow": "w",
        "instance_id": "one",
        "tags": {"team": "red"},
        "version": "v2",
        "start_at": "2100-01-01T02:00:00+02:00",
        "event": {"name": "go", "payload": [1]},
    }
    assert (await post(open_front, "", body)).status_code == 201
    letter = open_front.engine.owner.letters[-1]
    assert isinstance(letter, Start)
    assert letter.start_at == datetime(2100, 1, 1, tzinfo=UTC)
    assert letter.event is not None
    assert (letter.event.name, bytes(letter.event.payload)) == ("go", b"[1]")
    assert (letter.tags, letter.version) == ({"team": "red"}, "v2")
    naive = await post(open_front, "", body | {"start_at": "2100-01-01T02:00:00"})
    assert naive.status_code == 422


async def test_an_event_may_come_first(open_front: Front) -> None:
    open_front.engine.owner.pause()
    await post(open_front, "/later/events/go?create=true&wait=false", 1)
    letter = decode_letter((await open_front.engine.spy.inner.inbox(range(4), limit=1))[0].body)
    assert isinstance(letter, Raise)
    assert letter.create is not None


async def test_a_live_id_is_a_conflict(open_front: Front) -> None:
    await open_front.start("one")
    answer = await post(open_front, "", {"workflow": "w", "instance_id": "one"})
    assert (answer.status_code, answer.json()["error"]) == (409, "AlreadyExistsError")
    assert answer.headers["content-type"] == "application/problem+json"
    ignored = {"workflow": "w", "instance_id": "one", "reuse": {"action": "IGNORE"}}
    assert (await post(open_front, "", ignored)).status_code == 201


async def test_the_same_message_id_starts_once(open_front: Front) -> None:
    answers = [await post(open_front, "", {"workflow": "w", "message_id": "m1"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["instance_id"] == answers[1].json()["instance_id"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "workflow"),
        ({"workflow": 7}, 422, "workflow"),
        ({"workflow": ""}, 422, "workflow"),
        ({"workflow": "w", "tags": {"a": 1}}, 422, "tags[...]"),
        ({"workflow": "w", "instance_id": 257 * "x"}, 422, "instance_id"),
        ({"workflow": "w", "instance_id": ""}, 422, "instance_id"),
        ({"workflow": "w", "version": ""}, 422, "version"),
        ({"workflow": "w", "message_id": ""}, 422, "message_id"),
        ({"workflow": "w", "tags": {"": "red"}}, 422, "tags"),
        ({"workflow": "w", "event": {"name": "", "payload": 1}}, 422, "event"),
        ({"workflow": "w", "start_at": "2100-01-01T00:00:00"}, 422, "start_at"),
        ({"workflow": "w", "event": {"name": "go"}}, 422, "event.payload"),
        ({"workflow": "w", "colour": "red"}, 422, "colour"),
        ({"workflow": "w", "reuse": {"action": "SHRUG"}}, 422, "reuse.action"),
        ([], 422, None),
    ],
)
async def test_a_body_that_makes_no_sense(
    open_front: Front, body: Any, status: int, field: str | None
) -> None:
    """422, with the field that is wrong."""
    answer = await post(open_front, "", body)
    assert (answer.status_code, answer.json().get("field")) == (status, field)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"workflow": "w", "input": [1,]}', b"\xff", b'{"workflow": "w", "input": ' + 5000 * b"["],
)
async def test_a_body_that_is_no_json(open_front: Front, body: bytes) -> None:
    assert (await open_front.http.post(INSTANCES, content=body)).status_code == 400


async def test_a_workflow_that_nobody_serves() -> None:
    async with front(workflows={"known": []}) as made:
        answer = await post(made, "", {"workflow": "other"})
    assert (answer.status_code, answer.json()["field"]) == (422, "workflow")
    assert "they serve: known" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", path) for path in ("", "/history", "/wait", "/updates", "/export")),
        *(("POST", path) for path in ("/events/go", "/suspend", "/resume", "/terminate")),
        ("DELETE", ""),
    ],
)
async def test_an_unknown_instance_is_404(open_front: Front, method: str, path: str) -> None:
    answer = await open_front.http.request(method, f"{INSTANCES}/nobody{path}")
    assert (answer.status_code, answer.json()["error"]) == (404, "NotFoundError")


async def test_the_verbs(open_front: Front) -> None:
    """204 when they have taken effect, for an id that needs care in a path too."""
    await open_front.start(ODD)
    one = f"/{quote(ODD, safe='')}"

    async def status() -> tuple[str, str | None]:
        shown = (await open_front.http.get(f"{INSTANCES}{one}")).json()
        assert shown["instance_id"] == ODD
        return shown["status"], shown.get("reason")

    assert (await post(open_front, f"{one}/suspend", {"reason": "lunch"})).status_code == 204
    assert await status() == ("SUSPENDED", "lunch")
    assert (await post(open_front, f"{one}/resume")).status_code == 204
    assert await status() == ("RUNNING", None)
    assert (await post(open_front, f"{one}/events/paid%2Ffull", {"by": "Ada"})).status_code == 204
    raised = open_front.engine.owner.letters[-1]
    assert isinstance(raised, Raise)
    assert (raised.name, msgspec.json.decode(raised.payload)) == ("paid/full", {"by": "Ada"})
    refused = await open_front.http.delete(f"{INSTANCES}{one}")
    assert (refused.status_code, refused.json()["error"]) == (409, "RequestError")
    ended = await post(open_front, f"{one}/terminate", {"output": 7, "reason": "enough"})
    assert ended.status_code == 204
    assert await status() == ("TERMINATED", "enough")
    purged = await open_front.http.delete(f"{INSTANCES}{one}")
    assert (purged.status_code, purged.json()) == (200, {"purged": 1})


@pytest.mark.parametrize("verb", ["events/go", "suspend", "resume", "terminate"])
async def test_an_instance_that_has_ended_is_410(open_front: Front, verb: str) -> None:
    await open_front.start("one")
    await open_front.engine.owner.end("one")
    answer = await post(open_front, f"/one/{verb}")
    assert (answer.status_code, answer.json()["error"]) == (410, "InstanceOverError")


@pytest.mark.parametrize("verb", ["events/go", "suspend", "resume", "terminate"])
async def test_a_verb_that_is_not_waited_for_or_takes_too_long_is_202(open_front: Front, verb: str) -> None:
    await open_front.start("one")
    open_front.engine.owner.pause()
    for query in ("wait=false", "timeout=0.01"):
        answer = await post(open_front, f"/one/{verb}?{query}")
        assert (answer.status_code, answer.headers["location"]) == (202, f"{INSTANCES}/one")


async def test_a_start_that_takes_too_long_is_202(open_front: Front) -> None:
    open_front.engine.owner.pause()
    answer = await open_front.http.post(f"{INSTANCES}?timeout=0.01", json={"workflow": "w"})
    assert answer.status_code == 202
    await open_front.engine.owner.work()
    assert (await open_front.http.get(f"{INSTANCES}/{answer.json()['instance_id']}")).status_code == 200


async def test_a_listing_is_filtered_paged_and_counted(open_front: Front) -> None:
    for number in range(5):
        await open_front.context.client.start("w", instance_id=f"i{number}", tags={"team": "red=1"})
    await open_front.context.client.start("other", instance_id="z")
    await open_front.engine.owner.end("i0")
    query = "workflow=w&tag=team=red%3D1&id_prefix=i&created_after=2000-01-01T00:00:00Z&limit=2&counts=true"
    seen: list[str] = []
    place: str | None = f"{INSTANCES}?{query}"
    while place is not None:
        answer = await open_front.http.get(place)
        assert answer.status_code == 200
        assert answer.json()["counts"] == {"RUNNING": 4, "COMPLETED": 1}
        seen += [one["instance_id"] for one in answer.json()["instances"]]
        place = answer.links["next"]["url"] if "next" in answer.links else None
        assert ("next" in answer.json()) == (place is not None)
    assert seen == ["i4", "i3", "i2", "i1", "i0"]
    ended = await open_front.http.get(f"{INSTANCES}?status=COMPLETED&status=FAILED")
    assert [one["instance_id"] for one in ended.json()["instances"]] == ["i0"]
    tallies = (await open_front.http.get("/api/v1/tally")).json()["tallies"]
    assert [(one["workflow"], one["status"], one["count"]) for one in tallies] == [
        *(("other", "RUNNING", 1), ("w", "COMPLETED", 1), ("w", "RUNNING", 4))
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=LIVELY", "status.0"),
        ("limit=0", "limit"),
        ("statuss=RUNNING", "statuss"),
        ("tag=team", "tag"),
        ("after=nonsense", "after"),
        ("after=W10=", "after"),
        ("created_after=yesterday", "created_after"),
        ("created_after=2026-11-20T12:00:00", "created_after"),
        ("created_before=0001-01-01T00:00:00%2B14:00", "created_before"),
        ("id_prefix=a%00b", "id_prefix"),
    ],
)
async def test_a_query_that_makes_no_sense(open_front: Front, query: str, field: str) -> None:
    answer = await open_front.http.get(f"{INSTANCES}?{query}")
    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_a_history_is_paged_and_exported(open_front: Front) -> None:
    await open_front.start("one")
    record = (await open_front.engine.spy.inner.instances(["one"]))["one"]
    began = ExecutionStarted(workflow="w", input=payloads.NULL, seed="s1", at=record.created_at)
    events = [began, *(EventRaised(name=name, payload=msgspec.Raw(b"1")) for name in "abc")]
    writes = PartitionWrites(
        partition=record.partition, epoch=open_front.engine.owner.epoch(record.partition)
    )
    writes.turns = [HistoryRow(instance="one", turn=0, generation=0, events=encode_events(list(events)))]
    assert not await open_front.engine.spy.inner.commit([writes], lease=LEASE)
    first = (await open_front.http.get(f"{INSTANCES}/one/history?limit=3")).json()
    assert [event.get("name") for event in first["events"]] == [None, "a", "b"]
    rest = (await open_front.http.get(f"{INSTANCES}/one/history?after={first['next']}")).json()
    assert rest == {"generation": 0, "events": [{"type": "EventRaised", "name": "c", "payload": 1}]}
    exported = (await open_front.http.get(f"{INSTANCES}/one/export")).json()
    assert (exported["instance"], len(exported["events"])) == ("one", 4)
    for nonsense in ("1", "e30=", "WyJzMSIsMCwtMV0="):
        refused = await open_front.http.get(f"{INSTANCES}/one/history?after={nonsense}")
        assert (refused.status_code, refused.json()["field"]) == (422, "after")


async def test_pages_of_a_history_are_of_one_generation(
    open_front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page whose generation is over is 410, and never the page of another one."""
    await open_front.start("one")

    def showing(seed: str, generation: int) -> None:
        began = ExecutionStarted(
            workflow="w", input=payloads.NULL, seed=seed, generation=generation, at=datetime.now(UTC)
        )
        raised = [EventRaised(name=f"{seed}.{generation}", payload=payloads.NULL) for _ in range(2)]
        told = [encode_events([began, *raised])]
        monkeypatch.setattr(open_front.engine.spy.inner, "history", AsyncMock(return_value=told))

    showing("s1", 0)
    page = f"{INSTANCES}/one/history?limit=2"
    first = (await open_front.http.get(page)).json()
    second = f"{page}&after={first['next']}"
    assert [event["name"] for event in (await open_front.http.get(second)).json()["events"]] == ["s1.0"]
    for seed, generation in (("s1", 1), ("s2", 0)):  # continued as new; started again
        showing(seed, generation)
        gone = await open_front.http.get(second)
        assert (gone.status_code, gone.json()["error"]) == (410, "GenerationOverError")
        assert "read it from its beginning" in gone.json()["detail"]


async def test_a_wait_ends_at_its_milestone() -> None:
    async with front(poll=0.01) as made:
        await made.start("one")
        assert (await made.http.get(f"{INSTANCES}/one/wait?until=started")).status_code == 200
        status = await made.context.client.get("one").status()
        changed = f"{INSTANCES}/one/wait?until=changed&revision={status.revision}"
        assert (await made.http.get(f"{changed}&timeout=0.01")).status_code == 202
        waiting = asyncio.create_task(made.http.get(changed))
        await made.context.client.get("one").suspend()
        assert (await waiting).json()["status"] == "SUSPENDED"


async def test_whoever_waits_is_answered_when_the_gateway_stops(open_front: Front) -> None:
    await open_front.start("one")
    waiting = asyncio.create_task(open_front.http.get(f"{INSTANCES}/one/wait"))
    await open_front.engine.spy.entered["instances"].wait()
    open_front.context.closing.set()
    assert (await waiting).status_code == 202


async def test_two_hundred_who_wait_cost_one_look() -> None:
    """200 clients waiting on one gateway cost it no polling per client."""
    async with front(poll=0.01) as made:
        await asyncio.gather(*(made.start(f"i{number}") for number in range(200)))
        made.engine.owner.silent = True
        spy = made.engine.spy
        waits = [asyncio.create_task(made.http.get(f"{INSTANCES}/i{number}/wait")) for number in range(200)]

        async def all_wait() -> bool:
            return bool(spy.arguments["instances"]) and len(spy.arguments["instances"][-1]) == 200

        await until(all_wait)
        spy.calls.clear()
        looks = len(spy.arguments["instances"])

        async def looked() -> bool:
            return len(spy.arguments["instances"]) >= looks + 5

        await until(looked)
        assert spy.calls.total() == spy.calls["instances"]  # nothing else is asked
        assert {len(asked) for asked in spy.arguments["instances"][looks:]} == {200}  # all of them in each
        for number in range(200):
            await made.engine.owner.end(f"i{number}")
        assert {(await wait).status_code for wait in waits} == {200}


async def test_queues_and_pools() -> None:
    async with front(workflows={}) as made:
        queues = (await made.http.get("/api/v1/queues")).json()["queues"]
        assert [queue["kind"] for queue in queues] == ["start", "dead", *4 * ["turns"], "activities", "dead"]
        turns = next(queue for queue in queues if queue["kind"] == "turns")
        assert (turns["name"], turns["messages"], turns["consumers"]) == ("tenuto.1.turns.0", 0, 1)
        assert "messages" not in queues[0]  # nobody has declared it
        pools = (await made.http.get("/api/v1/pools")).json()["queues"]
        assert [pool["pool"] for pool in pools] == ["default"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreUnavailableError("nobody at db.internal"), 503),
        (SchemaError("db.internal has no tables"), 503),
        (BrokerUnavailableError("nobody at mq.internal"), 503),
    ],
)
async def test_servers_that_are_away_are_503(
    open_front: Front, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(open_front.context.client._transport, "status", away)
    answer = await open_front.http.get(f"{INSTANCES}/one")
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "1")
    assert "internal" not in answer.json()["detail"]


async def test_paths_and_methods_that_are_not_there(open_front: Front) -> None:
    assert (await open_front.http.get("/api/v1/nothing")).status_code == 404
    wrong = await open_front.http.put(INSTANCES)
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, "application/problem+json")
    assert wrong.headers["allow"]
    assert (await open_front.start("one")) is None
    assert (await open_front.http.get(f"{INSTANCES}/one")).json()["status"] == Status.RUNNING


@pytest.mark.parametrize("verb", ["events/go", "suspend", "resume", "terminate"])
async def test_what_takes_too_long_can_be_waited_for(open_front: Front, verb: str) -> None:
    """202 names the request; its route answers 202 until it is dealt with, and tells a refusal to whoever waits."""
    await open_front.start("one")
    open_front.engine.owner.pause()
    late = (await post(open_front, f"/one/{verb}?timeout=0.01")).json()
    place = f"{INSTANCES}/one/requests/{late['request']}"
    early = await open_front.http.get(f"{place}?timeout=0.01")
    assert (early.status_code, early.headers["location"], early.headers["retry-after"]) == (202, place, "1")
    await open_front.engine.owner.work()
    assert (await open_front.http.get(place)).status_code == 204
    refused = (await post(open_front, f"/one/{verb}?timeout=0.01")).json()
    spy = open_front.engine.spy
    spy.entered["waiting"].clear()
    waiting = asyncio.create_task(open_front.http.get(f"{INSTANCES}/one/requests/{refused['request']}"))
    await spy.entered["waiting"].wait()
    await open_front.engine.owner.end("one")
    await open_front.engine.owner.work()
    answer = await waiting
    if verb != "terminate":  # the first terminate has ended it
        assert (answer.status_code, answer.json()["error"]) == (410, "InstanceOverError")


async def test_a_purge_that_takes_too_long_says_what_it_covers(open_front: Front) -> None:
    await open_front.start("one")
    await open_front.engine.owner.end("one")
    open_front.engine.owner.pause()
    late = await open_front.http.delete(f"{INSTANCES}/one?timeout=0.01")
    assert (late.status_code, late.json()["purged"]) == (202, 1)
    await open_front.engine.owner.work()
    place = f"{INSTANCES}/one/requests/{late.json()['request']}"
    assert (await open_front.http.get(place)).status_code == 204
    assert (await open_front.http.get(f"{INSTANCES}/one")).status_code == 404
