"""Histories as drawings, in Mermaid's language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tenuto.core.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ChildCompleted,
    ChildFailed,
    ChildScheduled,
    Event,
    EventRaised,
    EventSent,
    ExecutionStarted,
)
from tenuto_gateway.timeline import Step, Timeline, shorten

__all__ = ["sequence_diagram"]

_WIDTH = 60
"""Characters of a label."""
_ENTITIES = {"#": "#35;", ";": "#59;", "<": "#60;", ">": "#62;", '"': "#34;"}


def sequence_diagram(events: Iterable[Event]) -> str:
    """A history as a sequence diagram: the workflow, and all that it speaks with."""
    timeline = Timeline()
    names: dict[str, str] = {}
    lines: list[str] = []
    for event in events:
        for step in timeline.read([event]):
            lines += _lines(event, step, names)
    people = [f"    participant {short} as {_text(name)}" for name, short in names.items()]
    return "\n".join(["sequenceDiagram", "    participant W as workflow", *people, *lines])


def _lines(event: Event, step: Step, names: dict[str, str]) -> Iterator[str]:
    detail = _text(step.detail)
    match event:
        case ActivityScheduled() | ChildScheduled():
            yield f"    W->>{_short(step.subject, names)}: {detail or step.what}"
        case ActivityCompleted() | ChildCompleted():
            yield f"    {_short(step.subject, names)}-->>W: {detail or 'done'}"
        case ActivityFailed() | ChildFailed():
            yield f"    {_short(step.subject, names)}--xW: {detail}"
        case EventRaised():
            yield f"    {_short('outside', names)}-)W: {_text(step.subject)} {detail}".rstrip()
        case EventSent(instance=instance):
            yield f"    W-){_short(instance, names)}: {_text(step.subject)}"
        case ExecutionStarted(workflow=workflow):
            yield f"    Note over W: {_text(workflow)} {detail}".rstrip()
        case _:
            yield f"    Note over W: {_text(f'{step.what} {step.subject} {step.detail}'.strip())}"


def _short(name: str, names: dict[str, str]) -> str:
    return names.setdefault(name, f"P{len(names)}")


def _text(words: str) -> str:
    """A text that means nothing to Mermaid."""
    return "".join(_ENTITIES.get(character, character) for character in shorten(words, _WIDTH))
