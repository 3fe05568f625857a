"""`/api/v1/instances`: look, wait, and the verbs. How they start is in `starts`.

What a request has brought about when it is answered: 201 or 204, it has taken effect; 202, it is stored and will be
carried out (`wait=false`, or it took longer than the gateway waits).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from tenuto import payloads
from tenuto.client import InstanceStatus, WorkflowHandle
from tenuto.client.documents import (
    InstanceDocument,
    ListingDocument,
    PendingDocument,
    PurgedDocument,
    Reason,
    StartedDocument,
    TalliesDocument,
    TallyDocument,
    TerminateRequest,
    cursor_token,
    instance_document,
)
from tenuto.client.transport import RequestPendingError, Target
from tenuto.errors import InstanceOverError
from tenuto_gateway.http.bodies import answer, answers, body_of, payload_of, takes
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.context import Here
from tenuto_gateway.http.filters import After, Where
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.paths import EventName, InstanceId
from tenuto_gateway.http.queries import KNOWN_ONLY
from tenuto_gateway.http.requests import ROW, asked, pending
from tenuto_gateway.http.starts import RETRY, Seconds, Wait, bounded, started

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["instances"], dependencies=KNOWN_ONLY)

_LOOK = [needs(Scope.READ)]
_OPERATE = [needs(Scope.OPERATE)]
_ADMIN = [needs(Scope.ADMIN)]
_DONE = {
    **answers(None, 204, "It has taken effect."),
    **answers(
        PendingDocument, 202, "It is stored, and will be carried out (with `wait=false` without a body)."
    ),
}


class Until(StrEnum):
    """What in the life of an instance can be waited for."""

    STARTED = "started"
    ENDED = "ended"
    CHANGED = "changed"


@router.get(
    "/instances",
    dependencies=_LOOK,
    responses=answers(ListingDocument, 200, "A page; `Link` names the next one."),
)
async def list_(
    request: Request,
    here: Here,
    where: Where,
    after: After,
    *,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    counts: Annotated[bool, Query(description="Count those that fit, which looks at each.")] = False,
) -> Response:
    """List instances, newest first."""
    page = await here.client.list_page(where, limit=limit, after=after)
    counted: dict[Any, int] | None = None
    if counts:
        counted = {}
        for tally in await here.client.tally(where):
            counted[tally.status] = counted.get(tally.status, 0) + tally.count
    following = None if page.next is None else cursor_token(page.next)
    document = ListingDocument(
        instances=[instance_document(one) for one in page.instances], next=following, counts=counted
    )
    headers = None
    if following is not None:
        headers = {"link": f'<{request.url.include_query_params(after=following)}>; rel="next"'}
    return answer(document, headers=headers)


@router.get("/tally", dependencies=_LOOK, responses=answers(TalliesDocument, 200, "How many there are."))
async def tally(here: Here, where: Where) -> Response:
    """Count instances by workflow, version and status: which old code still has live ones, for example."""
    found = [
        TallyDocument(workflow=one.workflow, version=one.version, status=one.status, count=one.count)
        for one in await here.client.tally(where)
    ]
    return answer(TalliesDocument(tallies=found))


@router.get(
    "/instances/{instance}",
    dependencies=_LOOK,
    responses=answers(InstanceDocument, 200, "While it lives, `Retry-After` says when to look again."),
)
async def show(here: Here, instance: InstanceId) -> Response:
    """How an instance stands."""
    return _shown(await here.client.get(instance).status())


@router.delete(
    "/instances/{instance}",
    dependencies=_ADMIN,
    responses={
        **answers(PurgedDocument, 200, "It is deleted."),
        **answers(PendingDocument, 202, "It is stored, and will be carried out."),
    },
)
async def purge(
    here: Here,
    instance: InstanceId,
    *,
    force: Annotated[bool, Query(description="Also while it is alive.")] = False,
    recursive: Annotated[bool, Query(description="Its children too.")] = True,
    timeout: Seconds = 20.0,
) -> Response:
    """Delete an instance with its history."""
    try:
        covered = await here.client.get(instance).purge(
            force=force, recursive=recursive, timeout=bounded(here, timeout)
        )
    except RequestPendingError as late:
        return pending(instance, late)
    return answer(PurgedDocument(purged=covered))


@router.get(
    "/instances/{instance}/wait",
    dependencies=_LOOK,
    responses={
        **answers(InstanceDocument, 200, "What was waited for has come about."),
        **answers(StartedDocument, 202, "Not yet; ask the same again."),
    },
)
async def wait_(
    here: Here,
    instance: InstanceId,
    *,
    until: Annotated[Until, Query(description="What to wait for.")] = Until.ENDED,
    timeout: Seconds = 20.0,
    run: Annotated[str | None, Query(pattern=ROW, description="The run that was started.")] = None,
    request: Annotated[
        str | None, Query(pattern=ROW, description="The start that was not waited for.")
    ] = None,
    revision: Annotated[
        str | None, Query(max_length=300, description="What was seen, for `until=changed`.")
    ] = None,
) -> Response:
    """Wait for an instance (long poll). Any number of waits cost the gateway one look at the database."""
    target = Target(instance=instance, run=run, row=request)
    handle: WorkflowHandle[Any] = here.client.attach(target)
    seconds = bounded(here, timeout)
    try:
        match until:
            case Until.STARTED:
                status = await here.unless_closing(handle.started(timeout=seconds))
            case Until.ENDED:
                status = await here.unless_closing(handle.ended(timeout=seconds))
            case Until.CHANGED:
                status = await here.unless_closing(handle.changed(revision or "", timeout=seconds))
    except TimeoutError:
        return started(target, 202)
    return _shown(status)


@router.post(
    "/instances/{instance}/events/{name}",
    status_code=204,
    dependencies=_OPERATE,
    responses=_DONE,
    openapi_extra=takes(None, required=False),
)
async def raise_event(
    here: Here,
    instance: InstanceId,
    name: EventName,
    payload: Annotated[msgspec.Raw, Depends(payload_of)],
    *,
    create: Annotated[bool, Query(description="Keep it if there is no such instance yet.")] = False,
    message_id: Annotated[
        str | None, Query(description="However often it is sent with this, it arrives once.")
    ] = None,
    wait: Wait = True,
    timeout: Seconds = 20.0,
) -> Response:
    """Give the instance an external event; the body is its payload."""
    raising = here.client.get(instance).raise_event(
        name, payload, create=create, message_id=message_id, wait=wait, timeout=bounded(here, timeout)
    )
    return await asked(instance, raising, wait=wait)


_REASONED: dict[str, Any] = {
    "status_code": 204,
    "dependencies": _OPERATE,
    "responses": _DONE,
    "openapi_extra": takes(Reason, required=False),
}


@router.post("/instances/{instance}/suspend", **_REASONED)
async def suspend(
    here: Here,
    instance: InstanceId,
    body: Annotated[Reason, Depends(body_of(Reason, optional=True))],
    *,
    wait: Wait = True,
    timeout: Seconds = 20.0,
) -> Response:
    """Keep from the instance all that happens until `resume`. Twice is once."""
    asking = here.client.get(instance).suspend(body.reason, wait=wait, timeout=bounded(here, timeout))
    return await asked(instance, asking, wait=wait)


@router.post("/instances/{instance}/resume", **_REASONED)
async def resume(
    here: Here,
    instance: InstanceId,
    body: Annotated[Reason, Depends(body_of(Reason, optional=True))],
    *,
    wait: Wait = True,
    timeout: Seconds = 20.0,
) -> Response:
    """Undo `suspend`: what was kept is given to the instance, in order."""
    asking = here.client.get(instance).resume(body.reason, wait=wait, timeout=bounded(here, timeout))
    return await asked(instance, asking, wait=wait)


@router.post("/instances/{instance}/rewind", **_REASONED)
async def rewind(
    here: Here,
    instance: InstanceId,
    body: Annotated[Reason, Depends(body_of(Reason, optional=True))],
    *,
    wait: Wait = True,
    timeout: Seconds = 20.0,
) -> Response:
    """Let an instance that failed, or was terminated, go on in place. One that cannot is left as it is: 409."""
    asking = here.client.get(instance).rewind(body.reason, wait=wait, timeout=bounded(here, timeout))
    return await asked(instance, asking, wait=wait)


@router.post(
    "/instances/{instance}/terminate",
    status_code=204,
    dependencies=_OPERATE,
    responses=_DONE,
    openapi_extra=takes(TerminateRequest, required=False),
)
async def terminate(
    here: Here,
    instance: InstanceId,
    body: Annotated[TerminateRequest, Depends(body_of(TerminateRequest, optional=True))],
    *,
    wait: Wait = True,
    timeout: Seconds = 20.0,
) -> Response:
    """End the instance, and its children, whatever it is doing. One that has ended is left as it is: 410."""
    output = payloads.NULL if body.output is None else body.output
    how = {"recursive": body.recursive, "wait": wait, "timeout": bounded(here, timeout)}
    asking = _terminated(here.client.get(instance), output, body.reason, **how)
    return await asked(instance, asking, wait=wait)


async def _terminated(
    handle: WorkflowHandle[Any], output: msgspec.Raw, reason: str | None, **how: Any
) -> None:
    if not await handle.terminate(output, reason, **how):
        raise InstanceOverError(f"Instance {handle.instance_id!r} has ended already; nothing was changed.")


def _shown(status: InstanceStatus) -> Response:
    headers = {} if status.status.is_terminal else RETRY
    return answer(instance_document(status), headers=headers)
