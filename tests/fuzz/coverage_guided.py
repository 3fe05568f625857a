"""Coverage-guided fuzzing of our own code behind the decoders: `python -m tests.fuzz.coverage_guided [SECONDS]`.

msgspec is C and tells a fuzzer nothing, so random bytes seldom get past it. Here the fuzzer's bytes choose *events*, and
what is fuzzed is what a history does to `State`, to `replay` with real workflow code, and to the doctor. Whatever the
history, there must be an execution, stalled or not, or one of the errors that their callers know.

Needs atheris, which is among what the tests need where it has a wheel: on Linux, on x86_64.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

atheris: Any = importlib.import_module("atheris")  # it says nothing of its types

with atheris.instrument_imports(include=["tenuto.core", "tenuto.doctor"]):
    import msgspec

    from tenuto.core import events
    from tenuto.core.events import encode_events
    from tenuto.core.execution import replay
    from tenuto.core.histories import read_history
    from tenuto.doctor import Patience, examine_instance

from tests.support.sample_app import app  # noqa: E402  what they import is instrumented before
from tests.unit.doctor.scene import look_at  # noqa: E402  likewise

__all__ = ["one_input"]

_WORKFLOWS = ("chain", "fan_out", "naps", "gather", "relay", "family", "generations", "stubborn", "unknown")
_INPUTS = (b"null", b"1", b"3", b'{"seed":"s","steps":3}', b'{"count":2,"seconds":1.0}', b'"text"', b"[")
_NAMES = ("even_step", "odd_step", "square", "item", "ITEM", "", "\0")
_START = datetime(2026, 1, 1, tzinfo=UTC)
KNOWN = (msgspec.DecodeError, ValueError)
"""What `read_history` and `State` raise over a history that makes no sense; the engine stalls the instance then."""


def one_input(data: bytes) -> None:
    """One history, made of these bytes."""
    provider = atheris.FuzzedDataProvider(data)
    history = [_started(provider), *(_event(provider) for _ in range(provider.ConsumeIntInRange(0, 12)))]
    row = encode_events(history)
    with contextlib.suppress(*KNOWN):
        execution = replay(app.resolve, "one", "run", read_history([row]))
        _ = (execution.size, execution.state.timers(), execution.state.tasks_out())
        execution.abandon()
    seen = examine_instance(look_at(rows=[row]), Patience())
    assert all(finding.what for finding in seen.findings)


def _started(provider: Any) -> events.Event:
    return events.ExecutionStarted(
        workflow=provider.PickValueInList(list(_WORKFLOWS)),
        input=msgspec.Raw(provider.PickValueInList(list(_INPUTS))),
        seed="seed",
        generation=provider.ConsumeIntInRange(-1, 3),
    )


def _event(provider: Any) -> events.Event:
    number = provider.ConsumeIntInRange(-1, 4)
    attempt = provider.ConsumeIntInRange(0, 3)
    at = _START + timedelta(seconds=provider.ConsumeIntInRange(-5, 60))
    payload = msgspec.Raw(provider.PickValueInList(list(_INPUTS)))
    name = provider.PickValueInList(list(_NAMES))
    failure = events.Failure(type="Oops", message=name)
    retry_at = at if provider.ConsumeBool() else None
    makers: list[Callable[[], events.Event]] = [
        lambda: events.TurnStarted(at=at),
        lambda: events.ActivityScheduled(id=number, name=name, input=payload, pool="even"),
        lambda: events.ActivityCompleted(command=number, attempt=attempt, result=payload),
        lambda: events.ActivityFailed(command=number, attempt=attempt, failure=failure, retry_at=retry_at),
        lambda: events.ActivityRetried(command=number, attempt=attempt),
        lambda: events.ActivityLost(command=number, attempt=attempt, losses=number),
        lambda: events.TimerCreated(id=number, fire_at=at, event=name or None),
        lambda: events.TimerFired(command=number),
        lambda: events.ChildScheduled(id=number, workflow="chain", instance=name, input=payload),
        lambda: events.ChildCompleted(command=number, attempt=attempt, result=payload),
        lambda: events.ChildFailed(command=number, attempt=attempt, failure=failure, retry_at=retry_at),
        lambda: events.ChildRetried(command=number, attempt=attempt, instance=name),
        lambda: events.EventRaised(name=name, payload=payload),
        lambda: events.EventSent(id=number, instance=name, name=name, payload=payload),
        lambda: events.TaskCancelled(id=number, command=attempt),
        lambda: events.PatchRecorded(id=number, patch=name, deprecated=retry_at is None),
        lambda: events.ExecutionSuspended(reason=name),
        events.ExecutionResumed,
        lambda: events.ExecutionTerminated(output=payload),
        lambda: events.ExecutionCompleted(id=number, result=payload),
        lambda: events.ExecutionFailed(id=number, failure=failure),
        lambda: events.ContinuedAsNew(id=number, input=payload),
    ]
    return makers[provider.ConsumeIntInRange(0, len(makers) - 1)]()


def _main() -> None:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048"], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    _main()
