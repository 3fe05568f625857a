"""`/api/v1/instances/{instance}/history | export`: what an instance has done, page by page or as a whole."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Response

from tenuto.client.documents import HistoryPage
from tenuto.core.events import Event, ExecutionStarted
from tenuto.core.histories import HistoryDocument
from tenuto.errors import GenerationOverError
from tenuto_gateway.http.bodies import answer, answers
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.context import Here
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.paths import InstanceId
from tenuto_gateway.http.problems import BadRequestError
from tenuto_gateway.http.queries import KNOWN_ONLY

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/instances/{instance}", tags=["instances"], dependencies=KNOWN_ONLY)

_LOOK = [needs(Scope.READ)]


class _Place(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where a page of a history ended. The seed is one run's alone."""

    seed: str
    generation: int
    events: int


_place: Final = msgspec.json.Decoder(_Place)


@router.get("/history", dependencies=_LOOK, responses=answers(HistoryPage, 200, "A part of it."))
async def history(
    here: Here,
    instance: InstanceId,
    *,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """The events of the present generation, in order. 410: the generation of the page before is over (the instance has
    continued as new, or was started again), and its history is gone; begin anew."""
    events = await here.client.get(instance).history()
    begun = _begun(events)
    if after is not None:
        before = _read(after)
        if (before.seed, before.generation) != (begun.seed, begun.generation):
            raise GenerationOverError(
                f"Generation {before.generation} of instance {instance!r}, to whose history this page belongs, is "
                f"over, and its history is gone; the present one is {begun.generation}: read it from its beginning."
            )
        begun = before
    end = begun.events + limit
    following = msgspec.structs.replace(begun, events=end)
    return answer(
        HistoryPage(
            generation=begun.generation,
            events=list(events[begun.events : end]),
            next=_written(following) if end < len(events) else None,
        )
    )


@router.get("/export", dependencies=_LOOK, responses=answers(HistoryDocument, 200, "All of it."))
async def export(here: Here, instance: InstanceId) -> Response:
    """The history as a document that `tenuto replay` takes."""
    return answer(await here.client.get(instance).export())


def _begun(events: Sequence[Event]) -> _Place:
    """The beginning of a history."""
    match events:
        case [ExecutionStarted(seed=seed, generation=generation), *_]:
            return _Place(seed=seed, generation=generation, events=0)
        case _:
            return _Place(seed="", generation=0, events=0)


def _written(place: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def _read(after: str) -> _Place:
    try:
        place = _place.decode(base64.urlsafe_b64decode(after.encode()))
    except ValueError:
        place = None
    if place is None or place.events < 0:
        raise BadRequestError(422, "after is no `next` of a page before.", field="after")
    return place
