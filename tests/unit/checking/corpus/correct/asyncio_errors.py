from tenuto import App, WorkflowContext
import asyncio

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    try:
        return await ctx.call_activity(act, 1)
    except asyncio.TimeoutError:
        return None
