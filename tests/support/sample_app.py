"""A sample app for tests from outside: one workflow for each thing that the engine does, each with its expected result.

Every `expected_…` tells from the input alone what the workflow must return, however often processes died on the way.
Where the variable `SAMPLE_AUDIT` names a file, each execution of an activity is appended to it as a line of JSON
(`Execution`), so that a test can count how often each step ran.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from tenuto import App, RetryPolicy, WorkflowContext, activity, when_all

AUDIT_VARIABLE = "SAMPLE_AUDIT"
ODD_POOL = "odd"
EVEN_POOL = "even"

app = App("sample")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a chain: its number, from 0, and the value so far."""

    number: int
    value: str


@dataclass(frozen=True, kw_only=True)
class Chain:
    """`steps` activities, each fed with the result of the one before."""

    seed: str
    steps: int


@dataclass(frozen=True, kw_only=True)
class Naps:
    """`count` durable timers of `seconds` each, one after the other."""

    count: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Family:
    """`children` chains as child workflows, at the same time."""

    seed: str
    children: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class Generations:
    """A count that continues as new `left` times, with an activity in each generation."""

    left: int
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class Relay:
    """`count` events sent to another instance, numbered from 0."""

    receiver: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Execution:
    """A line of the audit: one execution of one activity."""

    instance: str
    activity: str
    key: str
    """The idempotency key: the same for every execution of one step."""
    attempt: int
    details: dict[str, int] = field(default_factory=dict)


def _step(step: Step) -> str:
    return hashlib.sha256(f"{step.number}:{step.value}".encode()).hexdigest()[:16]


def note_execution() -> None:
    """Append this execution of an activity to the audit."""
    path = os.environ.get(AUDIT_VARIABLE)
    if path is None:
        return
    context = activity.context()
    line = Execution(
        instance=context.instance_id,
        activity=context.activity,
        key=context.idempotency_key,
        attempt=context.attempt,
    )
    # One write of a short line at the end of a file is atomic, so processes may share it.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, (json.dumps(asdict(line)) + "\n").encode())
    finally:
        os.close(file)


def read_audit(path: Path) -> list[Execution]:
    """Every execution that was recorded so far."""
    return [Execution(**json.loads(line)) for line in path.read_text().splitlines()]


@app.activity(pool=EVEN_POOL)
async def even_step(step: Step) -> str:
    note_execution()
    return _step(step)


@app.activity(pool=ODD_POOL)
def odd_step(step: Step) -> str:
    note_execution()
    return _step(step)


@app.activity(pool=EVEN_POOL)
async def square(number: int) -> int:
    note_execution()
    return number * number


@app.activity(pool=ODD_POOL, retry=RetryPolicy(max_attempts=10, first_interval=0.05, backoff_coefficient=1.0))
async def fail_until(attempt: int) -> int:
    """Fails in every attempt before the given one."""
    note_execution()
    present = activity.context().attempt
    if present < attempt:
        raise RuntimeError(f"attempt {present} fails as told")
    return present


@app.workflow
async def chain(ctx: WorkflowContext, order: Chain) -> str:
    value = order.seed
    for number in range(order.steps):
        step = Step(number=number, value=value)
        if number % 2:
            value = await ctx.call_activity(odd_step, step)
        else:
            value = await ctx.call_activity(even_step, step)
    return value


def expected_chain(order: Chain) -> str:
    value = order.seed
    for number in range(order.steps):
        value = _step(Step(number=number, value=value))
    return value


@app.workflow
async def fan_out(ctx: WorkflowContext, width: int) -> int:
    return sum(await when_all([ctx.call_activity(square, number) for number in range(width)]))


def expected_fan_out(width: int) -> int:
    return sum(number * number for number in range(width))


@app.workflow
async def naps(ctx: WorkflowContext, order: Naps) -> int:
    """Returns how many of its naps were shorter than ordered, by the times in its history."""
    too_short = 0
    for _ in range(order.count):
        before = ctx.current_utc_datetime
        await ctx.create_timer(order.seconds)
        # As a duration: times have microseconds, and a float may have a fraction of one more.
        too_short += ctx.current_utc_datetime - before < timedelta(seconds=order.seconds)
    return too_short


def expected_naps(order: Naps) -> int:
    del order
    return 0


@app.workflow
async def gather(ctx: WorkflowContext, count: int) -> list[int]:
    """Takes so many events named `item`, in order."""
    return [await ctx.wait_for_external_event("item", type=int) for _ in range(count)]


def expected_gather(count: int) -> list[int]:
    return list(range(count))


@app.workflow
async def relay(ctx: WorkflowContext, order: Relay) -> int:
    for number in range(order.count):
        await ctx.call_activity(square, number)
        ctx.send_event(order.receiver, "item", number)
    return order.count


def expected_relay(order: Relay) -> int:
    return order.count


@app.workflow
async def family(ctx: WorkflowContext, order: Family) -> list[str]:
    return await when_all([ctx.call_child_workflow(chain, each) for each in chains_of(order)])


def expected_family(order: Family) -> list[str]:
    return [expected_chain(each) for each in chains_of(order)]


def chains_of(order: Family) -> Iterable[Chain]:
    """What the children are started with."""
    return [Chain(seed=f"{order.seed}/{number}", steps=order.steps) for number in range(order.children)]


@app.workflow
async def generations(ctx: WorkflowContext, order: Generations) -> str:
    value = await ctx.call_activity(even_step, Step(number=order.left, value=order.value))
    if order.left == 0:
        return value
    ctx.continue_as_new(Generations(left=order.left - 1, value=value))
    return ""


def expected_generations(order: Generations) -> str:
    value = order.value
    for number in range(order.left, -1, -1):
        value = _step(Step(number=number, value=value))
    return value


@app.workflow
async def stubborn(ctx: WorkflowContext, attempt: int) -> int:
    return await ctx.call_activity(fail_until, attempt)


def expected_stubborn(attempt: int) -> int:
    return attempt
