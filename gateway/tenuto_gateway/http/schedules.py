"""`/api/v1/schedules`: what starts workflows again and again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, TypeAlias, cast
from urllib.parse import quote, unquote

import msgspec
from fastapi import APIRouter, Depends, Path, Request, Response

from tenuto import payloads
from tenuto.client import ScheduleOptions, ScheduleStatus
from tenuto.client.documents import Reason, ScheduleChanges, ScheduleRequest, TriggeredDocument
from tenuto_gateway.http.bodies import answer, answers, body_of, takes
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.context import Here
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.paths import instance_path
from tenuto_gateway.http.queries import KNOWN_ONLY

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"], dependencies=KNOWN_ONLY)

_LOOK = [needs(Scope.READ)]
_OPERATE = [needs(Scope.OPERATE)]
_ADMIN = [needs(Scope.ADMIN)]
_DONE = answers(None, 204, "It has taken effect.")


def _decoded(schedule: Annotated[str, Path(description="The schedule's name, percent-encoded.")]) -> str:
    return unquote(schedule)


Name: TypeAlias = Annotated[str, Depends(_decoded)]
Why: TypeAlias = Annotated[Reason, Depends(body_of(Reason, optional=True))]


@router.post(
    "", status_code=201, dependencies=_OPERATE, responses=_DONE, openapi_extra=takes(ScheduleRequest)
)
async def create(
    request: Request, here: Here, body: Annotated[ScheduleRequest, Depends(body_of(ScheduleRequest))]
) -> Response:
    """Make a schedule. 201 with `Location`."""
    request.state.named = {"schedule": body.name}
    value = payloads.NULL if body.input is None else body.input
    await here.client.schedules.create(body.name, body.workflow, value, paused=body.paused, **_options(body))
    return answer(
        {"name": body.name}, 201, headers={"location": f"/api/v1/schedules/{quote(body.name, safe='')}"}
    )


@router.get("", dependencies=_LOOK)
async def list_(here: Here) -> Response:
    """All schedules, newest first."""
    return answer({"schedules": [_document(found) async for found in here.client.schedules.list()]})


@router.get("/{schedule}", dependencies=_LOOK)
async def show(here: Here, schedule: Name) -> Response:
    """How a schedule stands: its next time, its last run."""
    return answer(_document(await here.client.schedules.get(schedule)))


@router.patch(
    "/{schedule}",
    status_code=204,
    dependencies=_OPERATE,
    responses=_DONE,
    openapi_extra=takes(ScheduleChanges),
)
async def update(
    here: Here, schedule: Name, body: Annotated[ScheduleChanges, Depends(body_of(ScheduleChanges))]
) -> Response:
    """Change what is given, from the next firing on."""
    changes: dict[str, Any] = dict(_options(body))
    if body.input is not None:
        changes["input"] = body.input
    if body.workflow is not msgspec.UNSET:
        changes["workflow"] = body.workflow
    await here.client.schedules.update(schedule, **changes)
    return Response(status_code=204)


@router.delete("/{schedule}", status_code=204, dependencies=_ADMIN, responses=_DONE)
async def delete(here: Here, schedule: Name) -> Response:
    """Remove a schedule. Runs under way go on."""
    await here.client.schedules.delete(schedule)
    return Response(status_code=204)


@router.post(
    "/{schedule}/pause",
    status_code=204,
    dependencies=_OPERATE,
    responses=_DONE,
    openapi_extra=takes(Reason, required=False),
)
async def pause(here: Here, schedule: Name, body: Why) -> Response:
    """Let it start nothing until `resume`."""
    await here.client.schedules.pause(schedule, body.reason)
    return Response(status_code=204)


@router.post(
    "/{schedule}/resume",
    status_code=204,
    dependencies=_OPERATE,
    responses=_DONE,
    openapi_extra=takes(Reason, required=False),
)
async def resume(here: Here, schedule: Name, body: Why) -> Response:
    """Let it fire again, from now on."""
    await here.client.schedules.resume(schedule, body.reason)
    return Response(status_code=204)


@router.post(
    "/{schedule}/trigger",
    status_code=202,
    dependencies=_OPERATE,
    responses=answers(TriggeredDocument, 202, "The run, which starts if the overlap policy lets it."),
)
async def trigger(request: Request, here: Here, schedule: Name) -> Response:
    """Start a run now, beside the schedule's times."""
    run = await here.client.schedules.trigger(schedule)
    request.state.started = run
    return answer(TriggeredDocument(instance_id=run), 202, headers={"location": instance_path(run)})


def _options(body: ScheduleChanges | ScheduleRequest) -> ScheduleOptions:
    """What is given, as the client takes it."""
    given = {name: getattr(body, name) for name in ScheduleOptions.__annotations__}
    return cast(
        "ScheduleOptions", {name: value for name, value in given.items() if value is not msgspec.UNSET}
    )


def _document(found: ScheduleStatus) -> dict[str, Any]:
    return {name: value for name, value in asdict(found).items() if value is not None}
