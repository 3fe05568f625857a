"""One process's connections to the simulated broker: the in-process broker's server behind a network that fails.

The server's side is `tenuto.broker.memory.MemoryServer`, which keeps RabbitMQ's semantics. Between it and a client lie
two connections, one for publishing and one for all the rest. Each carries what is sent in order, takes its time, and
may break, which the two ends notice at different times: what was on the way is then lost, confirms included, and what
was not acknowledged is delivered again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from tenuto.broker.checks import check_prefetch, check_queue_name
from tenuto.broker.memory import MemoryBroker, MemoryServer
from tenuto.broker.memory.queue import Consumer, Queue
from tenuto.broker.memory.server import Connection
from tenuto.broker.options import BrokerOptions
from tenuto.broker.protocol import Delivery, Outcome, Outgoing, QueueInfo, QueueSpec, Subscription
from tenuto.errors import BrokerUnavailableError, UsageError
from tests.simulation.loop import CURRENT, Process, SimLoop
from tests.simulation.trouble import Trouble

__all__ = ["BrokerServer", "SimBroker"]

_log = logging.getLogger("tests.simulation")
_APART = 1e-9
"""Seconds between two things that one connection carries, so that they stay in order."""
_RETRY = 0.1
"""Seconds between attempts to reconnect."""


class BrokerServer:
    """The server, as far as it can be reached."""

    def __init__(
        self,
        trouble: Trouble,
        *,
        on_publish: Callable[[str, bytes], None] = lambda _queue, _body: None,
        on_deliver: Callable[[str, bytes, bool], None] = lambda _queue, _body, _redelivered: None,
        on_ack: Callable[[str, bytes], None] = lambda _queue, _body: None,
    ) -> None:
        """`on_publish` is told of each message that the server takes, `on_deliver` of each that it delivers, and whether
        it does so once more, `on_ack` of each that it forgets because it was
        acknowledged."""
        self.queues = MemoryServer()
        self.trouble = trouble
        self.on_publish = on_publish
        self.on_deliver = on_deliver
        self.on_ack = on_ack
        self.down = False
        self.lines: dict[Line, None] = {}

    def take(self, message: Outgoing) -> Outcome:
        outcome = self.queues.publish(message)
        if outcome is Outcome.CONFIRMED:
            self.on_publish(message.queue, message.body)
        return outcome

    def stop(self) -> None:
        """Restart, first half: all connections are lost, queues stay."""
        self.down = True
        for line in list(self.lines):
            line.break_off()

    def start(self) -> None:
        self.down = False

    def lines_of(self, process: Process) -> list[Line]:
        return [line for line in self.lines if line.process is process]

    def consumers(self) -> list[Consumer]:
        """All that consume, in the order of their connections."""
        return [consumer for line in self.lines if line.alive for consumer in line.connection.consumers]


class Line:
    """One connection. `alive` is the server's view, `known_dead` the client's."""

    def __init__(
        self, server: BrokerServer, loop: asyncio.AbstractEventLoop, process: Process | None
    ) -> None:
        self.process = process
        self.known_dead = False
        self.key = MemoryBroker(server.queues)
        self.connection = server.queues._connections.setdefault(self.key, Connection())
        self._server = server
        self._loop = loop
        self._out = self._in = 0.0
        self._waiting: dict[asyncio.Future[Any], None] = {}
        server.lines[self] = None
        if process is not None:
            process.on_crash.append(self._orphaned)

    @property
    def alive(self) -> bool:
        return self.connection.alive

    def ask(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Have the server do something; the future gets what it gives or raises, or `BrokerUnavailableError`."""
        reply = self._expect()
        self.send(self._serve, work, reply)
        return reply

    def send(self, call: Callable[..., object], *args: Any) -> None:
        """To the server, in order; it may be lost on the way."""
        self._out = self._next(self._out)
        self._at(None, self._out, self._arrive, call, *args)

    def tell(self, call: Callable[..., object], *args: Any) -> None:
        """To the client, in order."""
        self._in = self._next(self._in)
        self._at(self.process, self._in, call, *args)

    def break_off(self) -> None:
        """It breaks. The server knows at once; the client hears of it later, like of all else."""
        if self.alive:
            self._server.queues.drop_connection(self.key)
            self.tell(self.give_up)
        self._server.lines.pop(self, None)

    def give_up(self) -> None:
        """The client notices."""
        self.known_dead = True
        waiting, self._waiting = self._waiting, {}
        for reply in waiting:
            if not reply.done():
                reply.set_exception(BrokerUnavailableError("the connection to the broker was lost"))

    def hang_up(self) -> None:
        """The client closes it. What the server has to do then is not the client's, which may be gone by the next step."""
        self.give_up()
        self._server.lines.pop(self, None)
        self._out = self._next(self._out)
        self._at(None, self._out, self._server.queues.disconnect, self.key)

    def lose(self, messages: Sequence[Outgoing], arriving: int, confirmed: int) -> asyncio.Future[Any]:
        """Publish the first few, and break; the future gets the outcomes of which the client still heard."""
        reply = self._expect()

        def publish() -> None:
            outcomes = [self._server.take(message) for message in messages[:arriving]]
            self.tell(
                self._resolve,
                reply,
                [*outcomes[:confirmed]] + [Outcome.UNKNOWN] * (len(messages) - confirmed),
            )
            self.break_off()

        self.send(publish)
        return reply

    def _expect(self) -> asyncio.Future[Any]:
        reply: asyncio.Future[Any] = self._loop.create_future()
        if self.known_dead:
            reply.set_exception(BrokerUnavailableError("the connection to the broker was lost"))
        else:
            self._waiting[reply] = None
        return reply

    def _serve(self, work: Callable[[], Any], reply: asyncio.Future[Any]) -> None:
        try:
            answer = work()
        except Exception as error:  # noqa: BLE001 - it is raised at the client
            answer = error
        self.tell(self._resolve, reply, answer)

    def _resolve(self, reply: asyncio.Future[Any], answer: Any) -> None:
        self._waiting.pop(reply, None)
        _resolve(reply, answer)

    def _arrive(self, call: Callable[..., object], *args: Any) -> None:
        if self.alive:
            call(*args)

    def _orphaned(self) -> None:
        """Its process has crashed. The server notices at once, or when the heartbeats have been missing."""
        later = 0.0 if self._server.trouble.coin() else 5.0
        self._at(None, self._loop.time() + later, self.break_off)

    def _next(self, before: float) -> float:
        return max(self._loop.time() + self._server.trouble.delay(), before + _APART)

    def _at(self, process: Process | None, when: float, call: Callable[..., object], *args: Any) -> None:
        if isinstance(self._loop, SimLoop):
            self._loop.at(process or self._loop.outside, when, call, *args)
        else:
            self._loop.call_soon(call, *args)  # type: ignore[arg-type]  # a callback may return anything


class _Subscription:
    """The client's side of a consumer. Nothing is delivered before `subscribe` has returned."""

    def __init__(
        self, line: Line, server: BrokerServer, queue: str, on_delivery: Callable[[Delivery], None]
    ) -> None:
        self._line = line
        self._server = server
        self._queue = queue
        self._on_delivery = on_delivery
        self._consumer: Consumer | None = None
        self._early: list[Delivery] = []
        self._begun = False

    async def begin(self, prefetch: int, on_lost: Callable[[str], None]) -> None:
        line = self._line
        self._consumer = await line.ask(
            lambda: self._server.queues.consume(
                line.connection,
                self._queue,
                prefetch=prefetch,
                on_delivery=self._hand_out,
                on_lost=partial(line.tell, on_lost),
            )
        )
        asyncio.get_running_loop().call_soon(self._flush)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        self._line.send(self._ack, tag, multiple)

    def nack(self, tag: int, *, requeue: bool) -> None:
        self._line.send(partial(self._at_server.nack, tag, requeue=requeue))

    async def cancel(self) -> None:
        await self._ask(self._at_server.cancel)

    async def close(self) -> None:
        await self._ask(self._at_server.close)

    @property
    def _at_server(self) -> Consumer:
        if self._consumer is None:
            raise UsageError("the subscription has not begun")
        return self._consumer

    async def _ask(self, work: Callable[[], None]) -> None:
        if not self._line.known_dead:
            with suppress(BrokerUnavailableError):  # then it is ended, too
                await self._line.ask(work)

    def _hand_out(self, delivery: Delivery) -> None:
        """The server's side of a delivery."""
        self._server.on_deliver(self._queue, delivery.body, delivery.redelivered)
        self._line.tell(self._deliver, delivery)

    def _deliver(self, delivery: Delivery) -> None:
        if not self._begun:
            self._early.append(delivery)
            return
        try:
            self._on_delivery(delivery)
        except Exception:  # noqa: BLE001 - whatever a user's callback raises ends its subscription
            _log.exception("the consumer of queue %s failed on a delivery", self._queue)
            self._line.send(self._at_server.lose, "its on_delivery raised an exception")

    def _flush(self) -> None:
        self._begun = True
        early, self._early = self._early, []
        for delivery in early:
            self._deliver(delivery)

    def _ack(self, tag: int, multiple: bool) -> None:
        consumer = self._at_server
        held = consumer.unacked
        for settled in [t for t in held if t == tag or (multiple and t < tag)]:
            self._server.on_ack(self._queue, held[settled].outgoing.body)
        consumer.ack(tag, multiple=multiple)


class SimBroker:
    """A `Broker` over the simulated network."""

    def __init__(self, server: BrokerServer, *, options: BrokerOptions | None = None) -> None:
        self._server = server
        self._options = options or BrokerOptions()
        self._loop = asyncio.get_running_loop()
        self._process = CURRENT.get(None)
        self._open = False
        self._lines: dict[str, Line] = {}

    async def open(self) -> None:
        self._open = True
        try:
            await self._line("rest", self._options.connect_timeout)
        except BrokerUnavailableError:
            self._open = False
            raise

    async def close(self) -> None:
        self._open = False
        lines, self._lines = self._lines, {}
        for line in lines.values():
            line.hang_up()

    async def declare(self, queues: Sequence[QueueSpec]) -> None:
        for spec in queues:
            check_queue_name(spec.name)
        line = await self._line("rest", self._options.operation_timeout)
        for spec in queues:
            await line.ask(partial(self._server.queues.declare, line.connection, spec))

    async def inspect(self, queue: str) -> QueueInfo | None:
        check_queue_name(queue)
        line = await self._line("rest", self._options.operation_timeout)
        found: Queue | None = await line.ask(partial(self._server.queues.find, line.connection, queue))
        return None if found is None else found.info()

    async def delete(self, queue: str) -> None:
        check_queue_name(queue)
        line = await self._line("rest", self._options.operation_timeout)
        await line.ask(partial(self._server.queues.delete, line.connection, queue))

    async def purge(self, queue: str) -> None:
        check_queue_name(queue)
        line = await self._line("rest", self._options.operation_timeout)
        found: Queue | None = await line.ask(partial(self._server.queues.find, line.connection, queue))
        if found is not None:
            found.purge()

    async def publish(self, messages: Sequence[Outgoing]) -> Sequence[Outcome]:
        unknown = [Outcome.UNKNOWN] * len(messages)
        if not messages:
            return []
        try:
            line = await self._line("publishing", self._options.publish_timeout)
        except BrokerUnavailableError:
            return unknown
        trouble = self._server.trouble
        try:
            await self._server.queues.accepting()
            if trouble.breaks():
                arriving = trouble.below(len(messages))
                outcomes: list[Outcome] = await line.lose(messages, arriving, trouble.below(arriving))
            else:
                outcomes = await line.ask(lambda: [self._take(message) for message in messages])
        except BrokerUnavailableError:
            return unknown
        return outcomes

    def _take(self, message: Outgoing) -> Outcome:
        if len(message.body) > self._options.max_message_bytes:  # rule B4
            return Outcome.REFUSED
        return self._server.take(message)

    async def subscribe(
        self,
        queue: str,
        on_delivery: Callable[[Delivery], None],
        *,
        prefetch: int,
        on_lost: Callable[[str], None],
    ) -> Subscription:
        check_queue_name(queue)
        check_prefetch(prefetch)
        line = await self._line("rest", self._options.operation_timeout)
        subscription = _Subscription(line, self._server, queue, on_delivery)
        await subscription.begin(prefetch, on_lost)
        return subscription

    async def _line(self, purpose: str, timeout: float) -> Line:
        """The connection, which is made anew if it was lost."""
        line = self._lines.get(purpose)
        if line is not None and not line.known_dead:
            return line
        until = self._loop.time() + timeout
        while self._open and self._server.down and self._loop.time() < until:  # noqa: ASYNC110 - as clients do
            await asyncio.sleep(_RETRY)
        if not self._open:
            raise BrokerUnavailableError(
                "the simulated broker is not open: open() it before use, and not after close()"
            )
        if self._server.down:
            raise BrokerUnavailableError("the simulated broker is away")
        made = self._lines.get(purpose)
        if made is None or made.known_dead:
            made = self._lines[purpose] = Line(self._server, self._loop, self._process)
        return made


def _resolve(reply: asyncio.Future[Any], answer: Any) -> None:
    if reply.done():
        return
    if isinstance(answer, Exception):
        reply.set_exception(answer)
    else:
        reply.set_result(answer)
