"""Random stories."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tenuto.core.reserved import schedule_instance
from tenuto.payloads import encode
from tenuto.schedules import Overlap, Plan
from tests.simulation.program import (
    WORKFLOW,
    Fail,
    Fragile,
    Job,
    Poison,
    Send,
    Step,
    events_expected,
)
from tests.simulation.random_programs import random_steps
from tests.simulation.story import (
    Deed,
    Forge,
    Mend,
    Purge,
    Raise,
    RaiseTooLate,
    Restart,
    Result,
    Resume,
    Rewind,
    SeeStalled,
    Start,
    Story,
    Suspend,
    Terminate,
    Wait,
)
from tests.simulation.timetable import Arrange, Dismiss, Tell, Timetable

__all__ = ["random_stories"]


def random_stories(chance: Random, count: int, *, deadly: bool = False) -> list[Story]:
    stories: list[Story] = []
    for number in range(count):
        name = f"order-{number}"
        match chance.choices(("ordinary", "poisoned", "scheduled", "fragile"), (80, 4, 8, 8))[0]:
            case "poisoned":
                story = _poisoned_story(chance, name, deadly=deadly)
            case "scheduled":
                story = _scheduled_story(chance, name)
            case "fragile":
                story = _fragile_story(chance, name, deadly=deadly)
            case _:
                story = _random_story(chance, name, stories, deadly=deadly)
        stories.append(story)
    return stories


def _scheduled_story(chance: Random, name: str) -> Story:
    steps = random_steps(chance, name, depth=0, top=False)
    plan = Plan(
        workflow=WORKFLOW,
        input=encode(Job(label=name, steps=steps)),
        every=chance.choice((0.7, 2.5)),
        overlap=chance.choice((Overlap.ALLOW, Overlap.ALLOW, *Overlap)),
        catch_up=1000,
    )
    deeds: list[Deed] = [Wait(chance.uniform(0, 6)), Arrange(plan=plan), Wait(chance.uniform(1, 6))]
    paused = chance.random() < 0.3
    if paused:
        deeds += [Tell("pause"), Wait(chance.uniform(0, 3)), Tell("resume"), Wait(chance.uniform(0, 3))]
    if chance.random() < 0.3:
        deeds += [Tell("trigger"), Wait(chance.uniform(0, 1))]
    table = Timetable(name=name, plan=plan, paused=paused)
    return Story(instance=schedule_instance(name), deeds=[*deeds, Dismiss()], timetable=table)


def _fragile_story(chance: Random, instance: str, *, deadly: bool) -> Story:
    """Its workflow fails, and goes on once what was broken is mended. Events that came too late are sent again."""
    steps = random_steps(chance, instance, deadly=deadly)
    place = chance.randint(0, len(steps))
    steps.insert(place, Fragile(name=instance, nested=chance.random() < 0.5))
    again: list[Deed] = [Raise(event.name) for event in events_expected(steps)]
    deeds = [*_beginning(chance, instance, steps), Result(), Mend(instance), Rewind(), *again, Result()]
    if chance.random() < 0.3:
        deeds += [Restart(f"{instance}/again"), *again, Result()]
    return Story(instance=instance, deeds=deeds)


def _poisoned_story(chance: Random, instance: str, *, deadly: bool) -> Story:
    """Its instance stalls, for the database refuses its data, and can only be terminated."""
    before = random_steps(chance, instance, depth=0, top=False, deadly=deadly)
    steps: list[Step] = [*(step for step in before if not isinstance(step, Fail)), Poison()]
    deeds: list[Deed] = [Wait(chance.uniform(0, 6)), _random_start(chance, instance, steps, 0)]
    deeds += [SeeStalled(), Wait(chance.uniform(0, 2)), Terminate(), Result()]
    return Story(instance=instance, deeds=deeds)


def _random_story(chance: Random, instance: str, earlier: list[Story], *, deadly: bool) -> Story:
    steps = random_steps(chance, instance, deadly=deadly)
    deeds = _beginning(chance, instance, steps)
    if chance.random() < 0.05:
        deeds.insert(1, Forge())
    restarts = chance.random() < 0.15
    if chance.random() < 0.15:
        deeds += [Suspend()] if chance.random() < 0.3 else []
        deeds += [Wait(chance.uniform(0, 4)), Terminate()]
    elif chance.random() < 0.05:
        deeds += [Wait(chance.uniform(0, 4)), Purge(force=True)]
        return Story(instance=instance, deeds=deeds)
    if not restarts and chance.random() < 0.15:
        again: list[Deed] = [Raise(event.name) for event in events_expected(steps)]
        over = isinstance(deeds[-1], Terminate) and b"Locked" not in bytes(encode(steps))
        deeds += [Rewind()] if over else [Result(), Restart(f"{instance}/again")]
        deeds += [*again, Result()]
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
    return chance.choices(([], [Purge()], [RaiseTooLate()], [Purge(), RaiseTooLate()]), (6, 1, 2, 1))[0]


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
    kinds = (Terminate, Start, Purge, Rewind, Restart)
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
