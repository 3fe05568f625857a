"""The registry of workflows and activities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tenuto import App, PayloadError, RetryPolicy, UsageError, WorkflowContext
from tenuto.app import activity_of, workflow_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from nowhere import Unknown  # type: ignore[import-not-found]  # what is tested


@dataclass
class Order:
    number: int


async def charge(order: Order) -> Order:
    return order


def ping() -> str:
    return "pong"


def dapr_style(ctx: Any, order: Order) -> int:
    return int(ctx) + order.number


def with_default(number: int = 7) -> int:
    return number


def defaulted_dapr_style(ctx: Any, number: int | None = None) -> Any:
    return [ctx, number]


def knows_itself(info: ActivityContext) -> Any:  # type: ignore[name-defined]  # noqa: F821 - only the name counts
    return info


async def job(ctx: WorkflowContext, order: Order) -> int:
    return order.number


def old_job(ctx: WorkflowContext, order: Order) -> Generator[Any, Any, str]:
    yield ctx.create_timer(1)
    return "done"


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def test_decorators_give_back_the_function_itself() -> None:
    app = App("orders")
    assert app.activity(charge) is charge
    assert (
        app.activity(name="charge again", pool="p", retry=RetryPolicy(), start_to_close=5)(charge) is charge
    )
    assert app.workflow(job) is job
    assert app.workflow(version="2")(job) is job


def test_an_activity_is_defined_by_its_function_and_options() -> None:
    app = App("orders")
    policy = RetryPolicy(max_attempts=5)
    app.activity(charge)
    app.activity(name="ping it", pool="network", retry=policy, start_to_close=timedelta(minutes=2))(ping)
    plain, rich = app.activities["charge"], app.activities["ping it"]
    assert (plain.pool, plain.retry, plain.timeouts.start_to_close, plain.is_async) == (
        "default",
        None,
        None,
        True,
    )
    assert (rich.pool, rich.retry, rich.timeouts.start_to_close, rich.is_async) == (
        "network",
        policy,
        120.0,
        False,
    )


@pytest.mark.parametrize(
    ("function", "takes_context", "payload", "result"),
    [
        (ping, False, None, "pong"),
        (dapr_style, True, {"number": 5}, 105),
        (with_default, False, None, 7),
        (with_default, False, 8, 8),
        (defaulted_dapr_style, True, None, [100, None]),
        (defaulted_dapr_style, True, 3, [100, 3]),
        (knows_itself, True, None, 100),
    ],
)
def test_activities_are_called_with_what_they_take(
    function: Any, takes_context: bool, payload: Any, result: Any
) -> None:
    app = App("orders")
    app.activity(name="it")(function)
    definition = app.activities["it"]
    assert definition.takes_context is takes_context
    found = definition.call(100, definition.decode_input(raw(payload)))
    assert found == result
    assert msgspec.json.decode(definition.encode_result(found)) == result


async def test_inputs_are_converted_by_the_hints() -> None:
    app = App("orders")
    app.activity(charge)
    definition = app.activities["charge"]
    assert definition.decode_input(b'{"number":5}') == Order(5)
    assert await definition.call(None, Order(5)) == Order(5)
    assert (definition.input_hint, definition.output_hint) == (Order, Order)
    with pytest.raises(PayloadError, match="the input of 'charge' does not fit"):
        definition.decode_input(b'{"number":"5"}')


def test_what_a_workflow_finally_returns_is_its_result() -> None:
    app = App("orders")
    app.workflow(job)
    app.workflow(old_job)
    assert app.workflows["job"].output_hint is int
    assert not app.workflows["job"].is_generator
    assert app.workflows["old_job"].is_generator
    assert app.workflows["old_job"].output_hint is str, "though Generator is imported for type checkers only"


def test_a_type_that_cannot_be_found_is_an_error_that_names_it() -> None:
    def lost(order: Unknown) -> None:
        pass

    app = App("orders")
    app.activity(lost)
    with pytest.raises(UsageError, match=r"Unknown.*at module level"):
        app.activities["lost"].decode_input(b"1")


def test_a_name_is_taken_once() -> None:
    app = App("orders")
    app.activity(charge)
    app.workflow(job)
    with pytest.raises(UsageError, match="has an activity 'charge' already"):
        app.activity(name="charge")(ping)
    with pytest.raises(UsageError, match="has a workflow 'job' already"):
        app.workflow(name="job")(old_job)


@pytest.mark.semantics("Several versions")
def test_versions() -> None:
    app = App("orders")
    for version in ("1", "3", "2"):
        app.workflow(name="job", version=version)(job)
    assert app.versions("job") == ("1", "3", "2")
    assert app.versions("unknown") == ()
    assert app.resolve("job", "1") is not app.resolve("job", "3")
    assert app.resolve("job", "4") is None
    assert app.resolve("unknown", None) is None
    assert app.latest("unknown") is None
    latest = app.latest("job")
    assert latest is not None
    assert latest.version == "2"
    assert app.resolve("job", None) is latest
    assert app.workflows["job"] is latest
    assert app.find_workflow("job") is latest


def test_an_unversioned_instance_keeps_the_unversioned_code() -> None:
    app = App("orders")
    app.workflow(name="job")(job)
    app.workflow(name="job", version="2")(old_job)
    old = app.resolve("job", None)
    assert old is not None
    assert old.function is job
    latest = app.latest("job")
    assert latest is not None
    assert latest.function is old_job


def test_definitions_are_found_by_function() -> None:
    one, two = App("one"), App("two")

    def work() -> None:
        pass

    def flow(ctx: WorkflowContext) -> None:
        pass

    one.activity(name="first")(work)
    two.activity(name="second")(work)
    one.workflow(name="first", version="1")(flow)
    two.workflow(name="second")(flow)
    for app, name in ((one, "first"), (two, "second"), (App("three"), "second")):
        activity, workflow = app.find_activity(work), app.find_workflow(flow)
        assert activity is not None
        assert workflow is not None
        assert (activity.name, workflow.name) == (name, name)
    assert one.find_activity("first") is one.activities["first"]
    assert one.find_activity("unknown") is None
    assert one.find_activity(lambda: None) is None
    assert one.find_workflow(object()) is None
    assert activity_of(work) is two.activities["second"]
    assert workflow_of(flow) is two.workflows["second"]


def test_an_app_can_include_another() -> None:
    library, app = App("library"), App("orders")
    library.activity(charge)
    library.workflow(name="job", version="1")(job)
    library.workflow(name="job", version="2")(job)
    app.include(library)
    app.include(library)
    assert app.activities == library.activities
    assert app.versions("job") == ("1", "2")
    other = App("other")
    other.activity(name="charge")(ping)
    with pytest.raises(UsageError, match="already"):
        app.include(other)


def two_inputs(ctx: Any, one: int, two: int) -> None: ...


def needs_keyword(*, number: int) -> None: ...


async def gives_many(ctx: Any) -> Any:
    yield 1


def no_context() -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (two_inputs, "more than one input"),
        (needs_keyword, "keyword-only parameter 'number'"),
        (gives_many, "async generator"),
        (no_context, "takes the context as its first parameter"),
        (len, "is no function"),
        (5, "has no name"),
        (partial(job), "has no name"),
    ],
)
def test_functions_that_cannot_be_workflows(function: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        App("orders").workflow(function)


def test_functions_that_cannot_be_activities() -> None:
    with pytest.raises(UsageError, match="more than one input"):
        App("orders").activity(two_inputs)


def test_a_partial_can_be_registered_under_a_name() -> None:
    def add(by: int, number: int) -> int:
        return by + number

    app = App("orders")
    app.activity(name="add five")(partial(add, 5))
    definition = app.activities["add five"]
    assert definition.call(None, definition.decode_input(raw(3))) == 8


class Till:
    def __init__(self, currency: str) -> None:
        self.currency = currency

    def charge(self, order: Order) -> str:
        return f"{order.number} {self.currency}"


def test_methods_of_objects_are_activities() -> None:
    app = App("orders")
    euros, pounds, unknown = Till("EUR"), Till("GBP"), Till("CHF")
    app.activity(name="euros")(euros.charge)
    app.activity(name="pounds")(pounds.charge)
    found = app.activities["euros"]
    assert found.call(None, found.decode_input(raw({"number": 5}))) == "5 EUR"
    assert app.find_activity(euros.charge) is app.activities["euros"]
    assert app.find_activity(pounds.charge) is app.activities["pounds"]
    assert app.find_activity(unknown.charge) is None
    assert activity_of(euros.charge) is None, "the mark is the last registration's"
    assert activity_of(pounds.charge) is app.activities["pounds"]


def adds(a: int, b: int) -> int:
    return a + b


def looks_up(table: dict[str, Any], key: str) -> Any:
    return table[key]


@pytest.mark.parametrize("function", [adds, looks_up])
def test_two_inputs_are_not_taken_for_a_context_and_an_input(function: Any) -> None:
    app = App("orders")
    with pytest.raises(UsageError, match="more than one input"):
        app.activity(function)
    assert not app.activities


def bare(first, second):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - that is the case
    return first, second


def named(ctx: Order, number: int) -> int:
    return number


def anything(first: object, number: int) -> int:
    return number


def maybe(info: ActivityContext | None, number: int) -> int:  # type: ignore[name-defined]  # noqa: F821 - as above
    return number


@pytest.mark.parametrize("function", [bare, named, anything, maybe, dapr_style])
def test_what_may_be_a_context_is_one(function: Any) -> None:
    app = App("orders")
    app.activity(function)
    assert app.activities[function.__name__].takes_context


def test_an_app_tells_what_it_holds() -> None:
    app = App("orders")
    app.activity(ping)
    app.workflow(job)
    assert repr(app) == "App('orders', workflows=['job'], activities=['ping'])"
