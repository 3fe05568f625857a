"""Starting workflows with the broker alone, through the public door `tenuto.start` (rule I3)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any, Self

from tenuto.broker import Broker, Outcome, Outgoing, make_broker
from tenuto.client.options import WorkflowFunction, first_event, start_time
from tenuto.client.workflows import describe
from tenuto.clock import SYSTEM_CLOCK, Clock
from tenuto.codecs import PayloadCodec
from tenuto.core.retry import Duration
from tenuto.core.status import ReusePolicy
from tenuto.errors import BrokerUnavailableError, PayloadError, QueueMissingError, UsageError
from tenuto.messages import StartMessage
from tenuto.messages import encode as encode_message
from tenuto.naming import Names, check_instance_id, derived_instance_id
from tenuto.payloads import check_size, encode
from tenuto.sealing import make_sealer
from tenuto.settings import Settings
from tenuto.tracing import producing

__all__ = ["Publisher"]

_ATTEMPTS = 3


def _new_id() -> str:
    return uuid.uuid4().hex


class Publisher:
    """Starts workflows by publishing to the public door; needs no database. To be used with `async with`.

        async with Publisher() as publisher:                 # settings from TENUTO_* variables
            instance_id = await publisher.start(fulfil, order, message_id="order-17")

    A start is confirmed by the broker when it returns, and an orchestrator takes it from there. Whether the workflow
    exists or the id is taken turns out later: `reply_to` is told.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        broker: Broker | None = None,
        clock: Clock = SYSTEM_CLOCK,
        new_id: Callable[[], str] = _new_id,
        codecs: Sequence[PayloadCodec] | None = None,
    ) -> None:
        """Connect to nothing yet; `open`, or `async with`, does.

        Args:
            settings: read from the environment by default.
            broker: an open one to be used, and left open; by default one is made of the settings.
            clock: stamps the messages.
            new_id: gives unique, random message ids.
            codecs: what seals payloads, in order; by default what the settings name.

        Raises:
            SettingsError: a setting is malformed.
        """
        settings = settings or Settings()
        self._names = Names(settings.namespace)
        self._max_payload_bytes = settings.max_payload_bytes
        self._sealer = make_sealer(settings, codecs)
        self._owned = broker is None
        self._broker = broker or make_broker(
            settings.broker_url,
            name=f"{settings.namespace} publisher",
            connect_timeout=settings.connect_timeout,
            max_message_bytes=settings.max_message_bytes,
        )
        self._clock = clock
        self._new_id = new_id

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect to the broker. `async with` does it. Raises `BrokerUnavailableError`."""
        if self._owned:
            await self._broker.open()

    async def close(self) -> None:
        """Let go of the connection. Tolerates repeats."""
        if self._owned:
            await self._broker.close()

    async def start(
        self,
        workflow: WorkflowFunction[Any] | str,
        input: Any = None,  # noqa: A002 - the word of the message's field
        *,
        instance_id: str | None = None,
        message_id: str | None = None,
        version: str | None = None,
        tags: Mapping[str, str] | None = None,
        reuse: ReusePolicy | None = None,
        start_at: datetime | None = None,
        delay: Duration | None = None,
        event: tuple[str, Any] | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
    ) -> str:
        """Publish a start message; confirmed when it returns.

        Args:
            workflow: the decorated function, or its name.
            input: what the workflow gets, converted to JSON.
            instance_id: 1 to 256 printable characters; by default derived from `message_id`.
            message_id: makes the start idempotent; random by default.
            version: of the workflow; by default the latest.
            tags: to find the instance by.
            reuse: what to do if the id has an instance; by default that is an error while it is alive.
            start_at: an aware time that it does not start before.
            delay: instead of `start_at`: how long from now, as a `timedelta` or in seconds.
            event: a name and a payload: an external event that reaches the instance with its start.
            reply_to: a queue of yours that is told the outcome.
            correlation_id: comes back with the reply.

        Returns:
            The instance's id.

        Raises:
            UsageError: the id cannot be one, or `reply_to` is one of the engine's own queues.
            PayloadError: the input cannot become JSON, or is larger than the settings' `max_payload_bytes` or than what
                the broker takes.
            QueueMissingError: no orchestrator has ever declared the public door.
            BrokerUnavailableError: the broker did not confirm the message, which may have arrived all the same; it is
                safe to publish it again with the same `message_id`.
        """
        message_id = message_id or self._new_id()
        target = derived_instance_id(message_id) if instance_id is None else instance_id
        check_instance_id(target)
        if reply_to is not None and reply_to.startswith(f"{self._names.namespace}."):  # rule B4
            raise UsageError(f"reply_to must be a queue of your own, and {reply_to} is one of the engine's.")
        message = StartMessage(
            workflow=describe(workflow, version, None).name,
            input=check_size(encode(input), self._max_payload_bytes, "The input"),
            instance_id=instance_id,
            version=version,
            tags=dict(tags or {}),
            reuse=reuse or ReusePolicy(),
            start_at=start_time(start_at, delay, self._clock.now()),
            event=first_event(event, self._max_payload_bytes),
        )
        outgoing = Outgoing(
            queue=self._names.start,
            body=encode_message(self._sealer.seal(message, target)),
            message_id=message_id,
            correlation_id=correlation_id,
            reply_to=reply_to,
            timestamp=self._clock.now().timestamp(),
        )
        with _creating(outgoing, message, target) as trace:
            await self._publish(replace(outgoing, headers=trace))
        return target

    async def _publish(self, message: Outgoing) -> None:
        # The message id makes a repetition harmless, and the broker waits for a lost connection by itself.
        for _ in range(_ATTEMPTS):
            (outcome,) = await self._broker.publish([message])
            match outcome:
                case Outcome.CONFIRMED:
                    return
                case Outcome.RETURNED:
                    raise QueueMissingError(
                        f"There is no queue {message.queue}: no orchestrator has ever run with this broker and "
                        "namespace. Start one with `tenuto orchestrator module:app`."
                    )
                case Outcome.REFUSED:
                    raise PayloadError(
                        f"The start message has {len(message.body)} bytes, which is more than the broker takes."
                    )
                case Outcome.UNKNOWN:
                    continue
        raise BrokerUnavailableError(
            f"The broker did not confirm the start message {message.message_id}. It may have arrived; publish it "
            "again with the same message_id, which cannot start it twice."
        )


def _creating(
    outgoing: Outgoing, message: StartMessage, target: str
) -> AbstractContextManager[dict[str, str]]:
    """The span of a start; gives the headers that it carries."""
    attributes = {
        "durabletask.type": "orchestration",
        "durabletask.task.name": message.workflow,
        "durabletask.task.instance_id": target,
        "durabletask.task.version": message.version,
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "send",
        "messaging.operation.name": "publish",
        "messaging.destination.name": outgoing.queue,
        "messaging.message.id": outgoing.message_id,
    }
    return producing("create_orchestration", message.workflow, attributes)
