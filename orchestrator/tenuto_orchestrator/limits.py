"""What a turn must keep to before it is committed, and how many events may wait for an instance."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tenuto.core.letters import Raise
from tenuto.core.reserved import is_reserved
from tenuto.core.state import State
from tenuto.core.turn import Arrival, Turn
from tenuto.errors import StalledError
from tenuto.settings import OrchestratorSettings
from tenuto_orchestrator.change import Change
from tenuto_orchestrator.environment import Environment
from tenuto_orchestrator.work import Item

__all__ = ["check_turn", "refuse_events"]

_log = logging.getLogger("tenuto.orchestrator")
_ADVICE = (
    "let its code continue as new (ctx.continue_as_new) now and then, so that it begins with an empty history"
)


def check_turn(env: Environment, state: State, turn: Turn) -> None:
    """Let a turn pass that may be committed. `state` is that after it.

    Raises:
        StalledError: some orchestrator could not read its events (rule U1), or the history would become too long.
    """
    env.readers.check(state.instance, turn)  # rule U1
    _check_history(env.settings, state, turn)


def _check_history(settings: OrchestratorSettings, state: State, turn: Turn) -> None:
    if not turn.events or turn.next_generation or state.status.is_terminal:
        return  # it grows no further
    if state.length > settings.history_limit:
        raise StalledError(
            f"the history of instance {state.instance!r} (workflow {state.workflow!r}) would have {state.length} "
            f"events, and TENUTO_HISTORY_LIMIT is {settings.history_limit}: {_ADVICE}; or raise the limit, or "
            "terminate it"
        )
    if state.length - len(turn.events) <= settings.history_warning < state.length:
        _log.warning(
            "the history of instance %r (workflow %r) has %d events by now, and with %d it is stalled: %s",
            *(state.instance, state.workflow, state.length, settings.history_limit, _ADVICE),
        )


def refuse_events(change: Change, items: Sequence[Item], limit: int) -> Sequence[Item]:
    """Where so many events wait already, refuse others; returns what is left. Those of one batch are taken together.

    Tenuto's own are free of the limit: whoever waits for a lock would wait for ever if its grant were dropped.
    """
    execution = change.resident.execution if change.resident is not None else None
    if execution is None or execution.waiting_events < limit:
        return items
    left = []
    for item in items:
        match item.work:
            case Arrival(what=Raise(name=name, request=request)) if not is_reserved(name.casefold()):
                reason = (
                    f"{execution.waiting_events} events wait for instance {change.instance!r} already, and "
                    f"TENUTO_WAITING_EVENTS is {limit}: try again once it has taken some"
                )
                change.take(item)
                change.answer(request, f"RequestError: {reason}")
                _log.warning("event %r dropped: %s", name, reason)
            case _:
                left.append(item)
    return left
