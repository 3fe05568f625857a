"""The client: starts workflow instances and gets hold of those that there are."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Self, TypeVar, Unpack, overload

from tenuto.app import App
from tenuto.broker import Broker, make_broker
from tenuto.client.bulk_verbs import BulkVerbs
from tenuto.client.direct import DirectTransport
from tenuto.client.handle import WorkflowHandle
from tenuto.client.instance import Cursor, InstanceStatus, Page, opened
from tenuto.client.options import (
    StartOptions,
    WorkflowFunction,
    WorkflowOfInput,
    WorkflowWithoutInput,
    check_options,
    check_outside,
    first_event,
    start_time,
)
from tenuto.client.queues import QueueStatus
from tenuto.client.schedules import Schedules
from tenuto.client.transport import Order, Target, Transport
from tenuto.client.workflows import describe
from tenuto.clock import SYSTEM_CLOCK, Clock
from tenuto.codecs import PayloadCodec
from tenuto.core.reserved import PREFIX, is_reserved
from tenuto.core.status import ReusePolicy
from tenuto.errors import SettingsError, UsageError
from tenuto.naming import check_instance_id, check_name, derived_instance_id
from tenuto.payload_store import PayloadStore
from tenuto.payloads import check_size, encode
from tenuto.registry import Registry
from tenuto.sealing import Sealer, make_sealer, make_shelf
from tenuto.settings import ClientSettings
from tenuto.store import make_store
from tenuto.store.protocol import InboxRow, InstanceFilter, Store, Tally

__all__ = ["Client"]

In = TypeVar("In")
T = TypeVar("T")

_EVERYTHING = InstanceFilter()


def _new_id() -> str:
    return uuid.uuid4().hex


class Client(BulkVerbs):
    """A connection to the engine, to be used with `async with`, from one event loop.

        async with Client() as client:                       # settings from TENUTO_* variables
            handle = await client.start(fulfil, order, instance_id="order-17")
            receipt = await handle.result()

    A client works without the broker too (more slowly), but not without the database; or, with `TENUTO_API_URL`,
    through the HTTP gateway alone.
    """

    def __init__(
        self,
        settings: ClientSettings | None = None,
        *,
        store: Store | None = None,
        broker: Broker | None = None,
        app: App | None = None,
        clock: Clock = SYSTEM_CLOCK,
        new_id: Callable[[], str] = _new_id,
        codecs: Sequence[PayloadCodec] | None = None,
        payload_store: PayloadStore | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Connect to nothing yet; `open`, or `async with`, does.

        Args:
            settings: read from the environment by default.
            store: an open one to be used, and left open; by default one is made of the settings.
            broker: likewise.
            app: tells what workflows that are named by string return.
            clock: for the time of requests.
            new_id: gives unique, random ids: of instances, runs and requests.
            codecs: what seals payloads, in order; by default what the settings name.
            payload_store: where large ones are kept; likewise.
            transport: what connects to the engine, opened and closed with the client; by default it goes through the
                gateway where the settings have an `api_url`, and otherwise through the database and the broker.

        Raises:
            SettingsError: a setting is malformed.
        """
        settings = settings or ClientSettings()
        self._app = app
        self._max_payload_bytes = settings.max_payload_bytes
        self._sealer = make_sealer(settings, codecs)
        self._new_id = new_id
        self._clock = clock
        self._opened = False
        if transport is not None:
            self._transport, database = transport, store
        elif settings.api_url is not None and store is None:
            self._transport, database = _over_http(settings, self._sealer), None
        else:
            database = store or _own_store(settings)
            self._transport = _direct(
                settings, database, broker, clock, new_id, owns_store=store is None, sealer=self._sealer
            )
        self._shelf = make_shelf(settings, payload_store, database=database)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect to the database or the gateway. `async with` does it.

        Raises:
            StoreUnavailableError, GatewayError: it cannot be reached.
            SchemaError: it has no tables, or another release's.
        """
        await self._transport.open()
        self._opened = True

    async def close(self) -> None:
        """Let go of every connection; calls that still wait raise a `UsageError`. Tolerates repeats."""
        self._opened = False
        await self._transport.close()

    @overload
    async def start(
        self, workflow: WorkflowOfInput[In, T], input: In, **options: Unpack[StartOptions]
    ) -> WorkflowHandle[T]: ...
    @overload
    async def start(
        self, workflow: WorkflowWithoutInput[T], input: None = ..., **options: Unpack[StartOptions]
    ) -> WorkflowHandle[T]: ...
    @overload
    async def start(
        self, workflow: str, input: Any = ..., **options: Unpack[StartOptions]
    ) -> WorkflowHandle[Any]: ...
    async def start(self, workflow: Any, input: Any = None, **options: Unpack[StartOptions]) -> Any:  # noqa: A002  the word
        """Start a workflow. Durable when it returns, and with `wait` (the default) the instance exists.

        Args:
            workflow: the decorated function, or its name.
            input: what the workflow gets, converted to JSON.
            **options: see `StartOptions`.

        Returns:
            A handle on the instance, typed by what the workflow returns.

        Raises:
            InstanceOverError: its event came too late for the instance that is there.
            AlreadyExistsError: the id has an instance (without `wait` the handle raises it).
            UnknownWorkflowError: there are live orchestrators, and none serves the workflow.
            PayloadError: the input cannot become JSON, or is larger than the settings' `max_payload_bytes`.
            UsageError: the id cannot be one, or no orchestrator has ever run on this database.
            TimeoutError: it has not taken effect in time; it is stored, and will be carried out.
        """
        connection = options.get("connection")
        if connection is not None:
            handle, row = await self.prepare(workflow, input, **options)
            await self._open_transport.insert(row, connection)
            return handle
        order, result_type = self._order(workflow, input, options)
        target = await self._open_transport.start(
            order, wait=options.get("wait", True), timeout=options.get("timeout")
        )
        return self._handle(target, result_type)

    async def prepare(
        self,
        workflow: WorkflowFunction[Any] | str,
        input: Any = None,  # noqa: A002  as in `start`
        **options: Unpack[StartOptions],
    ) -> tuple[WorkflowHandle[Any], InboxRow]:
        """A start that is not made yet: its handle, and the row that makes it once it is inserted and committed.

        For a start within a transaction of one's own where `start(connection=…)` will not do; `connection`, `wait` and
        `timeout` mean nothing here. Raises as `start`.
        """
        if options.get("message_id") is not None:
            raise UsageError(
                "A start within your own transaction takes no message_id: the transaction makes it happen once, "
                "and instance_id tells it apart."
            )
        order, result_type = self._order(workflow, input, options)
        target, row = await self._open_transport.prepare(order)
        return self._handle(target, result_type), row

    @overload
    def get(self, instance_id: str, workflow: WorkflowFunction[T]) -> WorkflowHandle[T]: ...
    @overload
    def get(self, instance_id: str, workflow: str | None = ...) -> WorkflowHandle[Any]: ...
    def get(self, instance_id: str, workflow: Any = None) -> Any:
        """A handle on an instance, which is not looked for yet. `workflow`, the function or its name, says to what type
        its result is converted; without it, results are plain JSON values.

        Raises:
            UsageError: no instance can have such an id.
        """
        check_instance_id(instance_id)
        result_type = Any if workflow is None else describe(workflow, None, self._app).result_type
        return self._handle(Target(instance=instance_id), result_type)

    def attach(self, target: Target) -> WorkflowHandle[Any]:
        """A handle on what another handle stands for (its `target`), perhaps one of another process."""
        return self._handle(target, Any)

    async def dealt_with(self, target: Target, *, timeout: float | None = None) -> None:
        """Wait until the request of a target is dealt with, which was not waited for to its end (`timeout` in seconds;
        by default the settings' `request_timeout`). Returns too where nobody remembers how it was dealt with.

        Raises:
            RequestError: it was refused.
            TimeoutError: it is not dealt with yet.
        """
        await self._open_transport.dealt_with(target, timeout=timeout)

    async def list(
        self, where: InstanceFilter = _EVERYTHING, *, page_size: int = 100
    ) -> AsyncIterator[InstanceStatus]:
        """The instances that fit the filter, newest first, read page by page as they are asked for."""
        after: Cursor | None = None
        while True:
            page = await self.list_page(where, limit=page_size, after=after)
            for instance in page.instances:
                yield instance
            after = page.next
            if after is None:
                return

    async def list_page(
        self, where: InstanceFilter = _EVERYTHING, *, limit: int = 100, after: Cursor | None = None
    ) -> Page:
        """At most `limit` instances that fit the filter, newest first, from where the page before ended."""
        found = await self._open_transport.page(where, limit=limit, after=after)
        more = len(found) == limit
        return Page(
            instances=[opened(instance, self._sealer) for instance in found],
            next=(found[-1].created_at, found[-1].instance_id) if more else None,
        )

    async def tally(self, where: InstanceFilter = _EVERYTHING) -> Sequence[Tally]:
        """How many instances fit the filter, by workflow, version and status. It looks at each that fits."""
        return await self._open_transport.tally(where)

    async def registry(self) -> Registry:
        """What the deployment can run: workflows with versions and parameter schemas, activities with their pools, and
        how many live instances each workflow's version has. It looks at each live instance."""
        return await self._open_transport.registry()

    async def queues(self) -> Sequence[QueueStatus]:
        """The engine's queues, with how much waits in each and who takes it.

        Raises:
            UsageError: no orchestrator has ever run on the database.
            BrokerUnavailableError: the broker cannot be asked.
        """
        return await self._open_transport.queues()

    @property
    def schedules(self) -> Schedules:
        """What starts workflows again and again."""
        return Schedules(self, self._app, self._new_id)

    def _handle(self, target: Target, result_type: Any) -> WorkflowHandle[Any]:
        return WorkflowHandle(
            self._open_transport,
            target,
            result_type,
            max_payload_bytes=self._max_payload_bytes,
            clock=self._clock,
            sealer=self._sealer,
            shelf=self._shelf,
        )

    @property
    def _open_transport(self) -> Transport:
        if not self._opened:
            raise UsageError("The client is not open: use it within `async with Client() as client:`.")
        return self._transport

    def _order(
        self, workflow: WorkflowFunction[Any] | str, value: Any, options: StartOptions
    ) -> tuple[Order, Any]:
        """The start, and the type of its result."""
        check_options(options)
        version, message_id = options.get("version"), options.get("message_id")
        described = describe(workflow, version, self._app)
        instance_id = options.get("instance_id")
        if instance_id is None:
            instance_id = self._new_id() if message_id is None else derived_instance_id(message_id)
        check_instance_id(instance_id)
        check_name("The name of a workflow", described.name, field="workflow")
        if is_reserved(instance_id) and not is_reserved(described.name):
            raise UsageError(
                f"The instance id {instance_id!r} begins with {PREFIX!r}, as those of locks and schedules do; choose "
                "another.",
                field="instance_id",
            )
        if version is not None:
            check_name("A version", version, field="version")
        check_outside(message_id, options.get("tags") or {})
        event = first_event(options.get("event"), self._max_payload_bytes)
        payload = check_size(encode(value), self._max_payload_bytes, "The input")
        order = Order(
            workflow=described.name,
            input=self._sealer.seal_payload(payload, instance_id),
            instance=instance_id,
            version=version,
            tags=dict(options.get("tags") or {}),
            reuse=options.get("reuse") or ReusePolicy(),
            start_at=start_time(options.get("start_at"), options.get("delay"), self._clock.now()),
            event=None if event is None else self._sealer.seal(event, instance_id),
            message_id=message_id,
        )
        return order, described.result_type


def _own_store(settings: ClientSettings) -> Store:
    return make_store(
        settings.database_url, schema=settings.database_schema, connect_timeout=settings.connect_timeout
    )


def _direct(
    settings: ClientSettings,
    store: Store,
    broker: Broker | None,
    clock: Clock,
    new_id: Callable[[], str],
    *,
    owns_store: bool,
    sealer: Sealer,
) -> Transport:
    return DirectTransport(
        settings,
        store=store,
        owns_store=owns_store,
        broker=broker
        or make_broker(
            settings.broker_url,
            name=f"{settings.namespace} client",
            connect_timeout=settings.connect_timeout,
            max_message_bytes=settings.max_message_bytes,
        ),
        owns_broker=broker is None,
        clock=clock,
        new_id=new_id,
        sealer=sealer,
    )


def _over_http(settings: ClientSettings, sealer: Sealer) -> Transport:
    if not sealer.is_plain:
        raise SettingsError(
            "A client that goes through the gateway (TENUTO_API_URL) leaves it to the gateway to seal payloads: set "
            "TENUTO_PAYLOAD_CODEC there, and not here."
        )
    try:
        from tenuto.client.remote import HttpTransport, http_client  # noqa: PLC0415  needs an extra
    except ModuleNotFoundError as error:
        raise SettingsError(
            f'TENUTO_API_URL is set, and {error.name} is not installed; run: pip install "tenuto[http]"'
        ) from error
    return HttpTransport(settings, http=http_client(settings))
