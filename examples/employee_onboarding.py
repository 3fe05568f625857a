"""Employee onboarding: several departments and people, for weeks, each at their own pace.

    tenuto run examples/employee_onboarding.py onboard --input '{
        "name": "Ada", "email": "ada@example.com", "manager": "grace", "first_day": "2030-01-07"}'

The contract is sent, and reminded of until it is signed (the event `contract_signed`, from whatever takes signatures).
Then IT, facilities and the manager work side by side, each a child workflow with a history of its own; the new
colleague is welcomed on the morning of the first day. Nobody signs? After three reminders the offer lapses.

To sign, with `tenuto dev examples/employee_onboarding.py` in another terminal, start it there and raise the event:

    from tenuto import SyncClient

    with SyncClient() as client:
        client.get("the id").raise_event("contract_signed", {"by": "Ada"})
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from tenuto import App, RetryPolicy, WorkflowContext, activity, when_all

app = App("people", retry=RetryPolicy(max_attempts=5, first_interval=1.0))

REMINDERS = 3
BETWEEN_REMINDERS = timedelta(days=3)


@dataclass(frozen=True, kw_only=True)
class Hire:
    name: str
    email: str
    manager: str
    first_day: date


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The payload of the event `contract_signed`."""

    by: str


@dataclass(frozen=True, kw_only=True)
class Message:
    to: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Equipment:
    laptop: str
    accounts: list[str]


@dataclass(frozen=True, kw_only=True)
class Welcome:
    name: str
    badge: str
    equipment: Equipment
    mentor: str


class OfferLapsedError(Exception):
    """The contract was not signed in time."""


@app.activity(pool="mail")
async def send(message: Message) -> None:
    activity.context().logger.info("to %s: %s", message.to, message.text)


@app.activity(pool="it")
async def order_laptop(hire: Hire) -> str:
    # A real one gives the supplier the key, so that a second attempt orders nothing.
    return f"laptop-{hire.name}-{activity.context().idempotency_key[-8:]}"


@app.activity(pool="it")
async def create_account(address: str) -> str:
    return address


@app.activity(pool="facilities")
async def print_badge(name: str) -> str:
    return f"badge of {name}"


@app.workflow
async def onboard(ctx: WorkflowContext, hire: Hire) -> Welcome:
    ctx.set_custom_status("waiting for the contract")
    await contract(ctx, hire)
    ctx.set_custom_status("preparing the first day")
    equipping = ctx.call_child_workflow(equip, hire)
    badge = ctx.call_activity(print_badge, hire.name)
    looking = ctx.call_child_workflow(find_mentor, hire)
    equipment, mentor = await equipping, await looking
    ctx.set_custom_status("ready")
    await ctx.create_timer(datetime.combine(hire.first_day, time(8), tzinfo=UTC))
    await ctx.call_activity(
        send, Message(to=hire.email, text=f"Welcome! {mentor} will meet you at the door.")
    )
    return Welcome(name=hire.name, badge=await badge, equipment=equipment, mentor=mentor)


async def contract(ctx: WorkflowContext, hire: Hire) -> Signature:
    """Send the contract, and remind of it until it is signed."""
    await ctx.call_activity(send, Message(to=hire.email, text="Here is your contract."))
    for _ in range(REMINDERS):
        try:
            return await ctx.wait_for_external_event(
                "contract_signed", timeout=BETWEEN_REMINDERS, type=Signature
            )
        except TimeoutError:
            await ctx.call_activity(send, Message(to=hire.email, text="Your contract is still unsigned."))
    try:
        return await ctx.wait_for_external_event("contract_signed", timeout=BETWEEN_REMINDERS, type=Signature)
    except TimeoutError:
        await ctx.call_activity(send, Message(to=hire.manager, text=f"{hire.name} did not sign."))
        raise OfferLapsedError(f"{hire.name} did not sign in time") from None


@app.workflow
async def equip(ctx: WorkflowContext, hire: Hire) -> Equipment:
    """IT's part: a laptop and accounts, side by side."""
    laptop = ctx.call_activity(order_laptop, hire)
    user = hire.email.partition("@")[0]
    accounts = [ctx.call_activity(create_account, f"{user}@{place}") for place in ("mail", "chat", "wiki")]
    return Equipment(laptop=await laptop, accounts=await when_all(accounts))


@app.workflow
async def find_mentor(ctx: WorkflowContext, hire: Hire) -> str:
    """The manager's part: name a mentor within a week (the event `mentor`), or be it yourself."""
    await ctx.call_activity(send, Message(to=hire.manager, text=f"Who will look after {hire.name}?"))
    try:
        return await ctx.wait_for_external_event("mentor", timeout=timedelta(days=7), type=str)
    except TimeoutError:
        return hire.manager
