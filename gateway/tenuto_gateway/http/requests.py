"""What became of a request that is stored, and how 202 is said."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from tenuto.client.documents import PendingDocument
from tenuto.client.transport import RequestPendingError, Target
from tenuto_gateway.http.bodies import answer, answers
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.context import Here
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.paths import InstanceId, instance_path
from tenuto_gateway.http.queries import KNOWN_ONLY
from tenuto_gateway.http.starts import RETRY, Seconds, bounded

__all__ = ["ROW", "accepted", "asked", "pending", "router"]

router = APIRouter(prefix="/api/v1", tags=["instances"], dependencies=KNOWN_ONLY)

ROW = "^[0-9A-Za-z-]{1,64}$"


@router.get(
    "/instances/{instance}/requests/{request}",
    status_code=204,
    dependencies=[needs(Scope.READ)],
    responses={
        **answers(None, 204, "It is not waiting (any more); unless it was refused, it has taken effect."),
        **answers(None, 202, "Not yet; ask the same again."),
    },
)
async def wait_for_request(
    here: Here,
    instance: InstanceId,
    request: Annotated[str, Path(pattern=ROW, description="As the answer 202 named it.")],
    *,
    timeout: Seconds = 20.0,
) -> Response:
    """Wait until a request is dealt with (long poll). An error that it met is told here while it is remembered; later
    the instance shows it."""
    target = Target(instance=instance, row=request)
    try:
        await here.unless_closing(here.client.dealt_with(target, timeout=bounded(here, timeout)))
    except TimeoutError:
        return accepted(instance, f"/requests/{request}")
    return Response(status_code=204)


async def asked(instance: str, asking: Coroutine[Any, Any, None], *, wait: bool) -> Response:
    """A request: 204 when it has taken effect, 202 when it is stored."""
    try:
        await asking
    except RequestPendingError as late:
        return pending(instance, late)
    return Response(status_code=204) if wait else accepted(instance)


def pending(instance: str, late: RequestPendingError) -> Response:
    """202: it takes longer than the gateway waits."""
    document = PendingDocument(request=late.row, asked_at=late.asked_at, purged=late.covers or None)
    return answer(document, 202, headers=_headers(instance))


def accepted(instance: str, rest: str = "") -> Response:
    """202: it is stored. `Location` is the instance, or what is under it."""
    return Response(status_code=202, headers=_headers(instance, rest))


def _headers(instance: str, rest: str = "") -> dict[str, str]:
    return {"location": instance_path(instance, rest), **RETRY}
