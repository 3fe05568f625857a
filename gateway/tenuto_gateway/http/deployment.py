"""`/api/v1/queues` and what else is known of the deployment."""

from __future__ import annotations

from fastapi import APIRouter, Response

from tenuto.client.documents import QueueDocument, QueuesDocument
from tenuto.client.queues import QueueKind, QueueStatus
from tenuto.registry import Registry
from tenuto_gateway.http.bodies import answer, answers
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.context import Here
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.queries import KNOWN_ONLY

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["deployment"], dependencies=KNOWN_ONLY)

_LOOK = [needs(Scope.READ)]


@router.get("/queues", dependencies=_LOOK, responses=answers(QueuesDocument, 200, "All of them."))
async def queues(here: Here) -> Response:
    """The engine's queues: how many messages wait in each, and how many consumers it has."""
    return answer(QueuesDocument(queues=[_document(queue) for queue in await here.client.queues()]))


@router.get("/pools", dependencies=_LOOK, responses=answers(QueuesDocument, 200, "Those of the pools."))
async def pools(here: Here) -> Response:
    """The worker pools: the tasks that wait for each, its workers (`consumers`) and its activities."""
    found = [queue for queue in await here.client.queues() if queue.kind is QueueKind.ACTIVITIES]
    return answer(QueuesDocument(queues=[_document(queue) for queue in found]))


@router.get("/registry", dependencies=_LOOK, responses=answers(Registry, 200, "All of it."))
async def registry(here: Here) -> Response:
    """What the deployment can run: workflows, versions, parameter schemas, activities, live instances."""
    return answer(await here.client.registry())


def _document(queue: QueueStatus) -> QueueDocument:
    return QueueDocument(
        name=queue.name,
        kind=queue.kind,
        pool=queue.pool,
        activities=list(queue.activities),
        messages=queue.messages,
        consumers=queue.consumers,
    )
