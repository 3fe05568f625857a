"""`/api/v1/bulk`, with plain HTTP."""

from __future__ import annotations

import pytest

from tests.unit.http.front import Front


@pytest.mark.parametrize("query", ["", "id_prefix=", "builtin=true", "id_prefix=&builtin=true"])
async def test_what_leaves_nothing_out_is_no_filter(open_front: Front, query: str) -> None:
    await open_front.start("one")
    refused = await open_front.http.post(f"/api/v1/bulk/purge?force=true&{query}")
    assert (refused.status_code, refused.json()["field"]) == (422, "everything")
    assert (await open_front.http.get("/api/v1/instances/one")).status_code == 200
    meant = await open_front.http.post(f"/api/v1/bulk/purge?force=true&everything=true&{query}")
    assert meant.json()["asked"] == 1
