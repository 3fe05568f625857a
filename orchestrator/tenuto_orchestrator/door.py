"""The public door: starts by plain JSON messages from any language, on the queue `tenuto.start` (rule I3).

Any orchestrator takes them, in batches: the message id goes into `seen` and the letter into the inbox of its instance's
partition in one commit; then the messages are acknowledged and the partitions' owners rung. What cannot be understood
goes to `tenuto.start.dead` with the reason in a header, and never blocks the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from tenuto.broker.protocol import Delivery, Outcome, Outgoing, Subscription
from tenuto.client.options import utc
from tenuto.core.events import ReplyTo
from tenuto.core.letters import Repeat, Start, encode_letter
from tenuto.core.reserved import event_fault
from tenuto.errors import (
    BrokerError,
    DataRefusedError,
    PayloadSealedError,
    QueueMissingError,
    StoreError,
    UsageError,
)
from tenuto.messages import StartMessage, decode_start
from tenuto.naming import check_instance_id, check_name, derived_instance_id, partition_of
from tenuto.payloads import check_size
from tenuto.store.protocol import Admission, InboxRow
from tenuto_orchestrator.change import REASON_HEADER, dead_letter
from tenuto_orchestrator.courier import Courier
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.guard import BrokerGuard

__all__ = ["REASON_HEADER", "Door"]

_log = logging.getLogger("tenuto.orchestrator")
_PREFETCH = 500
_TRACE_HEADERS = ("traceparent", "tracestate")
_NULL = msgspec.Raw(b"null")


class _RejectedError(UsageError):
    """A start message that nobody could ever carry out."""


class Door:
    def __init__(self, env: Environment, guard: BrokerGuard, courier: Courier) -> None:
        self._env = env
        self._guard = guard
        self._courier = courier
        self._deliveries: list[Delivery] = []
        self._wake = asyncio.Event()
        self._lost = True
        self.is_open = False
        """Whether the public queue is consumed."""

    async def run(self) -> None:
        """Take in starts until cancelled."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((BrokerError, StoreError)),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            before_sleep=lambda state: _log.info(
                "the public door is shut: %s", state.outcome and state.outcome.exception()
            ),
        )
        while True:
            async for attempt in retrying:
                with attempt:
                    await self._serve()

    async def _serve(self) -> None:
        """Consume until the subscription or the database is lost."""
        subscription = await self._subscribe()
        self.is_open = True
        try:
            while not self._lost:
                await self._wake.wait()
                self._wake.clear()
                deliveries, self._deliveries = self._deliveries, []
                if deliveries:
                    await self._take_in(subscription, deliveries)
        finally:
            self.is_open = False
            await subscription.close()

    async def _subscribe(self) -> Subscription:
        self._deliveries, self._lost = [], False
        queue = self._env.names.start
        try:
            return await self._env.broker.subscribe(
                queue, self._arrived, prefetch=_PREFETCH, on_lost=self._on_lost
            )
        except QueueMissingError:
            await self._guard.check()
            await self._guard.declare_start()
            return await self._env.broker.subscribe(
                queue, self._arrived, prefetch=_PREFETCH, on_lost=self._on_lost
            )

    def _arrived(self, delivery: Delivery) -> None:
        self._deliveries.append(delivery)
        self._wake.set()

    def _on_lost(self, reason: str) -> None:
        _log.info("the public door's queue is lost: %s", reason)
        self._lost = True
        self._wake.set()

    # A batch ---------------------------------------------------------------------------------------------

    async def _take_in(self, subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
        admissions, dead = [], []
        for delivery in deliveries:
            try:
                admissions.append((delivery, self._admission(delivery)))
            except (msgspec.DecodeError, UsageError) as error:
                dead.append((delivery, str(error)))
        try:
            await self._env.store.admit([admission for _, admission in admissions])
        except DataRefusedError:
            admissions, refused = await self._one_by_one(admissions)
            dead += refused
        if dead:
            await self._bury(dead)
        subscription.ack(deliveries[-1].tag, multiple=True)
        self._ring({admission.row.partition for _, admission in admissions})

    async def _one_by_one(
        self, admissions: Sequence[tuple[Delivery, Admission]]
    ) -> tuple[list[tuple[Delivery, Admission]], list[tuple[Delivery, str]]]:
        admitted, refused = [], []
        for delivery, admission in admissions:
            try:
                await self._env.store.admit([admission])
                admitted.append((delivery, admission))
            except DataRefusedError as error:
                refused.append((delivery, str(error)))
        return admitted, refused

    def _ring(self, partitions: set[int]) -> None:
        for number in partitions:
            partition = self._env.owned.get(number)
            if partition is None:
                self._courier.ring(self._env.names.turns(number))
            else:
                partition.inbox_due = True
                self._env.intake.wake()

    async def _bury(self, dead: Sequence[tuple[Delivery, str]]) -> None:
        """Keep what cannot be understood, before it is acknowledged.

        Raises:
            BrokerError: not all of it is safely kept; the messages will be delivered again.

        """
        letters = []
        for delivery, reason in dead:
            _log.warning("a start message is dead-lettered: %s", reason)
            post = dead_letter(self._env.names.start_dead, delivery.body, reason)
            letters.append(
                Outgoing(
                    queue=post.queue,
                    body=post.body,
                    message_id=delivery.message_id,
                    correlation_id=delivery.correlation_id,
                    reply_to=delivery.reply_to,
                    headers={**delivery.headers, **post.headers},
                )
            )
        outcomes = list(await self._env.broker.publish(letters))
        if Outcome.RETURNED in outcomes:
            await self._guard.declare(self._env.names.start_dead)
        bare = [
            Outgoing(
                queue=letter.queue, body=letter.body, headers={REASON_HEADER: letter.headers[REASON_HEADER]}
            )
            for letter, outcome in zip(letters, outcomes, strict=True)
            if outcome is Outcome.REFUSED  # what came with it, and the reason, are too much for one message
        ]
        outcomes = [outcome for outcome in outcomes if outcome is not Outcome.REFUSED]
        outcomes += await self._env.broker.publish(bare)
        if any(outcome is not Outcome.CONFIRMED for outcome in outcomes):
            raise BrokerError(f"dead letters for {self._env.names.start_dead} were not confirmed")

    # One message -----------------------------------------------------------------------------------------

    def _admission(self, delivery: Delivery) -> Admission:
        message = decode_start(delivery.body)
        instance = message.instance_id
        if instance is None:
            instance = (
                self._env.new_id()
                if delivery.message_id is None
                else derived_instance_id(delivery.message_id)
            )
        check_instance_id(instance)
        check_name("`workflow`", message.workflow)
        if message.version is not None:
            check_name("`version`", message.version)
        if message.input is not None:
            self._check_size(message.input, instance, "`input`")
        if message.event is not None:
            if (fault := event_fault(message.event.name)) is not None:
                raise UsageError(fault)
            self._check_size(message.event.payload, instance, "`event.payload`")
        self._check_age(delivery)
        reply = self._reply_to(delivery)
        letter = self._letter(message, delivery, reply)
        row = self._row(instance, encode_letter(self._env.sealer.seal(letter, instance)))
        again = None if reply is None else self._row(instance, encode_letter(Repeat(reply=reply)))
        return Admission(row=row, message_id=delivery.message_id, duplicate=again)

    def _letter(self, message: StartMessage, delivery: Delivery, reply: ReplyTo | None) -> Start:
        return Start(
            workflow=message.workflow,
            version=message.version,
            input=_NULL if message.input is None else message.input,
            run=self._env.new_id(),
            seed=self._env.new_id(),
            tags=message.tags,
            reuse=message.reuse,
            start_at=None if message.start_at is None else utc(message.start_at),
            event=message.event,
            reply=reply,
            trace={name: delivery.headers[name] for name in _TRACE_HEADERS if name in delivery.headers},
        )

    def _row(self, instance: str, body: bytes) -> InboxRow:
        partition = partition_of(instance, self._env.partitions)
        return InboxRow(id=self._env.new_id(), partition=partition, target=instance, body=body)

    def _check_size(self, payload: msgspec.Raw, instance: str, what: str) -> None:
        """What is sealed counts as what it opens to: a few kilobytes may be the compressed form of many megabytes."""
        with suppress(PayloadSealedError):  # the instance will stall for it, until somebody can open it
            payload = self._env.sealer.open_payload(payload, instance)
        check_size(payload, self._env.settings.max_payload_bytes, what)

    def _check_age(self, delivery: Delivery) -> None:
        """Rule N2: an id that is older than the memory for ids could start twice."""
        if delivery.message_id is None or delivery.timestamp is None:
            return
        age, window = self._env.now().timestamp() - delivery.timestamp, self._env.settings.seen_window
        if age > window:
            raise _RejectedError(
                f"the message is {age:.0f} s old, and message ids are remembered for {window:.0f} s, so it "
                f"cannot be told whether it was carried out before; publish it anew if it is still wanted"
            )

    def _reply_to(self, delivery: Delivery) -> ReplyTo | None:
        if delivery.reply_to is None:
            return None
        if delivery.reply_to.startswith(f"{self._env.names.namespace}."):  # rule B4
            raise _RejectedError(
                f"reply_to names {delivery.reply_to!r}, and queues that begin with "
                f"{self._env.names.namespace + '.'!r} are the engine's own"
            )
        return ReplyTo(queue=delivery.reply_to, correlation_id=delivery.correlation_id)
