"""`/api/v1/bulk`, with plain HTTP."""

from __future__ import annotations

import logging

import pytest

from tests.unit.http.front import Front

BULK = "/api/v1/bulk"


@pytest.mark.parametrize("query", ["", "id_prefix=", "builtin=true", "id_prefix=&builtin=true"])
async def test_what_leaves_nothing_out_is_no_filter(open_front: Front, query: str) -> None:
    await open_front.start("one")
    refused = await open_front.http.post(f"/api/v1/bulk/purge?force=true&{query}")
    assert (refused.status_code, refused.json()["field"]) == (422, "everything")
    assert (await open_front.http.get("/api/v1/instances/one")).status_code == 200
    meant = await open_front.http.post(f"/api/v1/bulk/purge?force=true&everything=true&{query}")
    assert meant.json()["asked"] == 1


async def test_a_page_is_asked_at_a_time(open_front: Front) -> None:
    """Keyset pages: `next` says where to go on, and nobody is asked twice."""
    for number in range(5):
        await open_front.start(f"i{number}")
    asked, query = list[int](), ""
    while True:
        page = (await open_front.http.post(f"{BULK}/terminate?id_prefix=i&limit=2{query}")).json()
        asked.append(page["asked"])
        if "next" not in page:
            break
        query = f"&after={page['next']}"
    assert asked == [2, 2, 1]
    counts = (await open_front.http.get("/api/v1/instances?counts=true")).json()["counts"]
    assert counts == {"TERMINATED": 5}
    nonsense = await open_front.http.post(f"{BULK}/terminate?id_prefix=i&limit=2&after=x")
    assert (nonsense.status_code, nonsense.json()["field"]) == (422, "after")


async def test_what_is_not_waited_for_is_202(open_front: Front) -> None:
    await open_front.start("one")
    open_front.engine.owner.pause()
    stored = await open_front.http.post(f"{BULK}/suspend?everything=true&wait=false")
    assert (stored.status_code, stored.json()["asked"]) == (202, 1)
    late = await open_front.http.post(f"{BULK}/suspend?everything=true&timeout=0.01")
    assert (late.status_code, late.json()["error"]) == (504, "TimeoutError")
    assert "repeat it" in late.json()["detail"]
    await open_front.engine.owner.work()
    assert (await open_front.http.get("/api/v1/instances/one")).json()["status"] == "SUSPENDED"


async def test_the_audit_tells_how_many_were_asked(
    open_front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tenuto.audit")
    await open_front.start("one", tags={"card": "s3cret"})
    await open_front.http.post(f"{BULK}/terminate?tag=card=s3cret", json={"reason": "s3cret"})
    line = next(record.getMessage() for record in caplog.records if record.name == "tenuto.audit")
    assert line.endswith("POST /api/v1/bulk/terminate asked=1 refused=0: 200")


async def test_a_slip_of_the_pen_in_a_filter_asks_nobody(open_front: Front) -> None:
    """It would fit more than was meant."""
    await open_front.start("one")
    refused = await open_front.http.post(f"{BULK}/terminate?workflow=w&statsu=SUSPENDED")
    assert (refused.status_code, refused.json()["field"]) == (422, "statsu")
    assert "there are: " in refused.json()["detail"]
    assert (await open_front.http.get("/api/v1/instances/one")).json()["status"] == "RUNNING"
