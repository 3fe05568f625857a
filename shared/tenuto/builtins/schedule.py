"""`tenuto.schedule`: a schedule is an instance, and firing is a turn of it (rule T2).

A generation lasts from one firing to the next, so the history stays short. The turn of a firing records, in the input
of the next generation, that its time is dealt with and what is due; that generation's first turn starts the run and
sets the next timer in one commit. Where the schedule must know of the run's end (all policies but `ALLOW`), the
generation lasts as long as the run. Only `TERMINATE_OTHER` needs a timer then, and there it is the new generation that
ends the run, as a child of the one before.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import asdict, replace

from tenuto.core import ids
from tenuto.core.context import WorkflowContext
from tenuto.core.reserved import SCHEDULE, schedule_name
from tenuto.core.tasks import Task, when_any
from tenuto.errors import ChildWorkflowError, PayloadError
from tenuto.schedules import Due, Overlap, Request, Seen, State, Verb

__all__ = ["schedule"]


async def schedule(ctx: WorkflowContext, state: State) -> None:
    """Start what is due; then wait for the next firing, for the end of the run, or to be asked for something."""
    now = ctx.current_utc_datetime
    anchor = state.anchor or now
    state = replace(state, anchor=anchor, last=state.last or now)
    state, run = _start(ctx, state)
    while True:
        upcoming = None if state.paused else state.plan.next(state.last or now, anchor=anchor)
        _show(ctx, state, upcoming, running=run is not None)
        request = ctx.wait_for_external_event(SCHEDULE, type=Request)
        timer = _timer(ctx, state, upcoming, run)
        waits: list[Task[Any]] = [task for task in (request, timer, run) if task is not None]
        winner = await when_any(waits)
        if winner is timer:
            state = _fire(ctx, state, anchor)
        elif winner is run:
            state = await _ended(ctx, state, run, anchor)
        else:
            if timer is not None:
                timer.cancel()
            state = await _asked(ctx, state, request, run)
            if not state.due:  # and in this very turn it shows
                continue
        ctx.continue_as_new(state)
        return


def _start(ctx: WorkflowContext, state: State) -> tuple[State, Task[Any] | None]:
    """Start what is due; gives the run whose end is to be known."""
    plan, run = state.plan, None
    for due in state.due:
        more: dict[str, Any] = {
            "instance_id": due.instance,
            "version": plan.version,
            "tags": _tags(ctx, state),
        }
        if plan.overlap is Overlap.ALLOW:
            ctx.start_workflow(plan.workflow, plan.input, **more)
        else:
            abandon = plan.overlap is not Overlap.TERMINATE_OTHER
            run = ctx.call_child_workflow(plan.workflow, plan.input, abandon=abandon, **more)
    last_run = state.due[-1] if state.due else state.last_run
    return replace(state, due=[], runs=state.runs + len(state.due), last_run=last_run), run


def _timer(
    ctx: WorkflowContext, state: State, upcoming: datetime | None, run: Task[Any] | None
) -> Task[None] | None:
    if upcoming is None or (run is not None and state.plan.overlap is not Overlap.TERMINATE_OTHER):
        return None
    late = timedelta(seconds=ctx.random.random() * state.plan.jitter)
    return ctx.create_timer(upcoming + late)


def _fire(ctx: WorkflowContext, state: State, anchor: datetime) -> State:
    """Its time has come: perhaps long ago, with others behind it, if nothing ran meanwhile."""
    now, plan = ctx.current_utc_datetime, state.plan
    moments = plan.latest(after=state.last or now, until=now, limit=1 + plan.catch_up, anchor=anchor)
    due = [_due(ctx, moment) for moment in moments]
    state = replace(state, last=max(now, *moments))
    if plan.overlap is Overlap.ALLOW:
        return replace(state, due=due)
    if plan.overlap is Overlap.BUFFER_ONE and len(due) > 1:
        return replace(state, due=due[-2:-1], buffered=due[-1])
    return replace(state, due=due[-1:])


async def _ended(ctx: WorkflowContext, state: State, run: Task[Any] | None, anchor: datetime) -> State:
    """The run has ended. The times that fell into it have been skipped, or the last of them is made up for."""
    failure = None
    try:
        if run is not None:
            await run
    except ChildWorkflowError as error:
        failure = str(error)
    now, due = ctx.current_utc_datetime, state.buffered
    if state.plan.overlap is Overlap.BUFFER_ONE and not state.paused:
        moments = state.plan.latest(after=state.last or now, until=now, limit=1, anchor=anchor)
        due = _due(ctx, moments[0]) if moments else due
    last = max(now, state.last or now)
    return replace(state, last=last, due=[due] if due else [], buffered=None, last_failure=failure)


async def _asked(ctx: WorkflowContext, state: State, request: Task[Request], run: Task[Any] | None) -> State:
    try:
        asked = await request
    except PayloadError as error:  # nobody but the client should send such events
        ctx.logger.warning("an event is no request to a schedule: %s", error)
        return state
    now = ctx.current_utc_datetime
    match asked.verb:
        case Verb.PAUSE:
            state = replace(state, paused=True, reason=asked.reason)
        case Verb.RESUME if state.paused:  # what was to fire meanwhile is left out
            state = replace(state, paused=False, reason=asked.reason, last=max(now, state.last or now))
        case Verb.UPDATE if asked.update is not None:
            state = replace(state, plan=asked.update.apply(state.plan), last=max(now, state.last or now))
        case Verb.TRIGGER:
            instance = asked.instance or _due(ctx, now).instance
            state = _triggered(state, Due(instance=instance, at=now), running=run is not None)
        case _:
            pass
    return state


def _triggered(state: State, due: Due, *, running: bool) -> State:
    overlap = state.plan.overlap
    if not running or overlap in {Overlap.ALLOW, Overlap.TERMINATE_OTHER}:
        return replace(state, due=[due])
    return replace(state, buffered=due) if overlap is Overlap.BUFFER_ONE else state


def _due(ctx: WorkflowContext, moment: datetime) -> Due:
    """The run of this time. Its id says which, so that no time has two."""
    told = moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return Due(instance=ids.limited(schedule_name(ctx.instance_id), f":{told}"), at=moment)


def _tags(ctx: WorkflowContext, state: State) -> dict[str, str]:
    return {**state.plan.tags, SCHEDULE: schedule_name(ctx.instance_id)}


def _show(ctx: WorkflowContext, state: State, upcoming: datetime | None, *, running: bool) -> None:
    plan = {name: value for name, value in asdict(state.plan).items() if name != "input"}
    seen = Seen(
        **plan,
        paused=state.paused,
        reason=state.reason,
        next=upcoming,
        last=state.last_run,
        running=running,
        runs=state.runs,
        last_failure=state.last_failure,
    )
    ctx.set_custom_status(seen)
