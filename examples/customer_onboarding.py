"""Customer onboarding: identity verification that may take days, and a clean-up when it fails.

    tenuto run examples/customer_onboarding.py open_account --input '{
        "name": "Ada", "email": "ada@example.com", "days_to_verify": 0.0001}'

A customer, a ledger and a verification are made, each with its undoing. Then the workflow waits for the verdict of the
identity check (the event `identity_verified`), reminding once. A refusal, or no verdict in time, undoes everything in
reverse order; so does terminating the instance, since the saga is told to.

    from tenuto import SyncClient

    with SyncClient() as client:      # while `tenuto dev examples/customer_onboarding.py` runs
        customer = {"name": "Ada", "email": "ada@example.com"}
        handle = client.start("open_account", customer)
        handle.raise_event("identity_verified", {"genuine": True, "document": "passport"})
        print(handle.result())
"""

from dataclasses import dataclass
from datetime import timedelta

from tenuto import App, NonRetryableError, RetryPolicy, Saga, WorkflowContext, activity

app = App("customers", retry=RetryPolicy(max_attempts=10, first_interval=1.0, max_interval=60.0))


@dataclass(frozen=True, kw_only=True)
class Applicant:
    name: str
    email: str
    days_to_verify: float = 14


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The payload of the event `identity_verified`."""

    genuine: bool
    document: str = ""


@dataclass(frozen=True, kw_only=True)
class Account:
    customer: str
    ledger: str
    document: str


class IdentityRefusedError(NonRetryableError):
    """Whoever it is, it is not who they say."""


@app.activity
async def create_customer(applicant: Applicant) -> str:
    return f"{applicant.name}-{activity.context().idempotency_key[-6:]}"


@app.activity
async def delete_customer(customer: str) -> None: ...


@app.activity
async def open_ledger(customer: str) -> str:
    return f"ledger of {customer}"


@app.activity
async def close_ledger(ledger: str) -> None: ...


@app.activity(pool="identity")
async def request_verification(applicant: Applicant) -> str:
    return f"case of {applicant.name}"


@app.activity(pool="identity")
async def withdraw_verification(case: str) -> None: ...


@app.activity
async def remind(applicant: Applicant) -> None:
    activity.context().logger.info("%s: please show us a document", applicant.email)


@app.activity
async def say_no(applicant: Applicant) -> None:
    activity.context().logger.info("%s: we cannot open an account for you", applicant.email)


@app.workflow
async def open_account(ctx: WorkflowContext, applicant: Applicant) -> Account:
    try:
        async with Saga(ctx, compensate_on_terminate=True) as saga:
            customer = await ctx.call_activity(create_customer, applicant)
            saga.add(delete_customer, customer)
            ledger = await ctx.call_activity(open_ledger, customer)
            saga.add(close_ledger, ledger)
            case = await ctx.call_activity(request_verification, applicant)
            saga.add(withdraw_verification, case)
            verdict = await verification(ctx, applicant)
    except (IdentityRefusedError, TimeoutError):
        await ctx.call_activity(say_no, applicant)
        raise
    return Account(customer=customer, ledger=ledger, document=verdict.document)


async def verification(ctx: WorkflowContext, applicant: Applicant) -> Verdict:
    """Wait for the verdict, with one reminder in the middle."""
    half = timedelta(days=applicant.days_to_verify) / 2
    try:
        verdict = await ctx.wait_for_external_event("identity_verified", timeout=half, type=Verdict)
    except TimeoutError:
        await ctx.call_activity(remind, applicant)
        verdict = await ctx.wait_for_external_event("identity_verified", timeout=half, type=Verdict)
    if not verdict.genuine:
        raise IdentityRefusedError(f"{applicant.name} could not be identified")
    return verdict
