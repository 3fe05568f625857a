"""`/api/v1/bulk`: a request to every instance that fits a filter."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from tenuto import payloads
from tenuto.client import InstanceFilter
from tenuto.client.bulk import BulkResult
from tenuto.client.documents import BulkDocument, Reason, TerminateRequest
from tenuto_gateway.http.bodies import answer, answers, body_of, takes
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.context import Here
from tenuto_gateway.http.filters import Where
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.problems import BadRequestError

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/bulk", tags=["bulk"])

_ADMIN = [needs(Scope.ADMIN)]
_TOLD = answers(BulkDocument, 200, "How many were asked, and what refused.")


def _meant(
    where: Where,
    *,
    everything: Annotated[bool, Query(description="Needed where there is no filter.")] = False,
) -> InstanceFilter:
    narrowing = replace(
        where, builtin=False, id_prefix=where.id_prefix or None
    )  # neither leaves anything out
    if narrowing == InstanceFilter() and not everything:
        raise BadRequestError(
            422, "Without a filter this is about all instances: say everything=true.", field="everything"
        )
    return where


Meant = Annotated[InstanceFilter, Depends(_meant)]
Why = Annotated[Reason, Depends(body_of(Reason, optional=True))]


@router.post("/suspend", dependencies=_ADMIN, responses=_TOLD, openapi_extra=takes(Reason, required=False))
async def suspend(here: Here, where: Meant, body: Why) -> Response:
    """Suspend those that are alive."""
    return _told(await here.client.suspend_all(where, body.reason))


@router.post("/resume", dependencies=_ADMIN, responses=_TOLD, openapi_extra=takes(Reason, required=False))
async def resume(here: Here, where: Meant, body: Why) -> Response:
    """Resume those that are suspended."""
    return _told(await here.client.resume_all(where, body.reason))


@router.post(
    "/terminate", dependencies=_ADMIN, responses=_TOLD, openapi_extra=takes(TerminateRequest, required=False)
)
async def terminate(
    here: Here,
    where: Meant,
    body: Annotated[TerminateRequest, Depends(body_of(TerminateRequest, optional=True))],
) -> Response:
    """Terminate those that are alive."""
    output = payloads.NULL if body.output is None else body.output
    told = await here.client.terminate_all(where, output, body.reason, recursive=body.recursive)
    return _told(told)


@router.post("/purge", dependencies=_ADMIN, responses=_TOLD)
async def purge(
    here: Here,
    where: Meant,
    *,
    force: Annotated[bool, Query(description="Also those that are alive.")] = False,
    recursive: Annotated[bool, Query(description="Their children too.")] = True,
) -> Response:
    """Delete those that have ended."""
    return _told(await here.client.purge_all(where, force=force, recursive=recursive))


def _told(result: BulkResult) -> Response:
    return answer(BulkDocument(asked=result.asked, refused=result.refused, refusals=list(result.refusals)))
