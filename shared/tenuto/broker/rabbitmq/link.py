"""One connection to RabbitMQ that comes back.

`open` makes the first connection; from then on a task re-establishes it for ever, with back-off. Whoever
needs it asks `connection`, which waits while it is away. Nothing else is restored: channels and consumers are
dead with their connection, and their users are told.
"""

from __future__ import annotations

import asyncio
import logging

import aio_pika
from aio_pika.exceptions import AMQPError, AuthenticationError, ProbableAuthenticationError
from aiormq.abc import AbstractConnection
from aiormq.exceptions import InvalidFrameError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_before_delay,
    wait_random_exponential,
)

from tenuto.broker.rabbitmq.address import Address
from tenuto.broker.rabbitmq.guard import GuardedConnection
from tenuto.errors import BrokerUnavailableError

__all__ = ["Link"]

logger = logging.getLogger("tenuto.broker")

_FAILURES = (AMQPError, OSError, EOFError)
"""What an attempt to connect may end with, time-outs included (an `OSError`)."""
_ATTEMPT = 10.0
"""Seconds for one attempt."""
_CANCEL_AGAIN = 0.5
_BACK_OFF = wait_random_exponential(multiplier=0.2, max=5.0)


class _NotAdmittedError(BrokerUnavailableError):
    """The broker is there and will not have us: trying again does not help."""


class Link:
    """See the module. `purpose` tells an operator what the connection does."""

    def __init__(self, address: Address, *, name: str, purpose: str) -> None:
        self._address = address
        self._name = f"{name} ({purpose})"
        self._underlay: AbstractConnection | None = None
        self._connection: aio_pika.abc.AbstractConnection | None = None
        self._changed = asyncio.Event()
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def current(self) -> AbstractConnection | None:
        """The connection, if it is there."""
        return self._underlay

    async def open(self, timeout: float) -> None:
        """Connect for the first time. Tolerates repeats.

        Raises:
            BrokerUnavailableError: there was no connection within `timeout` seconds, or the broker refuses
                ours.
        """
        if self._keeper is not None:
            return
        attempts = AsyncRetrying(
            wait=_BACK_OFF,
            stop=stop_before_delay(timeout),
            retry=retry_if_exception_type(_FAILURES),
            reraise=True,
        )
        try:
            async with asyncio.timeout(timeout):
                await attempts(self._connect)
        except _FAILURES as error:
            reason = f": {_words(error)}" if str(error) else ""
            raise BrokerUnavailableError(
                f"RabbitMQ at {self._address.where} cannot be reached within {timeout:g} s{reason}"
            ) from error
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Close it for good; those who wait for it are told. Tolerates repeats."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        while not keeper.done():
            # Again and again: `asyncio.wait_for`, in aio-pika's connect, may lose a cancellation before Python 3.12.
            keeper.cancel()
            await asyncio.wait((keeper,), timeout=_CANCEL_AGAIN)
        connection, self._connection, self._underlay = self._connection, None, None
        self._changed.set()
        if connection is not None:
            await connection.close()

    async def connection(self, timeout: float) -> AbstractConnection:
        """The connection; waits while it is being re-established.

        Raises:
            BrokerUnavailableError: it did not come back within `timeout` seconds, or was closed.
        """
        if self._underlay is not None:
            return self._underlay
        try:
            async with asyncio.timeout(timeout):
                while self._underlay is None and self._keeper is not None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise BrokerUnavailableError(
                f"The connection to RabbitMQ at {self._address.where} was lost, and not back within "
                f"{timeout:g} s"
            ) from None
        if self._underlay is None:
            raise BrokerUnavailableError(
                f"The connection to RabbitMQ at {self._address.where} is not open: "
                "open() comes first, close() last"
            )
        return self._underlay

    async def _keep(self) -> None:
        # Whatever an attempt ends with, nobody but this task would make another one.
        retrying = AsyncRetrying(
            wait=_BACK_OFF, retry=retry_if_exception_type(Exception), before_sleep=_tell_of_surprises
        )
        while True:
            await self._lost.wait()
            logger.warning("Lost connection %s to RabbitMQ at %s", self._name, self._address.where)
            if self._connection is not None:
                await self._connection.close()
                self._connection = None
            await retrying(self._connect)
            logger.warning("Regained connection %s to RabbitMQ at %s", self._name, self._address.where)

    async def _connect(self) -> None:
        connection = GuardedConnection(self._address.url, client_properties={"connection_name": self._name})
        try:
            await connection.connect(timeout=_ATTEMPT)
        except (AuthenticationError, ProbableAuthenticationError) as error:
            raise _NotAdmittedError(
                f"RabbitMQ at {self._address.where} refuses the user name or password: {_words(error)}"
            ) from error
        except (
            StopAsyncIteration
        ) as error:  # how aiormq says it of a broker, or a proxy, that accepts and hangs up
            raise ConnectionError("the connection ended before it was open") from error
        except InvalidFrameError as error:
            # aiormq keeps nothing else of the Connection.Close that answered our Connection.Open.
            if "Connection.OpenOk" in str(error) and "Connection.Close" in str(error):
                raise _NotAdmittedError(
                    f"RabbitMQ at {self._address.where} refuses virtual host {self._address.virtual_host!r}: "
                    "it does not exist, or the user may not use it"
                ) from error
            raise
        finally:
            transport = connection.transport
            if transport is None:
                await connection.close()
        if transport is None:
            raise ConnectionError("aio-pika connected to nothing")
        self._connection = connection
        self._underlay = transport.connection
        self._lost.clear()
        self._underlay.closing.add_done_callback(self._lose)
        self._changed.set()

    def _lose(self, _: asyncio.Future[None]) -> None:
        self._underlay = None
        self._lost.set()


def _tell_of_surprises(state: RetryCallState) -> None:
    error = None if state.outcome is None else state.outcome.exception()
    if not isinstance(error, (*_FAILURES, _NotAdmittedError)):
        logger.error("An attempt to connect to RabbitMQ failed unexpectedly; trying on", exc_info=error)


def _words(error: BaseException) -> str:
    """An error of aiormq's in words; some of them carry an error number and its text."""
    return str(error.args[-1]) if error.args else type(error).__name__
