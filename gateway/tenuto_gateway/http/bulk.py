"""`/api/v1/bulk`: a request to every instance that fits a filter, or to a page of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response

from tenuto import payloads
from tenuto.client import InstanceFilter
from tenuto.client.bulk import BulkResult, BulkVerb, over_pages
from tenuto.client.documents import BulkDocument, Reason, TerminateRequest, cursor_token
from tenuto.client.instance import Cursor
from tenuto.core.letters import Purge, Resume, Suspend, Terminate
from tenuto_gateway.http.bodies import answer, answers, body_of, takes
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.context import Context, Here
from tenuto_gateway.http.filters import After, Where
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.problems import BadRequestError
from tenuto_gateway.http.queries import KNOWN_ONLY
from tenuto_gateway.http.starts import Seconds, Wait, bounded

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/bulk", tags=["bulk"], dependencies=KNOWN_ONLY)

_ADMIN = [needs(Scope.ADMIN)]
_TOLD = {
    **answers(BulkDocument, 200, "How many were asked, and what refused."),
    **answers(
        BulkDocument, 202, "How many were asked: it is stored, and will be carried out (`wait=false`)."
    ),
}
_PAGE: Final = 500


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """Which page is asked (without a limit: all of them, one after the other), and how long it is waited for."""

    limit: int | None
    after: Cursor | None
    wait: bool
    timeout: float


def _how(
    here: Here,
    after: After,
    *,
    limit: Annotated[
        int | None, Query(ge=1, le=1000, description="Ask at most so many; `next` says where to go on.")
    ] = None,
    wait: Wait = True,
    timeout: Seconds = 20.0,
) -> _How:
    return _How(limit=limit, after=after, wait=wait, timeout=bounded(here, timeout))


Meant: TypeAlias = Annotated[InstanceFilter, Depends(_meant)]
How: TypeAlias = Annotated[_How, Depends(_how)]
Why: TypeAlias = Annotated[Reason, Depends(body_of(Reason, optional=True))]


@router.post("/suspend", dependencies=_ADMIN, responses=_TOLD, openapi_extra=takes(Reason, required=False))
async def suspend(request: Request, here: Here, where: Meant, how: How, body: Why) -> Response:
    """Suspend those that are alive."""
    return await _ask(request, here, where, Suspend(reason=body.reason), how)


@router.post("/resume", dependencies=_ADMIN, responses=_TOLD, openapi_extra=takes(Reason, required=False))
async def resume(request: Request, here: Here, where: Meant, how: How, body: Why) -> Response:
    """Resume those that are suspended."""
    return await _ask(request, here, where, Resume(reason=body.reason), how)


@router.post(
    "/terminate", dependencies=_ADMIN, responses=_TOLD, openapi_extra=takes(TerminateRequest, required=False)
)
async def terminate(
    request: Request,
    here: Here,
    where: Meant,
    how: How,
    body: Annotated[TerminateRequest, Depends(body_of(TerminateRequest, optional=True))],
) -> Response:
    """Terminate those that are alive."""
    output = payloads.NULL if body.output is None else body.output
    payloads.check_size(output, here.settings.max_payload_bytes, "The output")
    letter = Terminate(output=output, reason=body.reason, recursive=body.recursive)
    return await _ask(request, here, where, letter, how)


@router.post("/purge", dependencies=_ADMIN, responses=_TOLD)
async def purge(
    request: Request,
    here: Here,
    where: Meant,
    how: How,
    *,
    force: Annotated[bool, Query(description="Also those that are alive.")] = False,
    recursive: Annotated[bool, Query(description="Their children too.")] = True,
) -> Response:
    """Delete those that have ended."""
    return await _ask(request, here, where, Purge(force=force, recursive=recursive), how)


async def _ask(
    request: Request, here: Context, where: InstanceFilter, letter: BulkVerb, how: _How
) -> Response:
    async def page(after: Cursor | None) -> BulkResult:
        return await here.client.bulk_page(
            where, letter, limit=how.limit or _PAGE, after=after, wait=how.wait, timeout=how.timeout
        )

    result = await (over_pages(page) if how.limit is None else page(how.after))
    request.state.named = {"asked": result.asked, "refused": result.refused}
    document = BulkDocument(
        asked=result.asked,
        refused=result.refused,
        refusals=list(result.refusals),
        next=None if result.next is None else cursor_token(result.next),
    )
    return answer(document, 200 if how.wait else 202)
