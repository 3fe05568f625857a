from tenuto import App, WorkflowContext
import asyncio

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return await asyncio.gather(ctx.call_activity(act, 1))  # expect T109
