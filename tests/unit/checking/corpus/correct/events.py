from tenuto import App, WorkflowContext
from datetime import timedelta

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    try:
        approved = await ctx.wait_for_external_event("approved", timeout=timedelta(days=1))
    except TimeoutError:
        return None
    ctx.send_event("other", "approved", approved)
    ctx.set_custom_status({"approved": True})
    return approved
