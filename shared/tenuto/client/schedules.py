"""Schedules, as a client makes and manages them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec

from tenuto.client.instance import InstanceStatus
from tenuto.client.options import WorkflowFunction
from tenuto.client.workflows import describe
from tenuto.core.ids import name_fault
from tenuto.core.reserved import LONGEST_KEY, SCHEDULE, schedule_instance, schedule_name
from tenuto.core.retry import Duration, seconds
from tenuto.core.status import LIVE
from tenuto.errors import AlreadyExistsError, InstanceOverError, NotFoundError, UsageError
from tenuto.payloads import encode
from tenuto.schedules import Overlap, Plan, PlanUpdate, Request, Seen, State, Verb
from tenuto.store.protocol import InstanceFilter

if TYPE_CHECKING:
    from tenuto.app import App
    from tenuto.client.client import Client

__all__ = ["ScheduleOptions", "ScheduleStatus", "Schedules"]


class ScheduleOptions(TypedDict, total=False):
    """When a schedule fires, and what it does then. One of `cron` and `every` is needed."""

    cron: str
    """Five fields (minute, hour, day of the month, month, day of the week), or `@hourly`, `@daily`, `@weekly`,
    `@monthly`, `@yearly`."""
    every: Duration
    """Instead of `cron`: the time between two firings, counted from the schedule's creation."""
    time_zone: str
    """In which `cron` is read, such as `Europe/Berlin`; UTC by default."""
    overlap: Overlap
    """What becomes of a firing while the run before it is still under way; by default it is skipped."""
    catch_up: int
    """How many firings that fell into an outage are made up for, besides the latest of them (which always is), as far
    as the overlap policy lets them; by default none."""
    jitter: Duration
    """Up to how much later it fires, at random, so that not all schedules fire at once."""
    version: str | None
    """Of the workflow; by default the latest at each firing."""
    tags: Mapping[str, str]
    """Of the runs, beside the tag `tenuto.schedule`, which names the schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStatus:
    """A schedule as it was when the client looked. Times are aware and in UTC."""

    name: str
    workflow: str
    version: str | None
    tags: Mapping[str, str]
    cron: str | None
    every: float | None
    """Seconds."""
    time_zone: str
    overlap: Overlap
    catch_up: int
    jitter: float
    """Seconds."""
    paused: bool
    reason: str | None
    """Why it was paused or resumed, in words."""
    next: datetime | None
    """When it fires next (without jitter); None: it is paused. While a run is under way that the policy waits for, this
    is the first time that could be skipped."""
    last: datetime | None
    """The time that the last run stands for."""
    last_run: str | None
    """The last run's instance id."""
    running: bool
    """Whether that run is known to be under way; never with the policy `ALLOW`, which does not look."""
    runs: int
    """How many it has started."""
    last_failure: str | None
    """How the last run that it waited for failed."""
    created_at: datetime


class Schedules:
    """The schedules of a deployment: `client.schedules`.

        await client.schedules.create("nightly", report, cron="0 3 * * *", time_zone="Europe/Berlin")

    Each verb is durable when it returns, and has taken effect. Where there is no such schedule, it raises
    `NotFoundError`.
    """

    def __init__(self, client: Client, app: App | None, new_id: Callable[[], str]) -> None:
        self._client = client
        self._app = app
        self._new_id = new_id

    async def create(
        self,
        name: str,
        workflow: WorkflowFunction[Any] | str,
        input: Any = None,  # noqa: A002  as in `Client.start`
        *,
        paused: bool = False,
        **options: Unpack[ScheduleOptions],
    ) -> None:
        """Make a schedule that starts the workflow with this input, again and again.

        Each run is an instance `{name}:{time}`, the time in UTC, with the tag `tenuto.schedule={name}`.

        Args:
            name: 1 to 200 printable characters.
            workflow: the decorated function, or its name.
            input: of each run, converted to JSON.
            paused: it fires only once it is resumed.
            **options: see `ScheduleOptions`.

        Raises:
            AlreadyExistsError: there is a schedule of that name.
            UsageError: it can never fire: the cron expression, the time zone or the name is none.
            PayloadError: the input cannot become JSON.
        """
        plan = Plan(workflow=self._name(workflow), input=encode(input), **_changes(options))
        plan.check()
        instance = schedule_instance(_checked(name))
        try:
            await self._client.start(SCHEDULE, State(plan=plan, paused=paused), instance_id=instance)
        except AlreadyExistsError as error:
            raise AlreadyExistsError(
                f"There is a schedule {name!r} already; change it with `update`, or delete it first."
            ) from error

    async def get(self, name: str) -> ScheduleStatus:
        """The schedule as it is now."""
        try:
            found = await self._client.get(schedule_instance(_checked(name))).status()
        except NotFoundError as error:
            raise _no_schedule(name) from error
        if found.status.is_terminal:
            raise _no_schedule(name)
        return _status(found)

    async def list(self) -> AsyncIterator[ScheduleStatus]:
        """All schedules that have begun, newest first."""
        async for found in self._client.list(InstanceFilter(workflow=SCHEDULE, statuses=LIVE)):
            if found.raw_custom_status is not None:
                yield _status(found)

    async def pause(self, name: str, reason: str | None = None) -> None:
        """Let it start nothing until `resume`. A run that is under way goes on. Twice is once."""
        await self._ask(name, Request(verb=Verb.PAUSE, reason=reason))

    async def resume(self, name: str, reason: str | None = None) -> None:
        """Let it fire again, from now on: what was to fire meanwhile is left out."""
        await self._ask(name, Request(verb=Verb.RESUME, reason=reason))

    async def trigger(self, name: str) -> str:
        """Start a run now, beside the schedule's times and also while it is paused, as the overlap policy allows.

        Returns:
            The id of the run, which begins a moment later. If the policy skips it, there is no such instance.
        """
        instance = f"{name}:{self._new_id()}"
        await self._ask(name, Request(verb=Verb.TRIGGER, instance=instance))
        return instance

    async def update(
        self,
        name: str,
        *,
        workflow: WorkflowFunction[Any] | str | None = None,
        input: Any = msgspec.UNSET,  # noqa: A002  as in `create`
        **options: Unpack[ScheduleOptions],
    ) -> None:
        """Change what is given, and leave the rest. It holds from the next firing on; a run under way goes on.

        `cron` takes the place of `every`, and the other way round. Raises as `create`.
        """
        changes = _changes(options)
        if {"cron", "every"} <= changes.keys():
            raise UsageError("A schedule needs either a cron expression or an interval (`every`).")
        update = PlanUpdate(
            workflow=msgspec.UNSET if workflow is None else self._name(workflow),
            input=None if input is msgspec.UNSET else encode(input),
            **changes,
        )
        update.apply(Plan(workflow="any", input=encode(None), cron="@daily")).check()
        await self._ask(name, Request(verb=Verb.UPDATE, update=update))

    async def delete(self, name: str) -> None:
        """Remove the schedule. Runs under way go on, unless the overlap policy is `TERMINATE_OTHER`."""
        try:
            await self._client.get(schedule_instance(_checked(name))).purge(force=True, recursive=False)
        except NotFoundError as error:
            raise _no_schedule(name) from error

    async def _ask(self, name: str, request: Request) -> None:
        try:
            await self._client.get(schedule_instance(_checked(name))).raise_event(SCHEDULE, request)
        except (InstanceOverError, NotFoundError) as error:
            raise _no_schedule(name) from error

    def _name(self, workflow: WorkflowFunction[Any] | str) -> str:
        return describe(workflow, None, self._app).name


def _checked(name: str) -> str:
    fault = name_fault("The name of a schedule", name)
    if fault is None and len(name) > LONGEST_KEY:
        fault = f"The name of a schedule has at most {LONGEST_KEY} characters."
    if fault is not None:
        raise UsageError(fault, field="name")
    return name


def _changes(options: ScheduleOptions) -> dict[str, Any]:
    """The fields of a plan that are given, as the plan has them."""
    changes: dict[str, Any] = {**options}
    for unknown in changes.keys() - ScheduleOptions.__annotations__.keys():
        raise TypeError(f"a schedule has no option {unknown!r}")
    for name in {"every", "jitter"} & changes.keys():
        changes[name] = _seconds(name, changes[name])
    if "tags" in changes:
        changes["tags"] = dict(changes["tags"])
    return changes


def _seconds(field: str, duration: Duration) -> float:
    try:
        return seconds(duration)
    except ValueError as error:
        raise UsageError(f"A schedule cannot be made: {error}.", field=field) from error


def _no_schedule(name: str) -> NotFoundError:
    return NotFoundError(f"There is no schedule {name!r}; `tenuto schedule list` has all.")


def _status(found: InstanceStatus) -> ScheduleStatus:
    if found.raw_custom_status is None:
        raise NotFoundError(
            f"The schedule {schedule_name(found.instance_id)!r} has not begun yet; is an orchestrator running?"
        )
    seen = msgspec.json.decode(found.raw_custom_status, type=Seen)
    return ScheduleStatus(
        name=schedule_name(found.instance_id),
        workflow=seen.workflow,
        version=seen.version,
        tags=seen.tags,
        cron=seen.cron,
        every=seen.every,
        time_zone=seen.time_zone,
        overlap=seen.overlap,
        catch_up=seen.catch_up,
        jitter=seen.jitter,
        paused=seen.paused,
        reason=seen.reason,
        next=seen.next,
        last=None if seen.last is None else seen.last.at,
        last_run=None if seen.last is None else seen.last.instance,
        running=seen.running,
        runs=seen.runs,
        last_failure=seen.last_failure,
        created_at=found.created_at,
    )
