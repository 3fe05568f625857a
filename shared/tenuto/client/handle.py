"""A handle on one workflow instance."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any, TypeVar

import msgspec

from tenuto.client.instance import InstanceStatus, opened, stored_apart
from tenuto.client.once_more import OnceMore
from tenuto.client.transport import Milestone, Target, Transport
from tenuto.clock import SYSTEM_CLOCK, Clock
from tenuto.core.events import Event
from tenuto.core.histories import HistoryDocument
from tenuto.core.letters import Purge, Raise, Resume, Rewind, Suspend, Terminate
from tenuto.core.reserved import event_fault
from tenuto.core.status import Status
from tenuto.errors import InstanceOverError, UsageError, WorkflowFailedError, WorkflowTerminatedError
from tenuto.naming import check_name
from tenuto.payloads import check_size, decode, encode
from tenuto.sealing import Sealer, references
from tenuto.shelf import Shelf

__all__ = ["WorkflowHandle"]

T_co = TypeVar("T_co", covariant=True)


class WorkflowHandle(OnceMore[T_co]):
    """Stands for one instance; made by `Client.start` and `Client.get`, used while that client is open.

    Every verb is durable when it returns, and with `wait` (the default) it has taken effect. `timeout` is in seconds;
    by default the settings' `request_timeout`, and for `started` and `result` no limit. After a `TimeoutError` a
    request is still carried out, as soon as an orchestrator gets to it.

    Every verb raises `NotFoundError` where there is no such instance.
    """

    def __init__(
        self,
        transport: Transport,
        target: Target,
        result_type: Any,
        *,
        max_payload_bytes: int,
        sealer: Sealer,
        shelf: Shelf,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._clock = clock
        self._transport = transport
        self._max_payload_bytes = max_payload_bytes
        self._sealer = sealer
        self._shelf = shelf
        self._seen = partial(_seen, sealer, shelf)
        self._target = target
        self._result_type = result_type

    def __repr__(self) -> str:
        return f"WorkflowHandle({self.instance_id!r})"

    @property
    def instance_id(self) -> str:
        return self._target.instance

    @property
    def target(self) -> Target:
        """What it stands for; `Client.attach` makes another handle of it."""
        return self._target

    async def started(self, *, timeout: float | None = None) -> InstanceStatus:
        """Wait until the instance is no longer PENDING; how it stands then.

        Raises:
            AlreadyExistsError: its start, not waited for until now, was refused.
            TimeoutError: `timeout` seconds have passed.
        """
        return await self._seen(self._transport.wait(self._target, Milestone.STARTED, timeout=timeout))

    async def ended(self, *, timeout: float | None = None) -> InstanceStatus:
        """Wait until the instance ends, however that may be; how it ended.

        Raises:
            AlreadyExistsError: its start, not waited for until now, was refused.
            TimeoutError: `timeout` seconds have passed.
        """
        return await self._seen(self._transport.wait(self._target, Milestone.ENDED, timeout=timeout))

    async def result(self, *, timeout: float | None = None) -> T_co:
        """Wait until the instance ends; what the workflow returned, converted to the type that it says it returns.

        Raises:
            WorkflowFailedError: it failed; `failure` tells how.
            WorkflowTerminatedError: it was terminated.
            AlreadyExistsError: its start, not waited for until now, was refused.
            PayloadError: the result does not fit the type.
            TimeoutError: `timeout` seconds have passed.
        """
        ended = await self.ended(timeout=timeout)
        if ended.status is Status.COMPLETED:
            result: T_co = decode(ended.raw_output or b"null", self._result_type)
            return result
        raise _bad_end(ended)

    async def status(self) -> InstanceStatus:
        """The instance as it is now."""
        return await self._seen(self._transport.status(self.instance_id))

    async def changed(self, revision: str, *, timeout: float | None = None) -> InstanceStatus:
        """Wait until the instance is no longer as it was at this `InstanceStatus.revision`; how it stands then. Changes
        that follow each other quickly may be seen as one.

        Raises:
            TimeoutError: `timeout` seconds have passed.
        """
        return await self._seen(self._transport.changed(self.instance_id, revision, timeout=timeout))

    async def history(self) -> list[Event]:
        """The events of the present generation, in order.

        Raises:
            PayloadError: they are sealed, and this client lacks a codec or a key.
        """
        history = await self._transport.history(self.instance_id)
        objects = await self._shelf.get(
            self.instance_id, [key for event in history for key in references(event)]
        )
        return [self._sealer.open(event, self.instance_id, objects) for event in history]

    async def export(self) -> HistoryDocument:
        """The history as a document that can be kept, and replayed against other code: `tenuto replay`."""
        before = await self.status()
        while True:
            events = await self.history()
            after = await self.status()
            if after.run == before.run:  # else the id was started again between the two looks
                return HistoryDocument(
                    instance=after.instance_id,
                    run=after.run,
                    workflow=after.workflow,
                    version=after.version,
                    status=after.status,
                    events=events,
                )
            before = after

    async def raise_event(
        self,
        name: str,
        payload: Any = None,
        *,
        create: bool = False,
        message_id: str | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Give the instance an external event. One that it does not wait for yet is kept.

        With `create` it is kept also if there is no such instance yet, for a day (`TENUTO_EVENT_WINDOW`); whoever
        starts it until then gives it the event. A `message_id` makes repetitions harmless: the event arrives once,
        however often it is sent with the same one within a day (`TENUTO_SEEN_WINDOW`), whatever became of it.

        Raises:
            UsageError: no event can have such a name.
            InstanceOverError: the instance has ended.
            PayloadError: the payload cannot become JSON, or is larger than the settings' `max_payload_bytes`.
            UsageError: the name is one of Tenuto's own.
        """
        if (fault := event_fault(name, self.instance_id)) is not None:
            raise UsageError(fault)
        check_name("The event's name", name, field="name")
        raw = self._encode(payload, f"The payload of event {name!r}")
        at = self._clock.now() if create else None
        letter = Raise(name=name, payload=raw, create=at, message_id=message_id)
        await self._transport.ask(self.instance_id, letter, wait=wait, timeout=timeout)

    async def suspend(
        self, reason: str | None = None, *, wait: bool = True, timeout: float | None = None
    ) -> None:
        """Keep from the instance all that happens until `resume`. Twice is once.

        Raises:
            InstanceOverError: the instance has ended.
        """
        await self._transport.ask(self.instance_id, Suspend(reason=reason), wait=wait, timeout=timeout)

    async def resume(
        self, reason: str | None = None, *, wait: bool = True, timeout: float | None = None
    ) -> None:
        """Undo `suspend`: what was kept is given to the instance, in order.

        Raises:
            InstanceOverError: the instance has ended.
        """
        await self._transport.ask(self.instance_id, Resume(reason=reason), wait=wait, timeout=timeout)

    async def terminate(
        self,
        output: Any = None,
        reason: str | None = None,
        *,
        recursive: bool = True,
        wait: bool = True,
        timeout: float | None = None,
    ) -> bool:
        """End the instance, and from `recursive` its children, whatever it is doing. Its code is not told.

        Returns:
            False if it had ended already, so that nothing was changed; without `wait` always True.

        Raises:
            PayloadError: the output cannot become JSON, or is larger than the settings' `max_payload_bytes`.
        """
        letter = Terminate(recursive=recursive, output=self._encode(output, "The output"), reason=reason)
        try:
            await self._transport.ask(self.instance_id, letter, wait=wait, timeout=timeout)
        except InstanceOverError:
            return False
        return True

    async def purge(
        self, *, force: bool = False, recursive: bool = True, timeout: float | None = None
    ) -> int:
        """Delete the instance with its history; with `force` also while it is alive (it is terminated first).

        Returns:
            How many instances that covers: with `recursive` also its descendants, those that have ended or, with
            `force`, all. They are counted before, and deleted soon after this returns.

        Raises:
            RequestError: it is alive, and `force` is not set.
        """
        letter = Purge(force=force, recursive=recursive)
        return await self._transport.purge(self.instance_id, letter, timeout=timeout)

    async def rewind(
        self, reason: str | None = None, *, wait: bool = True, timeout: float | None = None
    ) -> None:
        """Let an instance that has failed, or was terminated, go on in place from where that came about: what failed
        is done again, children are rewound with it, and nothing that was done is done twice. One that is alive is left
        as it is.

        Raises:
            RequestError: it has completed, or cannot go on; the message says why.
        """
        await self._transport.ask(self.instance_id, Rewind(reason=reason), wait=wait, timeout=timeout)

    def _another(self, target: Target) -> WorkflowHandle[T_co]:
        """A handle on an instance of the same workflow."""
        return WorkflowHandle(
            self._transport,
            target,
            self._result_type,
            max_payload_bytes=self._max_payload_bytes,
            sealer=self._sealer,
            shelf=self._shelf,
            clock=self._clock,
        )

    async def ring(self) -> None:
        """Tell the engine to look at once. For a start within a transaction of your own: call it after the commit, or
        else the start is found within a few seconds."""
        await self._transport.ring(self.instance_id)

    def _encode(self, value: Any, what: str) -> msgspec.Raw:
        payload = check_size(encode(value), self._max_payload_bytes, what)
        return self._sealer.seal_payload(payload, self.instance_id)


async def _seen(sealer: Sealer, shelf: Shelf, look: Awaitable[InstanceStatus]) -> InstanceStatus:
    """What was looked at, with its payloads opened and fetched."""
    status = await look
    return opened(status, sealer, await shelf.get(status.instance_id, stored_apart(status)))


def _bad_end(ended: InstanceStatus) -> WorkflowFailedError | WorkflowTerminatedError:
    failure = ended.failure
    if ended.status is Status.TERMINATED:
        why = f": {ended.reason}" if ended.reason else ""
        return WorkflowTerminatedError(f"Instance {ended.instance_id!r} was terminated{why}", failure)
    how = f": {failure.type}: {failure.message}" if failure is not None else ""
    return WorkflowFailedError(f"Instance {ended.instance_id!r} failed{how}", failure)
