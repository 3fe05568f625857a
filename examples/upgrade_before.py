"""Monday's code of a rolling upgrade: `upgrade_after.py` is Friday's, and live instances go on under it.

    tenuto dev examples/upgrade_before.py

leaves these in the middle of their work; stop it with Ctrl-C, run `tenuto dev examples/upgrade_after.py` in its place,
and see how they end. From another terminal:

    tenuto workflow start subscribe --input '"Ada"' --id ada
    tenuto workflow start onboard --input '"Grace"' --id grace
"""

from tenuto import App, RetryPolicy, WorkflowContext

app = App("subscriptions", retry=RetryPolicy(max_attempts=5))


@app.activity
async def charge(customer: str) -> str:
    return f"charged {customer}"


@app.activity
async def send_paper_invoice(customer: str) -> str:
    return f"posted an invoice to {customer}"


@app.activity
async def say_goodbye(customer: str) -> str:
    return f"said goodbye to {customer}"


@app.activity
async def greet(customer: str) -> str:
    return f"greeted {customer}"


@app.workflow
async def subscribe(ctx: WorkflowContext, customer: str) -> list[str]:
    """Lives for as long as the customer stays: Friday's code must fit what Monday's began."""
    done = [await ctx.call_activity(charge, customer)]
    await ctx.wait_for_external_event("month over")
    done.append(await ctx.call_activity(send_paper_invoice, customer))
    await ctx.wait_for_external_event("cancelled")
    done.append(await ctx.call_activity(say_goodbye, customer))
    return done


@app.workflow(version="1")
async def onboard(ctx: WorkflowContext, customer: str) -> list[str]:
    """An instance keeps the version that it began with."""
    done = [await ctx.call_activity(greet, customer)]
    await ctx.wait_for_external_event("signed")
    done.append(await ctx.call_activity(charge, customer))
    return done
