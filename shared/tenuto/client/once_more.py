"""An instance once more: a restart, with the same input; a rerun, with a part of its history."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from tenuto.client.instance import InstanceStatus
from tenuto.client.transport import Order, RerunOrder, Target, Transport
from tenuto.core.status import ReusePolicy
from tenuto.naming import check_instance_id, derived_instance_id
from tenuto.payloads import check_size, encode
from tenuto.sealing import Sealer

if TYPE_CHECKING:
    from tenuto.client.handle import WorkflowHandle

__all__ = ["OnceMore"]

T_co = TypeVar("T_co", covariant=True)


class OnceMore(ABC, Generic[T_co]):
    """The verbs of a `WorkflowHandle` that make another instance of this one."""

    _transport: Transport
    _sealer: Sealer
    _max_payload_bytes: int

    @property
    @abstractmethod
    def instance_id(self) -> str: ...

    @abstractmethod
    async def status(self) -> InstanceStatus: ...

    @abstractmethod
    def _another(self, target: Target) -> WorkflowHandle[T_co]: ...

    async def restart(
        self,
        *,
        instance_id: str | None = None,
        message_id: str | None = None,
        version: str | None = None,
        reuse: ReusePolicy | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> WorkflowHandle[T_co]:
        """Start the workflow once more, with the same input and tags: a new instance, with a run id of its own. This
        one stays as it is, unless the new one is to take its place.

        Args:
            instance_id: of the new instance; by default a random one. This instance's own, once it has ended: the new
                one replaces it.
            message_id: makes it idempotent, as a start's.
            version: of the workflow; by default the latest.
            reuse: what to do if the id has an instance; by default that is an error while it is alive.
            wait: until the new instance exists.
            timeout: seconds to wait.

        Returns:
            A handle on the new instance.

        Raises:
            AlreadyExistsError: the id has an instance that is alive (without `wait` the handle raises it).
            UnknownWorkflowError: there are live orchestrators, and none serves the workflow.
            PayloadError: the input is sealed, and this client lacks a codec or a key.
        """
        order = _restart_of(
            await self.status(),
            self._sealer,
            instance_id=instance_id,
            message_id=message_id,
            version=version,
            reuse=reuse,
        )
        return self._another(await self._transport.start(order, wait=wait, timeout=timeout))

    async def rerun(
        self,
        event_id: int,
        *,
        input: Any = msgspec.UNSET,  # noqa: A002  as of a start
        instance_id: str | None = None,
        message_id: str | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> WorkflowHandle[T_co]:
        """Make a new instance of one that has ended: it has this one's history up to an activity, a timer or a child,
        and goes on from there by itself. What was done before is not done again; this one stays as it is.

        Args:
            event_id: the `id` in the history of what is to be done again first. What the code asked for in the same
                breath is done again as well, and what was pending there, under keys of its own.
            input: another one for that activity or child; by default its own.
            instance_id: of the new instance; by default a random one.
            message_id: makes it idempotent, as a start's.
            wait: until the new instance exists.
            timeout: seconds to wait.

        Returns:
            A handle on the new instance.

        Raises:
            AlreadyExistsError: the id has an instance that is alive.
            RequestError: this one has not ended, or cannot be rerun from there; the message says why.
            PayloadError: the input cannot become JSON, or is larger than the settings' `max_payload_bytes`.
        """
        given = None
        if input is not msgspec.UNSET:
            given = check_size(encode(input), self._max_payload_bytes, f"The input of event {event_id}")
        order = _rerun_of(
            self.instance_id,
            event_id,
            self._sealer,
            instance_id=instance_id,
            message_id=message_id,
            given=given,
        )
        return self._another(await self._transport.rerun(order, wait=wait, timeout=timeout))


def _restart_of(
    status: InstanceStatus,
    sealer: Sealer,
    *,
    instance_id: str | None,
    message_id: str | None,
    version: str | None,
    reuse: ReusePolicy | None,
) -> Order:
    """A start with the workflow, the input and the tags of the instance.

    Raises:
        UsageError: no instance can have such an id.
        PayloadError: the input is sealed, and this client lacks a codec or a key.
    """
    instance_id = _new_id(instance_id, message_id)
    plain = sealer.open_bytes(status.raw_input, status.instance_id)
    payload = msgspec.Raw(b"null" if plain is None else plain)
    return Order(
        workflow=status.workflow,
        input=sealer.seal_payload(payload, instance_id),
        instance=instance_id,
        version=version,
        tags=dict(status.tags),
        reuse=reuse or ReusePolicy(),
        message_id=message_id,
    )


def _rerun_of(
    source: str,
    event_id: int,
    sealer: Sealer,
    *,
    instance_id: str | None,
    message_id: str | None,
    given: msgspec.Raw | None,
) -> RerunOrder:
    """A rerun of the instance, with what was given for the event.

    Raises:
        UsageError: no instance can have such an id.
    """
    instance_id = _new_id(instance_id, message_id)
    return RerunOrder(
        source=source,
        event_id=event_id,
        instance=instance_id,
        input=None if given is None else sealer.seal_payload(given, instance_id),
        message_id=message_id,
    )


def _new_id(instance_id: str | None, message_id: str | None) -> str:
    if instance_id is None:
        instance_id = uuid.uuid4().hex if message_id is None else derived_instance_id(message_id)
    check_instance_id(instance_id)
    return instance_id
