"""What can be done to an instance."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tenuto.client import WorkflowHandle
from tenuto.client.answers import refusal
from tenuto.core.letters import Purge, Raise, Rerun, Resume, Suspend, Terminate
from tenuto.core.reserved import LOCK, SCHEDULE, event_fault, lock_instance, schedule_instance
from tenuto.core.status import Status
from tenuto.errors import InstanceOverError, NotFoundError, RequestError, UsageError
from tests.unit.client.engine import NEVER, OFTEN, Engine

Verb = Callable[[WorkflowHandle[Any]], Coroutine[Any, Any, Any]]

VERBS: dict[str, Verb] = {
    "raise_event": lambda handle: handle.raise_event("approved", {"by": "Ada"}),
    "suspend": lambda handle: handle.suspend("lunch"),
    "resume": lambda handle: handle.resume("back"),
}
LOOKS = {"told": (NEVER, False), "looked": (OFTEN, True)}
"""How the client learns of what became of a request: a notification, or the slow look."""


@pytest.fixture(params=LOOKS)
def learning(request: pytest.FixtureRequest) -> tuple[float, bool]:
    return LOOKS[request.param]


async def test_the_letters_say_what_was_asked(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w")
        await handle.raise_event("approved", {"by": "Ada"})
        await handle.raise_event("nothing")
        await handle.suspend("lunch")
        await handle.resume("back")
        assert await handle.terminate([1], "enough")
        assert await handle.purge(force=True, recursive=False) == 1
    match running.owner.letters[1:]:
        case [
            Raise(name="approved", payload=first),
            Raise(name="nothing", payload=second),
            Suspend(reason="lunch"),
            Resume(reason="back"),
            Terminate(output=output, reason="enough"),
            Purge(force=True, recursive=False),
        ]:
            assert [bytes(raw) for raw in (first, second, output)] == [b'{"by":"Ada"}', b"null", b"[1]"]
        case other:
            pytest.fail(f"the letters were {other}")


async def test_a_rerun_says_what_was_asked(running: Engine) -> None:
    async with running.client() as client:
        old = await client.start("w")
        new = await old.rerun(3, instance_id="new")
        assert (new.instance_id, (await new.started()).instance_id) == ("new", "new")
        other = await old.rerun(4, input=None)
        assert other.instance_id not in {"new", old.instance_id}
    _, first, second = running.owner.letters
    assert isinstance(first, Rerun)
    assert isinstance(second, Rerun)
    assert (first.source, first.command, first.input) == (old.instance_id, 3, None)
    assert (second.command, bytes(second.input or b"")) == (4, b"null")
    assert len({first.run, second.run, first.seed, second.seed}) == 4


async def test_a_rerun_that_is_refused(running: Engine, learning: tuple[float, bool]) -> None:
    poll, running.owner.silent = learning
    running.owner.refuses_reruns = "RequestError: it was not made, there is no event 7"
    async with running.client(poll=poll) as client:
        old = await client.start("w", instance_id="old")
        with pytest.raises(RequestError, match="was not made"):
            await old.rerun(7, instance_id="new")
        with pytest.raises(UsageError, match="characters"):
            await old.rerun(7, instance_id="")


async def test_a_rerun_of_one_message_id_is_asked_for_once(running: Engine) -> None:
    async with running.client(poll=OFTEN) as client:
        old = await client.start("w", instance_id="old")
        made = [await old.rerun(1, message_id="m") for _ in range(2)]
    assert made[0].instance_id == made[1].instance_id
    assert sum(isinstance(letter, Rerun) for letter in running.owner.letters) == 1


@pytest.mark.semantics("Suspend")
async def test_a_suspended_instance_shows_its_reason(running: Engine) -> None:
    async with running.client() as client:
        handle = await client.start("w")
        await handle.suspend("lunch")
        status = await handle.status()
        assert (status.status, status.reason) == (Status.SUSPENDED, "lunch")
        await handle.resume()
        assert (await handle.status()).status is Status.RUNNING


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
async def test_verbs_on_what_is_not_there(running: Engine, verb: Verb, learning: tuple[float, bool]) -> None:
    poll, running.owner.silent = learning
    async with running.client(poll=poll) as client:
        with pytest.raises(NotFoundError, match="no instance 'nobody'"):
            await verb(client.get("nobody"))
        with pytest.raises(NotFoundError, match="no instance 'nobody'"):
            await client.get("nobody").terminate()


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
async def test_verbs_on_what_has_ended(running: Engine, verb: Verb, learning: tuple[float, bool]) -> None:
    poll, running.owner.silent = learning
    async with running.client(poll=poll) as client:
        handle = await client.start("w", instance_id="one")
        await running.owner.end("one")
        with pytest.raises(InstanceOverError, match=r"'one'.* is COMPLETED"):
            await verb(handle)


async def test_terminating_what_has_ended_changes_nothing_and_says_so(
    running: Engine, learning: tuple[float, bool]
) -> None:
    poll, running.owner.silent = learning
    async with running.client(poll=poll) as client:
        handle = await client.start("w")
        assert await handle.terminate()
        assert not await handle.terminate()
        completed = await client.start("w")
        await running.owner.end(completed.instance_id)
        assert not await completed.terminate()
        assert (await completed.status()).status is Status.COMPLETED


async def test_purging_what_is_alive_is_an_error_unless_forced(
    running: Engine, learning: tuple[float, bool]
) -> None:
    poll, running.owner.silent = learning
    async with running.client(poll=poll) as client:
        handle = await client.start("w", instance_id="one")
        with pytest.raises(RequestError, match="'one' is RUNNING"):
            await handle.purge()
        assert await handle.purge(force=True) == 1
        with pytest.raises(NotFoundError):
            await handle.purge()


@pytest.mark.semantics("Purge")
async def test_a_purge_counts_the_descendants_that_it_covers(running: Engine) -> None:
    async with running.client() as client:
        for instance, parent in [("a", ""), ("a1", "a"), ("a2", "a"), ("a11", "a1"), ("b", "")]:
            await client.start("w", instance_id=instance, tags={"parent": parent} if parent else None)
        for instance in ("a", "a1", "a11"):
            await running.owner.end(instance)
        assert await client.get("a").purge() == 3  # not a2, which is alive
        await client.start("w", instance_id="a")
        assert await client.get("a").purge(force=True) == 4


@pytest.mark.semantics("Each request is durable")
@pytest.mark.parametrize("verb", ["raise_event", "suspend", "resume", "terminate"])
async def test_a_verb_that_does_not_wait_only_sends(running: Engine, verb: str) -> None:
    async with running.client() as client:
        running.owner.pause()
        handle = client.get("nobody")
        arguments = ["name"] if verb == "raise_event" else []
        await getattr(handle, verb)(*arguments, wait=False)
        await running.owner.work()
    (letter,) = running.owner.letters
    assert getattr(letter, "request", None) is None


@pytest.mark.semantics("Each request is durable")
async def test_a_verb_that_takes_too_long_is_carried_out_all_the_same(running: Engine) -> None:
    async with running.client(request_timeout=0.01) as client:
        handle = await client.start("w", instance_id="one", timeout=NEVER)
        running.owner.pause()
        with pytest.raises(TimeoutError, match="Suspend for instance 'one' was not dealt with within"):
            await handle.suspend()
        await running.owner.work()
        assert (await handle.status()).status is Status.SUSPENDED


def test_refusals_are_read_back_as_they_were_raised() -> None:
    over = refusal("InstanceOverError: instance 'one' has ended: it is COMPLETED")
    assert isinstance(over, InstanceOverError)
    assert str(over) == "instance 'one' has ended: it is COMPLETED"


@pytest.mark.parametrize(
    "text", ["FutureError: of a newer release", "annotations: x", "no name at all", "TYPE_CHECKING: x"]
)
def test_a_refusal_that_is_not_known_is_a_request_error(text: str) -> None:
    unknown = refusal(text)
    assert type(unknown) is RequestError
    assert str(unknown) == text


@pytest.mark.semantics("Names that begin with tenuto")
@pytest.mark.parametrize("name", ["tenuto.lock:0", "Tenuto.Schedule"])
async def test_an_event_that_is_tenutos_own_is_refused(running: Engine, name: str) -> None:
    async with running.client() as client:
        with pytest.raises(UsageError, match="choose another"):
            await client.get("order").raise_event(name)
        with pytest.raises(UsageError, match="choose another"):
            await client.start("w", event=(name, None))
    assert not running.owner.letters


@pytest.mark.parametrize(
    ("name", "instance", "free"),
    [
        ("approved", "order", True),
        ("tenuto", "order", True),
        (SCHEDULE, schedule_instance("nightly"), True),
        (SCHEDULE, "order", False),
        (LOCK, lock_instance("printer"), False),
        (LOCK, schedule_instance("nightly"), False),
    ],
)
def test_of_tenutos_own_events_only_what_schedules_are_told_comes_from_clients(
    name: str, instance: str, free: bool
) -> None:
    assert (event_fault(name, instance) is None) is free
