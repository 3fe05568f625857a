"""The examples in virtual time: weeks of them in under two seconds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from tenuto import Status, WorkflowFailedError, WorkflowTerminatedError
from tenuto.testing import WorkflowEnvironment

Example = Callable[[str], ModuleType]


# Employee onboarding --------------------------------------------------------------------------------------------


async def test_a_new_colleague_is_welcomed_on_the_first_morning(example: Example) -> None:
    people = example("employee_onboarding")
    hire = people.Hire(name="Ada", email="ada@x", manager="grace", first_day=date(2030, 1, 20))
    env = WorkflowEnvironment(people.app)
    run = env.start(people.onboard, hire)
    run.raise_event("contract_signed", {"by": "Ada"}, after=timedelta(days=4))
    welcome = await run.result()
    assert welcome.mentor == "grace"  # who named nobody in a week
    assert welcome.equipment.accounts == ["ada@mail", "ada@chat", "ada@wiki"]
    assert env.now.date() == date(2030, 1, 20)
    assert [message.text for message in env.inputs(people.send)] == [
        "Here is your contract.",
        "Your contract is still unsigned.",
        "Who will look after Ada?",
        "Welcome! grace will meet you at the door.",
    ]
    assert run.custom_status == "ready"


async def test_an_offer_that_is_not_signed_lapses_after_three_reminders(example: Example) -> None:
    people = example("employee_onboarding")
    hire = people.Hire(name="Ada", email="ada@x", manager="grace", first_day=date(2030, 1, 20))
    env = WorkflowEnvironment(people.app)
    with pytest.raises(WorkflowFailedError, match="OfferLapsedError"):
        await env.run(people.onboard, hire)
    assert len(env.calls(people.send)) == 5
    assert env.calls(people.order_laptop) == []


async def test_the_manager_names_a_mentor(example: Example) -> None:
    people = example("employee_onboarding")
    hire = people.Hire(name="Ada", email="ada@x", manager="grace", first_day=date(2030, 1, 20))
    env = WorkflowEnvironment(people.app)
    run = env.start(people.find_mentor, hire)
    run.raise_event("mentor", "Alan", after=timedelta(days=2))
    assert await run.result() == "Alan"


# Customer onboarding -----------------------------------------------------------------------------------------------


async def test_a_customer_who_shows_a_document_after_a_reminder_has_an_account(example: Example) -> None:
    customers = example("customer_onboarding")
    env = WorkflowEnvironment(customers.app)
    run = env.start(customers.open_account, customers.Applicant(name="Ada", email="ada@x"))
    run.raise_event("identity_verified", {"genuine": True, "document": "passport"}, after=timedelta(days=10))
    assert (await run.result()).document == "passport"
    assert len(env.calls(customers.remind)) == 1
    assert env.calls(customers.delete_customer) == []


@pytest.mark.parametrize("how", ["refused", "silent", "terminated"])
async def test_whoever_cannot_be_identified_leaves_nothing_behind(example: Example, how: str) -> None:
    customers = example("customer_onboarding")
    env = WorkflowEnvironment(customers.app)
    run = env.start(customers.open_account, customers.Applicant(name="Ada", email="ada@x"))
    if how == "refused":
        run.raise_event("identity_verified", {"genuine": False}, after=timedelta(days=1))
    if how == "terminated":
        run.terminate(after=timedelta(days=1))
    with pytest.raises((WorkflowFailedError, WorkflowTerminatedError)):
        await run.result()
    await env.sleep(60)
    undone = (customers.withdraw_verification, customers.close_ledger, customers.delete_customer)
    names = [call.name for call in env.calls()]
    assert [name for name in names if name.startswith(("withdraw", "close", "delete"))] == [
        function.__name__ for function in undone
    ]
    assert len(env.calls(customers.say_no)) == (0 if how == "terminated" else 1)


# Roll-out -------------------------------------------------------------------------------------------------------------


async def test_a_roll_out_goes_wave_by_wave(example: Example) -> None:
    rollout = example("rollout")
    env = WorkflowEnvironment(rollout.app)
    plan = rollout.Rollout(version="2.4", sites=["oslo", "bern", "rome", "riga"], waves=[1, 2])
    report = await env.run(rollout.roll_out, plan)
    assert report.installed == ["oslo", "bern", "rome", "riga"]
    moments = [call.at for call in env.calls(rollout.install)]
    assert moments[1] - moments[0] == timedelta(hours=1)
    assert moments[1] == moments[2]
    assert len(env.calls(rollout.is_healthy)) == 60 * 4


@pytest.mark.parametrize("why", ["sick", "abort"])
async def test_a_roll_out_that_is_stopped_goes_back_the_last_site_first(example: Example, why: str) -> None:
    rollout = example("rollout")
    env = WorkflowEnvironment(rollout.app)
    sites = ["oslo", "bern", "sick-rome" if why == "sick" else "rome", "riga"]
    run = env.start(rollout.roll_out, rollout.Rollout(version="2.4", sites=sites, waves=[1, 2]))
    if why == "abort":
        run.raise_event("abort", after=timedelta(minutes=90))
    with pytest.raises(WorkflowFailedError, match="rolled back from 3 sites"):
        await run.result()
    assert [(site.name, site.version) for site in env.inputs(rollout.install)[3:]] == [
        (sites[2], "2.3"),
        ("bern", "2.3"),
        ("oslo", "2.3"),
    ]


# Image processing --------------------------------------------------------------------------------------------------------


async def test_pictures_are_classified_and_filed(example: Example, tmp_path: Path) -> None:
    images = example("image_processing")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size, colour in [("a", (400, 200), "red"), ("b", (100, 300), "lime"), ("c", (50, 50), "navy")]:
        images.Image.new("RGB", size, colour).save(folder / f"{name}.png")
    (folder / "d.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not for us")
    env = WorkflowEnvironment(images.app)
    job = images.Job(folder=str(folder), store=str(tmp_path / "gallery"))
    gallery = await env.run(images.process_folder, job)
    assert [(filed.kind.shape, filed.kind.colour) for filed in gallery.filed] == [
        ("landscape", "red"),
        ("portrait", "green"),
        ("square", "blue"),
    ]
    assert gallery.unreadable == [str(folder / "d.png")]
    with images.Image.open(gallery.filed[0].thumbnail) as thumbnail:
        assert thumbnail.size == (128, 64)
    assert len(list((tmp_path / "gallery" / "thumbnails").iterdir())) == 3


# Batch ------------------------------------------------------------------------------------------------------------------------


async def test_a_batch_goes_window_by_window_with_a_short_history(example: Example, tmp_path: Path) -> None:
    batch = example("document_batch")
    for number in range(25):
        (tmp_path / f"{number:02}.txt").write_text("durable workflow " + "replay " * number)
    (tmp_path / "99.bin").write_bytes(b"\xff\xfe\xfd")
    env = WorkflowEnvironment(batch.app)
    run = env.start(batch.process_batch, batch.Batch(folder=str(tmp_path), window=10))
    report = await run.result()
    assert report.documents == 25
    assert report.unreadable == [str(tmp_path / "99.bin")]
    assert report.top[0] == ("replay", sum(range(25)))
    assert len(run.history) < 30
    assert len(env.calls(batch.list_documents)) == 1


# Research ------------------------------------------------------------------------------------------------------------------


def sources(folder: Path) -> list[str]:
    (folder / "one.md").write_text("A timer is removed when its event comes first.\n\nSomething else.")
    return [str(folder), str(folder / "missing.md")]


async def test_a_question_that_is_well_covered_is_answered_at_once(example: Example, tmp_path: Path) -> None:
    assistant = example("research_assistant")
    env = WorkflowEnvironment(assistant.app)
    question = assistant.Question(question="When is a timer removed?", sources=sources(tmp_path))
    answer = await env.run(assistant.research, question)
    assert answer.text == "A timer is removed when its event comes first."
    assert answer.confidence == 1.0
    assert env.inputs(assistant.deliver) == [answer]


async def test_a_doubtful_answer_waits_for_a_person_who_may_ask_something_else(
    example: Example, tmp_path: Path
) -> None:
    assistant = example("research_assistant")
    env = WorkflowEnvironment(assistant.app)
    question = assistant.Question(question="Which timer colours exist today?", sources=sources(tmp_path))
    run = env.start(assistant.research, question)
    await env.sleep(3600)
    assert run.custom_status["waiting_for"] == "review"
    better = {"by": "Grace", "approved": False, "ask_instead": "When is a timer removed?"}
    run.raise_event("review", better)
    assert (await run.result()).confidence == 1.0
    assert run.custom_status["asked"] == 2


async def test_without_a_review_nothing_is_delivered(example: Example, tmp_path: Path) -> None:
    assistant = example("research_assistant")
    env = WorkflowEnvironment(assistant.app)
    question = assistant.Question(question="Which timer colours exist today?", sources=sources(tmp_path))
    answer = await env.run(assistant.research, question)
    assert answer.reviewed_by == "deadline"
    assert env.calls(assistant.deliver) == []
    with pytest.raises(WorkflowFailedError, match="NoQuestionError"):
        await env.run(assistant.research, assistant.Question(question="What is it?", sources=[]))


# Bookshop ----------------------------------------------------------------------------------------------------------------------


async def test_a_payment_whose_answer_was_lost_is_charged_once(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOKS_DB", str(tmp_path / "books.db"))
    shop = example("bookshop")
    env = WorkflowEnvironment(shop.app)
    sold = await env.run(shop.sell, shop.Order(order="17", isbn="978-0", price="12.50"))
    assert [call.attempt for call in env.calls(shop.charge)] == [1, 2]  # the first answer was lost
    assert list(shop.Payments.charges.values()) == ["payment-1"]
    with sqlite3.connect(tmp_path / "books.db") as database:
        assert database.execute("SELECT isbn, payment FROM sales").fetchall() == [("978-0", "payment-1")]
        assert database.execute("SELECT message_id FROM queue").fetchall() == [(sold.message,)]


async def test_each_activity_of_the_bookshop_may_run_twice(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOKS_DB", str(tmp_path / "books.db"))
    shop = example("bookshop")
    env = WorkflowEnvironment(shop.app)
    for function in (shop.record, shop.announce):

        def twice(sale: object, function: Callable[[object], object] = function) -> None:
            function(sale)
            raise ConnectionError("the worker died after the work")

        env.mock(function, calls=twice, on=1)
    await env.run(shop.sell, shop.Order(order="17", isbn="978-0", price="12.50"))
    assert len(env.calls(shop.record)) == len(env.calls(shop.announce)) == 2
    with sqlite3.connect(tmp_path / "books.db") as database:
        assert database.execute("SELECT count(*) FROM sales").fetchone() == (1,)
        assert database.execute("SELECT count(*) FROM queue").fetchone() == (1,)


# Monitor, approval -----------------------------------------------------------------------------------------------------------------


async def test_an_expense_that_nobody_decides_on_is_declined(example: Example) -> None:
    expenses = example("approval")
    env = WorkflowEnvironment(expenses.app, now=datetime.fromisoformat("2030-05-01T08:00:00+00:00"))
    run = env.start(expenses.approve_expense, expenses.Expense(employee="Ada", amount="480", purpose="train"))
    decision = await run.result()
    assert (decision.approved, decision.by) == (False, "deadline")
    assert run.status is Status.COMPLETED
    assert env.now.date() == date(2030, 5, 4)


# Order fulfilment ------------------------------------------------------------------------------------------------------------------


async def test_an_order_is_fulfilled_or_undone(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_BOOKS", str(tmp_path / "world.db"))
    monkeypatch.setenv("WORLD_SECONDS", "0")
    orders = example("order_fulfilment")
    env = WorkflowEnvironment(orders.app)
    order = orders.Order(order_id="17", items=["lamp", "desk"], amount="129.90", address="12 Main Street")
    assert (await env.run(orders.fulfil_order, order)).order_id == "17"
    lost = orders.Order(order_id="18", items=["lamp"], amount="9", address="")
    with pytest.raises(WorkflowFailedError, match="OrderCancelledError"):
        await env.run(orders.fulfil_order, lost)
    assert [request.what.partition(" ")[0] for request in orders.world.requests("18")] == [
        "reserve",
        "charge",
        "refund",
        "cancel",
    ]


# Monitor ---------------------------------------------------------------------------------------------------------------------------


async def test_a_monitor_alerts_when_a_site_goes_down_and_comes_back(example: Example) -> None:
    monitor = example("monitor")
    env = WorkflowEnvironment(monitor.app)
    env.mock(monitor.check, returns=True)
    env.mock(monitor.check, returns=False, on=(3, 4))
    run = env.start(monitor.watch_site, monitor.Watch(url="https://x.test", interval=60))
    await env.sleep(timedelta(minutes=9, seconds=30))
    assert [change.up for change in env.inputs(monitor.alert)] == [False, True]
    assert run.custom_status == {"up": True, "checks": 10, "changes": 2}
    run.raise_event("stop")
    assert (await run.result()).checks == 10


# Document pages, Dapr's style, the nightly report, local activities -----------------------------------------------------------------


async def test_pages_are_read_side_by_side(example: Example) -> None:
    documents = example("document_pages")
    env = WorkflowEnvironment(documents.app)
    text = "It was the best of times,\fit was the worst of times."
    index = await env.run(documents.index_document, documents.Document(title="A tale", text=text))
    assert (index.pages, index.words, index.found_on["times"]) == (2, 12, [1, 2])
    assert len({call.at for call in env.calls(documents.read_page)}) == 1


async def test_code_in_daprs_style_waits_for_approval(example: Example) -> None:
    dapr = example("dapr_style")
    order = {"item": "cars", "quantity": 3, "cost": 4500}
    env = WorkflowEnvironment(dapr.app)
    assert await env.run("order_processing_workflow", order) == {"processed": False}
    run = env.start("order_processing_workflow", order)
    run.raise_event("approval_event", {"approval": True}, after=60)
    assert await run.result() == {"processed": True}
    assert len(env.calls("process_payment")) == 1


async def test_two_reports_of_one_shop_take_turns(example: Example) -> None:
    reports = example("nightly_report")
    env = WorkflowEnvironment(reports.app)
    env.mock(reports.count_orders, takes=60)
    runs = [env.start(reports.report, reports.Wanted(shop="lamps")) for _ in range(2)]
    assert [await run.result() for run in runs] == ["lamps: 136 orders"] * 2
    first, second = env.calls(reports.count_orders)
    assert second.at - first.at >= timedelta(seconds=60)


async def test_a_quote_needs_a_worker_only_for_what_talks_to_the_world(example: Example) -> None:
    quotes = example("local_activities")
    env = WorkflowEnvironment(quotes.app)
    assert await env.run(quotes.quote, quotes.Request(item="lamp", count=3)) == "3 x lamp: 71.64"
    assert [call.name for call in env.calls()] == ["price_of", "with_tax", "print_offer"]
