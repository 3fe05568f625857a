"""One AMQP channel over an aiormq connection.

The connection's reader hands every frame of the channel to `frames.put`; here they are handled at once, in
the reader's task, so that a channel has no task of its own and no delivery makes one. The life of a channel:

    open ──► (calls, messages, confirms) ──► ended    by `close`, by the server's Channel.Close, by a lost connection,
                                                      or by a call that was not answered

`on_ended` is called once, unless `close` or `abandon` was the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Self, TypeAlias, TypeVar, cast

from aiormq.abc import AbstractChannel, AbstractConnection, ChannelFrame
from pamqp import commands as spec
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.frame import FrameTypes
from pamqp.frame import marshal as marshal_frame
from pamqp.header import ContentHeader

from tenuto.errors import BrokerError, BrokerUnavailableError

__all__ = ["Channel", "Delivered", "Received", "RefusedError", "Returned"]

_BURST = 64
"""Frames that are handled before the rest of the event loop has its turn."""

_Reply = TypeVar("_Reply", bound=Frame)


class RefusedError(BrokerError):
    """The broker closed the channel over what it was asked."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        """AMQP's: 404 not found, 405 locked, 406 precondition failed, and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A message for the channel's consumer."""

    method: spec.Basic.Deliver
    properties: spec.Basic.Properties
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A mandatory message that could be routed nowhere."""

    properties: spec.Basic.Properties


Received: TypeAlias = Delivered | Returned | spec.Basic.Ack | spec.Basic.Nack | spec.Basic.Cancel


class Channel:
    """See the module. Made by `open`."""

    def __init__(self, connection: AbstractConnection, *, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._on_received: Callable[[Received], None] = _nobody_listens
        self._on_ended: Callable[[BrokerError], None] | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._error: BrokerError | None = None
        self._calling = asyncio.Lock()
        self._reply: asyncio.Future[Frame] | None = None
        self._assembly = _Assembly()
        self._burst = 0
        self._close_asked = False
        self._unsent: list[bytes] = []
        self._flusher: asyncio.Task[None] | None = None
        self._connection_lost = connection.closing
        self._connection_lost.add_done_callback(self._lose_connection)
        self.frames = self
        """Where aiormq's reader puts the channel's frames."""
        self.number = next(number for number in count(1) if number not in connection.channels)
        self._closed_by_broker = False
        self._occupy()

    @classmethod
    async def open(cls, connection: AbstractConnection, *, timeout: float) -> Self:
        """Open a channel; each later call waits at most `timeout` seconds for its answer.

        Raises:
            BrokerUnavailableError: the connection is lost, or the broker does not answer.
        """
        channel = cls(connection, timeout=timeout)
        if connection.is_closed:
            channel._end(_lost())
        await channel.call(spec.Channel.Open(), spec.Channel.OpenOk)
        return channel

    def listen(
        self, *, on_received: Callable[[Received], None], on_ended: Callable[[BrokerError], None]
    ) -> None:
        """Name the listeners, before the first call that makes the broker send something by itself."""
        self._on_received = on_received
        self._on_ended = on_ended

    @property
    def ended(self) -> bool:
        return self._ended.done()

    @property
    def end(self) -> asyncio.Future[None]:
        """Done when the channel has ended, for whatever reason. To be waited for, not to be touched."""
        return self._ended

    async def call(self, request: Frame, reply: type[_Reply]) -> _Reply:
        """Ask, and wait for the answer. One call at a time; others wait.

        Raises:
            RefusedError: the broker closed the channel over it.
            BrokerUnavailableError: the connection is lost, or there was no answer in time; the channel has ended.
        """
        async with self._calling:
            self._check()
            self._reply = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self._timeout):
                    await self.write(marshal_frame(request, self.number))
                    self._close_asked |= isinstance(request, spec.Channel.Close)
                    await asyncio.wait((self._reply, self._ended), return_when=asyncio.FIRST_COMPLETED)
                self._check()
                answer = self._reply.result()
            except TimeoutError:
                self.abandon()
                raise BrokerUnavailableError(
                    f"The broker did not answer {request.name} within {self._timeout:g} s"
                ) from None
            except asyncio.CancelledError:
                # The answer will come when nobody waits for it, and would be taken for that of the next call.
                self.abandon()
                raise
            finally:
                self._reply = None
        if not isinstance(answer, reply):
            self.abandon()
            raise BrokerError(f"The broker answered {request.name} with {answer.name}")
        return answer

    async def write(self, payload: bytes, *, drain: bool = False) -> None:
        """Hand frames to the connection's writer; with `drain`, wait until the socket has taken them.

        A cancellation before the writer took them ends the channel: what confirms count must not be in doubt.

        Raises:
            BrokerUnavailableError: the channel has ended; the frames may have been sent.
        """
        self._check()
        drained: asyncio.Future[None] | None = asyncio.get_running_loop().create_future() if drain else None
        await self._put(ChannelFrame(payload=payload, should_close=False, drain_future=drained))
        if drained is not None:
            await asyncio.wait((drained, self._ended), return_when=asyncio.FIRST_COMPLETED)
        self._check()

    def write_soon(self, frame: Frame) -> None:
        """Write without waiting; frames of one turn of the event loop go out together. Does nothing once ended."""
        if not self.ended:
            self._unsent.append(marshal_frame(frame, self.number))
            if self._flusher is None:
                self._flusher = asyncio.get_running_loop().create_task(self._flush())

    def abandon(self) -> None:
        """End the channel without waiting for the broker to agree."""
        if not self.ended:
            self._ask_to_close()
            self._end(BrokerUnavailableError("The channel was closed"), tell=False)

    async def close(self) -> None:
        """End the channel in good order: what was written before is sent. Tolerates repeats and lost connections."""
        self._on_ended = None
        if self.ended:
            return
        try:
            if self._flusher is not None:
                await asyncio.wait((self._flusher,))
            await self.call(_CLOSE, spec.Channel.CloseOk)
        except BrokerError:
            return  # it has ended otherwise meanwhile, which is as good
        except asyncio.CancelledError:
            self.abandon()
            raise
        self._end(BrokerUnavailableError("The channel was closed"), tell=False)

    async def put(self, item: tuple[int, FrameTypes]) -> None:
        """Take a frame from the connection's reader."""
        if self.ended:
            return
        self._take(item[1])
        self._burst += 1
        if self._burst >= _BURST:
            self._burst = 0
            await asyncio.sleep(0)

    def _take(self, frame: FrameTypes) -> None:
        match frame:
            case ContentBody() | ContentHeader() | spec.Basic.Deliver() | spec.Basic.Return():
                message = self._assembly.add(frame)
                if message is not None:
                    self._on_received(message)
            case spec.Basic.Ack() | spec.Basic.Nack() | spec.Basic.Cancel():
                self._on_received(frame)
            case spec.Channel.Close():
                # aiormq has just freed the number; a new channel must not have it before our answer is written.
                self._closed_by_broker = True
                self._occupy()
                self.write_soon(spec.Channel.CloseOk())
                self._end(RefusedError(frame.reply_code or 0, frame.reply_text or "no reason given"))
            case Frame() if self._reply is not None and not self._reply.done():
                self._reply.set_result(frame)
            case _:
                self._ask_to_close()
                self._end(BrokerError(f"The broker sent a frame that nobody asked for: {frame.name}"))

    def _occupy(self) -> None:
        """Take the channel's number; aiormq's reader frees it when a Channel.Close or CloseOk comes in."""
        # The reader asks nothing of a channel but `frames.put`.
        self._connection.channels[self.number] = cast("AbstractChannel", self)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _ask_to_close(self) -> None:
        if not self._close_asked:  # the broker drops a connection that asks twice
            self._close_asked = True
            self.write_soon(_CLOSE)

    async def _put(self, frame: ChannelFrame) -> None:
        """Queue a frame for the connection's writer, or drop it if the connection is lost."""
        queue = self._connection.write_queue
        if not queue.full():
            queue.put_nowait(frame)
            return
        # Nobody makes room any more once the connection is lost.
        putting = asyncio.ensure_future(queue.put(frame))
        try:
            await asyncio.wait((putting, self._connection_lost), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not putting.done():
                self._ask_to_close()
                self._end(BrokerUnavailableError("A write to the broker was cancelled half-way"))
            raise
        finally:
            putting.cancel()

    async def _flush(self) -> None:
        while self._unsent:
            frame = ChannelFrame(payload=b"".join(self._unsent), should_close=False)
            self._unsent.clear()
            await self._put(frame)
        self._flusher = None
        self._release()

    def _lose_connection(self, _: asyncio.Future[None]) -> None:
        self._end(_lost())

    def _end(self, error: BrokerError, *, tell: bool = True) -> None:
        if self.ended:
            return
        self._error = error
        self._ended.set_result(None)
        self._release()
        if tell and self._on_ended is not None:
            self._on_ended(error)

    def _release(self) -> None:
        """Let go of the connection, when there is nothing more to write."""
        if self.ended and self._flusher is None:
            if self._closed_by_broker:
                self._connection.channels.pop(self.number, None)
            self._connection_lost.remove_done_callback(self._lose_connection)
            self._connection_lost.cancel()


class _Assembly:
    """Puts a message together from its method, header and body frames."""

    def __init__(self) -> None:
        self._method: spec.Basic.Deliver | spec.Basic.Return | None = None
        self._header: ContentHeader | None = None
        self._chunks: list[bytes] = []
        self._missing = 0

    def add(
        self, frame: ContentBody | ContentHeader | spec.Basic.Deliver | spec.Basic.Return
    ) -> Delivered | Returned | None:
        """The message, if this frame completes it."""
        match frame:
            case ContentBody():
                self._chunks.append(frame.value)
                self._missing -= len(frame.value)
            case ContentHeader():
                self._header = frame
                self._missing = frame.body_size
            case _:
                self._method = frame
                return None
        if self._missing > 0 or self._method is None or self._header is None:
            return None
        method, properties, chunks = self._method, self._header.properties, self._chunks
        self._method = self._header = None
        self._chunks = []
        if isinstance(method, spec.Basic.Return):
            return Returned(properties=properties)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return Delivered(method=method, properties=properties, body=body)


_CLOSE = spec.Channel.Close(reply_code=200, reply_text="done", class_id=0, method_id=0)


def _nobody_listens(_received: Received) -> None:
    """What comes before `listen` is of no account."""


def _lost() -> BrokerUnavailableError:
    return BrokerUnavailableError("The connection to the broker was lost")
