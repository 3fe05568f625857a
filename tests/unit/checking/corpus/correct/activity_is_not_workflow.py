from tenuto import App, WorkflowContext
import time
import random
import os

app = App("corpus")


@app.activity
async def busy() -> float:
    print(os.environ)
    return time.time() + random.random()


@app.activity
async def act(number: int) -> int:
    return number


@app.workflow
async def wf(ctx: WorkflowContext, data: dict[str, int]) -> object:
    return await ctx.call_activity(busy)
