"""Users of schedules, and what may come of one: a run for each of its times, and one only (rule T2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeAlias

from tenuto import AlreadyExistsError, Client, NotFoundError
from tenuto.core.reserved import SCHEDULE, schedule_name
from tenuto.errors import UnknownWorkflowError, UsageError
from tenuto.schedules import Overlap, Plan, State
from tests.simulation.audit import Run

__all__ = ["Arrange", "Dismiss", "Tell", "Timetable", "manage"]

_TIME = r"\d{4}-\d\d-\d\dT[0-9:.]+Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrange:
    """Make the schedule."""

    plan: Plan = field(
        repr=False
    )  # its input is shown with its address in memory, which is another every time


@dataclass(frozen=True, slots=True)
class Tell:
    verb: str
    """`pause`, `resume` or `trigger`."""


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Delete the schedule."""


Deed: TypeAlias = Arrange | Tell | Dismiss


async def manage(client: Client, instance: str, deed: Deed, *, again: bool) -> None:
    """Do something to the schedule that this instance is. `again`: a first attempt may have done it."""
    name = schedule_name(instance)
    try:
        match deed:
            case Arrange(
                plan=plan
            ):  # as `schedules.create` does, with a message id: a late repetition does nothing
                state = State(plan=plan)
                await client.start(SCHEDULE, state, instance_id=instance, message_id=f"{name}/0")
            case Tell(verb="pause"):
                await client.schedules.pause(name)
            case Tell(verb="resume"):
                await client.schedules.resume(name)
            case Tell():
                await client.schedules.trigger(name)
            case Dismiss():
                await client.schedules.delete(name)
    except (AlreadyExistsError, NotFoundError):
        if not again:
            raise
    except (UsageError, UnknownWorkflowError) as error:
        raise TimeoutError("there is no orchestrator yet") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """What a schedule may have started."""

    name: str
    plan: Plan = field(repr=False)
    paused: bool
    """It was, for a while."""

    def violations(self, runs: Mapping[str, Sequence[Run]]) -> Iterator[str]:
        fired: list[datetime] = []
        for instance, made in runs.items():
            found = re.fullmatch(rf"{re.escape(self.name)}:({_TIME}|[0-9a-f]{{32}})", instance)
            if found is None:
                continue
            if len(made) > 1:
                yield f"schedule {self.name} has started {instance} {len(made)} times (rule T2)"
            if found[1].endswith("Z"):
                fired.append(datetime.fromisoformat(found[1]))
        step = timedelta(seconds=self.plan.every or 0)
        for earlier, later in pairwise(sorted(fired)):
            if (later - earlier) % step:
                yield f"schedule {self.name} has fired at {later}, and at {earlier} (rule T2)"
            elif later - earlier > step and self.plan.overlap is Overlap.ALLOW and not self.paused:
                yield f"schedule {self.name} has left out what lies between {earlier} and {later} (rule T2)"
