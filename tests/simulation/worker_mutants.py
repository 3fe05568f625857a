"""Mutants of what is between owners and workers: tasks that come back, tasks that are overdue, answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from tenuto.attempts import Slots
from tenuto.broker.protocol import Delivery, Subscription
from tenuto.core.arrivals import Ignored, Judge
from tenuto.core.effects import Effects
from tenuto.core.pending import PendingActivity
from tenuto.core.turn import TaskLost
from tenuto_orchestrator import settle
from tenuto_orchestrator.beats import Holding
from tenuto_worker.beat import Heart
from tenuto_worker.holdings import Job, Parcel
from tenuto_worker.worker import Worker
from tests.simulation.mutation import mutant, replaced

__all__ = ["WORKER_MUTANTS"]


def _returned_tasks_ignored() -> AbstractContextManager[object]:
    return patch.object(Judge, "_task_lost", lambda _self, _what: Ignored("never mind"))


def _losses(change: Any) -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        return lambda self, what: original(self, change(what))

    return replaced(Judge, "_task_lost", make)


def _losses_not_counted() -> AbstractContextManager[object]:
    return _losses(lambda what: replace(what, counted=False))


def _copies_counted() -> AbstractContextManager[object]:
    def present(what: TaskLost) -> TaskLost:
        return replace(what, sending=None)

    return _losses(present)


def _fold_mates_blamed() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        def hand_back(self: Worker, jobs: Iterable[Job], *, counted: bool = False) -> None:
            del counted
            original(self, jobs, counted=True)

        return hand_back

    return replaced(Worker, "_hand_back", make)


def _held_too_early() -> AbstractContextManager[object]:
    """A delivery is acknowledged before its owner has been told that beats stand for the task."""

    def make(original: Any) -> Any:
        async def hold(self: Heart, jobs: Iterable[Job], now: float) -> None:
            held = [job for job in jobs if not job.parcel.released]
            for job in held:
                job.parcel.release()
            await original(self, held, now)

        return hold

    return replaced(Heart, "_hold", make)


def _wanted_tasks_dropped() -> AbstractContextManager[object]:
    return patch.object(settle, "_is_wanted", lambda _change, _task: False)


@contextmanager
def _worker_acknowledges_first() -> Iterator[object]:
    def make(original: Any) -> Any:
        def receive(self: Worker, delivery: Delivery, subscription: Subscription) -> None:
            subscription.ack(delivery.tag)
            original(self, delivery, subscription)

        return receive

    with replaced(Worker, "_receive", make), patch.object(Parcel, "settle", lambda _self: None):
        yield


@contextmanager
def _limits_not_enforced() -> Iterator[object]:
    with ExitStack() as stack:
        stack.enter_context(patch.object(Slots, "_expire", lambda _self, _job, _limit, _allowed: None))
        stack.enter_context(patch.object(Holding, "over", lambda _self, _now, _life: None))
        stack.enter_context(patch.object(PendingActivity, "overdue", lambda _self, _at, _instance: None))
        yield


def _deadlines_forgotten() -> AbstractContextManager[object]:
    return patch.object(Effects, "set_deadline", lambda _self, _command, **_: None)


WORKER_MUTANTS = (
    mutant("tasks that come back are not sent again", "W1", _returned_tasks_ignored, 200),
    mutant("losses are not counted", "W1", _losses_not_counted, 10, "deadly"),
    mutant("those that were folded with a killer are blamed", "W1", _fold_mates_blamed, 30, "deadly"),
    mutant("each copy of a task that is lost is counted", "W1", _copies_counted, 100, "deadly"),
    mutant("a hold is acknowledged before it is confirmed", "W2", _held_too_early, 20),
    mutant("workers are told to drop what is wanted", "N1", _wanted_tasks_dropped, 20),
    mutant("a worker acknowledges before it has answered", "W3", _worker_acknowledges_first, 20),
    mutant("no timer is set for the deadlines of activities", "W4", _deadlines_forgotten, 60),
    mutant("no time limit is enforced", "W4", _limits_not_enforced, 20),
)
