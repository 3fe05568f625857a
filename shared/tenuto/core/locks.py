"""Locks between workflow instances: `async with ctx.lock(key)`.

A lock that anybody holds or waits for is an instance of the built-in workflow `tenuto.lock`, which queues tickets and
grants them one after the other. The holder's side is one command: `LockRequested` sends the ticket, an event grants
it, and `TaskCancelled` gives it back. Since the command is pending until then, whatever ends the generation gives the
lock back too, whether code runs for it or not (`effects`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from tenuto.core.driver import Driver
from tenuto.core.events import LockRequested, TaskCancelled
from tenuto.core.mailbox import EventTask, Mailbox
from tenuto.core.reserved import grant_event
from tenuto.core.tasks import Task

__all__ = ["Lock"]


class _LockTask(EventTask[None]):
    """Waits for the event that grants a ticket."""

    __slots__ = ("command", "key", "wanted")

    def __init__(self, driver: Driver, mailbox: Mailbox, key: str, command: int) -> None:
        super().__init__(driver, mailbox, grant_event(command), Any)
        self.key = key
        self.command = command
        self.wanted = True

    def give_back(self) -> None:
        """Whether it is held or still waited for. Twice is once."""
        if self.wanted:
            self.wanted = False
            self._driver.issue(TaskCancelled(id=self._driver.next_id, command=self.command))

    def expire(self) -> None:
        self.give_back()
        self._mailbox.withdraw(self)
        self.fail(TimeoutError(f"the lock {self.key!r} was not free in time"))

    def _withdraw(self) -> None:
        self.give_back()
        super()._withdraw()


class Lock:
    """A lock between workflow instances, made by `ctx.lock`; within `async with` it is held.

    Those who want it get it in the order in which their requests reached it, one at a time. It is durable: it is held
    until the block is left, whatever restarts meanwhile, and it is released when its holder ends in any way (also by
    terminate and purge) or continues as new. It is not reentrant: a workflow that asks for a lock that it holds waits
    for itself.
    """

    def __init__(
        self, driver: Driver, mailbox: Mailbox, key: str, create_timer: Callable[[], int] | None
    ) -> None:
        self._driver = driver
        self._mailbox = mailbox
        self._create_timer = create_timer
        self._task: _LockTask | None = None
        self.key = key

    def acquire(self) -> Task[None]:
        """Ask for it. Awaiting the task gives the lock, or raises `TimeoutError`; `release` gives it back.

        For generators, and for waiting beside other tasks; else `async with` does both.
        """
        driver = self._driver
        if not driver.check():
            return Task(driver)
        if self._task is not None and self._task.wanted:
            driver.misuse(f"the lock {self.key!r} was asked for twice; call ctx.lock for each request")
        command = driver.issue(LockRequested(id=driver.next_id, key=self.key)).id
        task = self._task = _LockTask(driver, self._mailbox, self.key, command)
        if self._create_timer is not None:
            task.timer = self._create_timer()
            driver.tasks[task.timer] = task
        self._mailbox.wait(task)
        return task

    def release(self) -> None:
        """Give it back, or ask for it no longer. Tolerates repeats."""
        if self._driver.check() and self._task is not None:
            if self._task.is_complete:
                self._task.give_back()
            else:
                self._task.cancel()

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
