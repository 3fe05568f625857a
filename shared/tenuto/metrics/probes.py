"""`/healthz` and `/readyz` of a service, beside its metrics: what those want to know who keep it running.

A service that lost its database or its broker is not ready, and gets over it by itself: it must not be killed for that,
so `/healthz` asks nothing but whether the event loop turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["Unready", "with_probes"]

Unready = Callable[[], str | None]
"""Why a service cannot serve at present, in words; None: it can. Called on the event loop; must not block."""

_PATIENCE: Final = 3.0
"""Seconds that the event loop is given to answer; less than a probe's own time limit."""


def with_probes(
    app: WSGIApplication,
    unready: Unready,
    loop: asyncio.AbstractEventLoop,
    *,
    patience: float = _PATIENCE,
) -> WSGIApplication:
    """`app`, and the two probes before it. It is called in threads of a server, and asks on the loop.

    `patience`: seconds that the loop is given to answer.
    """

    def probed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/healthz":
                return _answer(_ask(loop, lambda: None, patience), "ok", start_response)
            case "/readyz":
                return _answer(_ask(loop, unready, patience), "ready", start_response)
            case _:
                return app(environ, start_response)

    return probed


def _ask(loop: asyncio.AbstractEventLoop, question: Unready, patience: float) -> str | None:
    answer: Future[str | None] = Future()

    def ask() -> None:
        try:
            answer.set_result(question())
        except Exception as error:  # noqa: BLE001  it is raised where the answer is awaited
            answer.set_exception(error)

    try:
        loop.call_soon_threadsafe(ask)
    except RuntimeError:
        return "the event loop is closed"
    try:
        return answer.result(patience)
    except TimeoutError:
        return f"the event loop has not turned for {patience:g} s"


def _answer(reason: str | None, fine: str, start_response: StartResponse) -> Iterable[bytes]:
    status = HTTPStatus.OK if reason is None else HTTPStatus.SERVICE_UNAVAILABLE
    body = {"status": fine} if reason is None else {"status": f"not {fine}", "reason": reason}
    start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/json")])
    return [msgspec.json.encode(body)]
