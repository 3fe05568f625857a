"""`/api/v1/instances`: what makes new ones: a start, a restart, a rerun.

Answered with 201, the instance exists; with 202, the request is stored and will be carried out (`wait=false`, or it
took longer than the gateway waits).
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from tenuto import payloads
from tenuto.client import WorkflowHandle
from tenuto.client.documents import RerunRequest, RestartRequest, StartedDocument, StartRequest
from tenuto.client.transport import StartPendingError, Target
from tenuto_gateway.http.bodies import answer, answers, body_of, takes
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.context import Context, Here
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.paths import InstanceId, instance_path
from tenuto_gateway.http.queries import KNOWN_ONLY

__all__ = ["RETRY", "Seconds", "Wait", "bounded", "router", "started"]

router = APIRouter(prefix="/api/v1", tags=["instances"], dependencies=KNOWN_ONLY)

RETRY = {"retry-after": "1"}
_OPERATE = [needs(Scope.OPERATE)]
_STARTED = {
    **answers(StartedDocument, 201, "The instance exists; `Location` is the instance."),
    **answers(StartedDocument, 202, "The start is stored; `Location` is where to wait for it."),
}

Wait: TypeAlias = Annotated[bool, Query(description="Answer when it has taken effect.")]
Seconds: TypeAlias = Annotated[
    float, Query(gt=0, le=86_400, description="Seconds to wait, at most; the gateway's own bound holds too.")
]


@router.post(
    "/instances",
    status_code=201,
    dependencies=_OPERATE,
    responses=_STARTED,
    openapi_extra=takes(StartRequest),
)
async def start(
    request: Request,
    here: Here,
    body: Annotated[StartRequest, Depends(body_of(StartRequest))],
    *,
    wait: Wait = True,
    timeout: Seconds = 20.0,
) -> Response:
    """Start a workflow."""
    instance = body.instance_id
    if instance is None and body.message_id is None:
        instance = uuid.uuid4().hex
    request.state.started = instance
    starting = here.client.start(
        body.workflow,
        payloads.NULL if body.input is None else body.input,
        instance_id=instance,
        version=body.version,
        tags=body.tags,
        reuse=body.reuse,
        message_id=body.message_id,
        start_at=body.start_at,
        event=None if body.event is None else (body.event.name, body.event.payload),
        wait=wait,
        timeout=bounded(here, timeout),
    )
    return await _carried_out(request, starting, wait=wait)


@router.post(
    "/instances/{instance}/restart",
    status_code=201,
    dependencies=_OPERATE,
    responses=_STARTED,
    openapi_extra=takes(RestartRequest, required=False),
)
async def restart(
    request: Request,
    here: Here,
    instance: InstanceId,
    body: Annotated[RestartRequest, Depends(body_of(RestartRequest, optional=True))],
    *,
    wait: Wait = True,
    timeout: Seconds = 20.0,
) -> Response:
    """Start a workflow once more with the same input and tags: a new instance."""
    request.state.started = body.instance_id
    restarting = here.client.get(instance).restart(
        instance_id=body.instance_id,
        message_id=body.message_id,
        version=body.version,
        reuse=body.reuse,
        wait=wait,
        timeout=bounded(here, timeout),
    )
    return await _carried_out(request, restarting, wait=wait)


@router.post(
    "/instances/{instance}/rerun",
    status_code=201,
    dependencies=_OPERATE,
    responses=_STARTED,
    openapi_extra=takes(RerunRequest),
)
async def rerun(
    request: Request,
    here: Here,
    instance: InstanceId,
    body: Annotated[RerunRequest, Depends(body_of(RerunRequest))],
    *,
    wait: Wait = True,
    timeout: Seconds = 20.0,
) -> Response:
    """Make a new instance that has the history of one that has ended up to an event, and goes on from there. One that
    cannot be rerun, or not from there: 409."""
    request.state.started = body.instance_id
    rerunning = here.client.get(instance).rerun(
        body.event_id,
        input=msgspec.UNSET if body.input is None else body.input,
        instance_id=body.instance_id,
        message_id=body.message_id,
        wait=wait,
        timeout=bounded(here, timeout),
    )
    return await _carried_out(request, rerunning, wait=wait)


async def _carried_out(request: Request, starting: Awaitable[WorkflowHandle[Any]], *, wait: bool) -> Response:
    try:
        handle = await starting
    except StartPendingError as late:
        target, status = late.target, 202
    else:
        target, status = handle.target, 201 if wait else 202
    request.state.started = target.instance
    return started(target, status)


def bounded(here: Context, timeout: float) -> float:
    """The time to wait: no longer than the gateway does."""
    return min(timeout, here.settings.http_max_wait)


def started(target: Target, status: int) -> Response:
    """The answer: what was started, and where it is."""
    document = StartedDocument(instance_id=target.instance, run=target.run, request=target.row)
    if status == 201:  # noqa: PLR2004  created
        return answer(document, status, headers={"location": instance_path(target.instance)})
    known = {"run": target.run, "request": target.row}
    query = urlencode({name: value for name, value in known.items() if value is not None})
    place = instance_path(target.instance, f"/wait?{query}".rstrip("?"))
    return answer(document, status, headers={"location": place, **RETRY})
