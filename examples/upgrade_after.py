"""Friday's code of a rolling upgrade: it goes on with what `upgrade_before.py` has begun, and begins things anew.

Two ways to change a workflow under its live instances, side by side:

* `subscribe` has a small change in its middle. A **patch** tells which instances had passed that place already.
* `onboard` was written anew. It is another **version**: live instances keep version 1, new ones take the latest.

    tenuto dev examples/upgrade_after.py
"""

from tenuto import App, RetryPolicy, WorkflowContext, when_all

app = App("subscriptions", retry=RetryPolicy(max_attempts=5))


@app.activity
async def charge(customer: str) -> str:
    return f"charged {customer}"


@app.activity
async def send_paper_invoice(customer: str) -> str:
    return f"posted an invoice to {customer}"


@app.activity
async def mail_invoice(customer: str) -> str:
    return f"mailed an invoice to {customer}"


@app.activity
async def say_goodbye(customer: str) -> str:
    return f"said goodbye to {customer}"


@app.activity
async def greet(customer: str) -> str:
    return f"greeted {customer}"


@app.workflow
async def subscribe(ctx: WorkflowContext, customer: str) -> list[str]:
    """Once nobody from before lives any more, `is_patched` gives way to `ctx.deprecate_patch("invoices by mail")`."""
    done = [await ctx.call_activity(charge, customer)]
    await ctx.wait_for_external_event("month over")
    invoice = mail_invoice if ctx.is_patched("invoices by mail") else send_paper_invoice
    done.append(await ctx.call_activity(invoice, customer))
    await ctx.wait_for_external_event("cancelled")
    done.append(await ctx.call_activity(say_goodbye, customer))
    return done


@app.workflow(name="onboard", version="1")
async def onboard_1(ctx: WorkflowContext, customer: str) -> list[str]:
    """Kept as it was until its last instance has ended."""
    done = [await ctx.call_activity(greet, customer)]
    await ctx.wait_for_external_event("signed")
    done.append(await ctx.call_activity(charge, customer))
    return done


@app.workflow(version="2")
async def onboard(ctx: WorkflowContext, customer: str) -> list[str]:
    """Registered last, so it is the latest: what new instances take."""
    await ctx.wait_for_external_event("signed")
    return await when_all([ctx.call_activity(greet, customer), ctx.call_activity(charge, customer)])
