"""What becomes of a start whose id is taken: everybody who waits for it is told."""

from __future__ import annotations

import logging

from tenuto.core.events import Failure
from tenuto.core.letters import ChildEnded, Start
from tenuto.core.status import Status
from tenuto.messages import Reply, encode
from tenuto_orchestrator.change import Change, Envelope
from tenuto_orchestrator.work import Item

__all__ = ["refuse"]

_log = logging.getLogger("tenuto.orchestrator")


def refuse(change: Change, item: Item, letter: Start, status: Status, *, envelope: Envelope) -> None:
    """Use the start up, and tell the client, the parent and the queue that it named of the instance that is there."""
    message = (
        f"instance {change.instance!r} exists and is {status}; choose another id, or start with a reuse "
        f"policy that allows it"
    )
    failure = Failure(type="AlreadyExistsError", message=message, retryable=False)
    change.take(item)
    change.answer(letter.request, f"AlreadyExistsError: {message}")
    if letter.parent is None and letter.request is None and letter.reply is None:
        _log.warning("a detached start of %r is refused: %s", letter.workflow, message)
    if (parent := letter.parent) is not None:
        ended = ChildEnded(
            generation=parent.generation, command=parent.command, attempt=parent.attempt, failure=failure
        )
        change.letters.append(envelope(parent.instance, ended, parent.run))
    if letter.reply is not None:
        reply = Reply(
            instance_id=change.instance, workflow=letter.workflow, status="REFUSED", failure=failure
        )
        change.reply(letter.reply, encode(reply))
