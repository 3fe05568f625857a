"""What the desk does with letters whose order, or whose loss, would matter to locks and to rewinding."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tenuto.core.events import ActivityCompleted
from tenuto.core.execution import Execution
from tenuto.core.letters import FirstEvent, Letter, Raise, Rewind, Start
from tenuto.core.reserved import LOCK, grant_event
from tenuto.core.status import ReuseAction, ReusePolicy, Status
from tenuto.core.turn import Arrival
from tenuto.payloads import encode
from tenuto.sealing import Sealer
from tenuto.settings import OrchestratorSettings
from tenuto.shelf import Shelf
from tenuto.store.protocol import InboxRow, InstanceRecord
from tenuto.tracing import NO_TRACING
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.desk import Desk
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.executor import Executor
from tenuto_orchestrator.existence import Existence
from tenuto_orchestrator.limits import refuse_events
from tenuto_orchestrator.order import overtaking
from tenuto_orchestrator.partition import Partition
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.spans import Spans
from tenuto_orchestrator.work import Inspect, Item, Retire, Work

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NULL = encode(None)
PARTITION = Partition(
    number=0, epoch=1, deadline=float("inf"), token="t", since=0.0, lost=lambda _partition, _reason: None
)
ENV = cast(
    "Environment",
    SimpleNamespace(
        sealer=Sealer(),
        shelf=Shelf(),
        settings=OrchestratorSettings(),
        pools=set(),
        version_of=lambda _name, _of: None,
        spans=Spans(NO_TRACING),
    ),
)


def _row(target: str = "i", _letter: Letter | None = None, run: str | None = None) -> InboxRow:
    return InboxRow(id="1", partition=0, target=target, run=run, body=b"")


def _item(work: Work, **more: Any) -> Item:
    return Item(partition=PARTITION, instance="i", work=work, **more)


def _resident(status: Status, execution: Any = None) -> Resident:
    record = InstanceRecord(
        id="i",
        run="r",
        partition=0,
        workflow="w",
        version=None,
        status=status,
        generation=0,
        turn=1,
        tasks_pending=0,
        input=b"null",
        created_at=NOW,
        updated_at=NOW,
    )
    return Resident(record=record, execution=cast("Execution | None", execution))


def _change(items: list[Item], resident: Resident) -> Change:
    return Change(partition=PARTITION, instance="i", items=items, resident=resident)


def test_the_grant_of_a_lock_is_free_of_the_limit_on_events() -> None:
    """Dropped, it would never come again."""
    grant, users = (
        _item(Arrival(what=Raise(name=name, payload=NULL)), row=_row()) for name in (grant_event(3), "item")
    )
    resident = _resident(Status.RUNNING, SimpleNamespace(waiting_events=1))
    change = _change([grant, users], resident)
    assert refuse_events(change, [grant, users], 1) == [grant]


START = Start(run="r", seed="s", workflow=LOCK, input=NULL)


@pytest.mark.parametrize(
    "before", [[], [_item(START, row=_row(), fresh=True)]], ids=["alone", "after a start"]
)
def test_a_ticket_that_is_given_back_does_not_overtake_its_request(before: list[Item]) -> None:
    """Rule I1: the request may be unread in the inbox, though the lock lives."""
    back = Arrival(what=Raise(name=LOCK, payload=NULL))
    fresh, read = (_item(back, row=_row(), fresh=fresh) for fresh in (True, False))
    assert list(overtaking([*before, fresh, read], _resident(Status.RUNNING))) == [fresh]


@pytest.mark.parametrize(("status", "anew"), [(Status.RUNNING, False), (Status.COMPLETED, True)])
def test_a_lock_hears_of_whoever_asks_once_more(status: Status, *, anew: bool) -> None:
    """A rewound instance asks with the very command that made the lock, alive or over by now."""
    letter = Start(
        run="r",
        seed="s",
        workflow=LOCK,
        input=NULL,
        reuse=ReusePolicy(action=ReuseAction.IGNORE),
        event=FirstEvent(name=LOCK, payload=NULL),
    )
    item = _item(letter, row=_row())
    arrivals: list[Item] = []
    change = _change([item], _resident(status))
    started = Existence(ENV, _row).start(change, item, letter, arrivals, NOW)
    assert [each.work for each in arrivals] == [Arrival(what=Raise(name=LOCK, payload=NULL))]
    assert (started is not None, change.delete is not None) == (anew, anew)


OTHERS: dict[str, Work] = {
    "an answer": Arrival(what=ActivityCompleted(command=0, attempt=1, result=NULL), run="r", generation=0),
    "an inspection": Inspect(empty=frozenset(), until=0.0),
    "its retirement": Retire(run="r"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("first", [True, False])
async def test_rewinding_waits_for_a_batch_without_what_cannot_wait(other: Work, *, first: bool) -> None:
    """There is one turn per batch and instance, and a rewinding is one."""
    rewinding = _item(Rewind(), row=_row())
    items = [rewinding, _item(other)] if first else [_item(other), rewinding]
    desk = Desk(ENV, cast("Executor", None))
    change = await desk.handle(PARTITION, "i", items, _resident(Status.FAILED), children=(), now=NOW)
    assert change.deferred == [rewinding]
    assert (change.taken, change.turns) == ([], [])
