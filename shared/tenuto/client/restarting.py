"""A restart: the start of an instance once more, with the same input."""

from __future__ import annotations

import uuid

import msgspec

from tenuto.client.instance import InstanceStatus
from tenuto.client.transport import Order
from tenuto.core.status import ReusePolicy
from tenuto.naming import check_instance_id, derived_instance_id
from tenuto.sealing import Sealer

__all__ = ["restart_of"]


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
    if instance_id is None:
        instance_id = uuid.uuid4().hex if message_id is None else derived_instance_id(message_id)
    check_instance_id(instance_id)
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
