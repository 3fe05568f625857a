"""What workflow code gets as its first argument, and everything it may ask for.

The names follow Dapr's. Nothing here is asynchronous: a call gives a `Task` at once, and `await task` (or `yield
task`) waits for it. What the code sees of time, chance and identity comes from the history, so it sees the same
on every replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any, TypeVar, overload
from uuid import UUID

import msgspec

from tenuto import payloads
from tenuto.core import ids
from tenuto.core.calls import Calls
from tenuto.core.definitions import Registry, WorkflowLogger
from tenuto.core.driver import Driver
from tenuto.core.durations import after
from tenuto.core.events import EventSent, TimerCreated
from tenuto.core.locks import Lock
from tenuto.core.mailbox import EventTask, Mailbox
from tenuto.core.patches import Patches
from tenuto.core.reserved import LONGEST_KEY, event_fault, is_reserved
from tenuto.core.retry import Duration
from tenuto.core.state import State
from tenuto.core.tasks import CommandTask, Routine, Task
from tenuto.errors import PayloadError

__all__ = ["Requests", "WorkflowContext"]

T = TypeVar("T")
_MAX_CUSTOM_STATUS = 1024 * 1024
"""Bytes."""


class Requests:
    """What the code has asked of its own instance."""

    __slots__ = ("custom_status", "next_input", "random", "save_events", "tags")

    def __init__(self) -> None:
        self.custom_status: bytes | None = None
        self.next_input: msgspec.Raw | None = None
        """Set by continue-as-new."""
        self.save_events = True
        self.tags: dict[str, str | None] = {}
        """Changes of the tags; None takes one away."""
        # Made when it is asked for: it takes as much memory as all the rest of a waiting instance's context.
        self.random: Random | None = None

    def reseed(self, state: State) -> None:
        """Chance comes from the state's seed from here on, also that which the code has in hand."""
        if self.random is not None:
            self.random.seed(_chance(state))


class WorkflowContext(Calls, Patches):
    """The way from workflow code to the world. Good in the workflow function and its branches only.

    Besides the methods below it has `call_activity` and `call_child_workflow`, `is_patched` and `deprecate_patch`.
    """

    instance_id: str
    """The id of this instance."""
    workflow: str
    """The name of its workflow."""
    logger: WorkflowLogger
    """Logs only what happens for the first time: silent while replaying."""

    def __init__(self, driver: Driver, registry: Registry, mailbox: Mailbox, requests: Requests) -> None:
        Calls.__init__(self, driver, registry)
        Patches.__init__(self, driver)
        self._mailbox = mailbox
        self._requests = requests
        self._uuids = 0
        state = driver.recorder.state
        self.instance_id = state.instance
        self.workflow = state.workflow
        self.logger = registry.logger(self)

    @property
    def random(self) -> Random:
        """Chance that replays: seeded by the instance and its generation. Drawing uuids does not disturb it."""
        requests = self._requests
        if requests.random is None:
            requests.random = Random(_chance(self._driver.recorder.state))  # noqa: S311 - it must repeat, not be secret
        return requests.random

    @property
    def version(self) -> str | None:
        """The version that this instance keeps; None where the workflow has only one."""
        return self._driver.recorder.state.version

    @property
    def current_utc_datetime(self) -> datetime:
        """The time of the present turn: aware, in UTC, the same on every replay."""
        time = self._driver.recorder.state.time
        if time is None:
            raise ValueError("there is no time before the first turn")
        return time

    @property
    def is_replaying(self) -> bool:
        """Whether the code only repeats what it did before, or is on its way out of memory, where its `finally`
        blocks run without having been asked for by the history. Nothing that is recorded may depend on it."""
        return self._driver.is_halted or self._driver.recorder.replaying

    def new_uuid(self) -> UUID:
        """A UUID (version 5) that is the same on every replay."""
        self._driver.check()
        self._uuids += 1
        state = self._driver.recorder.state
        return ids.code_uuid(state.seed, state.generation, self._uuids)

    def create_timer(self, fire_at: Duration | datetime) -> Task[None]:
        """A durable timer, after a `timedelta` or seconds, or at an aware `datetime`. There is no limit on its length.

        One that lies in the past fires on the next turn.

        Raises:
            ValueError: the datetime is naive, or the duration is not a number.
        """
        if not self._driver.check():
            return Task(self._driver)
        task: CommandTask[None] = CommandTask(self._driver, self._create_timer(fire_at, event=None))
        self._driver.tasks[task.command] = task
        return task

    @overload
    def wait_for_external_event(
        self, name: str, *, timeout: Duration | None = ..., type: type[T]
    ) -> Task[T]: ...
    @overload
    def wait_for_external_event(
        self, name: str, *, timeout: Duration | None = ..., type: Any = ...
    ) -> Task[Any]: ...
    def wait_for_external_event(
        self,
        name: str,
        *,
        timeout: Duration | None = None,
        type: Any = Any,  # noqa: A002 - as in `call_activity`
    ) -> Task[Any]:
        """Wait for an event that a client, another workflow or an activity raises on this instance.

        Args:
            name: compared without regard to case (`casefold`).
            timeout: how long to wait; 0 takes only what is there already.
            type: what the payload is converted to.

        Returns:
            A task. Awaiting it gives the payload, or raises `TimeoutError`, having taken nothing, when the time
            is over, or `PayloadError` when the payload does not fit the type.
        """
        if not self._driver.check():
            return Task(self._driver)
        task: EventTask[Any] = EventTask(self._driver, self._mailbox, name, type)
        kept = self._mailbox.take(name)
        if kept is not None:
            task.receive(kept)
            return task
        if timeout is not None:
            if after(self.current_utc_datetime, timeout) <= self.current_utc_datetime:
                task.expire()
                return task
            task.timer = self._create_timer(timeout, event=name)
            self._driver.tasks[task.timer] = task
        self._mailbox.wait(task)
        return task

    def send_event(self, instance_id: str, name: str, payload: Any = None) -> None:
        """Raise an external event on another instance. It does not wait for anything.

        Raises:
            PayloadError: the payload cannot become JSON, or is larger than `TENUTO_MAX_PAYLOAD_BYTES`.
            ValueError: `instance_id` is no valid id, or the name is one of Tenuto's own.
        """
        if not self._driver.check():
            return
        if not is_reserved(self.instance_id) and (fault := event_fault(name)) is not None:
            raise ValueError(fault)
        raw = payloads.encode(payload)
        refused = self._driver.refusal(raw, f"the payload of event {name!r}")
        command = self._driver.issue(
            EventSent(
                id=self._driver.next_id,
                instance=ids.valid_instance(instance_id),
                name=name,
                payload=raw if refused is None else payloads.NULL,
                refused=refused,
            )
        )
        if command.refused is not None:
            raise PayloadError(command.refused.message)

    def lock(self, key: str, *, timeout: Duration | None = None) -> Lock:
        """A lock that only one workflow instance of the deployment holds at a time: `async with ctx.lock(key): …`.

        Args:
            key: what is locked, as all who lock it call it: 1 to 200 printable characters.
            timeout: how long to wait for it; then `TimeoutError` is raised. A lock is asked for by a message, so it is
                never there at once.

        Raises:
            ValueError: the key cannot be one.
        """
        if (fault := ids.name_fault("The key of a lock", key)) is not None or len(key) > LONGEST_KEY:
            raise ValueError(fault or f"The key of a lock has at most {LONGEST_KEY} characters.")
        waits = None if timeout is None else partial(self._create_timer, timeout, event=f"lock {key}")
        return Lock(self._driver, self._mailbox, key, waits)

    def set_custom_status(self, status: Any) -> None:
        """Show something to whoever looks at the instance; it is stored with the turn.

        Raises:
            PayloadError: it cannot become JSON, or is larger than 1 MiB (a limit that no setting changes, since what
                the code does about it must not change either).
        """
        if self._driver.check():
            raw = payloads.encode(status)
            if len(raw) > _MAX_CUSTOM_STATUS:
                raise PayloadError(payloads.too_large("the custom status", len(raw), _MAX_CUSTOM_STATUS))
            self._requests.custom_status = bytes(raw)

    def upsert_tags(self, tags: Mapping[str, str | None]) -> None:
        """Add tags to find the instance by, or give them another value; None takes one away. It is stored with the
        turn, and kept when the workflow continues as new.

        Raises:
            PayloadError: a name or a value is no string.
        """
        for name, value in tags.items():
            if not isinstance(name, str) or not isinstance(value, str | None):
                raise PayloadError(f"a tag is a name and a value, both strings: {name!r} is given {value!r}")
            payloads.encode([name, value])  # a string that is no Unicode
        if self._driver.check():
            self._requests.tags.update(tags)

    def continue_as_new(
        self,
        input: Any = None,  # noqa: A002 - as in `call_activity`
        *,
        save_events: bool = True,
    ) -> None:
        """When the workflow function returns, begin it anew with this input and an empty history.

        Events that nobody has taken are kept for the new generation unless `save_events` is False. What the
        function returns is then ignored; an exception that it lets out fails the workflow all the same, and so does
        an input that is larger than `TENUTO_MAX_PAYLOAD_BYTES`.

        Raises:
            PayloadError: the input cannot become JSON.
        """
        if self._driver.check():
            self._requests.next_input = payloads.encode(input)
            self._requests.save_events = save_events

    def spawn(self, routine: Routine[T]) -> Task[T]:
        """Run a coroutine (or generator) as a concurrent branch of this workflow.

        It begins when the code that spawned it waits. A branch that is still running when the workflow function
        returns is dropped.
        """
        return self._driver.spawn(routine) if self._driver.check() else Task(self._driver)

    def _create_timer(self, fire_at: Duration | datetime, *, event: str | None) -> int:
        if isinstance(fire_at, datetime):
            if fire_at.tzinfo is None:
                raise ValueError(f"a timer needs an aware datetime, and {fire_at!r} has no time zone")
            moment = fire_at.astimezone(UTC)
        else:
            moment = after(self.current_utc_datetime, fire_at)
        driver = self._driver
        return driver.issue(TimerCreated(id=driver.next_id, fire_at=moment, event=event)).id


def _chance(state: State) -> str:
    """What chance comes from."""
    return f"{state.seed}:{state.generation}"
