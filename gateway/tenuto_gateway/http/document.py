"""`/openapi.json`: what this gateway serves, for programs that read it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from tenuto_gateway.http.bodies import answer
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.openapi import openapi

__all__ = ["router"]

router = APIRouter()


@router.get("/openapi.json", dependencies=[needs(Scope.READ)], include_in_schema=False)
async def document(request: Request) -> Response:
    """The OpenAPI document."""
    return answer(openapi(request.app))
