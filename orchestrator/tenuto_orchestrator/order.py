"""The order of letters. Those that this process has committed itself reach it in memory, ahead of the inbox table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tenuto.core.letters import Purge, Raise, Rerun, Resume, Start, Suspend, Terminate
from tenuto.core.reserved import LOCK
from tenuto.core.turn import Arrival
from tenuto_orchestrator.residents import Resident
from tenuto_orchestrator.work import Item

__all__ = ["overtaking"]


def overtaking(items: Sequence[Item], resident: Resident | None) -> Iterator[Item]:
    """The letters that came straight from a commit of this process's, and do not find the run that they are for. It
    may be that the start of that run stands before them in the inbox, and nobody has read it yet (rule I1).

    A ticket that is given back to a lock always waits: the request for it may stand before it, whatever else is there.
    """
    record = resident.record if resident is not None else None
    started = False
    for item in items:
        match item.work:
            case Arrival(what=Raise(name=name)) if name == LOCK:
                if item.fresh:
                    yield item
            case _ if started:
                pass
            case Start(rewind=True) if item.fresh:  # its child's end, by the parent's, may stand before it
                yield item
            case Start() | Rerun():
                started = True
            case Purge() | Arrival(what=(Raise() | Suspend() | Resume() | Terminate())):
                run = None if item.row is None else item.row.run
                missed = record is None or record.status.is_terminal or run not in (None, record.run)
                if item.fresh and missed:
                    yield item
            case _:
                pass
