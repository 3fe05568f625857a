"""Queries hold only what the route knows: a filter with a slip of the pen in it would fit more than was meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tenuto_gateway.http.problems import BadRequestError

__all__ = ["KNOWN_ONLY"]


async def _known_only(request: Request) -> None:
    route = request.scope["route"]
    if not isinstance(route, APIRoute) or not request.query_params:
        return
    known = set(_names(route.dependant))
    for name in request.query_params:
        if name not in known:
            raise BadRequestError(
                422,
                f"There is no parameter {name!r} here; there are: {', '.join(sorted(known))}.",
                field=name,
            )


def _names(dependant: Dependant) -> Iterator[str]:
    """The parameters of a route, and of what it depends on."""
    yield from (parameter.alias for parameter in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _names(inner)


KNOWN_ONLY: Final = [Depends(_known_only)]
"""The dependency of a router whose routes refuse unknown parameters."""
