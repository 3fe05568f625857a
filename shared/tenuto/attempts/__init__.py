"""Attempts of activities: what runs one, wherever that is. Workers do it, and orchestrators for local activities, so
that retries, timeouts and failures are the same for both."""

from __future__ import annotations

from tenuto.attempts.execution import Executor
from tenuto.attempts.job import Job
from tenuto.attempts.meter import LOCAL, Ending, Meter
from tenuto.attempts.slots import Slots
from tenuto.attempts.threads import Threads

__all__ = ["LOCAL", "Ending", "Executor", "Job", "Meter", "Slots", "Threads"]
