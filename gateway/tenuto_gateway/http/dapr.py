"""Dapr's workflow API, to the letter: paths, bodies, error codes and their words, so that its clients work unchanged.

The reference is Dapr's "Workflow API reference". `{component}` is `dapr`, or the namespace's name. Pause, resume and
terminate answer when the status has changed; terminate and purge cover the children too.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import unquote

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response

from tenuto.client import InstanceStatus, WorkflowHandle
from tenuto.errors import NotFoundError, TenutoError, UsageError
from tenuto_gateway.http.bodies import answer, payload_of
from tenuto_gateway.http.callers import Scope
from tenuto_gateway.http.context import Context, Here
from tenuto_gateway.http.guard import needs
from tenuto_gateway.http.problems import refused

__all__ = ["DaprError", "add_to", "on_error"]

_VERSIONS: Final = ("v1.0", "v1.0-beta1", "v1.0-alpha1")
_ID = re.compile(r"[A-Za-z0-9_-]+")
_MAX_ID = 64


class DaprError(Exception):
    """An error in Dapr's form."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


async def on_error(_request: Request, error: DaprError) -> Response:
    """Dapr's error document."""
    return answer({"errorCode": error.code, "message": error.message}, error.status)


async def _payload(request: Request) -> msgspec.Raw:
    try:
        return await payload_of(request)
    except msgspec.DecodeError as error:
        raise DaprError(400, "ERR_MALFORMED_REQUEST", f"failed deserializing HTTP body: {error}") from None


def _context(component: str, here: Here) -> Context:
    if unquote(component) not in {"dapr", here.settings.namespace}:
        message = f"workflow component '{unquote(component)}' does not exist"
        raise DaprError(400, "ERR_WORKFLOW_COMPONENT_NOT_FOUND", message)
    return here


Component: TypeAlias = Annotated[Context, Depends(_context)]
Payload: TypeAlias = Annotated[msgspec.Raw, Depends(_payload)]


async def start(
    request: Request,
    here: Component,
    name: str,
    payload: Payload,
    instance: Annotated[str | None, Query(alias="instanceID")] = None,
) -> Response:
    """Start a workflow; the body is its input. 202 with the instance's id."""
    if instance is not None and len(instance) > _MAX_ID:
        message = f"workflow instance ID exceeds the max length of {_MAX_ID} characters"
        raise DaprError(400, "ERR_INSTANCE_ID_TOO_LONG", message)
    if instance and _ID.fullmatch(instance) is None:
        message = (
            f"workflow instance ID '{instance}' is invalid: "
            "only alphanumeric and underscore characters are allowed"
        )
        raise DaprError(400, "ERR_INSTANCE_ID_INVALID", message)
    workflow, instance_id = unquote(name, errors="surrogateescape"), instance or str(uuid.uuid4())
    request.state.started = instance_id
    async with _told("ERR_START_WORKFLOW", f"error starting workflow {_quoted(workflow)}"):
        await here.client.start(workflow, payload, instance_id=instance_id)
    return answer({"instanceID": instance_id}, 202)


async def start_nothing(here: Component) -> Response:  # noqa: ARG001  the component is checked
    """A start without a name."""
    raise DaprError(400, "ERR_WORKFLOW_NAME_MISSING", "workflow name is not configured")


async def show(here: Component, instance: str) -> Response:
    """How an instance stands."""
    handle = _handle(here, instance)
    async with _told(
        "ERR_GET_WORKFLOW", f"error while getting workflow info on instance {_name(handle)}", handle
    ):
        return answer(_document(await handle.status()))


async def show_nothing(here: Component) -> Response:  # noqa: ARG001  the component is checked
    """A look without an id."""
    raise DaprError(400, "ERR_INSTANCE_ID_PROVIDED_MISSING", "no instance ID was provided")


async def raise_event(here: Component, instance: str, event: str, payload: Payload) -> Response:
    """Give the instance an external event; the body is its payload."""
    handle = _handle(here, instance)
    async with _told("ERR_RAISE_EVENT_WORKFLOW", f"error raising event on workflow {_name(handle)}", handle):
        await handle.raise_event(unquote(event), payload)
    return answer({}, 202)


async def raise_nothing(here: Component, instance: str) -> Response:  # noqa: ARG001  the component is checked
    """An event without a name."""
    raise DaprError(400, "ERR_WORKFLOW_EVENT_NAME_MISSING", "missing workflow event name")


async def pause(here: Component, instance: str) -> Response:
    """Suspend the instance."""
    handle = _handle(here, instance)
    async with _told("ERR_PAUSE_WORKFLOW", f"error pausing workflow {handle.instance_id}", handle):
        await handle.suspend()
    return answer({}, 202)


async def resume(here: Component, instance: str) -> Response:
    """Undo `pause`."""
    handle = _handle(here, instance)
    async with _told("ERR_RESUME_WORKFLOW", f"error resuming workflow {handle.instance_id}", handle):
        await handle.resume()
    return answer({}, 202)


async def terminate(here: Component, instance: str) -> Response:
    """End the instance and its children. One that has ended already stays as it is."""
    handle = _handle(here, instance)
    async with _told("ERR_TERMINATE_WORKFLOW", f"error terminating workflow {_name(handle)}", handle):
        await handle.terminate()
    return answer({}, 202)


async def purge(here: Component, instance: str) -> Response:
    """Delete an instance that has ended, and its children."""
    handle = _handle(here, instance)
    async with _told("ERR_PURGE_WORKFLOW", f"error purging workflow {_name(handle)}", handle):
        await handle.purge()
    return answer({}, 202)


def _handle(here: Context, instance: str) -> WorkflowHandle[Any]:
    wanted = unquote(instance, errors="surrogateescape")
    try:
        return here.client.get(wanted)
    except UsageError:  # no instance can be called so, hence there is none
        raise _unknown(wanted) from None


def _name(handle: WorkflowHandle[Any]) -> str:
    return _quoted(handle.instance_id)


def _quoted(name: str) -> str:
    return f"'{name.encode(errors='replace').decode()}'"


def _unknown(instance: str) -> DaprError:
    known = instance.encode(errors="replace").decode()
    return DaprError(
        404, "ERR_INSTANCE_ID_NOT_FOUND", f"unable to find workflow with the provided instance ID: {known}"
    )


@asynccontextmanager
async def _told(code: str, words: str, handle: WorkflowHandle[Any] | None = None) -> AsyncIterator[None]:
    """Errors in Dapr's words. What takes longer than the gateway waits is stored, and accepted all the same."""
    try:
        yield
    except NotFoundError as error:
        raise (
            DaprError(500, code, f"{words}: {error}") if handle is None else _unknown(handle.instance_id)
        ) from None
    except TimeoutError:
        pass
    except TenutoError as error:
        raise DaprError(500, code, f"{words}: {refused(error)[1]}") from None


def _document(status: InstanceStatus) -> dict[str, Any]:
    properties = {"dapr.workflow.input": _text(status.raw_input)}
    if status.raw_output is not None and status.failure is None:
        properties["dapr.workflow.output"] = _text(status.raw_output)
    if status.raw_custom_status is not None:
        properties["dapr.workflow.custom_status"] = _text(status.raw_custom_status)
    if (failure := status.failure) is not None:
        properties["dapr.workflow.failure.error_type"] = failure.type
        properties["dapr.workflow.failure.error_message"] = failure.message
        properties["dapr.workflow.failure.stack_trace"] = failure.stack
    return {
        "instanceID": status.instance_id,
        "workflowName": status.workflow,
        "createdAt": status.created_at,
        "lastUpdatedAt": status.updated_at,
        "runtimeStatus": status.status,
        "properties": properties,
    }


def _text(payload: bytes) -> str:
    return payload.decode(errors="replace")


_ROUTES: Final[tuple[tuple[str, str, Callable[..., Awaitable[Response]], Scope], ...]] = (
    ("POST", "/{name}/start", start, Scope.OPERATE),
    ("POST", "//start", start_nothing, Scope.OPERATE),
    ("GET", "/{instance}", show, Scope.READ),
    ("GET", "/", show_nothing, Scope.READ),
    ("POST", "/{instance}/raiseEvent/{event}", raise_event, Scope.OPERATE),
    ("POST", "/{instance}/raiseEvent", raise_nothing, Scope.OPERATE),
    ("POST", "/{instance}/raiseEvent/", raise_nothing, Scope.OPERATE),
    ("POST", "/{instance}/pause", pause, Scope.OPERATE),
    ("POST", "/{instance}/resume", resume, Scope.OPERATE),
    ("POST", "/{instance}/terminate", terminate, Scope.OPERATE),
    ("POST", "/{instance}/purge", purge, Scope.ADMIN),
)


def add_to(app: FastAPI) -> None:
    """Add the routes, under each of the versions that Dapr has given them."""
    for version in _VERSIONS:
        for method, path, function, scope in _ROUTES:
            app.add_api_route(
                f"/{version}/workflows/{{component}}{path}",
                function,
                methods=[method],
                status_code=202 if method == "POST" else 200,
                dependencies=[needs(scope)],
                tags=["dapr"],
                include_in_schema=version == _VERSIONS[0] and not function.__name__.endswith("_nothing"),
            )
