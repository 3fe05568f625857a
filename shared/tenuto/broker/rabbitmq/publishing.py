"""Publishing with pipelined confirms.

Messages are numbered by the channel in the order in which they are written, and the broker confirms numbers,
one or many at a time. A returned message comes back before its confirm (rule C4). A window bounds what is in
flight; whoever finds it full waits. When a channel ends, what is in flight on it is UNKNOWN, and the next
publish opens another channel.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self, assert_never

from aiormq.abc import AbstractConnection
from pamqp import commands as spec

from tenuto.broker.options import BrokerOptions
from tenuto.broker.protocol import Outcome, Outgoing
from tenuto.broker.rabbitmq.channel import Channel, Delivered, Received, Returned
from tenuto.broker.rabbitmq.codec import Encoder, UnencodableError, number_of_returned
from tenuto.broker.rabbitmq.link import Link
from tenuto.errors import BrokerError, BrokerUnavailableError

__all__ = ["Publisher"]

logger = logging.getLogger("tenuto.broker")

_WINDOW: Final = 512
"""Messages in flight on a channel."""
_WRITE: Final = 128
"""Messages written at once."""
_WRITE_BYTES: Final = 1024 * 1024
_TOO_LARGE = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


class Publisher:
    """Publishes over one link, from any number of tasks at a time."""

    def __init__(self, link: Link, options: BrokerOptions) -> None:
        self._link = link
        self._options = options
        self._largest = options.max_message_bytes
        self._lane: _Lane | None = None
        self._opening = asyncio.Lock()

    @property
    def blocked(self) -> bool:
        """The broker holds back publishers: it is short of memory or disk."""
        connection = self._link.current
        return connection is not None and _blocked(connection)

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
        """See `Broker.publish`."""
        batch = _Batch(len(messages))
        entries = [_Entry(batch, index, message) for index, message in enumerate(messages)]
        sendable = []
        for entry in entries:
            if len(entry.message.body) > self._largest:
                entry.settle(Outcome.REFUSED)  # rule B4
            else:
                sendable.append(entry)
        try:
            for write in _writes(sendable):
                lane = await self._open_lane()
                await lane.send(write)
        except BrokerError:
            # What was sent before is settled by its lane; the rest is not worth another wait.
            for entry in sendable:
                if not entry.sent:
                    entry.settle(Outcome.UNKNOWN)
        return await batch.settled()

    async def close(self) -> None:
        """Let go of the channel; what is in flight is UNKNOWN."""
        if self._lane is not None:
            await self._lane.close()

    async def _open_lane(self) -> _Lane:
        # Everybody waits for the connection at once; only opening the channel is one at a time.
        connection = await self._link.connection(self._options.publish_timeout)
        async with self._opening:
            if self._lane is None or self._lane.ended:
                self._lane = await _Lane.open(
                    connection, timeout=self._options.operation_timeout, on_size_limit=self._learn_size_limit
                )
            return self._lane

    def _learn_size_limit(self, limit: int) -> None:
        logger.warning("The broker takes messages of at most %d bytes", limit)
        self._largest = min(self._largest, limit)


class _Lane:
    """A channel in confirm mode, with what is in flight on it."""

    def __init__(
        self, connection: AbstractConnection, channel: Channel, on_size_limit: Callable[[int], None]
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._on_size_limit = on_size_limit
        self._encoder = Encoder(channel=channel.number, frame_max=connection.connection_tune.frame_max)
        self._sending = asyncio.Lock()
        self._room = asyncio.Event()
        self._in_flight: dict[int, _Entry] = {}
        self._next = 1
        self._lowest = 1
        """No message with a lower number is in flight."""

    @classmethod
    async def open(
        cls, connection: AbstractConnection, *, timeout: float, on_size_limit: Callable[[int], None]
    ) -> Self:
        channel = await Channel.open(connection, timeout=timeout)
        lane = cls(connection, channel, on_size_limit)
        channel.listen(on_received=lane._receive, on_ended=lane._end)
        await channel.call(spec.Confirm.Select(), spec.Confirm.SelectOk)
        return lane

    @property
    def ended(self) -> bool:
        return self._channel.ended

    async def send(self, entries: Sequence[_Entry]) -> None:
        """Write messages, as soon as the window and the broker allow.

        Raises:
            BrokerError: the channel has ended; what was sent is settled.
        """
        async with self._sending:
            while len(self._in_flight) + len(entries) > _WINDOW and not self.ended:
                self._room.clear()
                await self._room.wait()
            await self._until_unblocked()
            if self.ended:
                raise BrokerUnavailableError("The channel ended before the messages were sent")
            await self._channel.write(b"".join(self._encode(entries)), drain=True)

    async def close(self) -> None:
        await self._channel.close()
        self._end(BrokerUnavailableError("The channel was closed"))

    def _encode(self, entries: Sequence[_Entry]) -> Iterator[bytes]:
        for entry in entries:
            try:
                frames = self._encoder.encode(entry.message, self._next)
            except UnencodableError as error:
                logger.warning("A message to %s cannot be sent: %s", entry.message.queue, error)
                entry.settle(Outcome.REFUSED)
                continue
            entry.sent = True
            self._in_flight[self._next] = entry
            self._next += 1
            yield frames

    async def _until_unblocked(self) -> None:
        if not _blocked(self._connection):
            return
        logger.warning("The broker holds back publishers: it is short of memory or disk")
        ready = asyncio.ensure_future(self._connection.ready())
        try:
            await asyncio.wait((ready, self._channel.end), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()

    def _receive(self, received: Received) -> None:
        match received:
            case spec.Basic.Ack():
                self._confirm(received, Outcome.CONFIRMED)
            case spec.Basic.Nack():
                self._confirm(received, Outcome.UNKNOWN)
            case Returned():
                entry = self._in_flight.get(number_of_returned(received.properties))
                if entry is not None:
                    entry.returned = True
            case Delivered() | spec.Basic.Cancel():
                pass  # nothing is consumed here
            case _:
                assert_never(received)

    def _confirm(self, frame: spec.Basic.Ack | spec.Basic.Nack, outcome: Outcome) -> None:
        last = frame.delivery_tag or 0
        for number in range(self._lowest, last + 1) if frame.multiple else (last,):
            entry = self._in_flight.pop(number, None)
            if entry is not None:
                entry.settle(outcome)
        while self._lowest < self._next and self._lowest not in self._in_flight:
            self._lowest += 1
        self._room.set()

    def _end(self, error: BrokerError) -> None:
        too_large = _TOO_LARGE.search(str(error))
        limit = int(too_large[1]) if too_large else None
        if limit is not None:
            self._on_size_limit(limit)
        in_flight, self._in_flight = self._in_flight, {}
        for entry in in_flight.values():
            refused = limit is not None and len(entry.message.body) > limit
            entry.settle(Outcome.REFUSED if refused else Outcome.UNKNOWN)
        self._room.set()


class _Batch:
    """The messages of one `publish`."""

    def __init__(self, size: int) -> None:
        self._outcomes: list[Outcome | None] = [None] * size
        self._open = size
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not size:
            self._done.set_result(None)

    def settle(self, index: int, outcome: Outcome) -> None:
        if self._outcomes[index] is None:
            self._outcomes[index] = outcome
            self._open -= 1
            if not self._open and not self._done.done():
                self._done.set_result(None)

    async def settled(self) -> Sequence[Outcome]:
        await self._done
        return [outcome for outcome in self._outcomes if outcome is not None]


@dataclass(slots=True)
class _Entry:
    batch: _Batch
    index: int
    message: Outgoing
    sent: bool = False
    returned: bool = False

    def settle(self, outcome: Outcome) -> None:
        """The first outcome counts; that it came back is certain, whatever else is."""
        self.batch.settle(self.index, Outcome.RETURNED if self.returned else outcome)


def _writes(entries: Sequence[_Entry]) -> Iterator[Sequence[_Entry]]:
    """Split into what is written at once."""
    write: list[_Entry] = []
    size = 0
    for entry in entries:
        write.append(entry)
        size += len(entry.message.body)
        if len(write) >= _WRITE or size >= _WRITE_BYTES:
            yield write
            write, size = [], 0
    if write:
        yield write


def _blocked(connection: AbstractConnection) -> bool:
    """Whether `ready` would wait. aiormq tells in no other way, so the coroutine is tried for one step."""
    ready = connection.ready()
    try:
        ready.send(None)
    except StopIteration:
        return False
    finally:
        ready.close()
    return True
