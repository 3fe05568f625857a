"""Human approval with a deadline: an expense waits for somebody's decision, durably, for as long as it takes.

    tenuto run examples/approval.py approve_expense --input '{
        "employee": "Ada", "amount": "480.00", "purpose": "train to Leipzig", "seconds_to_decide": 10}'

Small amounts are approved at once. For others the workflow asks a manager and waits for the event `decision`;
nobody's process needs to stay up meanwhile. From another terminal, with `tenuto dev examples/approval.py`
running in this one:

    from tenuto import SyncClient

    with SyncClient() as client:
        expense = {"employee": "Ada", "amount": "480.00", "purpose": "train to Leipzig"}
        handle = client.start("approve_expense", expense)
        handle.raise_event("decision", {"approved": True, "by": "Grace"})
        print(handle.result())

When the deadline passes without a decision, the expense is declined and its owner told so.
"""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from tenuto import App, RetryPolicy, WorkflowContext, activity

app = App("expenses", retry=RetryPolicy(max_attempts=5))

PETTY_CASH = Decimal(50)


@dataclass(frozen=True, kw_only=True)
class Expense:
    employee: str
    amount: Decimal
    purpose: str
    seconds_to_decide: float = timedelta(days=3).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The payload of the event `decision`."""

    approved: bool
    by: str
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Message:
    to: str
    text: str


@app.activity
async def send_message(message: Message) -> None:
    activity.context().logger.info("to %s: %s", message.to, message.text)


@app.workflow
async def approve_expense(ctx: WorkflowContext, expense: Expense) -> Decision:
    decision = await decide(ctx, expense)
    words = "approved" if decision.approved else "declined"
    text = f"{expense.purpose} ({expense.amount}) was {words} by {decision.by}. {decision.remark}".rstrip()
    await ctx.call_activity(send_message, Message(to=expense.employee, text=text))
    return decision


async def decide(ctx: WorkflowContext, expense: Expense) -> Decision:
    """Part of the workflow: helpers may be functions of their own, as long as they only use the context."""
    if expense.amount <= PETTY_CASH:
        return Decision(approved=True, by="policy", remark="Petty cash.")
    question = f"{expense.employee} asks for {expense.amount}: {expense.purpose}"
    await ctx.call_activity(send_message, Message(to="manager", text=question))
    ctx.set_custom_status({"waiting_for": "decision"})
    try:
        return await ctx.wait_for_external_event("decision", timeout=expense.seconds_to_decide, type=Decision)
    except TimeoutError:
        return Decision(approved=False, by="deadline", remark="Nobody decided in time.")
    finally:
        ctx.set_custom_status(None)
