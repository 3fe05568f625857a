"""Ids, failures, durations."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from tenuto import ActivityError, NonRetryableError, PayloadError, UsageError
from tenuto.core import ids
from tenuto.core.durations import after
from tenuto.core.events import Failure
from tenuto.core.failures import describe, failure_from
from tenuto.naming import check_instance_id
from tests.unit.core.bench import RUN, START


@pytest.mark.semantics("The idempotency key")
def test_derived_ids_differ_by_each_of_their_parts() -> None:
    wheres = [(RUN, 0, 1, 2), ("f" * 32, 0, 1, 2), (RUN, 1, 1, 2), (RUN, 0, 2, 2), (RUN, 0, 1, 3)]
    made = [make(*where) for where in wheres for make in (ids.child_run, ids.child_seed)]
    assert len(set(made)) == len(made)
    assert all(UUID(each).version == 5 for each in made)
    assert ids.child_run(*wheres[0]) == ids.child_run(*wheres[0])


def test_ids_never_change_between_releases() -> None:
    """Histories are kept for ever, so what is derived from them may not move."""
    assert ids.child_run(RUN, 0, 1, 2) == "e77d397bd16b5eb59d400fa5d329542e"
    assert ids.child_seed(RUN, 0, 1, 2) == "16e5ce1c177550bdab69fb5d652e8c0a"
    assert str(ids.code_uuid("seed", 0, 1)) == "0d14c3ed-0919-5967-8f3c-77bdf7fa4202"
    assert ids.idempotency_key("seed", 2, 7) == "seed:2:7"


@pytest.mark.parametrize("length", [1, 200, 246, 247, 256])
def test_child_ids_are_never_too_long(length: int) -> None:
    child = ids.child_instance("x" * length, RUN, 1)
    assert len(child) <= ids.MAX_INSTANCE_ID
    assert child.startswith("x" * length) == (length <= 245)
    assert ids.valid_instance(child) == child
    assert ids.child_instance("y" * length, RUN, 1) != child


@pytest.mark.semantics("Ids")
@pytest.mark.parametrize("instance", ["a", "x" * 256, "Größe:1 ½", "日本"])
def test_valid_instance_ids(instance: str) -> None:
    assert ids.valid_instance(instance) == instance
    check_instance_id(instance)


@pytest.mark.semantics("Ids")
@pytest.mark.parametrize("instance", ["", "x" * 257, "a\tb", "\x7f", "\ud800", "a\u2028b", "a\u2029b"])
def test_invalid_instance_ids(instance: str) -> None:
    with pytest.raises(ValueError, match="instance id") as inside:
        ids.valid_instance(instance)
    with pytest.raises(UsageError) as outside:  # the same everywhere
        check_instance_id(instance)
    assert str(inside.value) == str(outside.value)


def caught(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause  # noqa: TRY301 - what is tested
    except BaseException as raised:  # noqa: BLE001 - what is tested
        return raised


def test_a_failure_tells_type_message_stack_and_causes() -> None:
    try:
        try:
            raise KeyError("inner")  # noqa: TRY301 - what is tested
        except KeyError:
            raise ValueError("outer")  # noqa: B904 - what is tested
    except ValueError as error:
        failure = failure_from(error)
    assert (failure.type, failure.message, failure.retryable) == ("ValueError", "outer", True)
    assert 'raise ValueError("outer")' in failure.stack
    assert failure.cause is not None
    assert (failure.cause.type, failure.cause.message, failure.cause.cause) == ("KeyError", "'inner'", None)


def test_a_suppressed_context_is_no_cause() -> None:
    assert failure_from(caught(ValueError("x"))).cause is None


def test_the_failure_of_an_activity_goes_along() -> None:
    inner = Failure(type="OSError", message="disk")
    assert failure_from(ActivityError("activity failed", inner)).cause == inner
    explicit = failure_from(caught(ActivityError("activity failed", inner), KeyError("k"))).cause
    assert explicit is not None
    assert explicit.type == "KeyError"


class MyFinalError(NonRetryableError):
    pass


@pytest.mark.parametrize(
    ("error", "retryable"), [(MyFinalError(), False), (PayloadError("x"), False), (OSError(), True)]
)
def test_what_is_worth_another_attempt(error: Exception, retryable: bool) -> None:
    assert failure_from(error).retryable is retryable


def test_a_ring_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    depth, failure = 0, failure_from(one).cause
    while failure is not None:
        depth, failure = depth + 1, failure.cause
    assert 1 < depth < 20


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_messages_that_cannot_be_shown_or_sent() -> None:
    assert failure_from(UnspeakableError()).message == "(its message cannot be shown: RuntimeError)"
    assert failure_from(ValueError("\ud800")).message == "?"
    assert describe(Failure(type="E", message="")) == "E"
    assert describe(Failure(type="E", message="m")) == "E: m"


def test_a_duration_ahead() -> None:
    assert after(START, 1.5) - START == timedelta(seconds=1.5)
    assert after(START, timedelta.min) == START
    assert after(START, float("-inf")) == START
    assert after(START, float("inf")).year == 9999
