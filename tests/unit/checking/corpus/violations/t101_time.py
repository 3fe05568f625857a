from tenuto import App, WorkflowContext
import time

app = App("corpus")


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    now = time.time()  # expect T101
    return await ctx.call_activity(act, 1)
