"""Random stories."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tests.simulation.program import Fail, Poison, Send, Step, events_expected
from tests.simulation.random_programs import random_steps
from tests.simulation.story import (
    Deed,
    Purge,
    Raise,
    RaiseTooLate,
    Result,
    Resume,
    SeeStalled,
    Start,
    Story,
    Suspend,
    Terminate,
    Wait,
)

__all__ = ["random_stories"]


def random_stories(chance: Random, count: int, *, deadly: bool = False) -> list[Story]:
    stories: list[Story] = []
    for number in range(count):
        make = _poisoned_story if chance.random() < 0.04 else _random_story
        stories.append(make(chance, f"order-{number}", stories, deadly=deadly))
    return stories


def _poisoned_story(chance: Random, instance: str, _: list[Story], *, deadly: bool) -> Story:
    """Its instance stalls, for the database refuses its data, and can only be terminated."""
    before = random_steps(chance, instance, depth=0, top=False, deadly=deadly)
    steps: list[Step] = [*(step for step in before if not isinstance(step, Fail)), Poison()]
    deeds: list[Deed] = [Wait(chance.uniform(0, 6)), _random_start(chance, instance, steps, 0)]
    deeds += [SeeStalled(), Wait(chance.uniform(0, 2)), Terminate(), Result()]
    return Story(instance=instance, deeds=deeds)


def _random_story(chance: Random, instance: str, earlier: list[Story], *, deadly: bool) -> Story:
    steps = random_steps(chance, instance, deadly=deadly)
    deeds = _beginning(chance, instance, steps)
    restarts = chance.random() < 0.15
    if chance.random() < 0.15:
        deeds += [Suspend()] if chance.random() < 0.3 else []
        deeds += [Wait(chance.uniform(0, 4)), Terminate()]
    elif chance.random() < 0.05:
        deeds += [Wait(chance.uniform(0, 4)), Purge(force=True)]
        return Story(instance=instance, deeds=deeds)
    if not restarts or chance.random() < 0.5:
        deeds += [Result(), *_epilogue(chance)]
    if restarts:
        again = random_steps(chance, f"{instance}b")
        deeds += [Wait(chance.uniform(0, 2)), _random_start(chance, instance, again, 1, anew=True)]
        deeds += [Raise(event.name) for event in events_expected(again)]
        deeds.append(Result())
    if [type(deed) for deed in deeds] == [Wait, Start, Result] and chance.random() < 0.5:
        # A repetition of a start without an id may start the workflow once more, so nothing else must be asked of it.
        deeds[1] = Start(steps=steps, through="client", message_id=f"{instance}/0")
    story = Story(instance=instance, deeds=deeds)
    if earlier and chance.random() < 0.4:
        _correspond(chance, story, steps, chance.choice(earlier))
    return story


def _beginning(chance: Random, instance: str, steps: list[Step]) -> list[Deed]:
    """The start, and the events that the program waits for; in between it may be suspended for a while."""
    raises: list[Deed] = []
    for event in events_expected(steps):
        raises += [Wait(chance.choice((0.0, 0.5, 2.0))), Raise(event.name)]
    while chance.random() < 0.25:
        place = chance.randint(0, len(raises))
        raises[place:place] = [Suspend(), Wait(chance.uniform(0, 4)), Resume()]
    deeds = [Wait(chance.uniform(0, 6)), _random_start(chance, instance, steps, 0), *raises]
    if any(isinstance(deed, Raise) for deed in raises) and chance.random() < 0.2:
        _bring_along(deeds)
    return deeds


def _epilogue(chance: Random) -> list[Deed]:
    """What is asked of an instance that is over."""
    return chance.choices(([], [Purge()], [RaiseTooLate()]), (6, 2, 2))[0]


def _bring_along(deeds: list[Deed]) -> None:
    """The first event comes with the start, in place of by itself."""
    place = next(n for n, deed in enumerate(deeds) if isinstance(deed, Start))
    event = next(deed for deed in deeds if isinstance(deed, Raise))
    start = deeds[place]
    assert isinstance(start, Start)
    deeds[place] = replace(start, event=event.name)
    deeds.remove(event)


def _correspond(chance: Random, story: Story, steps: list[Step], other: Story) -> None:
    """Let the workflow send the other's event, in place of its user."""
    starts = [deed for deed in other.deeds if isinstance(deed, Start)]
    raises = [deed for deed in other.deeds if isinstance(deed, Raise)]
    kinds = (Terminate, Start, Purge)
    meddled = sum(isinstance(deed, kinds) for deed in other.deeds) > 1 or any(
        isinstance(deed, Terminate) or (isinstance(deed, Start) and deed.anew) for deed in story.deeds
    )
    if len(starts) != 1 or not raises or meddled:
        return
    moved = chance.choice(raises)
    other.deeds.remove(moved)
    steps.insert(0, Send(to=other.instance, name=moved.name))
    story.after.append(other)


def _random_start(
    chance: Random, instance: str, steps: list[Step], number: int, *, anew: bool = False
) -> Start:
    through = chance.choice(("client with id", "publisher", "door"))
    return Start(
        steps=steps,
        through=through,
        copies=chance.randint(1, 3) if through == "door" else 1,
        anew=anew,
        delay=chance.choice((0.5, 2.0)) if chance.random() < 0.1 else None,
        message_id=f"{instance}/{number}",
    )
