"""A task in the hands of a process that is to execute it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tenuto.activity import Pulse
from tenuto.core.definitions import ActivityDefinition
from tenuto.messages import ActivityTask

__all__ = ["Job"]


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """One attempt, from when it is taken on until its answer has been given."""

    task: ActivityTask
    definition: ActivityDefinition | None
    """None: this process knows no activity of that name."""
    pulse: Pulse = field(default_factory=Pulse)
    began: float | None = None
    """When it got a slot, in the event loop's time."""
    runner: asyncio.Task[None] | None = None
    """The asyncio task that executes it, once it has a slot."""
    answered: bool = False
    """Its answer is given, and a later one is dropped: the first counts (rule W3)."""
