"""`tenuto run`: one workflow on the embedded default, with its steps as they happen."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import typer

from tenuto import payloads
from tenuto.app import App
from tenuto.client import InstanceStatus, WorkflowHandle
from tenuto.core.events import Event
from tenuto.core.status import Status
from tenuto.errors import (
    AlreadyExistsError,
    NotFoundError,
    OutcomeError,
    UnknownWorkflowError,
    WorkflowFailedError,
    WorkflowTerminatedError,
)
from tenuto.naming import check_instance_id
from tenuto.settings import ClientSettings, OrchestratorSettings, WorkerSettings
from tenuto_gateway.cli.command import Shared, command
from tenuto_gateway.cli.output import print_plain, print_step, say
from tenuto_gateway.cli.parameters import Input, Target, read_input
from tenuto_gateway.dev import DevServer
from tenuto_gateway.ensemble import until_signal
from tenuto_gateway.targets import load_target
from tenuto_gateway.timeline import Timeline

__all__ = ["add_to"]

_LOOK_INTERVAL: Final = 0.1
"""Seconds between looks at the instance while it runs."""
_GRACE: Final = 2.0
"""Seconds for activities that still run when the workflow has ended, or was interrupted."""
_INTERRUPTED: Final = 130
"""What shells expect of a program that a signal ended."""


def add_to(cli: typer.Typer) -> None:
    """Add the command of this module."""
    cli.command("run")(command(_run))


async def _run(
    shared: Shared,
    target: Target,
    workflow: Annotated[
        str | None, typer.Argument(metavar="[WORKFLOW]", help="The workflow's name.", show_default=False)
    ] = None,
    *,
    value: Input = None,
    instance_id: Annotated[
        str | None, typer.Option("--id", help="The instance id; one that is under way goes on.", metavar="ID")
    ] = None,
) -> int:
    """Run one workflow here and now, on the file tenuto.db by default; print its result as one line of JSON.

    Exits with 0, with 1 when the workflow fails, with 2 when it cannot be run at all.
    """
    app = load_target(target)
    name = _known(app, workflow, target)
    payload = None if value is None else _fitting(app, name, payloads.encode(read_input(value)))
    instance = uuid.uuid4().hex if instance_id is None else instance_id
    check_instance_id(instance)
    server = DevServer(
        app,
        shared.settings(OrchestratorSettings),
        _impatient(shared.settings(WorkerSettings)),
        shared.settings(ClientSettings),
    )
    try:
        ended = await until_signal(_drive(server, name, payload, instance))
    finally:
        await server.stop()
    if ended is None:
        say(f"interrupted; the same command with --id {instance} goes on where it was")
        return _INTERRUPTED
    print_plain(_result(ended))
    return 0


def _impatient(settings: WorkerSettings) -> WorkerSettings:
    """Somebody waits at the terminal: activities that still run at the end get a short grace period."""
    return settings if "grace" in settings.model_fields_set else settings.model_copy(update={"grace": _GRACE})


def _known(app: App, workflow: str | None, target: str) -> str:
    names = ", ".join(sorted(app.workflows)) or "none"
    if workflow is None:
        raise UnknownWorkflowError(
            f"name the workflow to run: tenuto run {target} WORKFLOW; there are: {names}"
        )
    if app.resolve(workflow, None) is None:
        raise UnknownWorkflowError(f"the app {app.name} has no workflow {workflow!r}; there are: {names}")
    return workflow


def _fitting(app: App, workflow: str, payload: msgspec.Raw) -> msgspec.Raw:
    """The payload, once it is sure that the workflow can read it."""
    definition = app.resolve(workflow, None)
    if definition is not None:
        definition.decode_input(payload)
    return payload


async def _drive(
    server: DevServer, workflow: str, payload: msgspec.Raw | None, instance: str
) -> InstanceStatus:
    """Start the instance, or go on with it if it is under way, and follow it to its end."""
    await server.start()
    async with server.client() as client:
        progress = _Progress()
        handle = client.get(instance)
        present = None
        with suppress(NotFoundError):
            present = await handle.status()
        if present is not None and not present.status.is_terminal:
            _same(present, workflow, payload)
            say(f"{instance} is under way; so far:")
            progress.show(*await _look(handle))
            say("now it goes on:")
        else:
            given = payload or _fitting(server.app, workflow, payloads.NULL)
            await client.start(workflow, given, instance_id=instance)
        old = None if present is None or present.status is not Status.STALLED else present.updated_at
        follow = _follow(handle, progress, old_stall=old, grace=server.settings.stall_grace)
        return await _while_it_lives(server, follow)


async def _while_it_lives(server: DevServer, follow: Coroutine[Any, Any, InstanceStatus]) -> InstanceStatus:
    follower = asyncio.create_task(follow)
    life = asyncio.create_task(server.wait())
    try:
        await asyncio.wait({follower, life}, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            life.result()
        return await follower
    finally:
        follower.cancel()
        life.cancel()
        await asyncio.gather(follower, life, return_exceptions=True)


def _same(present: InstanceStatus, workflow: str, payload: msgspec.Raw | None) -> None:
    if present.workflow != workflow:
        what = f"as a {present.workflow}"
    elif payload is not None and bytes(payload) != present.raw_input:
        what = "with another input"
    else:
        return
    raise AlreadyExistsError(
        f"the instance {present.instance_id} is under way already, {what}; choose another --id, or wait for its end"
    )


async def _look(handle: WorkflowHandle[Any]) -> tuple[InstanceStatus, Sequence[Event]]:
    """The instance, and the events of the same generation; there may be more of them by now than it tells of."""
    while True:
        status = await handle.status()
        events = await handle.history()
        now = await handle.status()
        if (now.run, now.generation) == (status.run, status.generation):
            return status, events


async def _follow(
    handle: WorkflowHandle[Any], progress: _Progress, *, old_stall: datetime | None, grace: float
) -> InstanceStatus:
    """Show the steps of an instance as they come, until it ends.

    One that had stalled before, at `old_stall`, is given `grace` seconds to show whether the code fits now.

    Raises:
        NotFoundError: it was purged meanwhile.
        OutcomeError: it stalled, and there is no other code that could go on with it.
    """
    revision = ""
    loop = asyncio.get_running_loop()
    patient_until = loop.time() + grace
    while True:
        status = await handle.status()
        if status.revision != revision:
            status, events = await _look(handle)
            revision = status.revision
            progress.show(status, events)
        if status.status.is_terminal:
            return status
        old = status.updated_at == old_stall and loop.time() < patient_until
        if status.status is Status.STALLED and not old:
            raise OutcomeError(
                f"{status.instance_id} is stalled; with code that fits, the same command goes on: {status.reason}"
            )
        await asyncio.sleep(_LOOK_INTERVAL)


class _Progress:
    """Shows what is new in a history that grows, and begins anew with each generation."""

    def __init__(self) -> None:
        self._timeline = Timeline()
        self._began: datetime | None = None
        self._place = ("", 0)
        self._shown = 0

    def show(self, status: InstanceStatus, events: Sequence[Event]) -> None:
        """Show the events that have not been shown yet."""
        place = (status.run, status.generation)
        if place != self._place:
            self._place, self._shown = place, 0
        for step in self._timeline.read(events[self._shown :]):
            self._began = self._began or step.at
            print_step(step, began=self._began)
        self._shown = len(events)


def _result(ended: InstanceStatus) -> str:
    """The output as JSON.

    Raises:
        WorkflowFailedError: it failed.
        WorkflowTerminatedError: it was terminated.
        PayloadSealedError: the output cannot be read here.
    """
    name = ended.instance_id
    if ended.status is Status.TERMINATED:
        raise WorkflowTerminatedError(f"{name} was terminated: {ended.reason or 'no reason was given'}")
    if ended.status is Status.FAILED:
        failure = ended.failure
        words = f"{failure.type}: {failure.message}" if failure else "no failure was recorded"
        raise WorkflowFailedError(f"{name} failed: {words}", failure)
    output = ended.raw_output or b"null"
    payloads.decode(output)
    return output.decode()
