"""Rule B1 at a takeover: what an owner thinks of the broker may be older than what its predecessor knew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tenuto import App, WorkflowContext
from tenuto.broker.protocol import Outcome, Outgoing
from tenuto_orchestrator.recovery import Recoverer
from tests.integration.engine.conftest import MakeEngine
from tests.support.engine import Engine, until

app = App("token")
_OLDER = "of a broker that was wiped"


@app.activity
async def step(number: int) -> int:
    return number + 1


@app.workflow
async def once(ctx: WorkflowContext, number: int) -> int:
    return await ctx.call_activity(step, number)


async def test_a_stale_view_of_the_broker_forgets_no_task(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new owner that still has an older token in mind, and dies before it has sent all that is pending, must not
    have deleted what the outbox held: its successor finds the partition's token up to date and sends nothing."""
    engine = await make_engine(app, resend_after=1000.0, lease=1.0)
    first = await engine.orchestrator()
    monkeypatch.setattr(first.broker, "publish", _swallow(first.broker.publish))
    handle = await engine.client.start(once, 1)

    async def row_waits() -> bool:
        return (await engine.store.health()).outbox.count == 1

    await until(row_waits)
    await first.kill()

    with monkeypatch.context() as patched:
        patched.setattr(Recoverer, "recover", _stale(Recoverer.recover))
        patched.setattr(Recoverer, "_put_resends", _never)
        second = await engine.orchestrator()
        await _until_swept_or_sent(engine)
        await second.kill()

    await engine.orchestrator()
    await engine.worker()
    assert await handle.result(timeout=20) == 2


def _swallow(publish: Any) -> Callable[..., Any]:
    """The broker takes no task, and says so late."""

    async def swallowing(messages: Sequence[Outgoing]) -> Sequence[Outcome]:
        if any(".activities." in message.queue for message in messages):
            return [Outcome.UNKNOWN] * len(messages)
        outcomes: Sequence[Outcome] = await publish(messages)
        return outcomes

    return swallowing


def _stale(recover: Any) -> Callable[..., Any]:
    """As if the broker had been wiped, and the predecessor had known, since this process last looked."""

    async def recovering(self: Recoverer, *args: Any) -> None:
        self._guard.token = _OLDER
        await recover(self, *args)

    return recovering


async def _never(*_: object) -> None:
    await asyncio.Event().wait()


async def _until_swept_or_sent(engine: Engine) -> None:
    """The outbox row is gone, because its task was confirmed or because it was dropped."""

    async def swept() -> bool:
        return (await engine.store.health()).outbox.count == 0

    await until(swept)
