"""Tenuto: durable workflows as ordinary Python functions.

    from tenuto import App, WorkflowContext, when_all

    app = App("orders")

    @app.activity
    async def pack(item: str) -> str: ...

    @app.workflow
    async def fulfil(ctx: WorkflowContext, items: list[str]) -> list[str]:
        return await when_all([ctx.call_activity(pack, item) for item in items])

What is exported here is the public face; everything else may change from one release to the next.
"""

from tenuto import activity
from tenuto.app import App
from tenuto.client import Client, InstanceStatus, ScheduleStatus, WorkflowHandle
from tenuto.client.sync import SyncClient
from tenuto.core.context import WorkflowContext
from tenuto.core.locks import Lock
from tenuto.core.retry import RetryPolicy
from tenuto.core.saga import Saga
from tenuto.core.status import ReuseAction, ReusePolicy, Status
from tenuto.core.tasks import Task, when_all, when_any
from tenuto.errors import (
    ActivityCancelledError,
    ActivityError,
    AlreadyExistsError,
    ChildWorkflowError,
    InstanceOverError,
    NonDeterminismError,
    NonRetryableError,
    NotFoundError,
    OutcomeError,
    PayloadError,
    RequestError,
    SagaError,
    TaskCancelledError,
    TenutoError,
    UnknownWorkflowError,
    UsageError,
    WorkflowCodeError,
    WorkflowFailedError,
    WorkflowTerminatedError,
)
from tenuto.publisher import Publisher
from tenuto.schedules import Overlap

__all__ = [
    "ActivityCancelledError",
    "ActivityError",
    "AlreadyExistsError",
    "App",
    "ChildWorkflowError",
    "Client",
    "InstanceOverError",
    "InstanceStatus",
    "Lock",
    "NonDeterminismError",
    "NonRetryableError",
    "NotFoundError",
    "OutcomeError",
    "Overlap",
    "PayloadError",
    "Publisher",
    "RequestError",
    "RetryPolicy",
    "ReuseAction",
    "ReusePolicy",
    "Saga",
    "SagaError",
    "ScheduleStatus",
    "Status",
    "SyncClient",
    "Task",
    "TaskCancelledError",
    "TenutoError",
    "UnknownWorkflowError",
    "UsageError",
    "WorkflowCodeError",
    "WorkflowContext",
    "WorkflowFailedError",
    "WorkflowHandle",
    "WorkflowTerminatedError",
    "activity",
    "when_all",
    "when_any",
]
