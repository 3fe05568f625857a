"""Mutants of what users build on: requests, children's ids, locks, schedules, rolling upgrades."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any
from unittest.mock import patch

from msgspec import structs

from tenuto import builtins
from tenuto.broker.protocol import Delivery
from tenuto.client.direct import DirectTransport
from tenuto.core import ids
from tenuto.core.context import WorkflowContext
from tenuto.core.effects import Effects
from tenuto.core.events import ReplyTo
from tenuto.core.letters import Raise
from tenuto.core.reserved import LOCK, LockRequest, Ticket, grant_event
from tenuto.core.turn import Arrival
from tenuto.errors import StoreUnavailableError
from tenuto.schedules import State
from tenuto_orchestrator import outcome
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.door import Door
from tenuto_orchestrator.existence import Existence
from tenuto_orchestrator.readers import Readers
from tenuto_orchestrator.work import Item
from tests.simulation.mutation import mutant, replaced

__all__ = ["FEATURE_MUTANTS"]


def _children_counted_anew() -> AbstractContextManager[object]:
    """Each generation numbers its children from one."""

    def next_child(self: Any) -> str:
        state = self._driver.recorder.state
        self.made = getattr(self, "made", 0) + 1  # a generation has a context of its own
        return ids.child_instance(state.instance, state.run, self.made)

    return patch.object(WorkflowContext, "_next_child", next_child)


def _late_events_taken() -> AbstractContextManager[object]:
    def too_late(change: Change, items: Sequence[Item]) -> None:
        for item in items:
            change.take(item)
            change.answer(outcome._request(item))

    return patch.object(outcome, "too_late", too_late)


def _readers_ignored() -> AbstractContextManager[object]:
    return patch.object(Readers, "check", lambda *_: None)


def _locks_kept() -> AbstractContextManager[object]:
    return patch.object(Effects, "release_lock", lambda *_: None)


def _locks_shared() -> AbstractContextManager[object]:
    async def lock(ctx: WorkflowContext, held: list[Ticket] | None = None) -> None:
        held = held or []
        while True:
            request = await ctx.wait_for_external_event(LOCK, type=LockRequest)
            ticket = request.ticket
            if request.wanted:
                held.append(ticket)
                ctx.send_event(ticket.instance, grant_event(ticket.command), ticket)
            elif ticket in held:
                held.remove(ticket)
            if not held:
                return

    definition = builtins.app.resolve(LOCK, None)
    assert definition is not None
    return patch.dict(builtins.app._workflows, {LOCK: {None: replace(definition, function=lock)}})


def _requests_not_stored() -> AbstractContextManager[object]:
    def make(original: Any) -> Any:
        async def deliver(self: DirectTransport, rows: Sequence[Any]) -> Sequence[None]:
            try:
                return await original(self, rows)
            except StoreUnavailableError:
                return [None] * len(rows)

        return deliver

    return replaced(DirectTransport, "_deliver", make)


def _any_reply_queue() -> AbstractContextManager[object]:
    def reply_to(_self: Door, delivery: Delivery) -> ReplyTo | None:
        to = delivery.reply_to
        return None if to is None else ReplyTo(queue=to, correlation_id=delivery.correlation_id)

    return patch.object(Door, "_reply_to", reply_to)


def _events_kept() -> AbstractContextManager[object]:
    def keep(_self: Existence, change: Change, item: Item, now: datetime) -> bool:
        is_event = isinstance(item.work, Arrival) and isinstance(item.work.what, Raise)
        if not is_event or change.resident is not None or item.row is None:
            return False
        change.hold(item.row)
        change.kept.append((item.row, now + timedelta(days=1)))
        change.answer(outcome._request(item))
        return True

    return patch.object(Existence, "keep", keep)


def _fired_again() -> AbstractContextManager[object]:
    """What a schedule remembers is the firing before the last."""

    def make(original: Any) -> Any:
        def fire(ctx: WorkflowContext, state: State, anchor: datetime) -> State:
            last = (state.last or anchor) - timedelta(seconds=state.plan.every or 0)
            fired: State = original(ctx, structs.replace(state, last=last), anchor)
            return fired

        return fire

    return replaced(import_module("tenuto.builtins.schedule"), "_fire", make)


FEATURE_MUTANTS = (
    mutant("a reply may go to a queue of the engine", "B4", _any_reply_queue, 60),
    mutant("any event waits for its instance to be started", "C7", _events_kept, 60),
    mutant("a request that could not be stored counts as made", "I2", _requests_not_stored, 150),
    mutant("children are numbered anew by each generation", "N3", _children_counted_anew, 60, "crowds"),
    mutant("an event for an instance that is over counts as taken", "N4", _late_events_taken, 20),
    mutant("a lock is not given back by those that end", "lock", _locks_kept, 20),
    mutant("a lock is granted to whoever asks", "lock", _locks_shared, 60, "crowds"),
    mutant("a schedule fires again what it fired before", "T2", _fired_again, 60),
    mutant("events are written that an older release cannot read", "U1", _readers_ignored, 20, "events"),
)
