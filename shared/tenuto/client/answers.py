"""What became of a request: from the words of a notification, or from what the instance shows."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from tenuto import errors
from tenuto.client.instance import InstanceStatus
from tenuto.client.transport import Ask
from tenuto.core.letters import Purge, Raise, Resume, Rewind, Suspend, Terminate
from tenuto.errors import AlreadyExistsError, InstanceOverError, NotFoundError, RequestError, TenutoError
from tenuto.store.protocol import InstanceRecord

__all__ = ["judge", "judge_rerun", "judge_start", "not_found", "refusal"]


def refusal(text: str) -> TenutoError:
    """The exception that an owner's `Name: message` stands for; of a newer release's name, a `RequestError`."""
    name, separator, message = text.partition(": ")
    kind = getattr(errors, name, None)
    if separator and isinstance(kind, type) and issubclass(kind, TenutoError):
        return kind(message)
    return RequestError(text)


def not_found(instance: str, *, started_here: bool = False) -> NotFoundError:
    """`started_here`: by this client, which did not wait for it; then it may be in the user's own transaction."""
    why = "the transaction of its start has not been committed" if started_here else "it was never started"
    return NotFoundError(f"There is no instance {instance!r}: {why}, or it has been purged.")


def judge_start(instance: str, run: str | None, record: InstanceRecord | InstanceStatus | None) -> None:
    """A start of `run` was dealt with, and the instance now shows `record`. Raises if that means a refusal."""
    if record is not None and run is not None and record.run != run:
        raise AlreadyExistsError(
            f"Instance {instance!r} exists and is {record.status}; choose another id, or start with a reuse policy."
        )


def judge_rerun(instance: str, run: str | None, record: InstanceRecord | InstanceStatus | None) -> None:
    """As `judge_start`, of a rerun: that it is refused shows only in there being no such instance."""
    judge_start(instance, run, record)
    if record is None:
        raise RequestError(
            f"Instance {instance!r} was not made, or has been purged since: only an instance that has ended can be "
            "rerun, from an activity, a timer or a child in its history."
        )


def judge(
    instance: str, letter: Ask | Purge, record: InstanceRecord | InstanceStatus | None, *, asked_at: datetime
) -> None:
    """A letter was dealt with, without a notification that says how; the instance now shows `record`.

    An instance that ended before the letter was sent must have refused it. That compares two clocks, so a letter
    within their difference of the end may be taken for accepted; only a notification is exact.

    Raises:
        NotFoundError, InstanceOverError, RequestError: as the owner must have answered.
    """
    match letter:
        case Purge():
            if record is not None and record.created_at <= asked_at and not record.status.is_terminal:
                raise RequestError(
                    f"Instance {instance!r} is {record.status}; terminate it first, or purge with force."
                )
        case Rewind():
            if record is None:
                raise not_found(instance)
            if record.ended_at is not None and record.ended_at < asked_at:
                raise RequestError(f"Instance {instance!r} could not be rewound: it is {record.status}.")
        case Raise() | Suspend() | Resume() | Terminate():
            if record is None and not (isinstance(letter, Raise) and letter.create is not None):
                raise not_found(instance)
            if record is not None and record.ended_at is not None and record.ended_at < asked_at:
                raise InstanceOverError(f"Instance {instance!r} has ended: it is {record.status}.")
        case _:
            assert_never(letter)
