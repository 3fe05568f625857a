"""Clients: start workflows, wait for them, talk to them, list them.

`Client` is asynchronous; `tenuto.client.sync.SyncClient` is its blocking twin, which runs it on a background thread.
Both speak to the engine through a `Transport`: the direct one writes requests into the database's inbox and rings the
broker's bell (rule I2), so that what a verb returns from is durable.
"""

from __future__ import annotations

from tenuto.client.bulk import BulkResult
from tenuto.client.client import Client
from tenuto.client.handle import WorkflowHandle
from tenuto.client.instance import InstanceStatus, Page
from tenuto.client.options import StartOptions
from tenuto.client.queues import QueueKind, QueueStatus
from tenuto.client.schedules import ScheduleOptions, Schedules, ScheduleStatus
from tenuto.store.protocol import InstanceFilter, Tally

__all__ = [
    "BulkResult",
    "Client",
    "InstanceFilter",
    "InstanceStatus",
    "Page",
    "QueueKind",
    "QueueStatus",
    "ScheduleOptions",
    "ScheduleStatus",
    "Schedules",
    "StartOptions",
    "Tally",
    "WorkflowHandle",
]
