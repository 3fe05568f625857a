"""Heartbeat details are payloads: nothing that leaves a process has them in plain, where there are codecs."""

from __future__ import annotations

from typing import Any

import msgspec

from tenuto.codecs import Encryption
from tenuto.core.pending import PendingActivity
from tenuto.faults import NO_FAULTS
from tenuto.payloads import is_sealed
from tenuto.sealing import Sealer
from tenuto_orchestrator.seals import Seals
from tenuto_worker.answers import Answer, Answers
from tenuto_worker.holdings import Holdings, Job, Parcel
from tests.unit.core.bench import begun, failed, raw
from tests.unit.core.test_timeouts import app as limited
from tests.unit.worker.bench import Bench

SEALER = Sealer([Encryption({"k1": b"k" * 32})])


def _sealed(details: Any) -> msgspec.Raw:
    return SEALER.seal_payload(raw(details), "order-17")


def test_what_an_owner_sends_again_has_the_details_sealed() -> None:
    bench = begun(limited, "patient")
    stored = msgspec.structs.replace(failed(0), details=_sealed(5), retry_at=bench.now)
    plain = SEALER.open(stored, "order-17")
    bench.state.apply(plain)
    Seals(SEALER).keep_sealed(bench.state, [stored], [plain])
    pending = bench.state.pending[0]
    assert isinstance(pending, PendingActivity)
    assert pending.details is not None
    assert is_sealed(pending.details)


async def test_what_a_worker_hands_back_has_them_sealed() -> None:
    async with Bench() as bench:
        broker = bench.owner.broker
        subscription = await broker.subscribe(
            bench.owner.dead_queue, lambda _: None, prefetch=1, on_lost=lambda _: None
        )
        parcel = Parcel(subscription, 1, tasks=1)
        job = Job(task=bench.owner.task("work"), parcel=parcel, definition=None, since=0.0)
        job.pulse.details = raw(5)
        Answers(broker, Holdings(), NO_FAULTS, sealer=SEALER).give(Answer(job=job, result=None))
        details = job.report().details
        assert details is not None
        assert is_sealed(details)
