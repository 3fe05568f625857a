"""The AsyncAPI document: which messages are on which queues, for workers and publishers in any language."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final, NamedTuple

import msgspec

from tenuto.messages import (
    Beat,
    Bell,
    Dropped,
    Notice,
    Reply,
    Results,
    Returned,
    StartMessage,
    Tasks,
    Watch,
)

__all__ = ["asyncapi"]


class _Channel(NamedTuple):
    """A queue, or many of one kind."""

    name: str
    address: str
    words: str
    action: str
    """What the engine does with it."""
    messages: tuple[type, ...]


_CHANNELS: Final = (
    _Channel(
        "start",
        "tenuto.start",
        "The public door: anyone starts workflows with it.",
        "receive",
        (StartMessage,),
    ),
    _Channel(
        "turns",
        "tenuto.{layout}.turns.{partition}",
        "To the owner of a partition.",
        "receive",
        (Results, Returned, Beat, Bell, Watch),
    ),
    _Channel(
        "activities", "tenuto.{layout}.activities.{pool}", "To the workers of a pool.", "send", (Tasks,)
    ),
    _Channel("workers", "tenuto.workers.{worker}", "To one worker process.", "send", (Dropped,)),
    _Channel(
        "notices", "tenuto.notices.{process}", "To a client's process, which declares it.", "send", (Notice,)
    ),
    _Channel("replies", "{replyTo}", "To the `reply_to` of a start message.", "send", (Reply,)),
)

_PARAMETERS: Final = {
    "layout": "The layout number of the deployment (`TENUTO_LAYOUT`).",
    "partition": "The CRC-32 of the instance id in UTF-8, modulo the number of partitions.",
    "pool": "The name of a worker pool.",
    "worker": "The name of a worker process, unique per start.",
    "process": "The name of a client's process, unique per start.",
    "replyTo": "The `reply_to` property of the start message.",
}


def asyncapi() -> dict[str, Any]:
    """The document, in AsyncAPI 3.0. Names of queues are those of the default namespace."""
    kinds = [kind for channel in _CHANNELS for kind in channel.messages]
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tenuto",
            "version": version("tenuto"),
            "description": "The queues of the engine; docs/messages.md explains them.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel.name: _channel(channel) for channel in _CHANNELS},
        "operations": {
            f"{each.action}-{each.name}": {
                "action": each.action,
                "channel": {"$ref": f"#/channels/{each.name}"},
            }
            for each in _CHANNELS
        },
        "components": {"messages": {kind.__name__: _message(kind) for kind in kinds}, "schemas": schemas},
    }


def _channel(each: _Channel) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": each.address,
        "description": each.words,
        "messages": {
            kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"} for kind in each.messages
        },
    }
    parameters = {
        name: {"description": told} for name, told in _PARAMETERS.items() if f"{{{name}}}" in each.address
    }
    return channel | ({"parameters": parameters} if parameters else {})


def _message(kind: type) -> dict[str, Any]:
    words = " ".join((kind.__doc__ or "").split())
    return {"name": kind.__name__, "payload": {"$ref": f"#/components/schemas/{kind.__name__}"}} | (
        {"summary": words} if words else {}
    )
