"""What stands before every route: who may call, how much may be sent, what is written down."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from fastapi.routing import APIRoute

from tenuto.errors import SettingsError, StoreUnavailableError
from tenuto.settings import GatewaySettings
from tenuto_gateway.http.app import application
from tenuto_gateway.http.callers import Scope, callers_of, new_token
from tenuto_gateway.http.guard import PUBLIC
from tests.unit.http.front import Front, front

START = "/v1.0/workflows/dapr/w/start"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_who_is_not_let_in_learns_nothing() -> None:
    _, line = new_token("ops", Scope.ADMIN)
    async with front(http_tokens=line) as made:
        answers = [
            await made.http.request(method, path, headers=headers)
            for method, path in (
                ("GET", "/v1.0/workflows/dapr/one"),
                ("POST", START),
                ("GET", "/no/such/path"),
            )
            for headers in (
                {},
                bearer("tenuto_wrong"),
                {"authorization": "Basic b3BzOm9wcw=="},
                {"authorization": "Bearer"},
            )
        ]
        answers += [await made.http.get(path) for path in ("/openapi.json", "/metrics", "/docs", "/")]
    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}
    assert answers[0].headers["www-authenticate"] == "Bearer"


async def test_scopes_include_those_before_them() -> None:
    tokens = {scope: new_token(scope.name, scope) for scope in Scope}
    lines = "\n".join(line for _, line in tokens.values())
    async with front(http_tokens=lines) as made:
        for scope, (token, _) in tokens.items():
            looked = await made.http.get("/metrics", headers=bearer(token))
            started = await made.http.post(f"{START}?instanceID={scope.name}", headers=bearer(token))
            purged = await made.http.post("/v1.0/workflows/dapr/nobody/purge", headers=bearer(token))
            assert looked.status_code == 200
            assert started.status_code == (202 if scope >= Scope.OPERATE else 403)
            assert purged.status_code == (404 if scope >= Scope.ADMIN else 403)
        assert (
            "READ has the scope read; this needs admin"
            in (
                await made.http.post(
                    "/v1.0/workflows/dapr/nobody/purge", headers=bearer(tokens[Scope.READ][0])
                )
            ).json()["detail"]
        )


def test_every_route_says_what_scope_it_needs() -> None:
    """Those that change something need more than to read."""
    routes = [route for route in application().routes if isinstance(route, APIRoute)]
    assert {"/metrics", START.replace("dapr/w", "{component}/{name}")} <= {route.path for route in routes}
    for route in routes:
        if route.path in PUBLIC:
            continue
        scopes = [
            found
            for dependency in route.dependencies
            if (found := getattr(dependency.dependency, "scope", None)) is not None
        ]
        assert len(scopes) == 1, route.path
        if route.methods - {"GET", "HEAD"}:
            assert scopes[0] >= Scope.OPERATE, route.path


def test_away_from_loopback_there_must_be_tokens() -> None:
    with pytest.raises(SettingsError, match="TENUTO_HTTP_TOKENS"):
        callers_of(GatewaySettings(http_host="0.0.0.0"))  # noqa: S104
    assert callers_of(GatewaySettings(http_host="0.0.0.0", http_authentication="off")).is_open  # noqa: S104
    assert callers_of(GatewaySettings(http_host="::1")).is_open
    _, line = new_token("ci", Scope.READ)
    assert not callers_of(GatewaySettings(http_host="0.0.0.0", http_tokens=line)).is_open  # noqa: S104


def test_tokens_are_kept_as_hashes_and_never_shown() -> None:
    token, line = new_token("ci", Scope.READ)
    assert token not in line
    settings = GatewaySettings(http_tokens=line)
    assert line.rpartition(":")[2] not in repr(settings)
    with pytest.raises(SettingsError, match="entry 2") as caught:
        callers_of(GatewaySettings(http_tokens=f"{line},ci:write:{'0' * 64}"))
    assert "0000" not in str(caught.value)
    with pytest.raises(SettingsError, match="a caller's name"):
        new_token("a b", Scope.READ)


async def test_a_body_may_not_be_too_large() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b'"' + 9 * b"x"

    async with front(http_max_body_bytes=100) as made:
        assert (await made.http.post(START, content=b'"' + 98 * b"x" + b'"')).status_code == 202
        assert (await made.http.post(START, content=101 * b"1")).status_code == 413
        assert (
            await made.http.post(START, content=chunks())
        ).status_code == 413  # its length is not declared


async def test_headers_may_not_be_too_large() -> None:
    async with front(http_max_header_bytes=1000) as made:
        assert (await made.http.get("/metrics", headers={"x": 900 * "y"})).status_code == 431
        assert (await made.http.get(f"/metrics?{1000 * 'y'}")).status_code == 431
        assert (await made.http.get("/metrics")).status_code == 200


async def test_a_page_in_a_browser_of_this_machine_cannot_call(open_front: Front) -> None:
    """Where authentication is off: other origins' pages, and names that were made to point here, are refused."""
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        assert (await open_front.http.post(START, headers=headers)).status_code == 403
    assert (await open_front.http.post(START, headers={"origin": "http://127.0.0.1:8420"})).status_code == 202
    async with front(http_cors_origins="https://board.example") as made:
        asked = await made.http.post(START, headers={"origin": "https://board.example"})
        assert asked.headers["access-control-allow-origin"] == "https://board.example"
    assert "access-control-allow-origin" not in (await open_front.http.get("/healthz")).headers


@pytest.mark.parametrize("headers", [{"host": "["}, {"origin": "http://["}])
async def test_a_malformed_name_is_refused(
    open_front: Front, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tenuto.audit")
    answer = await open_front.http.post(START, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert [record.getMessage().rsplit(": ", 1)[1] for record in caplog.records] == ["403"]


async def test_every_mutation_is_written_down_with_its_caller(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="tenuto.audit")
    token, line = new_token("ada", Scope.OPERATE)
    async with front(http_tokens=line) as made:
        await made.http.post(
            f"{START}?instanceID=one&secret=s3cret", content=b'"s3cret"', headers=bearer(token)
        )
        await made.http.post("/v1.0/workflows/dapr/one/purge", headers=bearer(token))
        await made.http.post(START)
        await made.http.get("/metrics", headers=bearer(token))
    lines = [record.getMessage() for record in caplog.records if record.name == "tenuto.audit"]
    assert [line.split(" from ")[0] for line in lines] == ["ada", "ada", "a stranger"]
    assert [line.rsplit(": ", 1)[1] for line in lines] == ["202", "403", "401"]
    assert lines[0].endswith(" instance='one': 202")
    assert "POST /v1.0/workflows/{component}/{instance}/purge component='dapr' instance='one'" in lines[1]
    assert "instance=" not in lines[2]
    assert "s3cret" not in caplog.text
    assert token not in caplog.text


async def test_a_start_is_written_down_with_the_instance_that_it_began(
    open_front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tenuto.audit")
    begun = await open_front.http.post("/api/v1/instances", json={"workflow": "w"})
    assert begun.status_code == 201
    line = next(record.getMessage() for record in caplog.records if record.name == "tenuto.audit")
    assert line.endswith(f" instance={begun.json()['instance_id']!r}: 201")


async def test_the_words_of_servers_stay_in_the_log(
    open_front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailableError("nobody at db.internal:5432")

    monkeypatch.setattr(open_front.context.client._transport, "status", away)
    answer = await open_front.http.get("/v1.0/workflows/dapr/one")
    assert answer.status_code == 500
    assert "db.internal" not in answer.text


async def test_a_bug_is_500_and_tells_nothing(
    open_front: Front, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("s3cret")

    monkeypatch.setattr(open_front.context.client._transport, "status", broken)
    answer = await open_front.http.get("/v1.0/workflows/dapr/one")
    assert (answer.status_code, answer.json()["status"]) == (500, 500)
    assert "s3cret" not in answer.text
    assert "ZeroDivisionError" in caplog.text


async def test_health(open_front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await open_front.http.get("/healthz")).json() == {"status": "ok"}
    assert (await open_front.http.get("/readyz")).status_code == 200
    before = open_front.engine.spy.calls["find"]
    for _ in range(5):
        await open_front.http.get("/readyz")
    assert open_front.engine.spy.calls["find"] == before  # anybody may ask, so it is not asked each time
    open_front.context.closing.set()
    assert (await open_front.http.get("/readyz")).status_code == 503


async def test_it_is_not_ready_without_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    async with front() as made:

        async def away(*_: object, **__: object) -> None:
            raise StoreUnavailableError("nobody at db.internal:5432")

        monkeypatch.setattr(made.context.client._transport, "page", away)
        answer = await made.http.get("/readyz")
    assert answer.status_code == 503
    assert "db.internal" not in answer.text


async def test_metrics_count_by_route(open_front: Front) -> None:
    await open_front.http.get("/v1.0/workflows/dapr/nobody")
    await open_front.http.get("/invented/by/a/stranger")
    text = (await open_front.http.get("/metrics")).text
    route = "/v1.0/workflows/{component}/{instance}"
    assert f'tenuto_http_requests_total{{method="GET",route="{route}",status="404"}} 1.0' in text
    assert "stranger" not in text
