"""A stall that has lasted is recorded, if by then there is still something that is stalled (rule O5)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from tenuto.core.status import Status
from tenuto.core.turn import Turn
from tenuto.naming import Names
from tenuto.store.protocol import InboxRow
from tenuto.tracing import NO_TRACING
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.outcome import record_turn
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.spans import Spans
from tenuto_orchestrator.stalls import mark_stalled
from tests.unit.core.bench import begun, terminate
from tests.unit.core.test_activities import app
from tests.unit.orchestrator.test_parts import _partition
from tests.unit.orchestrator.test_parts import _resident as _over

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _change(resident: Resident | None) -> Change:
    return Change(partition=_partition(), instance="order-17", items=(), resident=resident)


@pytest.mark.parametrize("resident", [None, _over("order-17")], ids=["gone", "over"])
async def test_what_has_ended_meanwhile_is_not_stalled(resident: Resident | None) -> None:
    change = _change(resident)
    mark_stalled(change, "no code", NOW)
    assert not change.stalled
    assert change.update is None


async def test_what_has_a_turn_in_the_same_batch_is_not_stalled_any_more() -> None:
    bench = begun(app, "catches")
    turn: Turn = bench.go(terminate())
    record = replace(_over("order-17").record, status=Status.RUNNING)
    resident = Resident(record=record, execution=bench.execution)
    change = _change(resident)

    mark_stalled(change, "no code", NOW)
    assert change.stalled
    record_turn(
        change,
        resident,
        turn,
        started=None,
        arrived={},
        names=Names(),
        spans=Spans(NO_TRACING),
        envelope=lambda _target, _letter, _run: InboxRow(id="1", partition=0, target="i", body=b""),
        now=NOW,
    )

    assert change.record is not None
    assert change.record.status is Status.TERMINATED
    assert not change.stalled
