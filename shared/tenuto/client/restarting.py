"""An instance once more: a restart, with the same input; a rerun, with a part of its history."""

from __future__ import annotations

import uuid

import msgspec

from tenuto.client.instance import InstanceStatus
from tenuto.client.transport import Order, RerunOrder
from tenuto.core.status import ReusePolicy
from tenuto.naming import check_instance_id, derived_instance_id
from tenuto.sealing import Sealer

__all__ = ["rerun_of", "restart_of"]


def restart_of(
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


def rerun_of(
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
