"""`tenuto workflow suspend | resume | terminate | purge | rewind | restart | rerun | raise-event`: what is done to
instances.

Each verb takes ids or, for many, a filter. A filter asks before it acts, unless it is told `--yes`; so does what cannot
be undone: to terminate or to purge several at once, and to purge what may be alive.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeAlias

import msgspec
import typer

from tenuto.client import Client, InstanceFilter, WorkflowHandle
from tenuto.client.bulk import BulkVerb, fitting
from tenuto.core.letters import Purge, Resume, Suspend, Terminate
from tenuto.core.status import Status
from tenuto.errors import RequestError, UsageError
from tenuto.payloads import NULL
from tenuto.settings import ClientSettings
from tenuto_gateway.cli.command import FAILED, Shared, command
from tenuto_gateway.cli.output import print_plain, say
from tenuto_gateway.cli.parameters import Input, read_input, read_tags

__all__ = ["add_verbs"]

Ids: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Instance ids.", show_default=False)
]
Statuses: TypeAlias = Annotated[
    list[Status] | None,
    typer.Option("--status", case_sensitive=False, help="All of this status; may be repeated."),
]
Workflow: TypeAlias = Annotated[str | None, typer.Option(help="All of this workflow.")]
Tags: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=VALUE", help="All with this tag; may be repeated."),
]
Prefix: TypeAlias = Annotated[str | None, typer.Option(help="All whose id begins so.")]
Older: TypeAlias = Annotated[
    float | None, typer.Option(metavar="HOURS", help="All that ended so many hours ago or earlier.")
]
Everything: TypeAlias = Annotated[bool, typer.Option("--all", help="All instances.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before acting.")]
Reason: TypeAlias = Annotated[str | None, typer.Option(help="Why; it is shown with the instance.")]

One: TypeAlias = Callable[[WorkflowHandle[Any]], Awaitable[str]]
"""Does it to one instance; what to say of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verb:
    name: str
    one: One
    letter: BulkVerb
    """Does it to many."""
    asks: bool = False
    """Whether it asks also where the instances are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """The instances that a command is for: by their ids, or (None) by a filter."""

    ids: Sequence[str]
    where: InstanceFilter | None
    yes: bool


def add_verbs(group: typer.Typer) -> None:
    """Add the commands of this module to `tenuto workflow`."""
    group.command("suspend")(command(_suspend))
    group.command("resume")(command(_resume))
    group.command("terminate")(command(_terminate))
    group.command("purge")(command(_purge))
    group.command("rewind")(command(_rewind))
    group.command("restart")(command(_restart))
    group.command("rerun")(command(_rerun))
    group.command("raise-event")(command(_raise))


async def _suspend(
    shared: Shared,
    ids: Ids = None,
    *,
    reason: Reason = None,
    status: Statuses = None,
    workflow: Workflow = None,
    tag: Tags = None,
    id_prefix: Prefix = None,
    everything: Everything = False,
    yes: Yes = False,
) -> int:
    """Keep from instances all that happens, until they are resumed."""
    chosen = _choose(ids, status, workflow, tag, id_prefix, everything=everything, yes=yes)

    async def one(handle: WorkflowHandle[Any]) -> str:
        await handle.suspend(reason)
        return "suspended"

    return await _do(shared, chosen, _Verb(name="suspend", one=one, letter=Suspend(reason=reason)))


async def _resume(
    shared: Shared,
    ids: Ids = None,
    *,
    reason: Reason = None,
    workflow: Workflow = None,
    tag: Tags = None,
    id_prefix: Prefix = None,
    everything: Everything = False,
    yes: Yes = False,
) -> int:
    """Let suspended instances go on."""
    chosen = _choose(ids, None, workflow, tag, id_prefix, everything=everything, yes=yes)

    async def one(handle: WorkflowHandle[Any]) -> str:
        await handle.resume(reason)
        return "resumed"

    return await _do(shared, chosen, _Verb(name="resume", one=one, letter=Resume(reason=reason)))


async def _terminate(
    shared: Shared,
    ids: Ids = None,
    *,
    reason: Reason = None,
    recursive: Annotated[bool, typer.Option(help="Their children too.")] = True,
    status: Statuses = None,
    workflow: Workflow = None,
    tag: Tags = None,
    id_prefix: Prefix = None,
    everything: Everything = False,
    yes: Yes = False,
) -> int:
    """End instances, whatever they are doing. Their code is not told."""
    chosen = _choose(ids, status, workflow, tag, id_prefix, everything=everything, yes=yes)

    async def one(handle: WorkflowHandle[Any]) -> str:
        ended = await handle.terminate(reason=reason, recursive=recursive)
        return "terminated" if ended else "had ended already"

    letter = Terminate(output=NULL, reason=reason, recursive=recursive)
    verb = _Verb(name="terminate", one=one, letter=letter, asks=len(chosen.ids) > 1)
    return await _do(shared, chosen, verb)


async def _purge(
    shared: Shared,
    ids: Ids = None,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also while they live: they are terminated first.")
    ] = False,
    recursive: Annotated[bool, typer.Option(help="Their children too.")] = True,
    status: Statuses = None,
    workflow: Workflow = None,
    tag: Tags = None,
    id_prefix: Prefix = None,
    older: Older = None,
    everything: Everything = False,
    yes: Yes = False,
) -> int:
    """Delete instances that have ended, with their histories."""
    chosen = _choose(ids, status, workflow, tag, id_prefix, everything=everything, older=older, yes=yes)

    async def one(handle: WorkflowHandle[Any]) -> str:
        covered = await handle.purge(force=force, recursive=recursive)
        return f"purged ({covered})"

    letter = Purge(force=force, recursive=recursive)
    verb = _Verb(name="purge", one=one, letter=letter, asks=force or len(chosen.ids) > 1)
    return await _do(shared, chosen, verb)


async def _rewind(
    shared: Shared,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Instance ids.", show_default=False)],
    *,
    reason: Reason = None,
) -> int:
    """Let instances that failed, or were terminated, go on in place from where that came about."""

    async def one(handle: WorkflowHandle[Any]) -> str:
        await handle.rewind(reason)
        return "goes on"

    async with Client(shared.settings(ClientSettings)) as client:
        return await _each(client, ids, one)


async def _restart(
    shared: Shared,
    instance_id: Annotated[str, typer.Argument(metavar="ID", help="The instance id.", show_default=False)],
    *,
    new_id: Annotated[
        str | None,
        typer.Option("--id", help="Of the new instance: by default random; the same: it takes its place."),
    ] = None,
    version: Annotated[str | None, typer.Option(help="Of the workflow; the latest if left out.")] = None,
) -> None:
    """Start a workflow once more with the same input; print the new instance's id."""
    async with Client(shared.settings(ClientSettings)) as client:
        started = await client.get(instance_id).restart(instance_id=new_id, version=version)
    print_plain(started.instance_id)


async def _rerun(
    shared: Shared,
    instance_id: Annotated[str, typer.Argument(metavar="ID", help="The instance id.", show_default=False)],
    *,
    event_id: Annotated[
        int,
        typer.Option(
            "--from", metavar="N", help="The number of an activity, a timer or a child in its history."
        ),
    ],
    new_id: Annotated[
        str | None, typer.Option("--id", help="Of the new instance: by default random.")
    ] = None,
    value: Input = None,
) -> None:
    """Make a new instance of one that has ended: it goes on from an event, with what was done before, and with --input
    for that event. Print its id."""
    given = msgspec.UNSET if value is None else read_input(value)
    async with Client(shared.settings(ClientSettings)) as client:
        made = await client.get(instance_id).rerun(event_id, instance_id=new_id, input=given)
    print_plain(made.instance_id)


async def _raise(
    shared: Shared,
    instance_id: Annotated[str, typer.Argument(metavar="ID", help="The instance id.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The event's name.", show_default=False)],
    *,
    value: Input = None,
    create: Annotated[
        bool, typer.Option("--create", help="Keep it for an instance that does not exist yet.")
    ] = False,
) -> None:
    """Give an instance an external event."""
    async with Client(shared.settings(ClientSettings)) as client:
        await client.get(instance_id).raise_event(name, read_input(value), create=create)


def _choose(
    ids: Sequence[str] | None,
    statuses: Sequence[Status] | None,
    workflow: str | None,
    tags: Sequence[str] | None,
    id_prefix: str | None,
    *,
    everything: bool,
    yes: bool,
    older: float | None = None,
) -> _Chosen:
    given = any(part is not None for part in (statuses, workflow, tags, id_prefix, older))
    if bool(ids) == (given or everything):
        raise UsageError("name instances by their ids, or by a filter, or all of them with --all")
    if id_prefix == "":
        raise UsageError("--id-prefix is empty, which fits all instances: if that is meant, say --all")
    before = None if older is None else datetime.now(UTC) - timedelta(hours=older)
    where = InstanceFilter(
        statuses=frozenset(statuses or ()),
        workflow=workflow,
        tags=read_tags(tags or ()),
        id_prefix=id_prefix,
        ended_before=before,
    )
    return _Chosen(ids=ids or (), where=None if ids else where, yes=yes)


async def _do(shared: Shared, chosen: _Chosen, verb: _Verb) -> int:
    async with Client(shared.settings(ClientSettings)) as client:
        asks = not chosen.yes and (verb.asks or chosen.where is not None)
        if asks and not await _confirmed(client, verb, chosen):
            say("nothing was done")
            return FAILED
        if chosen.where is None:
            return await _each(client, chosen.ids, verb.one)
        result = await client.bulk(chosen.where, verb.letter)
    print_plain(f"{verb.name}: {result.asked - result.refused} of {result.asked} instances")
    for refusal in result.refusals:
        say(refusal)
    return FAILED if result.refused else 0


async def _each(client: Client, ids: Sequence[str], one: One) -> int:
    code = 0
    for instance in ids:
        try:
            print_plain(f"{instance}: {await one(client.get(instance))}")
        except RequestError as error:
            say(str(error))
            code = FAILED
    return code


async def _confirmed(client: Client, verb: _Verb, chosen: _Chosen) -> bool:
    """Whether a person at the terminal says yes.

    Raises:
        UsageError: there is no terminal to ask at.
    """
    if chosen.where is None:
        about = chosen.ids[0] if len(chosen.ids) == 1 else f"{len(chosen.ids)} instances"
    else:
        where = fitting(chosen.where, verb.letter)
        count = 0 if where is None else sum(tally.count for tally in await client.tally(where))
        about = f"{count} instances fit the filter"
    if not sys.stdin.isatty():
        raise UsageError(f"{verb.name}: {about}; add --yes to act without being asked")
    return typer.confirm(f"{verb.name}: {about}. Go on?")
