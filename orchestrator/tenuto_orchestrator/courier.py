"""Bells, notices, and words to workers: messages that only hurry what would happen anyway, or that are said again, so
that their loss costs time and nothing else."""

from __future__ import annotations

import asyncio

from tenuto.broker.protocol import Outgoing
from tenuto.messages import Bell, Dropped, Notice, NoticeEntry, TaskRef, Unwanted, encode
from tenuto_orchestrator.environment import Environment

__all__ = ["Courier"]

_BELL = encode(Bell())


class Courier:
    """Publishes in rounds: one bell per partition, one notice per client process, whatever came meanwhile."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._bells: dict[str, None] = {}
        self._notices: dict[str, list[NoticeEntry]] = {}
        self._dropped: dict[str, list[Unwanted]] = {}
        self._wake = asyncio.Event()

    def ring(self, queue: str) -> None:
        """Tell the owner of a turn queue that there is something in its inbox (rule I1)."""
        self._bells[queue] = None
        self._wake.set()

    def notify(self, queue: str, entry: NoticeEntry) -> None:
        """Tell a client's process to look."""
        self._notices.setdefault(queue, []).append(entry)
        self._wake.set()

    def drop(self, worker: str, task: TaskRef) -> None:
        """Tell a worker that nobody waits for the task any more. It says that it holds it until it has heard."""
        unwanted = Unwanted(
            instance=task.instance,
            run=task.run,
            generation=task.generation,
            command=task.command,
            attempt=task.attempt,
            as_of=self._env.now(),
        )
        self._dropped.setdefault(self._env.names.worker(worker), []).append(unwanted)
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled. Outcomes are of no account: the inbox and the instances are in the database."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            bells, self._bells = self._bells, {}
            notices, self._notices = self._notices, {}
            dropped, self._dropped = self._dropped, {}
            messages = [Outgoing(queue=queue, body=_BELL, mandatory=False) for queue in bells]
            messages += [
                Outgoing(queue=queue, body=encode(Notice(entries=e)), mandatory=False, persistent=False)
                for queue, e in notices.items()
            ]
            messages += [
                Outgoing(queue=queue, body=encode(Dropped(tasks=tasks)), mandatory=False, persistent=False)
                for queue, tasks in dropped.items()
            ]
            await self._env.broker.publish(messages)
