"""`/healthz`, `/readyz`, `/metrics`: what those want to know who keep the gateway running."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from tenuto_gateway.http.bodies import answer
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.context import Here
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.measures import Measures
from tenuto_gateway.http.problems import problem

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Response:
    """Whether the gateway lives. Needs no token."""
    return answer({"status": "ok"})


@router.get("/readyz")
async def readyz(here: Here) -> Response:
    """Whether it can serve: the database answers, and it is not about to stop. Needs no token."""
    if here.closing.is_set() or not await here.is_ready():
        return problem(503, "Not ready.")
    return answer({"status": "ready"})


@router.get("/metrics", dependencies=[needs(Scope.READ)])
async def metrics(request: Request) -> Response:
    """What the gateway measures of itself, for Prometheus."""
    measures: Measures = request.app.state.measures
    return Response(measures.text(), media_type=CONTENT_TYPE_LATEST)
