"""What a schedule remembers from one firing to the next, what it shows, and what can be asked of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from tenuto.core.events import OptionalRaw
from tenuto.schedules.plan import Overlap, Plan

__all__ = ["Due", "PlanUpdate", "Request", "Seen", "State", "Verb"]


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be started."""

    instance: str
    at: datetime
    """The time that it stands for."""


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The input of each generation of a schedule."""

    plan: Plan
    anchor: datetime | None = None
    """When the schedule was made: what intervals are counted from."""
    last: datetime | None = None
    """Up to here all times have been dealt with; it never goes back (rule T2)."""
    due: list[Due] = []
    """To be started now."""
    buffered: Due | None = None
    """To be started as soon as the run under way has ended."""
    paused: bool = False
    reason: str | None = None
    """Why it was paused or resumed."""
    runs: int = 0
    last_run: Due | None = None
    last_failure: str | None = None
    """How the last run that has ended failed; None: it completed, or is not waited for."""


class PlanUpdate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of a `Plan` that are to change."""

    workflow: str | msgspec.UnsetType = msgspec.UNSET
    input: OptionalRaw = None
    version: str | msgspec.UnsetType | None = msgspec.UNSET
    tags: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    cron: str | msgspec.UnsetType = msgspec.UNSET
    every: float | msgspec.UnsetType = msgspec.UNSET
    time_zone: str | msgspec.UnsetType = msgspec.UNSET
    overlap: Overlap | msgspec.UnsetType = msgspec.UNSET
    catch_up: int | msgspec.UnsetType = msgspec.UNSET
    jitter: float | msgspec.UnsetType = msgspec.UNSET

    def apply(self, plan: Plan) -> Plan:
        """The plan with these changes: an interval takes the place of a cron expression, and the other way round."""
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        changes = {name: value for name, value in given.items() if value is not msgspec.UNSET}
        if self.input is None:
            del changes["input"]
        if "cron" in changes:
            changes["every"] = None
        elif "every" in changes:
            changes["cron"] = None
        return msgspec.structs.replace(plan, **changes)


class Verb(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    TRIGGER = "trigger"
    UPDATE = "update"


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the event that a schedule listens to carries."""

    verb: Verb
    reason: str | None = None
    instance: str | None = None
    """Of `TRIGGER`: the run's id."""
    update: PlanUpdate | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A schedule's custom status."""

    workflow: str
    version: str | None = None
    tags: dict[str, str] = {}
    cron: str | None = None
    every: float | None = None
    time_zone: str
    overlap: Overlap
    catch_up: int = 0
    jitter: float = 0.0
    paused: bool = False
    reason: str | None = None
    next: datetime | None = None
    last: Due | None = None
    running: bool = False
    runs: int = 0
    last_failure: str | None = None
