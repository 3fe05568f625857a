"""Answers on their way to the owners: results, and tasks that go back.

One loop takes what is ready, folds it into one message per owner's queue and kind, publishes all of them with
one call and, once they are confirmed, settles their jobs (rule W3). While a publish is in flight the next
fold forms by itself, so nothing lingers at idle and nothing is published singly under load.

An answer is never given up while the process lives: what the broker did not confirm is published again,
beside the loop, with back-off; until then the delivery of its task stays unacknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, assert_never

import msgspec
from tenacity import AsyncRetrying, retry_if_result, wait_exponential, wait_random

from tenuto.broker.protocol import Broker, Outcome, Outgoing
from tenuto.core.events import Failure
from tenuto.faults import Faults
from tenuto.messages import ActivityResult, Results, Returned, encode
from tenuto.sealing import Sealer
from tenuto_worker.folding import FOLD_BYTES, split
from tenuto_worker.holdings import Holdings, Job

__all__ = ["Answer", "Answers"]

_logger = logging.getLogger("tenuto.worker")

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0
"""Seconds between attempts to publish what was not confirmed."""
_ANSWER_BYTES: Final = 300
"""About what an answer takes in a message besides its payload."""
_MESSAGE_KEPT: Final = 2_000
"""Characters that are kept of a failure's message when the failure as a whole is too large for the broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What becomes of a job."""

    job: Job
    result: ActivityResult | None
    """None: the task goes back to its owner (rule W1)."""
    counted: bool = False
    """It goes back because its worker died with it, alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    """A message with the answers in it. All of one kind."""

    queue: str
    answers: Sequence[Answer]
    outgoing: Outgoing


class Answers:
    """The way out of one worker."""

    def __init__(
        self,
        broker: Broker,
        holdings: Holdings,
        faults: Faults,
        *,
        sealer: Sealer | None = None,
        fold_bytes: int = FOLD_BYTES,
    ) -> None:
        self._broker = broker
        self._sealer = sealer or Sealer()
        self._holdings = holdings
        self._faults = faults
        self._fold_bytes = fold_bytes
        self._ready: list[Answer] = []
        self._wake = asyncio.Event()
        self._open = 0
        self._none_open = asyncio.Event()
        self._none_open.set()

    def give(self, answer: Answer) -> None:
        """Send the answer, unless its job has one already: the first counts (rule W3)."""
        if answer.job.answered:
            return
        answer.job.answered = True
        self._ready.append(self._sealed(answer))
        self._open += 1
        self._none_open.clear()
        self._wake.set()

    def _sealed(self, answer: Answer) -> Answer:
        task, pulse = answer.job.task, answer.job.pulse
        if pulse.details is not None:
            pulse.details = self._sealer.seal_payload(pulse.details, task.instance)
        if answer.result is None:
            return answer
        result = self._sealer.seal(answer.result, answer.job.task.instance)
        return answer if result is answer.result else replace(answer, result=result)

    async def confirmed(self) -> None:
        """Wait until every answer given so far is confirmed."""
        await self._none_open.wait()

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as insisting:
            while True:
                await self._wake.wait()
                self._wake.clear()
                ready, self._ready = self._ready, []
                unconfirmed = await self._publish(self._fold(ready))
                if unconfirmed:
                    insisting.create_task(self._insist(unconfirmed))

    def _fold(self, answers: Iterable[Answer]) -> list[_Envelope]:
        groups: defaultdict[tuple[str, bool, bool], list[Answer]] = defaultdict(list)
        for answer in answers:
            groups[answer.job.task.reply_to, answer.result is None, answer.counted].append(answer)
        return [
            _seal(queue, part)
            for (queue, _, _), group in groups.items()
            for part in split(group, _size, limit=self._fold_bytes)
        ]

    async def _publish(self, envelopes: Sequence[_Envelope]) -> list[_Envelope]:
        """Publish, settle what is confirmed, and give what must be published again."""
        outcomes = await self._broker.publish([envelope.outgoing for envelope in envelopes])
        again: list[_Envelope] = []
        confirmed: list[Answer] = []
        for envelope, outcome in zip(envelopes, outcomes, strict=True):
            match outcome:
                case Outcome.CONFIRMED:
                    confirmed.extend(envelope.answers)
                case Outcome.RETURNED | Outcome.UNKNOWN:
                    again.append(envelope)
                case Outcome.REFUSED:
                    again.extend(_smaller(envelope))
                case _:
                    assert_never(outcome)
        if confirmed:
            await self._faults.reach("worker.answered")
            self._settle(confirmed)
        return again

    def _settle(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            self._holdings.settle(answer.job)
        self._open -= len(answers)
        if not self._open:
            self._none_open.set()

    async def _insist(self, unconfirmed: list[_Envelope]) -> None:
        """Publish until all is confirmed.

        The broker is away, or was wiped and its queues are not declared again yet.
        """
        queues = ", ".join(sorted({envelope.queue for envelope in unconfirmed}))
        _logger.info("Answers to %s are not confirmed; they are published again until they are.", queues)
        remaining = unconfirmed

        async def publish() -> bool:
            nonlocal remaining
            remaining = await self._publish(remaining)
            return bool(remaining)

        waits = wait_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT) + wait_random(0, _FIRST_WAIT)
        await AsyncRetrying(retry=retry_if_result(bool), wait=waits)(publish)


def _seal(queue: str, answers: Sequence[Answer]) -> _Envelope:
    results = [answer.result for answer in answers if answer.result is not None]
    message: Results | Returned
    if results:
        message = Results(results=results)
    else:
        tasks = [answer.job.report() for answer in answers]
        message = Returned(tasks=tasks, counted=answers[0].counted)
    return _Envelope(queue=queue, answers=answers, outgoing=Outgoing(queue=queue, body=encode(message)))


def _size(answer: Answer) -> int:
    size = _ANSWER_BYTES + len(answer.job.task.instance)
    if answer.job.pulse.details is not None:
        size += memoryview(answer.job.pulse.details).nbytes
    if answer.result is None:
        return size
    if answer.result.result is not None:
        return size + memoryview(answer.result.result).nbytes
    failure = answer.result.failure
    if failure is not None and failure.sealed is not None:
        size += memoryview(failure.sealed).nbytes
    while failure is not None:
        size += len(failure.message) + len(failure.stack)
        failure = failure.cause
    return size


def _smaller(envelope: _Envelope) -> list[_Envelope]:
    """What to publish in place of a message that the broker refuses for its size (rule B4).

    Its answers one by one, and in place of a single answer a failure that says so.
    """
    if len(envelope.answers) > 1:
        return [_seal(envelope.queue, [answer]) for answer in envelope.answers]
    (answer,) = envelope.answers
    if answer.result is None:
        answer.job.pulse.details = None  # nothing else of it can be large
        return [_seal(envelope.queue, [answer])]
    failure = _refusal(answer.result, len(envelope.outgoing.body))
    shrunk = Answer(
        job=answer.job,
        result=msgspec.structs.replace(answer.result, result=None, failure=failure, details=None),
    )
    return [_seal(envelope.queue, [shrunk])]


def _refusal(result: ActivityResult, size: int) -> Failure:
    if result.failure is None:
        return Failure(
            type="PayloadError",
            message=f"The result of activity {result.name!r} makes a message of {size} bytes, which the "
            "broker does not take. Store the data elsewhere and return a reference to it, or raise the "
            "broker's limit.",
            retryable=False,
        )
    return Failure(
        type=result.failure.type,
        message=f"{result.failure.message[:_MESSAGE_KEPT]}… (cut: the failure made a message of {size} "
        "bytes, which the broker does not take)",
        retryable=result.failure.retryable,
    )
