"""Random workflows for property tests: programs that one workflow interprets, and a world that answers them.

A program is JSON, hence a workflow's input. Each step has a label that follows from its place in the program, and
the world's answers follow from the label alone, so they do not depend on when and in what order things happen. The
steps in `INDEPENDENT` have one outcome whatever the order of the answers is; `expected` says which. Those in
`DEPENDENT` are races, whose outcome depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

from hypothesis import strategies as st

from tenuto import (
    ActivityError,
    App,
    ChildWorkflowError,
    RetryPolicy,
    TaskCancelledError,
    WorkflowContext,
    when_all,
    when_any,
)
from tenuto.core.letters import Continue, Start
from tenuto.core.turn import Arrival, TaskLost, Turn
from tests.unit.core.bench import (
    RESUME,
    SUSPEND,
    Bench,
    child_done,
    child_failed,
    done,
    due,
    event,
    failed,
    value,
)

Step: TypeAlias = list[Any]
Program: TypeAlias = list[Step]

ATTEMPTS = 3
POLICY = RetryPolicy(max_attempts=ATTEMPTS, first_interval=10)

app = App("programs")


@app.workflow
async def book(ctx: WorkflowContext, state: dict[str, Any]) -> list[Any]:
    """One program per generation; the results are carried along."""
    chapters, number, got = state["chapters"], state["number"], state["got"]
    got = [*got, await perform(ctx, chapters[number], str(number))]
    if number + 1 < len(chapters):
        ctx.continue_as_new({"chapters": chapters, "number": number + 1, "got": got})
    return got


async def perform(ctx: WorkflowContext, program: Program, label: str) -> list[Any]:
    return [await do(ctx, step, f"{label}.{number}") for number, step in enumerate(program)]


async def do(ctx: WorkflowContext, step: Step, label: str) -> Any:  # noqa: PLR0911 - one for each kind of step
    match step:
        case ["call", fails, retried]:
            return await _answer(ctx.call_activity("work", [label, fails], retry=POLICY if retried else None))
        case ["child", fails, retried]:
            return await _answer(
                ctx.call_child_workflow("child", [label, fails], retry=POLICY if retried else None)
            )
        case ["timer"]:
            return await ctx.create_timer(60)
        case ["event"]:
            return await ctx.wait_for_external_event(label)
        case ["patient event"]:
            return await ctx.wait_for_external_event(label.upper(), timeout=10**9)
        case ["patch"]:
            return [ctx.is_patched(label), ctx.is_patched("shared")]
        case ["all", *programs]:
            parts = [perform(ctx, part, f"{label}.{number}") for number, part in enumerate(programs)]
            return await when_all(parts)
        case ["fail"]:
            raise ValueError(label)
        case _:
            return await race(ctx, step, label)


async def race(ctx: WorkflowContext, step: Step, label: str) -> Any:
    match step:
        case ["any", *parts]:
            tasks = [ctx.spawn(do(ctx, part, f"{label}.{number}")) for number, part in enumerate(parts)]
            winner = await when_any(tasks)
            return [tasks.index(winner), "failed" if winner.is_failed else winner.get_result()]
        case ["shared event"]:
            try:
                return await ctx.wait_for_external_event("shared", timeout=30)
            except TimeoutError:
                return "too late"
        case ["cancelled", part]:
            task = ctx.spawn(do(ctx, part, f"{label}.0"))
            await ctx.create_timer(60)
            task.cancel()
            try:
                return await task
            except TaskCancelledError:
                return "cancelled"
        case ["shown"]:
            ctx.set_custom_status([label, str(ctx.new_uuid()), ctx.random.random()])
            ctx.send_event("other", label)
            return str(ctx.new_uuid())
        case _:
            raise NotImplementedError(step)


async def _answer(task: Any) -> Any:
    try:
        return await task
    except (ActivityError, ChildWorkflowError) as error:
        return error.failure.type if error.failure else "unknown"


def expected(program: Program, label: str) -> list[Any]:
    """The outcome of a program without races. Raises ValueError where the workflow does."""
    return [_expected(step, f"{label}.{number}") for number, step in enumerate(program)]


def _expected(step: Step, label: str) -> Any:
    match step:
        case ["call" | "child", fails, retried]:
            return label if fails < (ATTEMPTS if retried else 1) else "Broken"
        case ["timer"]:
            return None
        case ["event"] | ["patient event"]:
            return f"event {label}"
        case ["patch"]:
            return [True, True]
        case ["all", *programs]:
            return [expected(part, f"{label}.{number}") for number, part in enumerate(programs)]
        case ["fail"]:
            raise ValueError(label)
        case _:
            raise NotImplementedError(step)


def events_of(program: Program, label: str) -> Iterator[str]:
    """The names of the events that a program waits for."""
    for number, step in enumerate(program):
        here = f"{label}.{number}"
        match step:
            case ["event"] | ["patient event"]:
                yield here
            case ["shared event"]:
                yield "shared"
            case ["all", *parts]:
                for index, part in enumerate(parts):
                    yield from events_of(part, f"{here}.{index}")
            case ["any", *parts] | ["cancelled", *parts]:
                yield from events_of(parts, here)
            case _:
                pass


@dataclass
class World:
    """Answers what goes out, in whatever order chance says, often twice, sometimes after losing it first."""

    bench: Bench
    chance: Random
    waiting: list[Arrival] = field(default_factory=list)
    answered: list[Arrival] = field(default_factory=list)

    def live(self, *, cold_starts: float, turns: int) -> None:
        """Until nothing is left to deliver, or for so many turns."""
        self.absorb(self.bench.go())
        for _ in range(turns):
            if not self.waiting:
                break
            size = self.chance.randint(1, min(4, len(self.waiting)))
            batch = [self.waiting.pop(self.chance.randrange(len(self.waiting))) for _ in range(size)]
            again = self.chance.sample(self.answered, self.chance.randint(0, min(3, len(self.answered))))
            self.answered += [arrival for arrival in batch if is_redelivered(arrival)]
            arrivals = batch + again
            self.chance.shuffle(arrivals)
            if self.chance.random() < 0.2:
                arrivals.insert(self.chance.randrange(len(arrivals) + 1), Arrival(what=SUSPEND))
                self.waiting.append(Arrival(what=RESUME))
            self.absorb(self.bench.go(*arrivals))
            if self.chance.random() < cold_starts:
                self.bench.cold_start()

    def absorb(self, turn: Turn) -> None:
        """What the turn lets out will be answered."""
        old = self.bench.state.generation - (1 if turn.next_generation else 0)
        for task in turn.tasks:
            label, fails = value(task.scheduled.input)
            command, attempt = task.scheduled.id, task.attempt
            lost = TaskLost(command=command, attempt=attempt)
            if self.chance.random() < 0.1:
                self.waiting.append(Arrival(what=lost, run=self.bench.run, generation=old))
            answer = failed(command, "Broken", attempt) if attempt <= fails else done(command, label, attempt)
            self.waiting.append(Arrival(what=answer, run=self.bench.run, generation=old))
        for timer in turn.timers_set:
            ring = due(timer.key.command, timer.key.attempt)
            patient = (timer.fire_at - self.bench.now).total_seconds() > 10**6
            if not patient:
                self.waiting.append(Arrival(what=ring, run=self.bench.run, generation=old))
        for letter in turn.letters:
            self.absorb_letter(letter.letter)

    def absorb_letter(self, letter: Any) -> None:
        match letter:
            case Start(parent=parent) if parent is not None:
                label, fails = value(letter.input)
                command, attempt, generation = parent.command, parent.attempt, parent.generation
                if attempt <= fails:
                    answer = child_failed(command, "Broken", attempt, generation)
                else:
                    answer = child_done(command, label, attempt, generation)
                self.waiting.append(Arrival(what=answer, run=self.bench.run))
            case Continue():
                self.waiting.append(Arrival(what=letter, run=self.bench.run))
            case _:
                pass


def is_redelivered(arrival: Arrival) -> bool:
    """Answers may come twice; outsiders' requests are told apart by their ids before they get here (rule N2)."""
    return arrival.run is not None


def live(chapters: list[Program], chance: Random, *, cold_starts: float = 0.3, turns: int = 400) -> Bench:
    """Run a program per generation in a world of chance, with the replay checked after every turn."""
    bench = Bench(app=app, workflow="book", input={"chapters": chapters, "number": 0, "got": []})
    world = World(bench=bench, chance=chance)
    for number, program in enumerate(chapters):
        for name in events_of(program, str(number)):
            world.waiting.append(Arrival(what=event(name, f"event {name}")))
    world.live(cold_starts=cold_starts, turns=turns)
    return bench


# Strategies.

_calls = st.tuples(st.sampled_from(["call", "child"]), st.integers(0, 4), st.booleans()).map(list)
_plain = st.sampled_from([["timer"], ["event"], ["patient event"], ["patch"]])
INDEPENDENT: st.SearchStrategy[Step] = st.recursive(
    st.one_of(_calls, _calls, _plain),
    lambda steps: st.lists(st.lists(steps, max_size=3), max_size=3).map(lambda parts: ["all", *parts]),
    max_leaves=8,
)
_races = st.sampled_from([["shared event"], ["shown"], ["fail"]])
DEPENDENT: st.SearchStrategy[Step] = st.recursive(
    st.one_of(_calls, _plain, _races),
    lambda steps: st.one_of(
        st.lists(st.lists(steps, max_size=3), max_size=3).map(lambda parts: ["all", *parts]),
        st.lists(steps, min_size=1, max_size=3).map(lambda parts: ["any", *parts]),
        steps.map(lambda part: ["cancelled", part]),
    ),
    max_leaves=8,
)


def chapters_of(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Program]]:
    return st.lists(st.lists(steps, max_size=4), min_size=1, max_size=2)
