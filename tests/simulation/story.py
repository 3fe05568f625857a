"""Users: what they do to one instance, one deed after the other, and what they may see.

A user lives outside of the client processes: when one crashes, the user goes on with the next, not knowing whether the
deed under way took effect. Every deed is therefore repeated until it is acknowledged, as a user of an at-least-once
system does, and a repetition may find what the first attempt has done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tenuto import (
    AlreadyExistsError,
    Client,
    InstanceOverError,
    NotFoundError,
    Publisher,
    ReuseAction,
    ReusePolicy,
    WorkflowFailedError,
    WorkflowTerminatedError,
)
from tenuto.broker.protocol import Outgoing
from tenuto.client.options import first_event, start_time
from tenuto.clock import Clock
from tenuto.core.status import LIVE, Status
from tenuto.errors import BrokerError, RequestError, StoreUnavailableError, UnknownWorkflowError, UsageError
from tenuto.messages import StartMessage, encode
from tenuto.naming import Names
from tenuto.payloads import encode as encode_payload
from tenuto.settings import ClientSettings
from tests.simulation.broker import SimBroker
from tests.simulation.program import WORKFLOW, Job, Outcome, Step, fits, outcome
from tests.simulation.timetable import Arrange, Dismiss, Tell, Timetable, manage

__all__ = [
    "FORGED",
    "Deed",
    "Forge",
    "Hands",
    "Mend",
    "Purge",
    "Raise",
    "RaiseTooLate",
    "Restart",
    "Result",
    "Resume",
    "Rewind",
    "SeeStalled",
    "Start",
    "Story",
    "Suspend",
    "Terminate",
    "Wait",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    steps: list[Step]
    through: str
    """`client`, `client with id`, `publisher`, or `door`: several copies of one message, straight to the queue."""
    copies: int = 1
    anew: bool = False
    """Whatever runs under the id is terminated first."""
    event: str | None = None
    """One that comes with it."""
    delay: float | None = None
    """Seconds that it is put off."""
    message_id: str


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Raise:
    name: str


@dataclass(frozen=True, slots=True)
class RaiseTooLate:
    """An event for an instance that is over, or was purged, is refused (rules N4, C7)."""


@dataclass(frozen=True, slots=True)
class Suspend:
    pass


@dataclass(frozen=True, slots=True)
class Resume:
    pass


@dataclass(frozen=True, slots=True)
class Terminate:
    pass


@dataclass(frozen=True, slots=True)
class SeeStalled:
    """Wait until it is STALLED."""


@dataclass(frozen=True, slots=True)
class Result:
    pass


@dataclass(frozen=True, slots=True)
class Mend:
    """From now on this fails no longer."""

    name: str


@dataclass(frozen=True, slots=True)
class Rewind:
    pass


@dataclass(frozen=True, slots=True)
class Restart:
    """Once more, under the same id."""

    message_id: str


@dataclass(frozen=True, slots=True)
class Forge:
    """A start whose reply would go to the engine's own queue is refused (rule B4)."""


@dataclass(frozen=True, slots=True)
class Purge:
    force: bool = False


Deed: TypeAlias = (
    Start
    | Wait
    | Raise
    | RaiseTooLate
    | Suspend
    | Resume
    | Terminate
    | SeeStalled
    | Result
    | Purge
    | Mend
    | Rewind
    | Restart
    | Forge
    | Arrange
    | Tell
    | Dismiss
)
FORGED = "-forged"
"""What the ids of instances end with that must not be."""


_LOOKS = 40
"""Times that a user looks whether an instance is there before it is asked for again."""
_UNKNOWN_OUTCOME = (StoreUnavailableError, BrokerError, TimeoutError)


@dataclass(slots=True, kw_only=True, eq=False)
class Story:
    """One instance and its user."""

    instance: str
    deeds: list[Deed]
    after: list[Story] = field(default_factory=list)
    """Stories whose instances have to be there first."""
    done: int = 0
    """Deeds that were acknowledged."""
    attempts: int = 0
    """At the present deed, the one under way included."""
    starts: list[Start] = field(default_factory=list)
    """Those that were attempted."""
    unsure_starts: int = 0
    """Attempts, beyond the first of each, that may have started the instance again."""
    suspended: bool = False
    """It may be that the instance is suspended still, by an attempt that landed late."""
    terminated: bool = False
    """Whether its user has asked for the present run's end, which may have come by itself before."""
    purged: bool = False
    mended: bool = False
    timetable: Timetable | None = None
    """Its instance is this schedule."""
    seen: Any = None

    @property
    def finished(self) -> bool:
        return self.done == len(self.deeds)

    @property
    def begun(self) -> bool:
        """Whether its instance is there."""
        return any(isinstance(deed, Start) for deed in self.deeds[: self.done])

    @property
    def expected(self) -> Outcome:
        return outcome(self.starts[-1].steps, mended=self.mended)

    def acknowledge(self) -> None:
        """The present deed is done. One that was asked for more than once may land once more, however late, and would
        then strike the wrong run; so no other run follows upon it."""
        deed, repeated = self.deeds[self.done], self.attempts > 1
        self.done += 1
        self.attempts = 0
        if repeated and isinstance(deed, Terminate | Purge):
            ahead = [n for n, other in enumerate(self.deeds) if n >= self.done and isinstance(other, Start)]
            del self.deeds[ahead[0] if ahead else len(self.deeds) :]

    def allows(self, status: Status, output: Any, failure: str | None) -> bool:
        """Whether its present run may have ended like this."""
        if status is Status.TERMINATED:
            return self.terminated
        expected = self.expected
        if expected.failed is not None:
            return status is Status.FAILED and failure is not None and expected.failed in failure
        return status is Status.COMPLETED and fits(expected.results, output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a user works with, while the process lasts."""

    client: Client
    publisher: Publisher
    broker: SimBroker
    names: Names
    settings: ClientSettings
    clock: Clock
    mend: Callable[[str], None]
    upgrading: Callable[[], bool]
    """An older release is there still."""
    may_be_lost: Callable[[], bool]
    """Whether the broker has lost messages that nobody can know of."""
    note: Callable[[str], None]
    complain: Callable[[str], None]

    async def live(self, story: Story) -> None:
        """Go on with a story until it is finished."""
        while not all(other.begun for other in story.after):  # noqa: ASYNC110 - by users of other processes, too
            await asyncio.sleep(0.2)  # nobody tells
        while not story.finished:
            deed = story.deeds[story.done]
            story.attempts += 1
            try:
                await self._do(story, deed)
            except _UNKNOWN_OUTCOME as error:
                self.note(f"user of {story.instance}: {type(deed).__name__}: {type(error).__name__}: {error}")
                await asyncio.sleep(0.3)
                continue
            self.note(f"user of {story.instance}: {type(deed).__name__} done")
            story.acknowledge()

    async def _do(self, story: Story, deed: Deed) -> None:
        match deed:
            case Wait(seconds=seconds):
                await asyncio.sleep(seconds)
            case Start():
                await self._start(story, deed)
            case SeeStalled():
                await self._stalls(story)
            case Result():
                await self._result(story, self.client.get(story.instance, WORKFLOW))
            case Mend(name=name):
                self.mend(name)
                story.mended = True
            case Forge():
                await self._forge(story)
            case Arrange() | Tell() | Dismiss():
                await manage(self.client, story.instance, deed, again=story.attempts > 1)
                story.purged = isinstance(deed, Dismiss)
            case Purge() | Rewind() | Restart():
                await self._ask_of_the_ended(story, deed)
            case _:
                await self._ask(story, deed)

    async def _ask(self, story: Story, deed: Raise | RaiseTooLate | Suspend | Resume | Terminate) -> None:
        handle = self.client.get(story.instance, WORKFLOW)
        match deed:
            case Raise(name=name):
                await self._unless_over(story, handle.raise_event(name, name))
            case RaiseTooLate():
                await self._raise_too_late(story, handle)
            case Suspend():
                story.suspended = True
                await self._unless_over(story, handle.suspend("a break"))
            case Resume():
                await self._unless_over(story, handle.resume())
            case Terminate():
                story.terminated = True
                await handle.terminate(reason="enough")

    async def _ask_of_the_ended(self, story: Story, deed: Purge | Rewind | Restart) -> None:
        handle = self.client.get(story.instance, WORKFLOW)
        match deed:
            case Purge(force=force):
                # An owner that cannot read it cannot give back its locks either.
                if force and self.upgrading():
                    raise TimeoutError("nothing is purged by force during an upgrade")
                try:
                    await handle.purge(force=force)
                except NotFoundError:
                    if story.attempts == 1:
                        raise
                story.purged = True
            case Rewind():
                await self._rewind(handle)
            case Restart(message_id=message_id):
                if story.attempts == 1:
                    story.starts.append(story.starts[-1])
                    story.terminated = False
                try:
                    await handle.restart(instance_id=story.instance, message_id=message_id)
                except UnknownWorkflowError as error:
                    raise TimeoutError("only orchestrators of an older release are there") from error

    async def _rewind(self, handle: Any) -> None:
        if (
            self.upgrading()
        ):  # whoever lacks the code, or may not write the event, refuses, and a child then fails
            raise TimeoutError("nothing is rewound during an upgrade")
        with suppress(RequestError):  # it had completed before it was terminated; else its result will tell
            await handle.rewind("mended")

    async def _raise_too_late(self, story: Story, handle: Any) -> None:
        asked_at = self.clock.now()
        with suppress(InstanceOverError, NotFoundError):
            await handle.raise_event("too late")
            ended_at = (await handle.status()).ended_at
            if ended_at is not None and ended_at < asked_at:  # as far as the user's clock can tell
                self.complain(f"{story.instance} is over, and has taken an event (rule N4)")

    async def _unless_over(self, story: Story, asking: Any) -> None:
        try:
            await asking
        except InstanceOverError:
            self.note(f"{story.instance} is over")

    async def _start(self, story: Story, deed: Start) -> None:
        again = story.attempts > 1
        if not again:
            story.starts.append(deed)
            story.terminated = story.purged = False
        elif deed.through == "client":
            story.unsure_starts += 1
        policy = ReusePolicy(action=ReuseAction.TERMINATE, statuses=LIVE) if deed.anew else ReusePolicy()
        job = Job(label=deed.message_id, steps=deed.steps)
        event = None if deed.event is None else (deed.event, deed.event)
        options: dict[str, Any] = {"reuse": policy, "delay": deed.delay, "event": event}
        match deed.through:
            case "client" | "client with id":
                message_id = deed.message_id if deed.through == "client with id" else None
                try:
                    await self.client.start(
                        WORKFLOW, job, instance_id=story.instance, message_id=message_id, **options
                    )
                except AlreadyExistsError:
                    if not again:
                        raise
                except (UsageError, UnknownWorkflowError) as error:
                    raise TimeoutError("there is no orchestrator yet") from error
            case "publisher":
                await self.publisher.start(
                    WORKFLOW, job, instance_id=story.instance, message_id=deed.message_id, **options
                )
                await self._appears(story, job)
            case _:
                await self._knock(story, deed, job, policy)
                await self._appears(story, job)

    async def _knock(self, story: Story, deed: Start, job: Job, policy: ReusePolicy) -> None:
        event = None if deed.event is None else (deed.event, deed.event)
        message = StartMessage(
            workflow=WORKFLOW,
            input=encode_payload(job),
            instance_id=story.instance,
            reuse=policy,
            start_at=start_time(None, deed.delay, self.clock.now()),
            event=first_event(event, self.settings.max_payload_bytes),
        )
        copy = Outgoing(queue=self.names.start, body=encode(message), message_id=deed.message_id)
        outcomes = await self.broker.publish([copy] * deed.copies)
        if any(outcome.name != "CONFIRMED" for outcome in outcomes):
            raise BrokerError("not all copies were confirmed")

    async def _forge(self, story: Story) -> None:
        message = StartMessage(
            workflow=WORKFLOW, input=encode_payload(Job(steps=[])), instance_id=story.instance + FORGED
        )
        forged = Outgoing(queue=self.names.start, body=encode(message), reply_to=self.names.turns(0))
        await self.broker.publish([forged])

    async def _appears(self, story: Story, job: Job) -> None:
        """A start through the door says nothing of when it takes effect. A broker that is wiped may have lost it, so
        after a while it is published again, under the same message id."""
        wanted = bytes(encode_payload(job))
        looks = 0
        while looks < _LOOKS or not self.may_be_lost():
            looks += 1
            try:
                status = await self.client.get(story.instance).status()
            except (NotFoundError, StoreUnavailableError, UsageError):
                pass
            else:
                if status.raw_input == wanted:
                    return
            await asyncio.sleep(0.3)  # nobody tells
        raise TimeoutError("the start has not taken effect")

    async def _stalls(self, story: Story) -> None:
        while (await self.client.get(story.instance).status()).status is not Status.STALLED:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.5)

    async def _result(self, story: Story, handle: Any) -> None:
        if story.suspended and story.attempts > 1:
            await self._unless_over(story, handle.resume())
        try:
            value = await handle.result(timeout=60)
        except WorkflowTerminatedError:
            fine = story.allows(Status.TERMINATED, None, None)
            value = "terminated"
        except WorkflowFailedError as error:
            value = str(error)
            fine = story.allows(Status.FAILED, None, value)
        else:
            fine = story.allows(Status.COMPLETED, value, None)
        story.seen = value
        if not fine:
            self.complain(f"{story.instance}: the user saw {value!r}, and expected {story.expected}")
