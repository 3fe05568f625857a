"""One simulation: a seed in, a verdict out."""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from unittest.mock import patch

from tenuto_orchestrator import local
from tenuto_worker import worker
from tests.simulation.audit import Audit
from tests.simulation.broker import BrokerServer
from tests.simulation.chaos import Chaos
from tests.simulation.checker import at_rest, violations
from tests.simulation.cluster import Cluster, SimClock
from tests.simulation.database import Database
from tests.simulation.loop import CURRENT, SimLoop, StuckError
from tests.simulation.plan import Plan, focused, random_plan
from tests.simulation.random_stories import random_stories
from tests.simulation.store import DatabaseServer
from tests.simulation.threads import SimThreads
from tests.simulation.trouble import NO_NOISE, Trouble
from tests.simulation.workload import RELEASES, make_app

__all__ = ["Case", "Verdict", "simulate"]

_PATIENCE = 400.0
"""Seconds, of the simulated kind, that the cluster is given to come to rest once all faults are over."""
_MOST_STEPS = 150_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A seed, and what to leave out of what it makes: that is how a failure is shrunk."""

    seed: int
    without: frozenset[int] = frozenset()
    """Faults, by their place in the plan."""
    stories: frozenset[int] | None = None
    """Which ones to keep; None: all."""
    quiet: bool = False
    """No noise."""
    focus: str = ""
    """A kind of trouble to have more of; see `plan.FOCUSES`."""

    def plan(self) -> Plan:
        plan = focused(random_plan(self.seed), self.focus, self.seed)
        faults = [fault for number, fault in enumerate(plan.faults) if number not in self.without]
        noise = replace(NO_NOISE, latency=plan.noise.latency) if self.quiet else plan.noise
        return replace(plan, faults=faults, noise=noise)

    def command(self) -> str:
        """Runs exactly this."""
        words = [".venv/bin/python -m tests.simulation", f"--seed {self.seed}"]
        if self.without:
            words.append(f"--without {','.join(map(str, sorted(self.without)))}")
        if self.stories is not None:
            words.append(f"--stories {','.join(map(str, sorted(self.stories)))}")
        if self.quiet:
            words.append("--quiet")
        if self.focus:
            words.append(f"--focus {self.focus}")
        return " ".join(words)


@dataclass(slots=True, kw_only=True)
class Verdict:
    case: Case
    violations: list[str] = field(default_factory=list)
    digest: str = ""
    """Of the schedule and of all that happened."""
    steps: int = 0
    seconds: float = 0.0
    """Simulated."""
    counts: dict[str, int] = field(default_factory=dict)
    """Faults by kind."""
    instances: int = 0
    turns: int = 0

    @property
    def passed(self) -> bool:
        return not self.violations


class _Trace:
    """All that happened, in order, as a checksum, and for those who watch."""

    def __init__(self, watch: Callable[[str], None] | None) -> None:
        self.checksum = 0
        self.time: Callable[[], float] = lambda: 0.0
        self._watch = watch

    def note(self, text: str) -> None:
        self.checksum = zlib.crc32(text.encode(), self.checksum)
        if self._watch is not None:
            process = CURRENT.get(None)
            self._watch(f"{self.time():9.4f} {process.name if process else '':22} {text}")


class _Complaints(logging.Handler):
    """The engine logs as an error what is a bug of its own."""

    def __init__(self, complain: Callable[[str], None], on_purpose: Sequence[str]) -> None:
        super().__init__(logging.ERROR)
        self._complain = complain
        self._on_purpose = on_purpose

    def emit(self, record: logging.LogRecord) -> None:
        if any(text in record.msg for text in self._on_purpose):
            return
        why = "" if record.exc_info is None else f": {record.exc_info[1]!r}"
        self._complain(f"logged as an error: {record.getMessage()}{why}")


def simulate(case: Case, *, watch: Callable[[str], None] | None = None) -> Verdict:
    """Run a case to its end. The same case always takes the same course."""
    verdict = Verdict(case=case)
    trace = _Trace(watch)
    over = False

    def complain(text: str) -> None:
        if not over and len(verdict.violations) < 20:
            trace.note(f"VIOLATION {text}")
            verdict.violations.append(text)

    with _surroundings(case, complain, watch is not None):
        loop = SimLoop(Random(f"{case.seed}:schedule"), most_steps=_MOST_STEPS)
        trace.time = loop.time
        loop.set_exception_handler(lambda _loop, context: complain(_words(context)))
        audit = Audit(trace.note, complain)
        try:
            loop.run_until_complete(loop.spawn(loop.outside, _run(loop, audit, trace, verdict, complain)))
        except StuckError as error:
            complain(f"the simulation does not end: {error}")
        finally:
            over = True
            verdict.steps, verdict.seconds = loop.steps, loop.time()
            verdict.digest = f"{loop.digest & 0xFFFFFFFFFFFFFFFF:016x}{trace.checksum:08x}"
            verdict.instances = sum(map(len, audit.runs.values()))
            verdict.turns = sum(run.turns for runs in audit.runs.values() for run in runs)
            loop.unwind()
            loop.close()
    return verdict


async def _run(
    loop: SimLoop, audit: Audit, trace: _Trace, verdict: Verdict, complain: Callable[[str], None]
) -> None:
    case = verdict.case
    plan = case.plan()
    trouble = Trouble(case.seed, plan.noise)

    database_clock = SimClock(loop)
    database = DatabaseServer(Database(now=database_clock.now, on_commit=audit.committed), trouble)
    audit.database = database.database
    audit.max_losses = plan.max_losses
    broker = BrokerServer(
        trouble, on_publish=audit.published, on_deliver=audit.delivered, on_ack=audit.acknowledged
    )
    stories = random_stories(Random(f"{case.seed}:stories"), plan.stories, deadly=plan.deadly)
    if case.stories is not None:
        stories = [story for number, story in enumerate(stories) if number in case.stories]
        for story in stories:
            story.after = [other for other in story.after if other in stories]
    new, old = RELEASES[plan.behind]
    cluster = Cluster(
        loop=loop,
        plan=plan,
        app=make_app(audit, new),
        old_app=make_app(audit, old),
        database_clock=database_clock,
        database=database,
        broker=broker,
        stories=stories,
        ids=Random(f"{case.seed}:ids"),
        mend=audit.mended.add,
        note=trace.note,
        complain=complain,
    )
    verdict.counts = trouble.counts
    trace.note(f"{plan}")
    for story in stories:
        trace.note(f"{story}")
    cluster.begin()
    await Chaos(cluster).run(plan.faults, plan.duration)
    patience = loop.time() + _PATIENCE
    while loop.time() < patience and not (at_rest(cluster) or verdict.violations):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.5)
    if not verdict.violations:
        for text in violations(cluster, audit):
            complain(text)


@contextmanager
def _surroundings(case: Case, complain: Callable[[str], None], verbose: bool) -> Iterator[None]:
    """What is global in a process: the module `random` (tenacity's waits) and logging."""
    state = random.getstate()
    random.seed(case.seed)
    logger = logging.getLogger("tenuto")
    threads = [patch.object(module, "Threads", SimThreads) for module in (worker, local)]
    on_purpose = ["the database refuses"]  # as the simulated one does (rule C6)
    if case.plan().behind == "events":  # an older release that comes back finds what was written meanwhile
        on_purpose.append("its history cannot be read")
    handler = _Complaints(complain, on_purpose)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    if not verbose:
        logger.setLevel(logging.ERROR)
        logger.propagate = False
    try:
        with threads[0], threads[1]:
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        random.setstate(state)


def _words(context: dict[str, Any]) -> str:
    where = context.get("task") or context.get("future") or context.get("handle")
    return f"asyncio: {context.get('message')}: {context.get('exception')!r} ({where})"
